"""Durations and sizes: read, printed, and never rounded to the wrong side."""

from __future__ import annotations

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdr.policy.units import DAY, Duration, Size, seconds_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("15m", 900), ("4h", 14_400), ("30d", 30 * DAY), ("12w", 84 * DAY)],
)
def test_a_duration_is_as_long_as_it_says(text: str, seconds: int) -> None:
    assert Duration.parse(text).seconds == seconds


@pytest.mark.parametrize(
    ("text", "days"),
    # The longest months in a row are July and August; seven years can hold two leap days.
    [("1mo", 31), ("2mo", 62), ("3mo", 92), ("12mo", 366), ("1y", 366), ("6y", 2192), ("7y", 2557)],
)
def test_months_and_years_are_the_longest_that_the_calendar_has(text: str, days: int) -> None:
    assert Duration.parse(text).days == days


@given(months=st.integers(1, 84), year=st.integers(2020, 2090), month=st.integers(1, 12))
def test_nothing_that_is_kept_for_months_goes_a_day_early(months: int, year: int, month: int) -> None:
    lengths = [calendar.monthrange(year + (month - 1 + n) // 12, (month - 1 + n) % 12 + 1)[1] for n in range(months)]
    assert Duration(months, "mo").days >= sum(lengths)


@given(st.builds(Duration, st.integers(1, 1200), st.sampled_from(["s", "m", "h", "d", "w", "mo"])))
def test_a_duration_reads_what_it_prints(duration: Duration) -> None:
    again = Duration.parse(str(duration))
    assert (again.amount, again.unit) == (duration.amount, duration.unit)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "0d", "015m", "-1d", "1.5h", "4 h", "4H", "1M", "1h30m", "7d\n", "\u0663d"]
)
def test_what_is_no_duration_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number and a unit"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["101y", "1201mo", "9999999999s", "36601d"])
def test_a_duration_beyond_a_century_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than 100 years"):
        Duration.parse(text)


def test_equal_lengths_are_equal_and_sort_by_length() -> None:
    assert Duration.parse("60s") == Duration.parse("1m")
    assert len({Duration.parse("24h"), Duration.parse("1d")}) == 1
    assert sorted(map(Duration.parse, ["1mo", "30d", "4w", "5m"])) == list(
        map(Duration.parse, ["5m", "4w", "30d", "1mo"])
    )


def test_part_of_a_day_is_kept_for_a_whole_one() -> None:
    assert Duration.parse("36h").days == 2
    assert not Duration.parse("36h").whole_days
    assert Duration.parse("48h").whole_days


@pytest.mark.parametrize(("seconds", "text"), [(60, "1m"), (90, "90s"), (14_400, "4h"), (7 * DAY, "7d"), (0, "0s")])
def test_seconds_are_shown_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "size_in_bytes"), [("500GB", 500 * 10**9), ("500GiB", 500 * 2**30), ("1TB", 10**12), ("64MiB", 64 * 2**20)]
)
def test_a_size_is_as_large_as_it_says(text: str, size_in_bytes: int) -> None:
    assert Size.parse(text).bytes == size_in_bytes
    assert str(Size.parse(text)) == text


@pytest.mark.parametrize("text", ["", "500", "500gb", "500 GB", "0GB", "1.5TB", "1KB", "1GB\n"])
def test_what_is_no_size_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write a number and a unit"):
        Size.parse(text)


@pytest.mark.parametrize(("text", "gigabytes"), [("500GB", 500), ("1GiB", 2), ("1500MB", 2), ("1MB", 1)])
def test_a_minimum_is_never_lowered_by_rounding(text: str, gigabytes: int) -> None:
    assert Size.parse(text).gigabytes == gigabytes


@pytest.mark.parametrize(("text", "setting"), [("1GiB", "1GB"), ("64MiB", "64MB"), ("1GB", "954MB"), ("3GiB", "3GB")])
def test_postgresql_counts_in_powers_of_two(text: str, setting: str) -> None:
    assert Size.parse(text).postgresql == setting


def test_sizes_compare_by_bytes() -> None:
    assert Size.parse("1000GB") == Size.parse("1TB")
    assert Size.parse("1GB") < Size.parse("1GiB")
    assert hash(Size.parse("1000GB")) == hash(Size.parse("1TB"))
