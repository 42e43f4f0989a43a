"""Ask the smoke queries of the policy: a few answers that only the right data can give."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import psycopg

from pgdr.hostconfig import HostConfig
from pgdr.policy.model import SmokeQuery
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.recovery.verify import Check

# A query that reads for longer is no smoke query; it must not hold up a recovery.
_LONGEST = "60s"


def ask(config: HostConfig, queries: Sequence[SmokeQuery]) -> list[Check]:
    """Ask every query; none of them can write.

    Args:
        config: this host.
        queries: what the policy asks.

    Raises:
        UnreachableError: the server does not answer.
    """
    if not queries:
        return []
    settings = {"default_transaction_read_only": "on", "statement_timeout": _LONGEST}
    with connected(config, application_name="pgdr smoke", settings=settings) as connection:
        return [_ask(connection, query) for query in queries]


def _ask(connection: Connection[TupleRow], query: SmokeQuery) -> Check:
    name = f"smoke query {query.name}"
    try:
        # The policy's own text, a single query by its model; the session cannot write.
        rows = connection.execute(query.sql.encode()).fetchmany(2)
    except psycopg.OperationalError as error:
        if error.sqlstate is None:
            raise
        return Check(name=name, ok=False, detail=_reason(error))
    except psycopg.Error as error:
        return Check(name=name, ok=False, detail=_reason(error))
    if len(rows) != 1 or len(rows[0]) != 1:
        return Check(name=name, ok=False, detail="it must return one row with one value")
    answer = rows[0][0]
    if query.expected is not None:
        ok = str(answer) == str(query.expected)
        return Check(name=name, ok=ok, detail=f"{answer}, expected {query.expected}")
    if not isinstance(answer, int | float | Decimal):
        return Check(name=name, ok=False, detail=f"{answer!r} is no number to compare with {query.minimum}")
    return Check(name=name, ok=answer >= query.minimum, detail=f"{answer}, at least {query.minimum}")


def _reason(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())
