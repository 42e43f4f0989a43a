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
        faults: names of the tests that failed, each with the first line of why.
        unsteady: the same of tests that failed and passed when they were run again alone. They count as passed, and are
            shown last: each is a race, in the test or in what it tests.
        seconds: wall time.
        log: where its output is.
        note: one line for a person.
    """

    name: str
    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    seconds: float = 0.0
    log: Path | None = None
    note: str = ""


def _fault(case: ET.Element) -> str | None:
    for kind in ("failure", "error"):
        found = case.find(kind)
        if found is not None:
            return ((found.get("message") or kind).splitlines() or [kind])[0]
    return None


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
        elif (fault := _fault(case)) is not None:
            outcome.faults.append(f"{name}: {fault}")
            outcome.failed += 1
            ran += 1
        else:
            outcome.passed += 1
            ran += 1
    if ran == 0:
        outcome.failed += 1
        outcome.note = "no test was run"


def take_second_try(outcome: Outcome, again: Outcome) -> None:
    """Let tests that failed count as passed if every one of them passed when they were run again."""
    if again.failed == 0 and again.passed == outcome.failed == len(outcome.faults):
        outcome.unsteady, outcome.faults = outcome.faults, []
        outcome.passed += outcome.failed
        outcome.failed = 0
