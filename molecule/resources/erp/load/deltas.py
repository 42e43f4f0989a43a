"""Measure exactly what a transaction does to the checksums of the tables that it touches.

Rows that exist are locked and hashed before they change; at the end every row is hashed again. A row that another
transaction changed in between cannot be: the lock waits for it and sees its result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from erp.database import Connection
from erp.ledger import Change
from pgdr.rowhash import MODULUS, row_hash_sql

_HASH0, _HASH1 = (sql.SQL(text) for text in row_hash_sql("t"))
_SUMS = sql.SQL("SELECT count(*), coalesce(sum(h0), 0), coalesce(sum(h1), 0) FROM ({rows}) AS hashed")


@dataclass(frozen=True)
class Rows:
    """Some rows of one table. Two of them must not overlap in one transaction.

    Attributes:
        schema: the table's schema.
        table: the table.
        condition: what comes after WHERE, with ``t`` for the table; ORDER BY may follow.
        parameters: its parameters.
    """

    schema: LiteralString
    table: LiteralString
    condition: LiteralString
    parameters: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """``schema.table``, as in references and ledgers."""
        return f"{self.schema}.{self.table}"

    def hashes(self) -> sql.Composed:
        """A query for the two hashes of each row."""
        return sql.SQL("SELECT {} AS h0, {} AS h1 FROM {} AS t WHERE {}").format(
            _HASH0, _HASH1, sql.Identifier(self.schema, self.table), sql.SQL(self.condition)
        )


class Deltas:
    """What one transaction has touched so far.

    Args:
        connection: the connection that the transaction runs on.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._watched: list[tuple[Rows, tuple[int, int, int]]] = []

    def lock(self, rows: Rows, strength: LiteralString = "FOR NO KEY UPDATE") -> None:
        """Lock rows that exist, and remember how they are. Call it before they change."""
        query = _SUMS.format(rows=rows.hashes() + sql.SQL(" ") + sql.SQL(strength))
        found = self._connection.execute(query, rows.parameters).fetchone()
        count, sum0, sum1 = found or (0, 0, 0)
        self._watched.append((rows, (int(count), int(sum0), int(sum1))))

    def add(self, rows: Rows) -> None:
        """Remember rows that are new in this transaction."""
        self._watched.append((rows, (0, 0, 0)))

    def collect(self) -> dict[str, Change]:
        """Hash everything again and return the difference by table. Call it when nothing changes any more."""
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, sums.* FROM (").format(sql.Literal(number))
            + _SUMS.format(rows=rows.hashes())
            + sql.SQL(") AS sums")
            for number, (rows, _) in enumerate(self._watched)
        )
        parameters = [value for rows, _ in self._watched for value in rows.parameters]
        changes: dict[str, Change] = {}
        for number, count, sum0, sum1 in self._connection.execute(query, parameters):
            rows, (count_before, sum0_before, sum1_before) = self._watched[number]
            so_far = changes.get(rows.name, Change(0, 0, 0, 0))
            changes[rows.name] = Change(
                rows=so_far.rows + int(count) - count_before,
                sum0=(so_far.sum0 + int(sum0) - sum0_before) % MODULUS,
                sum1=(so_far.sum1 + int(sum1) - sum1_before) % MODULUS,
                touched=so_far.touched + max(int(count), count_before),
            )
        return {table: change for table, change in changes.items() if change.touched}
