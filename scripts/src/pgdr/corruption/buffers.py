"""Have the server forget what it has in memory of some blocks, so that it reads them from the disk again."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from pgdr.corruption.naming import APPLICATION
from pgdr.errors import BusyError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected, explain

# The first version that can; the function is in one of PostgreSQL's own extensions.
_FIRST_VERSION = 170000
_AVAILABLE = "select 1 from pg_catalog.pg_available_extensions where name = 'pg_buffercache'"
_SCHEMA = """
select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where e.extname = 'pg_buffercache'
"""
_HELD = """
from {0}.pg_buffercache where relforknumber = 0 and relblocknumber = any (%(blocks)s)
and relfilenode = pg_catalog.pg_relation_filenode(%(oid)s::oid)
and reldatabase = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
"""


def can_forget(connection: Connection[TupleRow]) -> bool:
    """Whether a server can be made to."""
    return connection.info.server_version >= _FIRST_VERSION and connection.execute(_AVAILABLE).rowcount > 0


def forget(config: HostConfig, database: str, oid: int, blocks: Sequence[int]) -> None:
    """Throw blocks of a relation out of memory while the caller keeps everybody else from it.

    Raises:
        BusyError: somebody uses one of them all the same.
        PgdrError: the extension could not be had.
    """
    given = {"blocks": list(blocks), "oid": oid}
    try:
        with (
            connected(config, database, application_name=APPLICATION, settings={"lock_timeout": "30s"}) as other,
            other.transaction(force_rollback=True),  # what was not there before is not there afterwards
        ):
            other.execute("create schema pgdr_forget")
            other.execute("create extension if not exists pg_buffercache with schema pgdr_forget")
            schemas = [sql.Identifier(row[0]) for row in other.execute(_SCHEMA).fetchall()]
            held = sql.SQL(_HELD).format(*schemas)
            other.execute(sql.SQL("select {}.pg_buffercache_evict(bufferid) ").format(*schemas) + held, given)
            left = other.execute(sql.SQL("select 1 ") + held, given).rowcount
    except psycopg.Error as error:
        raise explain(error, "throwing blocks out of memory") from error
    if left:
        raise BusyError(f"{left} of the blocks are in use", remedy="nothing was changed; run again")
