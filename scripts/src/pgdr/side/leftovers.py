"""What a killed process of a side instance leaves running: its server, and a restore that goes on writing files."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from pgdr.errors import OperationFailedError
from pgdr.recovery.run import stop_leftover

_END_SECONDS = 30.0


def end_leftovers(bin_directory: Path, data_directory: Path) -> None:
    """End them, so that nobody writes into the folder any more.

    Args:
        bin_directory: PostgreSQL's programs.
        data_directory: the instance's own data directory; processes are known by it.

    Raises:
        OperationFailedError: one does not end.
    """
    stop_leftover(bin_directory, data_directory)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _END_SECONDS
        told: set[int] = set()
        while pids := _restores(data_directory):
            for pid in pids - told:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= pids
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            return
    raise OperationFailedError(f"a restore into {data_directory} does not end", remedy="run again")


def _restores(data_directory: Path) -> set[int]:
    """Processes of pgBackRest that were told to work on this folder."""
    option = f"--pg1-path={data_directory}".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if option in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found
