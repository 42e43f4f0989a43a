"""What the first page of a WAL segment says: whose it is, and whether the file holds it or only waits to become it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgdr.recovery.lsn import Segment

# XLogLongPageHeaderData (access/xlog_internal.h): magic, info, timeline, address, rest of a record, system identifier,
# segment size, page size.
_HEADER = struct.Struct("<HHIQI4xQII")
_LONG = 0x0002
_NAME = re.compile(r"[0-9A-F]{24}")


@dataclass(frozen=True)
class WalFile:
    """A segment's file that really holds that segment; a recycled one still begins as what it was.

    Attributes:
        path: the file.
        segment: which one it is.
        system_identifier: the cluster that wrote it.
    """

    path: Path
    segment: Segment
    system_identifier: int


def wal_files(data_directory: Path) -> Iterator[WalFile]:
    """The segments in a data directory, in order of their names."""
    for path in sorted((data_directory / "pg_wal").glob("*")):
        found = _read(path) if _NAME.fullmatch(path.name) else None
        if found is not None:
            yield found


def _read(path: Path) -> WalFile | None:
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return None
        _, info, timeline, address, _, identifier, size, _ = _HEADER.unpack(head)
        segment = Segment.parse(path.name, size)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    # A promotion copies the segment that it leaves: its first pages keep the number of the old timeline.
    if not info & _LONG or timeline > segment.timeline or address != segment.start:
        return None
    return WalFile(path, segment, identifier)


def system_identifier(data_directory: Path) -> int | None:
    """Whose cluster this is, where its control file cannot say it; ``None`` where its WAL is gone or does not agree."""
    found = {file.system_identifier for file in wal_files(data_directory)}
    return found.pop() if len(found) == 1 else None
