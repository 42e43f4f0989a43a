"""A closed door: no ordinary start gets past it, a person's and a reboot's neither.

That of a recovered cluster stays closed until the erasure ledger was replayed, that of a fenced primary as long as a
standby has its place.

``postgresql.auto.conf`` outranks every other file, wherever a distribution keeps those, and the command line outranks
it. So it names a file of access rules that does not exist: the server of a recovery, which has its own on its command
line, runs; PostgreSQL started by anybody else refuses, and its log ends with the name of that file, which says why.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pgdr.files import write_atomically

_SETTINGS = "postgresql.auto.conf"


class Why(StrEnum):
    """Why a door is closed: the name of the file that does not exist. Each reason is opened by itself."""

    ERASURES = "closed-until-the-erasure-ledger-is-replayed.run--pgdr-erasures-replay--before-opening"
    FENCED = "fenced-because-a-standby-takes-its-place.see--pgdr-standby-unfence--help"


def close_door(data_directory: Path, why: Why = Why.ERASURES) -> None:
    """Keep PostgreSQL from starting in a data directory; closed already is closed."""
    quoted = str(data_directory / why).replace("'", "''")
    write_atomically(data_directory / _SETTINGS, f"{_others(data_directory, why)}hba_file = '{quoted}'\n", 0o600)


def open_door(data_directory: Path, why: Why = Why.ERASURES) -> bool:
    """Let PostgreSQL start again; says whether the door was closed for this reason."""
    closed = is_closed(data_directory, why)
    if closed:
        write_atomically(data_directory / _SETTINGS, _others(data_directory, why), 0o600)
    return closed


def is_closed(data_directory: Path, why: Why = Why.ERASURES) -> bool:
    """Tell whether PostgreSQL would refuse to start for this reason."""
    return why in _text(data_directory)


def _text(data_directory: Path) -> str:
    path = data_directory / _SETTINGS
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _others(data_directory: Path, why: Why) -> str:
    """All lines but this reason's, the last one ended."""
    lines = [line for line in _text(data_directory).split("\n") if why not in line]
    return "\n".join(lines if lines[-1:] == [""] else [*lines, ""]) if any(lines) else ""
