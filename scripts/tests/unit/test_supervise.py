"""Signals reach the program that runs, and end the work where none runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pgdr.errors import OperationFailedError
from pgdr.supervise import InterruptedOperationError, Supervisor


def test_returns_what_the_program_left_behind() -> None:
    ticks: list[float] = []
    with Supervisor() as supervisor:
        done = supervisor.run(
            ["/bin/sh", "-c", "echo out; echo err >&2; sleep 0.5; exit 7"],
            on_tick=lambda: ticks.append(time.monotonic()),
            tick=0.1,
        )
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert 2 <= len(ticks) <= 6


def test_a_lot_of_output_does_not_block() -> None:
    with Supervisor() as supervisor:
        done = supervisor.run([sys.executable, "-c", "print('x' * 3_000_000)"], on_tick=lambda: None, tick=0.05)
    assert len(done.stdout) == 3_000_001


def test_a_missing_program_is_one_line() -> None:
    with Supervisor() as supervisor, pytest.raises(OperationFailedError, match="cannot run /none"):
        supervisor.run(["/none"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_forwards_signals_and_waits_for_the_end(number: signal.Signals, tmp_path: Path) -> None:
    """The program gets the signal, may clean up, and its own status counts."""
    mark = tmp_path / "ready"
    script = f"trap 'sleep 0.3; exit 63' {number.name[3:]}; touch {mark}; while :; do sleep 0.05; done"

    def send() -> None:
        while not mark.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    with Supervisor() as supervisor:
        sender = threading.Thread(target=send)
        sender.start()
        done = supervisor.run(["/bin/sh", "-c", script])
        sender.join()
        assert done.returncode == 63
        with pytest.raises(InterruptedOperationError, match=number.name):
            supervisor.raise_if_signalled()


def test_a_signal_during_the_start_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when the program runs already and we have not yet got hold of it."""
    start = subprocess.Popen

    def start_and_signal(*args: Any, **more: Any) -> Any:
        child = start(*args, **more)
        os.kill(os.getpid(), signal.SIGTERM)
        return child

    monkeypatch.setattr(subprocess, "Popen", start_and_signal)
    with Supervisor() as supervisor:
        assert supervisor.run(["/bin/sleep", "30"]).returncode == -signal.SIGTERM
        assert supervisor.signalled == signal.SIGTERM


def test_a_signal_between_programs_ends_the_work() -> None:
    with pytest.raises(InterruptedOperationError, match="SIGTERM"), Supervisor():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        pytest.fail("the signal was lost")


def test_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Supervisor():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_works_outside_the_main_thread() -> None:
    results: list[int] = []

    def work() -> None:
        with Supervisor() as supervisor:
            results.append(supervisor.run(["/bin/true"]).returncode)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [0]


def test_no_child_outlives_a_signalled_process(tmp_path: Path) -> None:
    """The whole way: our process gets SIGTERM, the engine ends, then we do."""
    mark = tmp_path / "pid"
    code = (
        "import sys\nfrom pgdr.supervise import Supervisor\n"
        "with Supervisor() as s:\n"
        f"    s.run(['/bin/sh', '-c', 'echo $$ > {mark}; exec sleep 60'])\n"
        "    s.raise_if_signalled()\n"
    )
    ours = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not mark.exists() or not mark.read_text().strip():
        time.sleep(0.02)
    ours.send_signal(signal.SIGTERM)
    _, stderr = ours.communicate(timeout=20)
    assert "interrupted by SIGTERM" in stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
