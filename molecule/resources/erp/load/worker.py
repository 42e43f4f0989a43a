"""One connection of the load: begin, do, announce, commit, acknowledge, again and again."""

from __future__ import annotations

import logging
import random
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg

from erp.database import Connection, one_line
from erp.ledger import Change
from erp.ledger_writer import LedgerWriter
from erp.load.business import KINDS, Done, Kind, Memory, Tenant, Work, audit_rows
from erp.load.deltas import Deltas, Rows
from pgdr.errors import OperationFailedError

_log = logging.getLogger(__name__)

# The server refused, the connection lives, and the next try may go through.
_TRANSIENT = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)


class ConnectionLostError(Exception):
    """The server went away. Not an error of the load: it is what the lab does to it."""


@dataclass
class Tally:
    """What one worker has done.

    Attributes:
        seconds: how long each committed transaction took, from its beginning until COMMIT had returned.
    """

    committed: int = 0
    in_doubt: int = 0
    rolled_back: int = 0
    seconds: array[float] = field(default_factory=lambda: array("f"))


class Worker:
    """Commits transactions on one connection.

    Args:
        number: tells it from the others.
        run_id: the run, as in ``system.client_transactions``.
        seed: of the run; with the number it decides what this worker does.
        tenants: whom it works for.
        ledger: where it writes down what it does.
    """

    def __init__(self, number: int, run_id: UUID, seed: int, tenants: tuple[Tenant, ...], ledger: LedgerWriter) -> None:
        self.tally = Tally()
        self._number = number
        self._run_id = run_id
        self._tenants = tenants
        self._ledger = ledger
        self._choose = random.Random(f"{seed}/{number}")  # noqa: S311 - shall repeat itself, keeps no secret
        self._memory = Memory()
        self._sequence = 0

    def work(self, connection: Connection, stop: threading.Event, pace: Callable[[], bool]) -> None:
        """Commit until told to stop.

        Args:
            connection: in autocommit mode.
            stop: set when the load shall end.
            pace: waits for this worker's turn; false ends the work.

        Raises:
            ConnectionLostError: the server went away.
            OperationFailedError: the server refused a transaction for good.
            LedgerError: the ledger cannot be written; nothing was committed without it.
        """
        # Orders of an earlier connection may be lost with the server that had them.
        self._memory = Memory()
        connection.prepare_threshold = 5
        while not stop.is_set() and pace():
            kind = self._next_kind()
            try:
                self.transact(connection, kind)
            except psycopg.Error as error:
                if is_lost(connection, error):
                    raise ConnectionLostError(one_line(error)) from error
                if not isinstance(error, _TRANSIENT):
                    raise OperationFailedError(f"{kind.name}: {one_line(error)}") from error
                _log.info("worker %d: %s: %s", self._number, kind.name, one_line(error))
                self._roll_back(connection)

    def _next_kind(self) -> Kind:
        possible = [kind for kind in KINDS if kind.possible(self._memory)]
        return self._choose.choices(possible, weights=[kind.weight for kind in possible])[0]

    def transact(self, connection: Connection, kind: Kind) -> None:
        """Run one transaction of a kind to its end."""
        txn_id = uuid4()
        self._sequence += 1
        began = time.monotonic()
        connection.execute("BEGIN")
        done, xid, changes = self._run(connection, kind, txn_id)
        self._ledger.begin(txn_id, kind.name, xid, done.orders, changes)
        self._commit(connection, txn_id)
        acknowledged = datetime.now(UTC)
        self.tally.seconds.append(time.monotonic() - began)
        try:
            self._ledger.committed(txn_id, xid, acknowledged, _insert_lsn(connection))
        finally:
            self.tally.committed += 1
        done.remember()

    def _run(self, connection: Connection, kind: Kind, txn_id: UUID) -> tuple[Done, int, dict[str, Change]]:
        deltas = Deltas(connection)
        row = connection.execute(
            "INSERT INTO system.client_transactions (txn_id, run_id, worker, sequence, kind)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING pg_current_xact_id()::text::bigint",
            (txn_id, self._run_id, self._number, self._sequence, kind.name),
        ).fetchone()
        done = kind.run(Work(connection, deltas, self._choose, self._tenants, self._memory))
        deltas.add(Rows("system", "client_transactions", "t.txn_id = %s", (txn_id,)))
        deltas.add(audit_rows())
        return done, int(row[0]) if row else 0, deltas.collect()

    def _commit(self, connection: Connection, txn_id: UUID) -> None:
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            if is_lost(connection, error):
                self.tally.in_doubt += 1
            else:
                self._ledger.rolled_back(txn_id)
            raise

    def _roll_back(self, connection: Connection) -> None:
        self.tally.rolled_back += 1
        try:
            connection.execute("ROLLBACK")
        except psycopg.OperationalError as error:
            raise ConnectionLostError(one_line(error)) from error


def is_lost(connection: Connection, error: psycopg.Error) -> bool:
    """Whether the connection is gone, or the server just said goodbye: a COMMIT may then have happened or not."""
    return connection.closed or (error.sqlstate or "").startswith(("57P0", "08"))


def _insert_lsn(connection: Connection) -> str | None:
    """Ask for the end of WAL: the commit record lies before it. ``None`` when the server is gone already."""
    try:
        row = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    except psycopg.OperationalError:
        return None
    return str(row[0]) if row else None
