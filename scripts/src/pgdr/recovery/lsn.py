"""Log sequence numbers and WAL segment names, as numbers that can be compared.

A segment name is timeline, log and segment, eight hexadecimal digits each; see "WAL File Names" in
PostgreSQL's documentation of ``pg_walfile_name``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgdr.errors import RefusedError

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_SEGMENT = re.compile(r"[0-9A-F]{24}")
DEFAULT_SEGMENT_SIZE = 16 * 1024 * 1024


def parse_lsn(text: str) -> int:
    """Turn ``16/B374D848`` into a byte position.

    Raises:
        RefusedError: the text is not an LSN.
    """
    found = _LSN.fullmatch(text.strip())
    if not found:
        raise RefusedError(f"not an LSN: {text!r}", remedy="write it as PostgreSQL does, for example 16/B374D848")
    return (int(found[1], 16) << 32) | int(found[2], 16)


def format_lsn(position: int) -> str:
    """Turn a byte position into PostgreSQL's text form."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:08X}"


@dataclass(frozen=True, order=True)
class Segment:
    """One WAL segment: its timeline and its number, counted from the start of WAL."""

    timeline: int
    number: int
    size: int = DEFAULT_SEGMENT_SIZE

    @classmethod
    def parse(cls, name: str, size: int = DEFAULT_SEGMENT_SIZE) -> Segment:
        """Read a segment's file name; ``size`` is the cluster's WAL segment size in bytes.

        Raises:
            ValueError: the name is not that of a segment.
        """
        if not _SEGMENT.fullmatch(name):
            raise ValueError(f"not a WAL segment name: {name!r}")
        per_log = 2**32 // size
        return cls(int(name[:8], 16), int(name[8:16], 16) * per_log + int(name[16:], 16), size)

    @property
    def name(self) -> str:
        """The file name that PostgreSQL gives it."""
        per_log = 2**32 // self.size
        return f"{self.timeline:08X}{self.number // per_log:08X}{self.number % per_log:08X}"

    @property
    def start(self) -> int:
        """Position of its first byte."""
        return self.number * self.size

    @property
    def end(self) -> int:
        """Position after its last byte."""
        return self.start + self.size

    def before(self) -> Segment:
        """The segment in front of it on the same timeline."""
        return Segment(self.timeline, self.number - 1, self.size)
