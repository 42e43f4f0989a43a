"""What ended badly is explained in the last lines of the run: CI shows no more of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from suite import stages

_PLAY = """TASK [postgresql : start it] ****
fatal: [db1]: FAILED! => {"msg": "no space left"}
PLAY RECAP ****
db1 : ok=1 failed=1
dr1 : ok=1 failed=0
one more
and one
"""


def test_the_line_of_the_failed_task_is_told() -> None:
    assert stages.telling_lines(_PLAY) == ['fatal: [db1]: FAILED! => {"msg": "no space left"}']


def test_a_log_without_such_a_line_is_told_by_its_end() -> None:
    assert stages.telling_lines("one\n\ntwo\nthree\nfour\nfive\n")[-2:] == ["four", "five"]


def test_a_drill_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'done in 13.0 s'\necho 'drill: error: site.yml ended with 2'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(sys, "executable", str(program))
    outcome = stages.drill()
    assert outcome.failed == 1
    assert outcome.faults == ["ended with status 1: drill: error: site.yml ended with 2"]
