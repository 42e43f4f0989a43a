"""What stays and what goes, over simulated years with failures thrown in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgdr.policy import load_policy
from pgdr.retention.plan import Copy, Rule, make_plan
from pgdr.retention.simulate import Weights, run_fulls, simulate

_LAB = Path(__file__).resolve().parents[4] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
_START = datetime(2027, 1, 1, 2, tzinfo=UTC)
_DAY = timedelta(days=1)
_WEEK = Rule(window=7 * _DAY)
_SLOTS = Rule(window=7 * _DAY, slots={"weekly": 84 * _DAY, "monthly": 366 * _DAY})


def _full(day: int, *, good: bool = True) -> Copy:
    return Copy(f"F{day:04d}", _START + day * _DAY, good=good)


def _labels(copies: tuple[Copy, ...]) -> list[str]:
    return [copy.label for copy in copies]


def test_without_failures_the_window_and_one_more_stay() -> None:
    plan = make_plan([_full(day) for day in range(20)], _WEEK, _START + 19 * _DAY, {})
    assert _labels(plan.kept) == [f"F{day:04d}" for day in range(12, 20)]
    assert plan.anchor == "F0012"
    assert plan.decisions[12].reasons == ("the window begins with it",)


def test_nothing_goes_where_nothing_is_verified() -> None:
    plan = make_plan([_full(day, good=False) for day in range(20)], _WEEK, _START + 19 * _DAY, {})
    assert plan.doomed == ()
    assert plan.decisions[0].reasons == ("nothing is verified yet",)


def test_a_good_one_is_not_pushed_out_by_bad_ones() -> None:
    copies = [_full(0), _full(1), *(_full(day, good=False) for day in range(2, 40))]
    plan = make_plan(copies, _WEEK, _START + 39 * _DAY, {})
    assert plan.anchor == "F0001"
    assert _labels(plan.doomed) == ["F0000"]
    assert plan.decisions[1].reasons == ("the window begins with it, the last verified one",)


def test_an_increment_goes_with_its_full_and_a_held_one_keeps_it() -> None:
    copies = [_full(0), Copy("I0", _START + timedelta(hours=4), base="F0000", good=True), *map(_full, range(1, 20))]
    now = _START + 19 * _DAY
    assert {"F0000", "I0"} <= set(_labels(make_plan(copies, _WEEK, now, {}).doomed))
    plan = make_plan(copies, _WEEK, now, {"I0": "litigation (anna)"})
    reasons = {item.copy.label: item.reasons for item in plan.decisions if item.keep}
    assert reasons["I0"] == ("held: litigation (anna)",)
    assert reasons["F0000"] == ("needed by what is held: litigation (anna)",)


def test_a_slot_keeps_the_first_good_one_of_its_period_without_its_increments() -> None:
    copies = [_full(0, good=False), _full(1), Copy("I1", _START + _DAY, base="F0001"), *map(_full, range(2, 60))]
    plan = make_plan(copies, Rule(window=7 * _DAY, slots={"monthly": 366 * _DAY}), _START + 59 * _DAY, {})
    kept = _labels(plan.kept)
    assert "F0001" in kept  # the first of January was never verified
    assert "F0000" not in kept
    assert "I1" not in kept
    assert "F0031" in kept  # the first of February


def test_conflicts_are_explained() -> None:
    rule = Rule(window=7 * _DAY, cap=30 * _DAY, floor=2557 * _DAY, floor_by="sox")
    copies = [_full(0), *(_full(day, good=False) for day in range(1, 41))]
    plan = make_plan(copies, rule, _START + 40 * _DAY, {})
    assert "F0000" in _labels(plan.kept)
    assert any("past the erasure cap of 30 days" in text and "take a full backup" in text for text in plan.conflicts)
    assert any(text.startswith("sox asks for 2557 days") for text in plan.conflicts)
    held = make_plan(map(_full, range(41)), rule, _START + 40 * _DAY, {"F0002": "case (anna)"})
    assert [text for text in held.conflicts if "F0002" in text and "release the hold" in text]


days = st.integers(min_value=0, max_value=400)
failures = st.fixed_dictionaries(
    {
        "missing": st.sets(days, max_size=150),
        "bad": st.sets(days, max_size=300),
        "outages": st.lists(st.tuples(days, st.integers(1, 60)), max_size=3),
        "held": st.sets(days, max_size=3),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(failures, st.sampled_from([_WEEK, _SLOTS]), st.integers(30, 400))
def test_promises_hold_whatever_fails(faults: dict[str, Any], rule: Rule, length: int) -> None:
    outage = {day for begin, long in faults["outages"] for day in range(begin, begin + long)}
    held = {f"F{day:04d}": "case" for day in faults["held"]}
    copies: list[Copy] = []
    ever_good: list[Copy] = []
    for day in range(length):
        now = _START + day * _DAY + timedelta(hours=3)
        if day not in faults["missing"]:
            copies.append(_full(day, good=day not in faults["bad"] and day not in outage))
            copies.append(Copy(f"I{day:04d}", _START + day * _DAY + timedelta(hours=2), base=f"F{day:04d}"))
            ever_good += [copy for copy in copies[-2:] if copy.good]
        before = copies
        plan = make_plan(copies, rule, now, held)
        copies = list(plan.kept)
        kept = {copy.label for copy in copies}
        # The last verified one is there, and so is one from which the whole window can be reached.
        if ever_good:
            assert ever_good[-1].label in kept
        reaching = [copy for copy in ever_good if copy.at <= now - rule.window]
        if reaching:
            assert reaching[-1].label in kept
        # What is held, and what a kept copy builds on, is there; the window is never cut.
        assert all(label in kept for label in held if label in {copy.label for copy in before})
        assert all(not copy.base or copy.base in kept for copy in copies)
        assert all(copy.label in kept for copy in before if not copy.base and copy.at > now - rule.window)
        # A second run finds nothing to do.
        assert make_plan(copies, rule, now, held).doomed == ()
    # What is kept without need is bounded by what failed.
    reach = max((copy.at for copy in ever_good if copy.at <= now - rule.window), default=_START)
    older = [copy for copy in copies if copy.at < reach and copy.label[1:] not in {label[1:] for label in held}]
    assert all(
        any("weekly" in r or "monthly" in r for r in item.reasons) for item in plan.decisions if item.copy in older
    )


def test_simulated_years_of_the_labs_policy() -> None:
    policy = load_policy(_LAB)
    found = {item.place: item for item in simulate(policy, date(2026, 11, 22), date(2033, 12, 31), Weights(10, 1, 5))}
    assert len(found["repository 1"].copies) == 8
    assert len(found["repository 2"].copies) == 31
    reach = found["repository 2"].reach
    assert reach is not None
    assert reach.date() == date(2033, 12, 1)
    assert found["archives monthly"].copies[0] == "20330101"
    assert len(found["archives annual"].copies) == 7
    assert found["archives local"].size == 8 * 5
    early = simulate(policy, date(2026, 11, 22), date(2026, 11, 24), Weights(10, 1, 5))[0]
    assert early.copies == ("20261122-020000F", "20261123-020000F", "20261124-020000F")


def test_a_year_in_which_a_month_of_backups_is_bad_keeps_the_one_before() -> None:
    policy = load_policy(_LAB)
    plan = run_fulls(policy, _WEEK, date(2027, 1, 1), date(2027, 3, 1), good=lambda day: day < 20)
    assert plan.anchor == "20270120-020000F"
    assert _labels(plan.kept)[0] == "20270120-020000F"
