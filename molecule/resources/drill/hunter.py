"""Kill a recovery on its host at a chosen moment: ``python3 hunter.py PHASE``; prints what it saw and killed as JSON.

It runs on the database host, with nothing but Python, because a moment that lasts a second cannot be met through ssh.
Nothing here waits for a time: each phase is recognised by what can be seen of it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

_DATA = Path("/var/lib/postgresql/17/main")
_STATE = Path("/var/lib/pgdr/recovery/state.json")
_LOG = Path("/var/lib/pgdr/recovery/server/server.log")
_PREY = ("pgdr recover", "pgbackrest", "/bin/postgres ", "postgres: ", "restore-wal")
_POLL_SECONDS = 0.005
_RESTORED_FILES = 100
_REPLAYED_SEGMENTS = 4
_GIVE_UP_SECONDS = 600.0
# Where the state stands in pg_control, and its numbers (src/include/catalog/pg_control.h of PostgreSQL 13 to 18).
_STATE_OFFSET = 16
_IN_ARCHIVE_RECOVERY = 5


def processes() -> dict[int, str]:
    """Command line of every process but this one."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def state() -> dict[str, Any]:
    """The state file of the recovery, empty where there is none."""
    try:
        content: dict[str, Any] = json.loads(_STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def control_state() -> int | None:
    """State in the control file, ``None`` where there is no control file."""
    try:
        content = (_DATA / "global" / "pg_control").read_bytes()
    except OSError:
        return None
    return int(struct.unpack_from("<i", content, _STATE_OFFSET)[0])


def restoring_files() -> str:
    """Files are being restored, and the control file, which comes last, is not there."""
    if state().get("stage") != "aside" or control_state() is not None:
        return ""
    files = sum(len(names) for _, _, names in os.walk(_DATA))
    works = any(" restore" in line and "pgbackrest" in line for line in processes().values())
    return f"{files} files restored, no control file" if works and files > _RESTORED_FILES else ""


def replaying() -> str:
    """WAL is being replayed."""
    if state().get("stage") != "files":
        return ""
    try:
        restored = _LOG.read_text(encoding="utf-8", errors="replace").count("restored log file")
    except OSError:
        return ""
    return f"{restored} segments replayed" if restored >= _REPLAYED_SEGMENTS else ""


def promoting() -> str:
    """The signal is gone and the control file does not know it: the middle of a promotion.

    The checkpointer is stopped as soon as it exists, and so a promotion cannot get past this moment.
    """
    for pid, line in processes().items():
        if line.startswith("postgres:") and "checkpointer" in line:
            os.kill(pid, signal.SIGSTOP)
    if state().get("stage") != "replayed" or (_DATA / "recovery.signal").exists():
        return ""
    return "no recovery.signal, still in archive recovery" if control_state() == _IN_ARCHIVE_RECOVERY else ""


def opened() -> str:
    """The promoted cluster runs with the host's own configuration, and the play is busy with it."""
    if state().get("stage") != "promoted":
        return ""
    runs = any("/bin/postgres " in line and "/etc/postgresql/" in line for line in processes().values())
    return "promoted and started" if runs and (_DATA / "postmaster.pid").exists() else ""


PHASES = {"files": restoring_files, "replay": replaying, "promotion": promoting, "opened": opened}


def kill() -> list[str]:
    """SIGKILL, first to what watches and last to what is watched."""
    killed = []
    for wanted in _PREY:
        for pid, line in processes().items():
            if wanted in line and "python3 -u" not in line:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.append(line[:300])
    return killed


def main(phase: str) -> int:
    """Wait for a phase and kill what works there."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        seen = PHASES[phase]()
        if seen:
            killed = kill()
            sys.stdout.write(json.dumps({"phase": phase, "seen": seen, "killed": killed}) + "\n")
            return 0
        time.sleep(_POLL_SECONDS)
    sys.stdout.write(json.dumps({"phase": phase, "seen": "", "killed": []}) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
