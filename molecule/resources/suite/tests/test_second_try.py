"""A test that failed may pass when it is run again, and is named; one that fails twice fails the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite import stages

_ONCE = """
from pathlib import Path

def test_steady():
    pass

def test_unsteady():
    note = Path(__file__).with_name("note")
    first = not note.exists()
    note.touch()
    assert not first, "the first time"
"""
_BAD = """
def test_bad():
    raise ValueError("always")
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The caches of this run must not be those of the run inside.
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "LOGS", tmp_path / "logs")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")


def test_an_accident_is_passed_and_named(tmp_path: Path) -> None:
    (tmp_path / "test_once.py").write_text(_ONCE, encoding="utf-8")
    outcome = stages.run_pytest("tried", ["test_once.py"])
    assert (outcome.passed, outcome.failed, outcome.faults) == (2, 0, [])
    (named,) = outcome.unsteady
    assert "test_unsteady: AssertionError: the first time" in named


def test_what_fails_twice_has_failed(tmp_path: Path) -> None:
    (tmp_path / "test_once.py").write_text(_ONCE, encoding="utf-8")
    (tmp_path / "test_bad.py").write_text(_BAD, encoding="utf-8")
    outcome = stages.run_pytest("tried", ["test_once.py", "test_bad.py"])
    assert (outcome.passed, outcome.failed, outcome.unsteady) == (1, 2, [])
    assert any("test_bad" in fault and "always" in fault for fault in outcome.faults)


def test_many_are_no_accident(tmp_path: Path) -> None:
    text = "import pytest\nfrom pathlib import Path\n\n@pytest.mark.parametrize('n', range(5))\n"
    text += "def test_unsteady(n):\n    note = Path(__file__).with_name(f'note{n}')\n    first = not note.exists()\n"
    text += "    note.touch()\n    assert not first\n"
    (tmp_path / "test_many.py").write_text(text, encoding="utf-8")
    outcome = stages.run_pytest("tried", ["test_many.py"])
    assert (outcome.failed, outcome.unsteady) == (5, [])
