"""Rows by COPY, from a connection or a file into a table; never more of them in memory than one block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from psycopg import Connection, sql

# A row costs as much on its way as a block of them.
_BLOCK = 256 * 1024
Sent = Callable[[int], None]


def carry(
    source: Connection[object],
    query: sql.Composable,
    target: Connection[object],
    table: sql.Composable,
    columns: sql.Composable,
    sent: Sent | None = None,
) -> int:
    """Write the rows of a query into a table of another connection.

    Args:
        source: where the query is asked.
        query: without parameters; its columns are those of the table, in order.
        target: where the table is; its transaction stays open.
        table: its name, quoted.
        columns: their names, quoted, with commas between.
        sent: told the bytes of each block.

    Returns:
        how many rows they are.

    Raises:
        psycopg.Error: as PostgreSQL says it; nothing of it is in the table then.
    """
    with source.cursor() as reader, reader.copy(sql.SQL("copy ({}) to stdout").format(query)) as rows:
        return load(target, table, columns, _joined(rows), sent)


def load(
    target: Connection[object],
    table: sql.Composable,
    columns: sql.Composable,
    blocks: Iterable[bytes],
    sent: Sent | None = None,
) -> int:
    """Write blocks of rows, in COPY's text format, into a table, and return how many rows they are."""
    statement = sql.SQL("copy {} ({}) from stdin").format(table, columns)
    with target.cursor() as writer:
        with writer.copy(statement) as sink:
            for block in blocks:
                sink.write(block)
                if sent is not None:
                    sent(len(block))
        return writer.rowcount


def _joined(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    block = bytearray()
    for row in rows:
        block += row
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
