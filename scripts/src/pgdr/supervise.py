"""Run long programs so that a signal reaches them, and what they leave behind reaches us.

Cron, systemd and people end a job with a signal to ``pgdr``. The engine must get it too, end in its own way and
say so; otherwise it would run on without anybody who waits for it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, Self

from pgdr.errors import OperationFailedError
from pgdr.process import Completed

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedOperationError(OperationFailedError):
    """A person or the system asked us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}", remedy="run it again")


class Supervisor:
    """Handles signals for a block of work and runs programs in it.

    While a program runs, signals go to it; otherwise they end the block with
    :class:`InterruptedOperationError`. Outside the main thread signals cannot be handled and are left alone.
    """

    def __init__(self) -> None:
        self.signalled: int | None = None
        self._child: subprocess.Popen[str] | None = None
        self._starting = False
        self._missed: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, argv: Sequence[str], *, on_tick: Callable[[], None] | None = None, tick: float = 30.0) -> Completed:
        """Run a program to its end, whatever its status.

        Args:
            argv: argument list.
            on_tick: called from time to time while it runs.
            tick: seconds between two calls.

        Raises:
            OperationFailedError: the program could not be started.
        """
        _log.debug("run %s", argv)
        self._starting = True
        try:
            child = self._child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise OperationFailedError(f"cannot run {argv[0]}: {error.strerror}") from error
        finally:
            self._starting = False
        try:
            if self._missed is not None:
                self._forward(self._missed)
            while True:
                try:
                    stdout, stderr = child.communicate(timeout=tick if on_tick else None)
                except subprocess.TimeoutExpired:
                    if on_tick is not None and self.signalled is None:
                        on_tick()
                else:
                    return Completed(tuple(argv), child.returncode, stdout, stderr)
        finally:
            self._child = self._missed = None

    def raise_if_signalled(self) -> None:
        """End the block if a signal came while a program ran.

        Raises:
            InterruptedOperationError: one came.
        """
        if self.signalled is not None:
            raise InterruptedOperationError(self.signalled)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signalled = number
        if self._child is not None:
            self._forward(number)
        elif self._starting:
            # The program may run already, but we do not know it yet: ending now would leave it alone.
            self._missed = number
        else:
            raise InterruptedOperationError(number)

    def _forward(self, number: int) -> None:
        # From a terminal the whole process group has got it already; twice does no harm.
        if self._child is not None and self._child.returncode is None:
            os.kill(self._child.pid, number)
