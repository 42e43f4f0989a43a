"""Have a rehearsal run with systemd's caps, and follow it.

The unit is that of side instances, under a name of its own: :mod:`pgdr.cli.side` knows the name, and everything that a
rehearsal starts (the engine, servers, checks) stays within the unit's share of CPU, memory and disk.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pgdr.errors import BusyError, OperationFailedError
from pgdr.hostconfig import HostConfig
from pgdr.locks import holder
from pgdr.recovery.ground import process_lives
from pgdr.rehearsal.model import SCOPE, Rehearsal, Request, rehearsal_file, save
from pgdr.side.launch import request as ask_systemd
from pgdr.side.model import REHEARSAL
from pgdr.supervise import InterruptedOperationError, Supervisor

_POLL_SECONDS = 0.5
_STARTED_SECONDS = 30.0
_END_SECONDS = 240.0


def rehearse_capped(config: HostConfig, request: Request, tell: Callable[[str], None]) -> Rehearsal:
    """Ask for the unit, wait for its end, return what it found.

    Raises:
        BusyError: a rehearsal runs.
        OperationFailedError: it did not begin, or was killed.
        InterruptedOperationError: a signal came; it was passed on.
    """
    other = holder(config, SCOPE)
    if other is not None:
        raise BusyError(f"gave way to {other}", remedy="nothing was changed")
    asked = datetime.now(UTC)
    save(config, Rehearsal(request=request))
    with Supervisor():
        ask_systemd(config, REHEARSAL)
        try:
            return _followed(config, asked, tell)
        except InterruptedOperationError:
            _end(config)
            raise


def _followed(config: HostConfig, asked: datetime, tell: Callable[[str], None]) -> Rehearsal:
    deadline = time.monotonic() + _STARTED_SECONDS
    told = ""
    while True:
        state = rehearsal_file(config).read()
        if state.progress and state.progress != told:
            told = state.progress
            tell(told)
        if state.began_at is not None and state.began_at >= asked:
            if state.finished_at is not None:
                return state
            if not process_lives(state.running_pid, "pgdr") and rehearsal_file(config).read().finished_at is None:
                raise OperationFailedError(
                    "the process of the rehearsal was killed",
                    remedy="see journalctl -u pgdr-side@rehearsal; pgdr cleanup removes what it left",
                )
        elif time.monotonic() > deadline:
            raise OperationFailedError(
                f"the rehearsal did not begin within {_STARTED_SECONDS:.0f} s",
                remedy="see journalctl -u 'pgdr-side*'",
            )
        time.sleep(_POLL_SECONDS)


def _end(config: HostConfig) -> None:
    """Have it end, and wait: it removes what it made."""
    pid = rehearsal_file(config).read().running_pid
    if pid is None or not process_lives(pid, "pgdr"):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while process_lives(pid, "pgdr") and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
