"""What a person sees of a side instance on its way."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from pgdr.recovery.model import Progress
from pgdr.side import borrowed


def progress(phase: str, percent: float | None = None, left: float | None = None, detail: str = "") -> Progress:
    return Progress(at=datetime.now(UTC), phase=phase, percent=percent, detail=detail, remaining_seconds=left)


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (progress("replay WAL", detail="replay WAL"), "replay WAL"),
        (progress("restore files", 12.4, detail="restoring files"), "restore files 12 %: restoring files"),
        (progress("restore files", 0.4, 9_251), "restore files 0 %, ready in about 2 h 34 min"),
        (progress("restore files", 40, 3_590), "restore files 40 %, ready in about 1 h 00 min"),
        (progress("replay WAL", 50, 125), "replay WAL 50 %, ready in about 2 min"),
        (progress("replay WAL", 99, 4), "replay WAL 99 %, ready in less than a minute"),
    ],
)
def test_the_line_says_what_and_how_long(one: Progress, line: str) -> None:
    assert one.line == line


def test_each_phase_is_said_and_then_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """pgBackRest reports each file, of which there are thousands."""
    told: list[str] = []
    clock = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    show = borrowed._now_and_then(told.append)
    show(None)
    for percent in range(25):
        show(progress("restore files", percent))
        clock += 1.0
    show(progress("replay WAL"))
    assert told == ["restore files 0 %", "restore files 10 %", "restore files 20 %", "replay WAL"]
