"""The door of a recovered cluster stays closed until the erasure ledger was replayed: no ordinary start gets past it.

``postgresql.auto.conf`` outranks every other file, wherever a distribution keeps those, and the command line outranks
it. So it names a file of access rules that does not exist: the server of a recovery, which has its own on its command
line, runs; PostgreSQL started by anybody else refuses, and its log ends with the name of that file, which says why.
"""

from __future__ import annotations

from pathlib import Path

from pgdr.files import write_atomically

_FILE = "closed-until-the-erasure-ledger-is-replayed.run--pgdr-erasures-replay--before-opening"
_SETTINGS = "postgresql.auto.conf"


def close_door(data_directory: Path) -> None:
    """Keep PostgreSQL from starting in a data directory; closed already is closed."""
    quoted = str(data_directory / _FILE).replace("'", "''")
    write_atomically(data_directory / _SETTINGS, f"{_others(data_directory)}hba_file = '{quoted}'\n", 0o600)


def open_door(data_directory: Path) -> bool:
    """Let PostgreSQL start again; says whether the door was closed."""
    closed = is_closed(data_directory)
    if closed:
        write_atomically(data_directory / _SETTINGS, _others(data_directory), 0o600)
    return closed


def is_closed(data_directory: Path) -> bool:
    """Tell whether PostgreSQL would refuse to start."""
    return _FILE in _text(data_directory)


def _text(data_directory: Path) -> str:
    path = data_directory / _SETTINGS
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _others(data_directory: Path) -> str:
    """All lines but ours, the last one ended."""
    lines = [line for line in _text(data_directory).split("\n") if _FILE not in line]
    return "\n".join(lines if lines[-1:] == [""] else [*lines, ""]) if any(lines) else ""
