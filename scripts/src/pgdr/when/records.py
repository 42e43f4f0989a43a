"""Read a stretch of WAL with pg_waldump and count what each transaction did to which file.

This runs in a process of its own, one for each stretch. Decoding WAL costs pg_waldump little, printing it much, and
taking lines apart costs us most: so it prints one resource manager's records at a time, and of the lines only those
that hold a word that matters are looked at, found by a search through large blocks.

The formats are those of PostgreSQL 15 to 18 (src/backend/access/rmgrdesc: heapdesc.c, xactdesc.c, smgrdesc.c,
standbydesc.c, dbasedesc.c); test_when.py holds them against real servers.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pgdr.recovery.lsn import format_lsn, parse_lsn

_HEAP = re.compile(
    rb"tx: +(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), prev [0-9A-F/]+, desc: "
    rb"(DELETE|HOT_UPDATE|UPDATE)(?:\+INIT)? ([^\n]*?)blkref #0: rel (\d+/\d+/\d+)"
)
_OTHER = re.compile(rb"tx: +(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), prev [0-9A-F/]+, desc: (\w+) ?([^\n]*)")
_ENDINGS = re.compile(
    rb"rmgr: Transaction len \(rec/tot\): +\d+/ +\d+, tx: +(\d+), lsn: ([^,]+), prev [^,]+, "
    rb"desc: (COMMIT|ABORT) ([^;\n]*)"
)
# Lines of the resource manager Transaction that say more than that a transaction ended.
_SPECIAL = (b"rels:", b"subxacts:", b"dropped stats:", b"desc: PREPARE", b"_PREPARED ")
_PLAIN = frozenset({"COMMIT", "ABORT"})
_FLAGS = re.compile(rb"flags:? 0x([0-9A-Fa-f]{2})")
_ERROR_AT = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)")
_OTHERS = ("Transaction", "Storage", "Standby", "Database")
# access/heapam_xlog.h: the row of an insertion that was given up; a row that an UPDATE moved to another partition.
_DELETE_IS_SUPER, _DELETE_IS_MOVE = 1 << 3, 1 << 4
# FirstNormalObjectId: files below are those of PostgreSQL's own catalogs.
_FIRST_NORMAL = 16384
_BLOCK = 1 << 20
# From so many transactions on, one pass over all lines is cheaper than a search for each.
_MANY = 200
# A line's head, up to its description, is shorter than this.
_HEAD = 200
_ENVIRONMENT = {"TZ": "UTC", "LC_ALL": "C"}

DELETE, UPDATE, ALTER = "DELETE", "UPDATE", "ALTER"
# pg_attribute, as initdb made its file: who changes a column updates its row there.
_ATTRIBUTES = 1249
_RELATION = re.compile(rb" relcache (\d+)")


@dataclass(frozen=True)
class Stretch:
    """Segments that one call of pg_waldump reads.

    Attributes:
        program: pg_waldump of the cluster's major version.
        folder: where the segments are; all bear the same timeline in their names.
        timeline: that timeline.
        start: first position that counts.
        stop: position after the last; what begins before it is read to its end, in the next segment if need be.
        available: position after the last byte that there is in the folder.
        kinds: changes that are counted: DELETE and UPDATE of rows, ALTER of columns.
        attributes: numbers of more files of pg_attribute, where a rewrite gave it some.
    """

    program: Path
    folder: Path
    timeline: int
    start: int
    stop: int
    available: int
    kinds: tuple[str, ...]
    attributes: tuple[int, ...] = ()


@dataclass
class Ending:
    """How a transaction ended, or that it was prepared.

    Attributes:
        xid: its number.
        kind: pg_waldump's word.
        lsn: position of the record's first byte.
        text: what pg_waldump says of it.
        relations: OIDs of relations that others must look at anew after its commit.
    """

    xid: int
    kind: str
    lsn: str
    text: str
    relations: tuple[int, ...] = ()


@dataclass
class Found:
    """What is in a stretch.

    Attributes:
        counts: rows by transaction, kind of change and file (tablespace/database/number); with ALTER those of
            pg_attribute.
        first: position of a transaction's first change in this stretch.
        created: files that a transaction made, in their order.
        truncated: what pg_waldump says of a TRUNCATE (with wal_level logical only).
        dropped_databases: folders of dropped databases by transaction.
        endings: of transactions that are counted here and of those that say more than that they ended, in the order
            of WAL.
        text: all that pg_waldump says of transactions here, for those that were counted in an earlier stretch.
        ended: how many transactions ended.
        next_xid: the next transaction's number at the first look at the running ones, 0 if there was none.
        broken: position and words where WAL could not be read, empty if it could.
    """

    counts: dict[int, dict[tuple[str, str], int]] = field(default_factory=dict)
    first: dict[int, str] = field(default_factory=dict)
    created: dict[int, list[str]] = field(default_factory=dict)
    truncated: dict[int, list[str]] = field(default_factory=dict)
    dropped_databases: dict[int, list[str]] = field(default_factory=dict)
    endings: list[Ending] = field(default_factory=list)
    text: bytes = field(default=b"", repr=False)
    ended: int = 0
    next_xid: int = 0
    broken: str = ""


def read(stretch: Stretch) -> Found:
    """Run pg_waldump over a stretch and return what is in it."""
    rows = _Rows(stretch)
    dump = _Dump(stretch)
    for block in dump.blocks(["Heap"]):
        rows.take(block)
    found = rows.result()
    text = b"".join(dump.blocks(_OTHERS))
    found.broken = dump.broken
    _take_others(text, found, alters=ALTER in stretch.kinds)
    found.text = text
    found.ended = text.count(b", desc: COMMIT") + text.count(b", desc: ABORT")
    found.endings = _sorted([*found.endings, *plain_endings(text, found.counts)])
    return found


def plain_endings(text: bytes, xids: Collection[int]) -> Iterator[Ending]:
    """Find how transactions ended of which there is nothing more to say.

    Args:
        text: what pg_waldump says of transactions.
        xids: the transactions.
    """
    if len(xids) > _MANY:
        for number, lsn, kind, words in _ENDINGS.findall(text):
            if int(number) in xids:
                yield Ending(int(number), kind.decode(), lsn.decode(), words.decode())
        return
    for xid in xids:
        # The format is "tx: %10u,"; a search for a fixed text is many times faster than one for an expression.
        head = b"tx: %10d, " % xid
        place = text.find(head)
        while place >= 0:
            line = _OTHER.match(text, place)
            if line and line[3].decode() in _PLAIN:
                yield Ending(xid, line[3].decode(), line[2].decode(), line[4].split(b";", 1)[0].decode())
                break
            place = text.find(head, place + 1)


def _sorted(endings: list[Ending]) -> list[Ending]:
    """In the order of WAL; the words that say more win over the plain ones of the same record."""
    unique = {ending.lsn: ending for ending in reversed(endings)}
    return sorted(unique.values(), key=lambda ending: parse_lsn(ending.lsn))


class _Dump:
    """Runs pg_waldump over a stretch."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self.broken = ""

    def blocks(self, rmgrs: Sequence[str]) -> Iterator[bytes]:
        """Blocks of whole lines, up to the end of the stretch."""
        stretch = self._stretch
        argv = [
            str(stretch.program),
            f"--path={stretch.folder}",
            f"--timeline={stretch.timeline}",
            f"--start={format_lsn(stretch.start)}",
            f"--end={format_lsn(stretch.available)}",
            *(f"--rmgr={name}" for name in rmgrs),
        ]
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT
        ) as child:
            assert child.stdout is not None  # noqa: S101 - asked for above
            assert child.stderr is not None  # noqa: S101
            fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, _BLOCK)
            rest = b""
            while block := os.read(child.stdout.fileno(), _BLOCK):
                lines, newline, rest = (rest + block).rpartition(b"\n")
                if not newline:
                    continue
                within = self._within(lines)
                yield within + newline
                if len(within) < len(lines):
                    child.kill()
                    break
            self._judge(child.stderr.read().decode(errors="replace"))

    def _within(self, lines: bytes) -> bytes:
        """The lines before the end of the stretch."""
        end = len(lines)
        while (place := lines.rfind(b", lsn: ", 0, end)) >= 0:
            if parse_lsn(lines[place + 7 : lines.index(b",", place + 7)].decode()) < self._stretch.stop:
                break
            end = max(lines.rfind(b"\n", 0, place), 0)
        return lines[:end]

    def _judge(self, said: str) -> None:
        """Tell the end of what there is from a place that cannot be read."""
        stretch = self._stretch
        failed = _ERROR_AT.search(said)
        if failed:
            # Behind the last segment that there is, WAL always breaks off; in front of that, it must not.
            place = parse_lsn(failed[1])
            if place < stretch.stop and (stretch.stop < stretch.available or place < stretch.start):
                self.broken = f"{failed[1]}: {' '.join(said.split())}"
        elif "error:" in said and "could not find a valid record" not in said:
            self.broken = " ".join(said.split())


class _Rows:
    """Counts rows."""

    def __init__(self, stretch: Stretch) -> None:
        self._words = [b"desc: DELETE "] if DELETE in stretch.kinds else []
        # +INIT: the row went to a page of which it is the first, as each row does that fills most of a page.
        self._words += [b"UPDATE ", b"UPDATE+INIT "] if UPDATE in stretch.kinds else []
        self._moves = UPDATE in stretch.kinds
        files = (_ATTRIBUTES, *stretch.attributes) if ALTER in stretch.kinds else ()
        self._attributes = [b"/%d blk" % number for number in files]
        self._altered: dict[tuple[bytes, bytes], int] = {}
        self._rows: dict[tuple[bytes, bytes, bytes], int] = {}
        self._first: dict[bytes, bytes] = {}
        self._system: dict[bytes, bool] = {}
        self._found = Found()

    def take(self, block: bytes) -> None:
        """Count a block of lines."""
        for word in self._words:
            self._count(block, word)
        for word in self._attributes:
            self._count_columns(block, word)
        place = block.find(b"nrelids")
        while place >= 0:
            # A TRUNCATE is written down by itself with wal_level logical only.
            line = _OTHER.match(block, block.rfind(b"tx: ", 0, place))
            if line:
                self._found.truncated.setdefault(int(line[1]), []).append(line[4].decode())
            place = block.find(b"nrelids", block.find(b"\n", place))

    def _count(self, block: bytes, word: bytes) -> None:
        rows, first, system = self._rows, self._first, self._system
        place = block.find(word)
        while place >= 0:
            match = _HEAP.match(block, block.rfind(b"tx: ", max(place - _HEAD, 0), place))
            place = block.find(word, place + len(word))
            if match is None:
                continue
            xid, lsn, kind, detail, node = match.groups()
            if node not in system:
                system[node] = int(node.rsplit(b"/", 1)[1]) < _FIRST_NORMAL
            if system[node]:
                continue
            if kind == b"DELETE" and b" 0x00" not in detail:
                flags = _FLAGS.search(detail)
                bits = int(flags[1], 16) if flags else 0
                if bits & _DELETE_IS_SUPER or (bits & _DELETE_IS_MOVE and not self._moves):
                    continue
                kind = b"UPDATE" if bits & _DELETE_IS_MOVE else kind
            key = (xid, kind, node)
            if key in rows:
                rows[key] += 1
            else:
                rows[key] = 1
                first.setdefault(xid, lsn)

    def _count_columns(self, block: bytes, word: bytes) -> None:
        """Count rows of pg_attribute that were changed: a new column's is inserted, a dropped table's are deleted."""
        place = block.find(word)
        while place >= 0:
            start = block.rfind(b"\n", 0, place) + 1
            match = _HEAP.match(block, block.find(b"tx: ", start))
            place = block.find(word, max(block.find(b"\n", place), place + 1))
            if match is not None and match[3] != b"DELETE":
                key = (match[1], match[5])
                self._altered[key] = self._altered.get(key, 0) + 1
                self._first.setdefault(match[1], match[2])

    def result(self) -> Found:
        """What was counted."""
        for (xid, node), number in self._altered.items():
            self._found.counts.setdefault(int(xid), {})[ALTER, node.decode()] = number
        for (xid, kind, node), number in self._rows.items():
            counts = self._found.counts.setdefault(int(xid), {})
            key = (DELETE if kind == b"DELETE" else UPDATE, node.decode())
            counts[key] = counts.get(key, 0) + number
        self._found.first = {int(xid): lsn.decode() for xid, lsn in self._first.items()}
        return self._found


def _take_others(text: bytes, found: Found, *, alters: bool) -> None:
    """Take up the lines that say more than that a transaction ended; those of altered relations where asked for."""
    for line in _lines_with(text, (*_SPECIAL, b" relcache ") if alters else _SPECIAL):
        words, _, messages = line[4].partition(b"; inval msgs")
        relations = tuple(int(oid) for oid in _RELATION.findall(messages)) if alters else ()
        # With wal_level logical and on its own, a message about relations ends nothing.
        if line[3].startswith((b"COMMIT", b"ABORT", b"PREPARE")):
            found.endings.append(
                Ending(int(line[1]), line[3].decode(), line[2].decode(), words.decode(errors="replace"), relations)
            )
    for line in _lines_with(text, (b"desc: CREATE base/", b"desc: CREATE pg_tblspc/")):
        found.created.setdefault(int(line[1]), []).append(line[4].decode().strip())
    for line in _lines_with(text, (b"desc: DROP ",)):
        found.dropped_databases.setdefault(int(line[1]), []).append(line[4].decode())
    running = re.search(rb"nextXid (\d+)", text)
    found.next_xid = int(running[1]) if running else 0


def _lines_with(text: bytes, words: Sequence[bytes]) -> Iterator[re.Match[bytes]]:
    """The lines that hold one of the words, once each."""
    seen: set[int] = set()
    for word in words:
        place = text.find(word)
        while place >= 0:
            start = text.rfind(b"\n", 0, place) + 1
            head = text.find(b"tx: ", start)
            line = _OTHER.match(text, head) if start not in seen else None
            seen.add(start)
            if line:
                yield line
            end = text.find(b"\n", place)
            place = text.find(word, end) if end >= 0 else -1
