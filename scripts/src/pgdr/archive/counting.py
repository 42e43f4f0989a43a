"""Exact rows of tables: in a snapshot while its dump is written, or one table at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import psycopg
from psycopg import IsolationLevel, sql

from pgdr.archive.model import TableEntry
from pgdr.errors import PgdrError
from pgdr.postgres.connection import Connection, TupleRow, explain

Connect = Callable[[], AbstractContextManager[Connection[TupleRow]]]


class Counter:
    """Counts the rows of all tables in the archive's snapshot, beside the dump.

    Args:
        connect: opens a connection of its own.
        snapshot: the exported snapshot.
        tables: what is counted.
    """

    def __init__(self, connect: Connect, snapshot: str, tables: Sequence[TableEntry]) -> None:
        self._connect = connect
        self._snapshot = snapshot
        self._tables = tables
        self._rows: dict[str, int] = {}
        self._error: PgdrError | None = None
        self._connection: Connection[TupleRow] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._count, name="count rows")

    def __enter__(self) -> Counter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        connection = self._connection
        if connection is not None and self._thread.is_alive():
            connection.cancel_safe()
        self._thread.join()

    def raise_if_failed(self) -> None:
        """Stop the dump when the counting failed."""
        if self._error is not None:
            raise self._error

    def result(self) -> dict[str, int]:
        """Wait for the end and return the rows by key."""
        self._thread.join()
        self.raise_if_failed()
        return self._rows

    def _count(self) -> None:
        try:
            with self._connect() as connection:
                self._connection = connection
                connection.isolation_level = IsolationLevel.REPEATABLE_READ
                connection.read_only = True
                with connection.transaction():
                    connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(self._snapshot)))
                    for table in self._tables:
                        if self._stopped:
                            return
                        self._rows[table.key] = count_rows(connection, table)
        except PgdrError as error:
            self._error = error


def count_rows(connection: Connection[TupleRow], table: TableEntry) -> int:
    """Count the rows of a table itself, without its partitions and heirs.

    Raises:
        PgdrError: it cannot be read.
    """
    statement = sql.SQL("select count(*) from only {}").format(sql.Identifier(table.schema_, table.name))
    try:
        row = connection.execute(statement).fetchone()
    except psycopg.Error as error:
        raise explain(error, f"counting {table.key}") from error
    assert row is not None  # noqa: S101 - an aggregate has one row
    return int(row[0])
