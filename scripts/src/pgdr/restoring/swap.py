"""Give a restored database the name of the live one, in one transaction, with connections handled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from pgdr.errors import OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected, explain

_POLL = 0.02
_ATTEMPTS = 3
# What keeps a database from being renamed and is not ended by ending sessions.
_BLOCKERS = """
select 'prepared transaction ' || gid from pg_catalog.pg_prepared_xacts where database = %(name)s
union all select 'replication slot ' || slot_name from pg_catalog.pg_replication_slots where database = %(name)s
union all select 'subscription ' || s.subname from pg_catalog.pg_subscription s
  join pg_catalog.pg_database d on d.oid = s.subdbid where d.datname = %(name)s
order by 1
"""


def sessions(connection: Connection[TupleRow], database: str) -> int:
    """How many sessions are connected to a database."""
    row = connection.execute(
        "select count(*) from pg_catalog.pg_stat_activity where datname = %s and pid <> pg_backend_pid()"
        " and backend_type = 'client backend'",
        (database,),
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate has one row
    return int(row[0])


def blockers(connection: Connection[TupleRow], database: str) -> list[str]:
    """What would keep a database from being renamed, besides sessions."""
    return [row[0] for row in connection.execute(_BLOCKERS, {"name": database}).fetchall()]


def rename(config: HostConfig, renames: list[tuple[str, str]], then: Callable[[Connection[TupleRow]], None]) -> float:
    """Rename databases in one transaction, while every session in them is ended, and return the seconds it took.

    A new connection waits for the end of the transaction and then finds the database that has the name now. Killed
    at any moment, nothing has been renamed.

    Args:
        config: what this host is.
        renames: old names and new names, in order.
        then: more statements of the same transaction.

    Raises:
        RefusedError: a prepared transaction or a replication slot holds a database.
        OperationFailedError: sessions could not be ended.
    """
    began = time.monotonic()
    with connected(config, "postgres", application_name="pgdr restore") as admin:
        for old, _new in renames:
            if found := blockers(admin, old):
                raise RefusedError(
                    f"database {old} is held by {', '.join(found)}", remedy="end it first; nothing was changed"
                )
        for attempt in range(_ATTEMPTS):
            try:
                with _ending_sessions(config, [old for old, _new in renames]), admin.transaction():
                    for old, new in renames:
                        admin.execute(
                            sql.SQL("alter database {} rename to {}").format(sql.Identifier(old), sql.Identifier(new))
                        )
                    then(admin)
            except psycopg.errors.ObjectInUse as error:
                if attempt == _ATTEMPTS - 1:
                    raise OperationFailedError(
                        f"sessions in {renames[0][0]} do not end: {explain(error).message}",
                        remedy="nothing was renamed; see pg_stat_activity, then run again",
                    ) from error
            else:
                break
    return time.monotonic() - began


class _ending_sessions:  # noqa: N801 - used as a block, like a function
    """End all sessions in some databases, again and again, for a block of work."""

    def __init__(self, config: HostConfig, databases: list[str]) -> None:
        self._config = config
        self._databases = databases
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="end sessions")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        with suppress(Exception), connected(self._config, "postgres", application_name="pgdr restore") as admin:
            while not self._stop.wait(_POLL):
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
                    " where datname = any (%s) and pid <> pg_backend_pid()",
                    (self._databases,),
                )
