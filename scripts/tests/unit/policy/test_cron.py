"""Cron expressions: what cron takes, and how long the pauses are."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdr.policy.cron import Cron

HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("* * * * *", 60),
        ("*/15 * * * *", 900),
        ("0 */4 * * *", 4 * HOUR),
        ("0 2 * * *", DAY),
        # 20:00 to 02:00 of the next day is the longest of these pauses.
        ("0 2,14,20 * * *", 12 * HOUR),
        ("0 */5 * * *", 5 * HOUR),
        ("0 3 * * 0", 7 * DAY),
        ("0 3 * * 7", 7 * DAY),
        ("0 3 * * sun", 7 * DAY),
        ("0 6 1 * *", 31 * DAY),
        ("0 6 1 */3 *", 92 * DAY),
        ("0 0 29 2 *", 1461 * DAY),
        # Two restricted day fields are alternatives...
        ("0 0 1 * 1", 7 * DAY),
        # ...but a field that begins with * narrows the other.
        ("0 0 */2 * 1", 21 * DAY),
    ],
)
def test_the_longest_pause(text: str, gap: int) -> None:
    assert Cron.parse(text).longest_gap == gap


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "five cron fields"),
        ("0 2 * *", "five cron fields"),
        ("0 2 * * * *", "five cron fields"),
        ("0  2 * * *", "five cron fields"),
        ("0\t2 * * *", "five cron fields"),
        ("@daily", "five cron fields"),
        ("60 2 * * *", "'60' is not a minute"),
        ("0 24 * * *", "'24' is not a hour"),
        ("0 2 0 * *", "'0' is not a day of the month"),
        ("0 2 * 13 *", "'13' is not a month"),
        ("0 2 * * 8", "'8' is not a day of the week"),
        ("0 2 * * *\n", "is not a day of the week"),
        ("-1 2 * * *", "is not a minute"),
        ("x 2 * * *", "'x' is not a minute"),
        ("\u0661 2 * * *", "is not a minute"),
        ("5/15 * * * *", "a step needs a range"),
        ("*/0 * * * *", "'0' is not a step"),
        ("*/ * * * *", "'' is not a step"),
        ("30-10 * * * *", "runs backwards"),
        ("1, * * * *", "'' is not a minute"),
        ("0 0 31 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
    ],
)
def test_what_cron_would_not_take_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cron.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("0 2 * * *", "0 */4 * * *", False),
        ("0 4 * * *", "0 */4 * * *", True),
        ("0 2 * * 1", "0 2 * * 2", False),
        ("0 2 1 * *", "0 2 * * 2", True),
        ("5 2 * * *", "0 * * * *", False),
    ],
)
def test_whether_two_schedules_meet(one: str, other: str, meet: bool) -> None:
    assert Cron.parse(one).meets(Cron.parse(other)) is meet
    assert Cron.parse(other).meets(Cron.parse(one)) is meet


def _field(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """Return the text of a field together with the values that it was made from."""
    everything = frozenset(range(low, high + 1))
    single = st.integers(low, high).map(lambda n: (str(n), frozenset({n})))
    steps = st.integers(1, high - low).map(lambda n: (f"*/{n}", frozenset(range(low, high + 1, n))))
    spans = st.tuples(st.integers(low, high), st.integers(low, high)).map(
        lambda ends: (f"{min(ends)}-{max(ends)}", frozenset(range(min(ends), max(ends) + 1)))
    )
    lists = st.lists(single | spans, min_size=1, max_size=3).map(
        lambda parts: (",".join(text for text, _ in parts), frozenset().union(*(values for _, values in parts)))
    )
    return st.just(("*", everything)) | single | steps | spans | lists


@settings(deadline=None, max_examples=60)
@given(minute=_field(0, 59), hour=_field(0, 23), week=_field(0, 6))
def test_the_longest_pause_is_the_one_that_counting_minutes_finds(
    minute: tuple[str, frozenset[int]], hour: tuple[str, frozenset[int]], week: tuple[str, frozenset[int]]
) -> None:
    cron = Cron.parse(f"{minute[0]} {hour[0]} * * {week[0]}")
    runs = []
    for number in range(15):
        day = date(2026, 1, 4) + timedelta(days=number)  # a Sunday
        if day.isoweekday() % 7 in week[1]:
            runs += [number * 1440 + h * 60 + m for h in sorted(hour[1]) for m in sorted(minute[1])]
    assert cron.longest_gap == 60 * max(later - earlier for earlier, later in pairwise(runs))
