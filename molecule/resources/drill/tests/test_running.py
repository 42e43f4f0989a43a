"""A play that asks is answered, also where it throws away what was typed before it listens."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from drill import running

# As ansible.builtin.pause: the question, then what was typed so far is thrown away, then an answer is read.
_ASKS = """
import sys, termios, time
print("Type the name:", flush=True)
time.sleep({busy})
termios.tcflush(sys.stdin, termios.TCIFLUSH)
print("TASK", "agreed" if input() == "erp" else "refused", flush=True)
"""


@pytest.mark.parametrize("busy", [0, 1.5])
def test_an_answer_reaches_a_play_that_was_not_listening_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float
) -> None:
    def command(_playbook: str, _extra: Mapping[str, object]) -> list[str]:
        return [sys.executable, "-c", _ASKS.format(busy=busy)]

    monkeypatch.setattr(running, "command", command)
    monkeypatch.setattr(running, "lab_folder", lambda _lab: tmp_path)
    monkeypatch.setattr(running, "_TYPE_AGAIN", 2.0)
    play = running.RunningPlay("nowhere", "any.yml", "asked", terminal=True)
    play.answer("Type the name", "erp", 20)
    assert play.wait(20) == 0
    assert "TASK agreed" in play.text
