"""Goals, ratios and what a reader of ``report.json`` gets."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.report import (
    Better,
    DifferenceAtMost,
    Goal,
    OursAtMost,
    RatioAtLeast,
    Row,
    failure,
    missed,
    show,
    write,
)


def row(ours: float | None, theirs: float | None, goal: Goal | None = None, better: Better = Better.LOWER) -> Row:
    """A row with these figures."""
    return Row("some work", ours, theirs, "s", better=better, goal=goal)


def test_a_ratio_above_one_speaks_for_us_whatever_the_unit() -> None:
    assert row(2.0, 30.0).ratio == 15.0
    assert row(12.0, 1.5, better=Better.HIGHER).ratio == 8.0


def test_a_worse_figure_of_ours_has_a_ratio_below_one() -> None:
    assert row(30.0, 2.0).ratio == pytest.approx(1 / 15)
    assert row(1.5, 12.0, better=Better.HIGHER).ratio == pytest.approx(1 / 8)


@pytest.mark.parametrize(("ours", "theirs"), [(None, 3.0), (3.0, None), (0.0, 3.0)])
def test_there_is_no_ratio_where_a_figure_is_missing_or_nothing(ours: float | None, theirs: float | None) -> None:
    assert row(ours, theirs).ratio is None


@pytest.mark.parametrize(
    ("goal", "ours", "theirs", "met"),
    [
        (OursAtMost(20), 20.0, None, True),
        (OursAtMost(20), 20.1, None, False),
        (DifferenceAtMost(45), 75.0, 30.0, True),
        (DifferenceAtMost(45), 75.1, 30.0, False),
        (DifferenceAtMost(45), 20.0, None, False),
        (RatioAtLeast(8), 10.0, 80.0, True),
        (RatioAtLeast(8), 10.0, 79.0, False),
        (RatioAtLeast(8), 10.0, None, False),
        (RatioAtLeast(8), None, 80.0, False),
    ],
)
def test_a_goal_is_met_up_to_its_limit_and_never_by_a_missing_figure(
    goal: Goal, ours: float | None, theirs: float | None, *, met: bool
) -> None:
    assert row(ours, theirs, goal).met is met


def test_a_row_without_a_goal_neither_meets_nor_misses_it() -> None:
    assert row(9.0, 1.0).met is None
    assert missed([row(9.0, 1.0)]) == []


def test_a_failed_case_misses_and_says_why() -> None:
    failed = failure("wal", "the backlog was not archived")
    assert failed.met is False
    assert missed([failed]) == [failed]
    assert "the backlog was not archived" in failed.note


def test_the_report_is_a_list_with_the_promised_keys(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write([row(3.0, 20.0, RatioAtLeast(8)), row(1.23456, None, OursAtMost(20)), failure("wal", "why")], path)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [list(found) for found in document] == [
        ["name", "ours", "theirs", "unit", "ratio", "goal", "met", "note"]
    ] * 3
    assert document[0] == {
        "name": "some work",
        "ours": 3.0,
        "theirs": 20.0,
        "unit": "s",
        "ratio": 6.667,
        "goal": "ratio >= 8",
        "met": False,
        "note": "",
    }
    assert (document[1]["ours"], document[1]["theirs"], document[1]["goal"]) == (1.235, None, "ours <= 20 s")
    assert (document[2]["ours"], document[2]["met"]) == (None, False)


def test_the_table_shows_a_missed_goal() -> None:
    console = Console(file=StringIO(), width=160, force_terminal=False)
    show([row(10.0, 79.0, RatioAtLeast(8)), row(10.0, 80.0, RatioAtLeast(8))], console)
    assert isinstance(console.file, StringIO)
    lines = [line for line in console.file.getvalue().splitlines() if "some work" in line]
    assert ["MISSED" in line for line in lines] == [True, False]
    assert "yes" in lines[1]
