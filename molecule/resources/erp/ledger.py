"""What a load generator wrote down, and what a database must hold because of it.

The ledger is a file of JSON lines, one file for one run of the load. A ``begin`` line is there before its
transaction's COMMIT is sent and says how each table's checksum moves; a ``committed`` line follows when COMMIT has
returned. A transaction that has the first and not the second is in doubt: it may have survived or not. The
database knows: each transaction left a row in ``system.client_transactions``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from erp.database import Connection
from pgdr.errors import OperationFailedError
from pgdr.recovery.lsn import parse_lsn
from pgdr.rowhash import MODULUS

Reference = Mapping[str, Mapping[str, int]]
"""``rows``, ``sum0`` and ``sum1`` of each table, as ``pgdr fingerprint --output json`` has them under ``tables``.

Tables are named ``schema.table``, with quotes where PostgreSQL needs them; partitions count with their root.
"""


class LedgerError(OperationFailedError):
    """A ledger cannot be read, or does not go with a reference."""


class Checksum(NamedTuple):
    """Exact row count of a table and the two sums of its rows' hashes, modulo 2**64."""

    rows: int
    sum0: int
    sum1: int


class Change(NamedTuple):
    """How one transaction moves the checksum of one table.

    Attributes:
        rows: rows inserted less rows deleted.
        sum0: new hashes less old ones, modulo 2**64.
        sum1: the same of the second hash.
        touched: rows inserted, changed or deleted.
    """

    rows: int
    sum0: int
    sum1: int
    touched: int


@dataclass(frozen=True)
class Transaction:
    """One transaction of the load.

    Attributes:
        txn_id: its row in ``system.client_transactions``.
        kind: what it did, in one word.
        xid: PostgreSQL's number for it.
        orders: sales orders that it is about.
        changes: what it changes, by table.
        committed_at: the client's clock when COMMIT had returned, or ``None``.
        lsn: position of WAL at which its commit is surely complete, or ``None`` where that could not be asked.
        rolled_back: the server said that it did not commit.
    """

    txn_id: UUID
    kind: str
    xid: int
    orders: tuple[int, ...]
    changes: Mapping[str, Change] = field(hash=False)
    committed_at: datetime | None = None
    lsn: int | None = None
    rolled_back: bool = False

    @property
    def touched(self) -> int:
        """Rows that it inserted, changed or deleted."""
        return sum(change.touched for change in self.changes.values())


@dataclass(frozen=True)
class SurvivorReport:
    """What of a load is in a database.

    Attributes:
        survived: transactions that are there.
        lost: committed, and not there.
        lost_before_reached_lsn: lost although recovery reached their commit: data was lost that must not be.
        unexpected: in the database under this run, and in the ledger neither committed nor in doubt.
        in_doubt_survived: there although their COMMIT never returned, which is right.
        last_surviving_commit_time: of the survivors whose COMMIT returned.
        first_lost_commit_time: of the lost ones.
        rows_lost: rows that the lost transactions had inserted, changed or deleted.
    """

    survived: int
    lost: tuple[Transaction, ...]
    lost_before_reached_lsn: tuple[Transaction, ...]
    unexpected: tuple[UUID, ...]
    in_doubt_survived: int
    last_surviving_commit_time: datetime | None
    first_lost_commit_time: datetime | None
    rows_lost: int

    @property
    def explained(self) -> bool:
        """Whether nothing is missing that recovery reached, and nothing is there that nobody wrote."""
        return not self.lost_before_reached_lsn and not self.unexpected


class Mismatch(NamedTuple):
    """A table that is not as it must be; ``None`` where it is missing on one side."""

    table: str
    expected: Checksum | None
    actual: Checksum | None


@dataclass(frozen=True)
class Ledger:
    """All that one run of the load wrote down.

    Attributes:
        run_id: the run, as in ``system.client_transactions``.
        transactions: in the order of their ``begin`` lines.
        torn: whether the last line was cut off and left out.
    """

    run_id: UUID
    transactions: tuple[Transaction, ...]
    torn: bool = False
    _by_id: dict[UUID, Transaction] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {one.txn_id: one for one in self.transactions})

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger; its last line may be cut off.

        Raises:
            LedgerError: it is missing, is none, or is damaged before its last line.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise LedgerError(f"cannot read the ledger {path}: {error.strerror}") from error
        return _Reader(path).read(content)

    @property
    def committed(self) -> tuple[Transaction, ...]:
        """Those whose COMMIT returned."""
        return tuple(one for one in self.transactions if one.committed_at is not None)

    @property
    def in_doubt(self) -> tuple[Transaction, ...]:
        """Those whose COMMIT may have happened: announced, neither acknowledged nor refused."""
        return tuple(one for one in self.transactions if one.committed_at is None and not one.rolled_back)

    def find(self, txn_id: UUID) -> Transaction | None:
        """Return one transaction."""
        return self._by_id.get(txn_id)

    def compare_survivors(
        self, surviving_ids: Collection[UUID], reached_lsn: str | int | None = None
    ) -> SurvivorReport:
        """Compare with the transactions that a database holds.

        Args:
            surviving_ids: what :func:`surviving_transactions` found.
            reached_lsn: end of what recovery replayed; without it nothing can be said to be lost before it.
        """
        present = frozenset(surviving_ids)
        reached = parse_lsn(reached_lsn) if isinstance(reached_lsn, str) else reached_lsn
        lost = tuple(one for one in self.committed if one.txn_id not in present)
        surviving = [one for one in self.transactions if one.txn_id in present]
        acknowledged = [one.committed_at for one in surviving if one.committed_at is not None]
        return SurvivorReport(
            survived=len(present),
            lost=lost,
            lost_before_reached_lsn=tuple(
                one for one in lost if reached is not None and one.lsn is not None and one.lsn <= reached
            ),
            unexpected=tuple(sorted(one for one in present if (found := self.find(one)) is None or found.rolled_back)),
            in_doubt_survived=sum(one.committed_at is None and not one.rolled_back for one in surviving),
            last_surviving_commit_time=max(acknowledged, default=None),
            first_lost_commit_time=min(
                (one.committed_at for one in lost if one.committed_at is not None), default=None
            ),
            rows_lost=sum(one.touched for one in lost),
        )


def surviving_transactions(connection: Connection, ledger: Ledger) -> frozenset[UUID]:
    """Ask a database which transactions of a run it holds."""
    rows = connection.execute("SELECT txn_id FROM system.client_transactions WHERE run_id = %s", (ledger.run_id,))
    return frozenset(txn_id for (txn_id,) in rows)


def expected_checksums(reference: Reference, ledger: Ledger, surviving_txn_ids: Iterable[UUID]) -> dict[str, Checksum]:
    """Say what a database must hold: the state before the load, moved by the transactions that survived.

    Raises:
        LedgerError: a survivor is not in the ledger, or it changed a table that the reference does not have.
    """
    expected = {
        table: Checksum(figures["rows"], figures["sum0"] % MODULUS, figures["sum1"] % MODULUS)
        for table, figures in reference.items()
    }
    for txn_id in surviving_txn_ids:
        transaction = ledger.find(txn_id)
        if transaction is None:
            raise LedgerError(f"transaction {txn_id} is in the database and not in the ledger")
        for table, change in transaction.changes.items():
            before = expected.get(table)
            if before is None:
                raise LedgerError(f"the load changed {table}, which the reference does not have")
            expected[table] = Checksum(
                before.rows + change.rows,
                (before.sum0 + change.sum0) % MODULUS,
                (before.sum1 + change.sum1) % MODULUS,
            )
    return expected


def compare_checksums(expected: Mapping[str, Checksum], actual: Reference) -> list[Mismatch]:
    """Return the tables that are not as expected, and those that only one side has."""
    found = {
        table: Checksum(figures["rows"], figures["sum0"] % MODULUS, figures["sum1"] % MODULUS)
        for table, figures in actual.items()
    }
    return [
        Mismatch(table, expected.get(table), found.get(table))
        for table in sorted({*expected, *found})
        if expected.get(table) != found.get(table)
    ]


class _Reader:
    """Puts the lines of a ledger together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run_id: UUID | None = None
        self._transactions: dict[UUID, Transaction] = {}

    def read(self, content: bytes) -> Ledger:
        """Read the whole file."""
        lines = content.split(b"\n")
        # What follows the last line break was cut off while it was written, or is nothing.
        torn = lines.pop() != b""
        for number, line in enumerate(lines, start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise LedgerError(f"{self._path}: line {number} is damaged: {error}") from error
        if self._run_id is None:
            raise LedgerError(f"{self._path} is not a ledger: it does not begin with a run")
        return Ledger(self._run_id, tuple(self._transactions.values()), torn)

    def _take(self, record: dict[str, Any]) -> None:
        event = record["event"]
        if event == "run":
            self._run_id = UUID(record["run_id"])
            return
        if self._run_id is None:
            raise ValueError("no run before it")
        if event == "end":
            return
        txn_id = UUID(record["txn_id"])
        if event == "begin":
            changes = {table: Change(**change) for table, change in record["changes"].items()}
            self._transactions[txn_id] = Transaction(
                txn_id, record["kind"], record["xid"], tuple(record["orders"]), changes
            )
        elif event == "committed":
            lsn = None if record["lsn"] is None else parse_lsn(record["lsn"])
            self._transactions[txn_id] = replace(
                self._transactions[txn_id], committed_at=datetime.fromisoformat(record["at"]), lsn=lsn
            )
        elif event == "rolled_back":
            self._transactions[txn_id] = replace(self._transactions[txn_id], rolled_back=True)
        else:
            raise ValueError(f"unknown event {event!r}")
