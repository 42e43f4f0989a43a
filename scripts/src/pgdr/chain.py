"""The chain that makes a journal: each entry is bound to the one before by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One operation.

    Attributes:
        seq: 1 for the first entry, then one more each.
        at: when it was written, ISO 8601 in UTC.
        actor: who asked: the user behind sudo where there is one.
        host: the host's name.
        operation: what was done, for example ``backup``.
        cluster: the cluster's consent name.
        result: ``ok``, ``failed``, ``refused``, ``interrupted``, ...
        details: what belongs to this operation.
        times: measured seconds by phase.
        prev_hash: hash of the entry before.
        hash: SHA-256 of this entry without this field, in canonical JSON.
    """

    seq: int
    at: str
    actor: str
    host: str
    operation: str
    cluster: str
    result: str
    details: dict[str, Any]
    times: dict[str, float]
    prev_hash: str
    hash: str = ""

    def computed_hash(self) -> str:
        """The hash that this entry's content has."""
        content = {name: value for name, value in vars(self).items() if name != "hash"}
        return hashlib.sha256(canonical(content).encode()).hexdigest()

    def line(self) -> str:
        """The entry as it stands in the file."""
        return canonical(vars(self)) + "\n"


@dataclass(frozen=True)
class Head:
    """Number and hash of an entry: what the next one follows."""

    seq: int = 0
    hash: str = GENESIS


def canonical(content: Mapping[str, Any]) -> str:
    """The one way to write a mapping as JSON: the hash depends on it."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def parse(line: bytes) -> Entry | None:
    """Read a line; ``None`` if it is not an entry."""
    try:
        content = json.loads(line, parse_constant=_no_constant)
        entry = Entry(**content)
    except (ValueError, TypeError):
        return None
    return entry if isinstance(entry.seq, int) and isinstance(entry.hash, str) else None


def _no_constant(name: str) -> None:
    """Refuse ``NaN`` and the like: pgdr never writes them, and a hash of them means nothing."""
    raise ValueError(name)


def fault(line: bytes, before: Head) -> str | None:
    """Say what is wrong with a line, given the entry before it."""
    if not line.endswith(b"\n"):
        return "the last line is incomplete: a crash, or a cut; the next operation sets it aside"
    entry = parse(line)
    if entry is None:
        return "not a journal entry"
    if entry.computed_hash() != entry.hash:
        return f"entry {entry.seq} was edited: its content does not match its hash"
    if entry.line().encode() != line:
        return f"entry {entry.seq} was edited: it is not written as pgdr writes it"
    return _break(entry, before)


def _break(entry: Entry, before: Head) -> str | None:
    """Say how an entry does not follow the one before it."""
    if entry.seq != before.seq + 1:
        return f"entry {entry.seq} follows entry {before.seq}: entries were removed, added or reordered"
    if entry.prev_hash != before.hash:
        return f"entry {entry.seq} does not belong after the entry before it: that one was replaced"
    return None
