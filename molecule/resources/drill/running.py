"""Run plays that may be killed, answered or watched while they run; each writes a log of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from drill.play import ROOT, command, environment, lab_folder
from pgdr.errors import OperationFailedError

_POLL_SECONDS = 0.1
# Seconds in which a play shows that it goes on; an answer that comes twice is read once.
_TYPE_AGAIN = 5.0

Found = TypeVar("Found")


def until(what: str, condition: Callable[[], Found | None], seconds: float, *, poll: float = _POLL_SECONDS) -> Found:
    """Wait until a condition gives something true, and return that.

    Raises:
        OperationFailedError: it did not within the time.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise OperationFailedError(f"not within {seconds:g} s: {what}")
        time.sleep(poll)


class RunningPlay:
    """A play that runs in a process group of its own.

    Args:
        lab: name of the lab.
        playbook: file below ``playbooks``.
        name: name of the log, without its ending.
        extra: variables for ``-e``.
        files: files of variables for ``-e``; secrets belong there and not into an argument.
        terminal: give it a terminal, so that it asks; see :meth:`answer`.
    """

    def __init__(
        self,
        lab: str,
        playbook: str,
        name: str,
        extra: Mapping[str, object] | None = None,
        *,
        files: tuple[Path, ...] = (),
        terminal: bool = False,
    ) -> None:
        self.log = lab_folder(lab) / f"{name}.log"
        self.log.unlink(missing_ok=True)
        argv = command(playbook, extra or {})
        for file in files:
            argv += ["-e", f"@{file}"]
        if terminal:
            argv = ["script", "--quiet", "--flush", "--return", "--command", shlex.join(argv), str(self.log)]
        with (Path(os.devnull) if terminal else self.log).open("ab") as sink:
            self._child = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=environment(lab),
                stdin=subprocess.PIPE if terminal else subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._child.poll() is not None

    def answer(self, prompt: str, line: str, seconds: float = 300) -> None:
        """Wait for a question and type an answer to it, until the play goes on.

        Ansible throws away what was typed before its question, and does so after it has shown that: on a busy machine
        an answer can be faster.
        """
        until(f"the play asks {prompt!r}", lambda: prompt in self.text or self.ended, seconds)

        def taken() -> bool:
            if self._child.stdin is None or self.ended:
                raise OperationFailedError(f"the play ended before it asked {prompt!r}", remedy=f"see {self.log}")
            before = len(self.text)
            self._child.stdin.write(f"{line}\n".encode())
            self._child.stdin.flush()
            # The terminal repeats what is typed also where nobody reads it.
            with suppress(OperationFailedError):
                until("it goes on", lambda: self.text[before:].replace(line, "").strip() or self.ended, _TYPE_AGAIN)
                return True
            return False

        until(f"the play takes the answer to {prompt!r}", taken, seconds)

    def wait(self, seconds: float = 900) -> int:
        """Wait for its end and return its exit status; one that hangs is killed.

        Raises:
            OperationFailedError: it did not end within the time.
        """
        try:
            status = self._child.wait(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise OperationFailedError(
                f"the play did not end within {seconds:g} s", remedy=f"see {self.log}"
            ) from error
        self._hang_up()
        return status

    def _hang_up(self) -> None:
        if self._child.stdin is not None:
            self._child.stdin.close()

    def kill(self) -> None:
        """``kill -9`` of the play and all of its processes; what it started on hosts is not among them."""
        if not self.ended:
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._hang_up()

    def errors(self) -> list[str]:
        """The lines with which Ansible says why a task failed."""
        return [line.rstrip("\r") for line in self.text.splitlines() if line.startswith("[ERROR]: ")]
