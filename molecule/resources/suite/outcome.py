"""What a stage of the suite came to."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """The result of one stage.

    Attributes:
        name: name of the stage.
        passed: checks or tests that passed.
        failed: checks or tests that failed.
        skipped: names of what was not run, each with the reason.
        seconds: wall time.
        log: where its output is.
        note: one line for a person.
    """

    name: str
    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    log: Path | None = None
    note: str = ""


def count_junit(path: Path, outcome: Outcome) -> None:
    """Add the tests of a JUnit file; a suite that ran nothing counts as a failure."""
    if not path.exists():
        outcome.failed += 1
        outcome.note = "no test was run"
        return
    ran = 0
    for case in ET.parse(path).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest run
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        if skip is not None:
            outcome.skipped.append(f"{name}: {skip.get('message') or 'no reason given'}")
        elif case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
            ran += 1
        else:
            outcome.passed += 1
            ran += 1
    if ran == 0:
        outcome.failed += 1
        outcome.note = "no test was run"
