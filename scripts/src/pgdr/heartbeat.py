"""A row a minute: after a recovery the newest one says exactly how much was lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import in_recovery, one

KEPT_DAYS = 8
# A heartbeat that hangs is worse than one that fails: the next minute brings another.
_SETTINGS = {"statement_timeout": "20s", "lock_timeout": "5s"}

# The owner is checked first: a table that somebody else prepared could carry triggers that run with the rights
# of whoever inserts, and that is a superuser.
_FOREIGN_OWNER = """
select pg_get_userbyid(owner)
from (
    select nspowner as owner from pg_namespace where nspname = 'pgdr'
    union all
    select relowner from pg_class where relnamespace = to_regnamespace('pgdr')
) as owned
where owner <> (select oid from pg_roles where rolname = current_user)
limit 1
"""
_CREATE = (
    "create schema if not exists pgdr",
    """
    create table if not exists pgdr.heartbeat (
        id bigint generated always as identity primary key,
        beat_at timestamptz not null default clock_timestamp(),
        lsn pg_lsn not null default pg_current_wal_insert_lsn()
    )
    """,
    "revoke all on schema pgdr from public",
    "revoke all on all tables in schema pgdr from public",
    "grant usage on schema pgdr to pg_monitor",
    "grant select on pgdr.heartbeat to pg_monitor",
)
_BEAT = """
with pruned as (
    delete from pgdr.heartbeat where beat_at < clock_timestamp() - make_interval(days => %s)
)
insert into pgdr.heartbeat default values returning id, beat_at, lsn::text
"""
_NEWEST = "select id, beat_at, lsn::text from pgdr.heartbeat order by id desc limit 1"


@dataclass(frozen=True)
class Beat:
    """One heartbeat.

    Attributes:
        id: its number.
        at: when it was written, by the server's clock, in UTC.
        lsn: where WAL stood then.
    """

    id: int
    at: datetime
    lsn: str


def beat(config: HostConfig) -> Beat | None:
    """Write a heartbeat and remove those older than :data:`KEPT_DAYS` days.

    Returns:
        the heartbeat, or ``None`` on a standby: it takes no writes, and its primary's rows arrive by themselves.

    Raises:
        UnreachableError: the server does not answer.
        RefusedError: the table is missing.
    """
    with connected(config, application_name="pgdr heartbeat", settings=_SETTINGS) as connection:
        if in_recovery(connection):
            return None
        try:
            row = connection.execute(_BEAT, (KEPT_DAYS,)).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise _missing(config) from error
        return None if row is None else _beat(row)


def initialise(config: HostConfig) -> bool:
    """Create schema and table where they are missing, owned by this user, readable by ``pg_monitor``.

    Returns:
        whether anything was created.

    Raises:
        RefusedError: schema or table belong to somebody else, or the server is a standby.
    """
    with connected(config, application_name="pgdr heartbeat", settings=_SETTINGS) as connection:
        if in_recovery(connection):
            raise RefusedError("this server is a standby", remedy="run it on the primary")
        connection.execute("set client_min_messages = warning")
        with connection.transaction():
            owner = connection.execute(_FOREIGN_OWNER).fetchone()
            if owner is not None:
                raise RefusedError(
                    f"something in schema pgdr of {config.database} belongs to {owner[0]!r}",
                    remedy="move it out of the schema; its owner could run code as this user",
                )
            existed = one(connection, "select to_regclass('pgdr.heartbeat') is not null")[0]
            for statement in _CREATE:
                connection.execute(statement.encode())
        return not existed


def newest(connection: Connection[TupleRow]) -> Beat | None:
    """The newest heartbeat that a server has, or ``None`` if it has none (or no table)."""
    if not one(connection, "select to_regclass('pgdr.heartbeat') is not null")[0]:
        return None
    row = connection.execute(_NEWEST).fetchone()
    return None if row is None else _beat(row)


def _beat(row: TupleRow) -> Beat:
    return Beat(id=row[0], at=row[1].astimezone(UTC), lsn=row[2])


def _missing(config: HostConfig) -> RefusedError:
    return RefusedError(f"{config.database} has no table pgdr.heartbeat", remedy="run once: pgdr heartbeat --init")
