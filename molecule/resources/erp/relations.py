"""Many small relations in a schema of their own: what a backup of an ERP with ten thousand files is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from erp.database import Connection, one_line, open_or_fail
from erp.parallel import Progress
from pgdr.errors import OperationFailedError, RefusedError

SCHEMA = "bench"
# Each transaction holds a lock on all that it makes or drops, and locks are few (max_locks_per_transaction).
_BATCH = 200
_ROWS = 20
_MAKE = """
DO $$
BEGIN
    FOR n IN {low}..{high} LOOP
        EXECUTE format('CREATE TABLE bench.r_%s (id integer PRIMARY KEY, amount numeric(12, 2), at timestamptz)',
                       lpad(n::text, 6, '0'));
        EXECUTE format('INSERT INTO bench.r_%s SELECT i, i * %s / 7.0, to_timestamp(1733011200 + i * %s)'
                       ' FROM generate_series(1, {rows}) i', lpad(n::text, 6, '0'), n, n);
    END LOOP;
END
$$
"""


@dataclass(frozen=True)
class Made:
    """What was made: tables, and relations with a file of their own (a table and its index are two)."""

    tables: int
    relations: int


def make_relations(dsn: str, count: int, progress: Progress, *, recreate: bool = False) -> Made:
    """Make ``count`` small relations: half of them tables with a few rows, half their primary keys.

    Raises:
        RefusedError: the schema exists and ``recreate`` is not set.
        UnreachableError: the server does not answer.
        OperationFailedError: PostgreSQL refused something.
    """
    tables = (count + 1) // 2
    with open_or_fail(dsn, application="erp relations") as connection:
        try:
            _make_room(connection, progress, recreate=recreate)
            connection.execute("CREATE SCHEMA bench")
            connection.execute("SET synchronous_commit = off")
            for low in range(1, tables + 1, _BATCH):
                progress("relations", low - 1, tables)
                high = min(low + _BATCH - 1, tables)
                text = _MAKE.replace("{low}", str(low)).replace("{high}", str(high)).replace("{rows}", str(_ROWS))
                connection.execute(text.encode())
            progress("relations", tables, tables)
        except psycopg.Error as error:
            raise OperationFailedError(
                f"the relations could not be made: {one_line(error)}", remedy="then run again with --recreate"
            ) from error
        return Made(*_count(connection))


def _make_room(connection: Connection, progress: Progress, *, recreate: bool) -> None:
    if connection.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone() is None:
        return
    if not recreate:
        raise RefusedError("the schema bench exists", remedy="--recreate drops it first")
    names = [
        name
        for (name,) in connection.execute(
            "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind = 'r' AND c.relname ~ '^r_[0-9]+$' ORDER BY 1",
            (SCHEMA,),
        )
    ]
    for low in range(0, len(names), _BATCH):
        progress("drop", low, len(names))
        batch = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in names[low : low + _BATCH])
        connection.execute(sql.SQL("DROP TABLE {}").format(batch))
    # Without CASCADE: what else is in there was not made here.
    connection.execute("DROP SCHEMA bench")


def _count(connection: Connection) -> tuple[int, int]:
    row = connection.execute(
        "SELECT count(*) FILTER (WHERE c.relkind = 'r'), count(*) FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'i')",
        (SCHEMA,),
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
