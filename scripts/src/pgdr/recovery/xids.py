"""What WAL says about numbers of transactions: which were not given out yet, which had ended.

PostgreSQL stops at a transaction when it replays its end. Where that is not in the WAL ahead, all of it is replayed,
for hours maybe, and only then recovery fails: so a number that cannot be there is refused before. Numbers go round
(PostgreSQL, TransactionIdPrecedes), so they are compared modulo 2^32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pgdr import process
from pgdr.recovery.lsn import parse_lsn

# Written with every checkpoint, and every 15 s while anything is written (rmgrdesc/standbydesc.c).
_RUNNING = re.compile(
    r"lsn: ([0-9A-F]+/[0-9A-F]+), prev [^,]*, desc: RUNNING_XACTS nextXid (\d+)[^;\n]*(?:; \d+ xacts:((?: \d+)+))?"
)
_GIVEN = re.compile(r"tx: +([1-9]\d*), lsn: ([0-9A-F]+/[0-9A-F]+)")
_ENVIRONMENT = {"TZ": "UTC", "LC_ALL": "C"}


@dataclass(frozen=True)
class Running:
    """Which transactions ran at a position.

    Attributes:
        lsn: the position.
        next_xid: the number that would be given out next.
        xids: those that ran.
    """

    lsn: int
    next_xid: int
    xids: frozenset[int]

    def ended(self, xid: int) -> bool:
        """Whether a transaction had ended here."""
        return precedes(xid, self.next_xid) and xid % 2**32 not in self.xids


def precedes(xid: int, other: int) -> bool:
    """Whether a number was given out before another."""
    return (xid - other) % 2**32 >= 2**31


def running(text: str) -> Iterator[Running]:
    """What pg_waldump's text says of running transactions, in the order of WAL."""
    for lsn, following, xids in _RUNNING.findall(text):
        yield Running(parse_lsn(lsn), int(following), frozenset(int(xid) for xid in xids.split()))


def following(text: str) -> int | None:
    """The number that would be given out where a stretch of WAL ends; ``None`` where nothing in it says so.

    No number is given out while the running transactions are written down, so behind that each one shows itself.
    """
    looks = list(running(text))
    if not looks:
        return None
    last = looks[-1]
    highest = last.next_xid
    for xid, lsn in _GIVEN.findall(text):
        if parse_lsn(lsn) > last.lsn and not precedes(int(xid), highest):
            highest = (int(xid) + 1) % 2**32
    return highest


def dumped(waldump: Path, path: Path) -> str:
    """A lone segment as pg_waldump writes it."""
    # It exits 1 at the end: it cannot know that this is the end.
    return process.run([str(waldump), str(path)], allowed=lambda _: True, env=_ENVIRONMENT).stdout
