"""Timeline history files: which timelines lead to one, and where each was left.

A line is a timeline, the position at which it was left, and a reason; see ``access/transam/timeline.c``.
"""

from __future__ import annotations

from pathlib import Path

from pgdr.recovery.lsn import parse_lsn


def parse_history(text: str) -> dict[int, int]:
    """The ancestors in a history file, oldest first, each with the position at which it was left."""
    pairs = (line.split()[:2] for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {int(parent): parse_lsn(position) for parent, position in pairs}


def own_history(data_directory: Path, timeline: int) -> dict[int, int]:
    """The ancestors of a timeline as a cluster's own files say it; empty for the first."""
    try:
        return parse_history((data_directory / "pg_wal" / f"{timeline:08X}.history").read_text(encoding="utf-8"))
    except OSError:
        return {}
