"""What a run measured: rows with a goal, a table for people, ``report.json`` for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypedDict

from rich.console import Console
from rich.table import Table


class Better(StrEnum):
    """Which way a figure is good."""

    LOWER = "lower"
    HIGHER = "higher"


class Goal(Protocol):
    """What a row must reach."""

    def text(self, unit: str) -> str:
        """The goal as a person reads it."""
        ...

    def met(self, row: Row) -> bool:
        """Tell whether the row reaches it; a figure that is missing reaches nothing."""
        ...


@dataclass(frozen=True)
class OursAtMost:
    """Our figure alone counts."""

    limit: float

    def text(self, unit: str) -> str:
        """The goal as a person reads it."""
        return f"ours <= {self.limit:g} {unit}"

    def met(self, row: Row) -> bool:
        """Tell whether the row reaches it."""
        return row.ours is not None and row.ours <= self.limit


@dataclass(frozen=True)
class DifferenceAtMost:
    """What we add to the bare tool counts."""

    limit: float

    def text(self, unit: str) -> str:
        """The goal as a person reads it."""
        return f"ours - theirs <= {self.limit:g} {unit}"

    def met(self, row: Row) -> bool:
        """Tell whether the row reaches it."""
        return row.ours is not None and row.theirs is not None and row.ours - row.theirs <= self.limit


@dataclass(frozen=True)
class RatioAtLeast:
    """How many times better we are counts."""

    limit: float

    def text(self, unit: str) -> str:  # noqa: ARG002 - a ratio has no unit
        """The goal as a person reads it."""
        return f"ratio >= {self.limit:g}"

    def met(self, row: Row) -> bool:
        """Tell whether the row reaches it."""
        return row.ratio is not None and row.ratio >= self.limit


class RowDocument(TypedDict):
    """A row in ``report.json``."""

    name: str
    ours: float | None
    theirs: float | None
    unit: str
    ratio: float | None
    goal: str | None
    met: bool | None
    note: str


@dataclass(frozen=True)
class Row:
    """Two figures side by side.

    Attributes:
        name: what was measured, and against what.
        ours: our figure; ``None`` where the case failed.
        theirs: the figure of the other way; ``None`` where it failed.
        unit: of both.
        better: which way the figure is good.
        goal: what must be reached, or ``None`` where nobody set one.
        note: what a reader must know of this measurement.
        failed: the case could not be measured.
    """

    name: str
    ours: float | None
    theirs: float | None
    unit: str
    better: Better = Better.LOWER
    goal: Goal | None = None
    note: str = ""
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than theirs; above 1 speaks for us, whatever the unit."""
        good, bad = (self.theirs, self.ours) if self.better is Better.LOWER else (self.ours, self.theirs)
        if good is None or bad is None or bad <= 0:
            return None
        return good / bad

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; ``None`` without a goal. What could not be measured is not met."""
        if self.failed:
            return False
        return None if self.goal is None else self.goal.met(self)

    def document(self) -> RowDocument:
        """The row as ``report.json`` has it."""
        return {
            "name": self.name,
            "ours": _rounded(self.ours),
            "theirs": _rounded(self.theirs),
            "unit": self.unit,
            "ratio": _rounded(self.ratio),
            "goal": self.goal.text(self.unit) if self.goal else None,
            "met": self.met,
            "note": self.note,
        }


def failure(name: str, message: str) -> Row:
    """The row of a case that could not be measured: it stands in the report and misses its goal."""
    return Row(name=name, ours=None, theirs=None, unit="", note=f"failed: {message}", failed=True)


def missed(rows: Iterable[Row]) -> list[Row]:
    """The rows whose goal was not met."""
    return [row for row in rows if row.met is False]


def write(rows: Sequence[Row], path: Path) -> None:
    """Write ``report.json``: a list of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.document() for row in rows], indent=2) + "\n", encoding="utf-8")


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the rows as a table, and the notes under it."""
    table = Table("what", "ours", "theirs", "unit", "ratio", "goal", "met", title="Benchmarks", title_justify="left")
    for column in table.columns[1:3]:
        column.justify = "right"
    for row in rows:
        verdict = {True: "[green]yes[/green]", False: "[bold red]MISSED[/bold red]", None: ""}[row.met]
        goal = row.goal.text(row.unit) if row.goal else ""
        table.add_row(row.name, _figure(row.ours), _figure(row.theirs), row.unit, _figure(row.ratio), goal, verdict)
    console.print(table)
    console.print("ratio: how many times better ours is; above 1 speaks for us")
    for row in rows:
        if row.note:
            console.print(f"{row.name}: {row.note}", markup=False, highlight=False)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
