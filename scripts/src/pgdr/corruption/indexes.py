"""An index is made of its table: built anew, beside whoever uses it where PostgreSQL can do that."""

from __future__ import annotations

import psycopg
from psycopg import sql

from pgdr.corruption.examine import named
from pgdr.corruption.model import Damage
from pgdr.corruption.naming import APPLICATION
from pgdr.errors import OperationFailedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected

_LEFT = """
select n.nspname, c.relname from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid and i.indrelid = (select indrelid from pg_catalog.pg_index where indexrelid = %(oid)s)
  and c.relname ~ ('^' || pg_catalog.regexp_replace(
        left((select relname from pg_catalog.pg_class where oid = %(oid)s), 50), '([^[:alnum:]_])', '\\\\\\1', 'g'))
  and c.relname ~ '_ccnew[0-9]*$'
"""


def rebuild(config: HostConfig, damage: Damage, lock_timeout: str) -> None:
    """Build an index anew.

    Raises:
        OperationFailedError: its table has two rows where the index allows one: the damaged index let them in.
        PgdrError: it could not be done; the old index is as it was.
    """
    settings = {"statement_timeout": "0", "lock_timeout": lock_timeout}
    if damage.catalog:
        # Looking for the index of a catalog must not need that index.
        settings["ignore_system_indexes"] = "on"
    with connected(config, damage.database or "postgres", application_name=APPLICATION, settings=settings) as live:
        index = named(live, damage.oid)
        try:
            if damage.catalog or not _beside(live, damage.oid, index):
                live.execute(sql.SQL("reindex index {}").format(index))
        except psycopg.errors.UniqueViolation as error:
            detail = " ".join((error.diag.message_detail or str(error)).split())
            raise OperationFailedError(
                f"{damage.name} cannot be built: {detail}",
                remedy="the damaged index let these rows in: decide which one stays, remove the other, run again",
            ) from error


def _beside(live: Connection[TupleRow], oid: int, index: sql.Identifier) -> bool:
    """Build it while others write; some kinds of index cannot."""
    try:
        live.execute(sql.SQL("reindex index concurrently {}").format(index))
    except psycopg.errors.UniqueViolation:
        _forget_halves(live, oid)
        raise
    except psycopg.Error:
        if live.closed:
            raise
        _forget_halves(live, oid)
        return False
    return True


def _forget_halves(live: Connection[TupleRow], oid: int) -> None:
    """What an attempt that failed leaves: an index that nobody uses and everybody writes."""
    for schema, name in live.execute(_LEFT, {"oid": oid}).fetchall():
        live.execute(sql.SQL("drop index {}").format(sql.Identifier(schema, name)))
