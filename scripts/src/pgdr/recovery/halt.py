"""Stop a server that may hang, and believe that it is down only when no process of it lives.

A postmaster that hears a signal says so at once in its own ``postmaster.pid``. One that does not will never stop by
itself: somebody's signal holds it, its machine has frozen it, or it waits for a disk. What has been committed is in
WAL whichever way it ends.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pgdr.errors import OperationFailedError
from pgdr.recovery.ground import is_server, server_process

#: Seconds after which a server that does not react to a signal is killed.
PATIENCE = 30.0
# A clean stop writes all that memory holds, and waits for its standbys; one without a checkpoint only ends processes.
_STOP_SECONDS = {signal.SIGINT: 600.0, signal.SIGQUIT: 60.0}
_NAMES = {signal.SIGINT: "fast", signal.SIGQUIT: "immediate"}
# Children see that their server is gone when they wait next.
_ENDED_SECONDS = 10.0
_KILLED_SECONDS = 30.0
_POLL = 0.1
# What a server thinks of itself: LOCK_FILE_LINE_PM_STATUS of src/include/utils/pidfile.h.
_STATUS_LINE = 8

Told = Callable[[str], None]


def halt(data_directory: Path, told: Told, *, patience: float = PATIENCE) -> None:
    """Stop the server of a data directory: cleanly if it can, and else as it can.

    Args:
        data_directory: whose server.
        told: hears each step.
        patience: seconds in which it must react to a signal.

    Raises:
        OperationFailedError: a process of it does not even end when it is killed.
    """
    for number, seconds in _STOP_SECONDS.items():
        pid = server_process(data_directory)
        if pid is None:
            break
        told(f"stopping the server ({_NAMES[number]})")
        _send(pid, number)
        # It was told first: what somebody's SIGSTOP holds goes on to its end and to nothing else.
        for one in server_processes(data_directory):
            _send(one, signal.SIGCONT)
        if not _until(lambda: _reacts(data_directory), patience):
            told(f"the server did not react within {patience:g} s: it hangs")
            break
        if _until(lambda: server_process(data_directory) is None, seconds):
            break
    if server_process(data_directory) is None and _until(lambda: not server_processes(data_directory), _ENDED_SECONDS):
        return
    _kill(data_directory, told)


def server_processes(data_directory: Path) -> set[int]:
    """All processes of servers that work in a data directory, also where their postmaster is gone."""
    try:
        place = data_directory.stat()
    except OSError:
        return set()
    postmaster = server_process(data_directory)
    found = set() if postmaster is None else {postmaster}
    for entry in Path("/proc").glob("[0-9]*"):
        # Another user's process is none of ours: its folder may not be asked for.
        with suppress(OSError):
            if os.path.samestat(place, (entry / "cwd").stat()) and is_server(int(entry.name)):
                found.add(int(entry.name))
    return found


def _kill(data_directory: Path, told: Told) -> None:
    told("killing the server; what was committed is in its WAL")

    def gone() -> bool:
        left = server_processes(data_directory)
        for pid in left:
            _send(pid, signal.SIGKILL)
        return not left

    if not _until(gone, _KILLED_SECONDS):
        left = ", ".join(str(pid) for pid in sorted(server_processes(data_directory)))
        raise OperationFailedError(
            f"the server does not stop: process {left} does not end when it is killed; its disk hangs",
            remedy="switch this host off, or cut it off from everybody",
        )


def _reacts(data_directory: Path) -> bool:
    """Whether the server has taken the order to stop, or is gone."""
    if server_process(data_directory) is None:
        return True
    with suppress(OSError):
        lines = (data_directory / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return lines[_STATUS_LINE - 1 : _STATUS_LINE] != [] and lines[_STATUS_LINE - 1].strip() == "stopping"
    return False


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
