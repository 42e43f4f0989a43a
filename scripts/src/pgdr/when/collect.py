"""Put transactions together from what the stretches of WAL hold, in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pgdr.when.records import ALTER, Ending, Found, plain_endings

_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
_SUBXACTS = re.compile(r"subxacts:((?: \d+)+)")
_RELS = re.compile(r"; rels:((?: [^ ;]+)+)")
_DROPPED = re.compile(r"dropped stats:((?: \d+/\d+/\d+)+)")
_GID = re.compile(r"gid (.*): \d{4}-\d\d-\d\d ")
_PREPARED = re.compile(r"(\d+): ")
_PATH = re.compile(r"(?:base|pg_tblspc/(?P<space>\d+)/[^/]+)/(?P<database>\d+)/(?P<file>\d+)$")
# PGSTAT_KIND_RELATION (utils/pgstat_kind.h): the statistics of a relation go when it is dropped.
_STATISTICS_OF_RELATION = "2"
_DEFAULT_TABLESPACE = "1663"


class Status(StrEnum):
    """How a transaction ended, as far as WAL was read."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    PREPARED = "prepared"
    OPEN = "open"


@dataclass
class Transaction:
    """A transaction with its subtransactions.

    Attributes:
        xid: its number.
        status: how it ended.
        at: when it ended.
        first_lsn: position of its first change, empty where none was counted.
        end_lsn: position of the first byte of its commit or abort record, empty while it is open.
        counts: rows by kind of change and file.
        created: files that it made, in their order.
        removed: files that its commit removed, in their order.
        dropped: relations that it dropped: database and OID.
        truncated: pg_waldump's words on TRUNCATE records.
        dropped_databases: OIDs of databases that it dropped.
        altered: OIDs of relations that it changed, where columns of some were among it.
        gid: name of a prepared transaction.
        partial: it began before the part of WAL that was read.
    """

    xid: int
    status: Status = Status.OPEN
    at: datetime | None = None
    first_lsn: str = ""
    end_lsn: str = ""
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    dropped_databases: list[int] = field(default_factory=list)
    altered: tuple[int, ...] = ()
    gid: str = ""
    partial: bool = False

    @property
    def structural(self) -> bool:
        """Whether it gave files to relations or took them away, or changed their columns."""
        return bool(self.removed or self.dropped or self.truncated or self.dropped_databases or self.altered)

    @property
    def rows(self) -> int:
        """Rows that were counted."""
        return sum(self.counts.values())

    def absorb(self, other: Transaction) -> None:
        """Add what a subtransaction did."""
        for key, number in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + number
        # A subtransaction began after its parent, but it may be the first of both to change something.
        firsts = [lsn for lsn in (self.first_lsn, other.first_lsn) if lsn]
        self.first_lsn = min(firsts, key=_position) if firsts else ""
        self.created += other.created
        self.truncated += other.truncated
        self.dropped_databases += other.dropped_databases


def _position(lsn: str) -> tuple[int, int]:
    high, _, low = lsn.partition("/")
    return int(high, 16), int(low, 16)


def node_of(path: str) -> str:
    """Turn ``base/5/16401`` into the ``1663/5/16401`` of records, empty for a path of another kind."""
    found = _PATH.search(path)
    return f"{found['space'] or _DEFAULT_TABLESPACE}/{found['database']}/{found['file']}" if found else ""


class Collector:
    """Follows transactions through stretches of WAL.

    Args:
        wanted: tells whether a transaction is worth keeping; asked when it ends.
    """

    def __init__(self, wanted: Callable[[Transaction], bool]) -> None:
        self._wanted = wanted
        self._open: dict[int, Transaction] = {}
        self._first_xid = 0
        self.broken: list[str] = []
        self.ended = 0

    def take(self, found: Found) -> Iterator[Transaction]:
        """Add a stretch and yield the transactions that ended in it."""
        self._first_xid = self._first_xid or found.next_xid
        if found.broken:
            self.broken.append(found.broken)
        for xid, counts in found.counts.items():
            change = Transaction(xid, first_lsn=found.first[xid], counts=counts)
            self._of(xid).absorb(change)
        for xid, paths in found.created.items():
            self._of(xid).created += [node for path in paths if (node := node_of(path))]
        for xid, words in found.truncated.items():
            self._of(xid).truncated += words
        for xid, folders in found.dropped_databases.items():
            self._of(xid).dropped_databases += _databases(folders)
        self.ended += found.ended
        here = {ending.xid for ending in found.endings}
        earlier = {xid for xid in self._open if xid not in found.counts and xid not in here}
        for ending in [*plain_endings(found.text, earlier), *found.endings]:
            transaction = self._end(ending)
            if transaction is not None and self._wanted(transaction):
                yield transaction

    def rest(self) -> Iterator[Transaction]:
        """Yield what has not ended where reading ends."""
        for transaction in self._open.values():
            transaction.partial = self._began_before(transaction.xid)
            if self._wanted(transaction):
                yield transaction

    def _of(self, xid: int) -> Transaction:
        return self._open.setdefault(xid, Transaction(xid))

    def _end(self, ending: Ending) -> Transaction | None:
        xid = ending.xid
        if ending.kind.endswith("_PREPARED"):
            named = _PREPARED.match(ending.text)
            xid = int(named[1]) if named else xid
        subxacts = _SUBXACTS.search(ending.text)
        parts = [self._open.pop(int(sub), None) for sub in subxacts[1].split()] if subxacts else []
        own = self._open.pop(xid, None)
        if own is None and not any(parts) and "rels:" not in ending.text and "dropped stats" not in ending.text:
            return None  # it changed nothing that counts
        whole = own or Transaction(xid)
        for part in parts:
            if part is not None:
                whole.absorb(part)
        whole.partial = self._began_before(xid)
        found = _TIME.search(ending.text)
        whole.at = datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None
        if ending.kind == "PREPARE":
            gid = _GID.search(ending.text)
            whole.status, whole.gid = Status.PREPARED, gid[1] if gid else ""
            self._open[xid] = whole
            return None
        whole.end_lsn = ending.lsn
        committed = ending.kind.startswith("COMMIT")
        whole.status = Status.COMMITTED if committed else Status.ABORTED
        if committed:
            # An abort removes the files that the transaction itself had made.
            rels = _RELS.search(ending.text)
            whole.removed = [node for path in rels[1].split() if (node := node_of(path))] if rels else []
            whole.dropped = list(_dropped(ending.text))
            if any(kind == ALTER for kind, _ in whole.counts):
                whole.altered = ending.relations
        return whole

    def _began_before(self, xid: int) -> bool:
        # Numbers go round (PostgreSQL, TransactionIdPrecedes): compared modulo 2^32.
        return bool(self._first_xid) and (xid - self._first_xid) % 2**32 >= 2**31


def _dropped(text: str) -> Iterator[tuple[int, int]]:
    found = _DROPPED.search(text)
    for item in found[1].split() if found else ():
        kind, database, oid = item.split("/")
        if kind == _STATISTICS_OF_RELATION:
            yield int(database), int(oid)


def _databases(folders: Iterable[str]) -> list[int]:
    """OIDs in pg_waldump's ``dir 1663/16500 1700/16500``."""
    return sorted({int(item) for text in folders for item in re.findall(r"\d+/(\d+)", text)})
