"""Connections to the cluster of this host: local socket, peer authentication, never a password."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from pgdr.errors import OperationFailedError, PgdrError, RefusedError, UnreachableError
from pgdr.hostconfig import HostConfig

__all__ = ["Connection", "TupleRow", "connect", "connected", "explain"]

_CONNECT_TIMEOUT = 5


def connect(
    config: HostConfig,
    database: str | None = None,
    *,
    application_name: str = "pgdr",
    settings: dict[str, str] | None = None,
) -> Connection[TupleRow]:
    """Open a connection in autocommit mode as the operating system user (or ``PGUSER``).

    Args:
        config: what this host is.
        database: the database, or ``None`` for the ERP's.
        application_name: shown in ``pg_stat_activity``.
        settings: session settings, name to value.

    Raises:
        UnreachableError: the server does not answer.
        RefusedError: the server refuses this user or database.
    """
    session = {"TimeZone": "UTC", **(settings or {})}
    options = " ".join(f"-c {name}={_escape(value)}" for name, value in session.items())
    try:
        return psycopg.connect(
            host=str(config.socket_directory),
            port=config.port,
            dbname=database or config.database,
            connect_timeout=_CONNECT_TIMEOUT,
            application_name=application_name,
            client_encoding="UTF8",
            gssencmode="disable",
            options=options,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        raise _connect_error(config, error) from error


@contextmanager
def connected(
    config: HostConfig,
    database: str | None = None,
    *,
    application_name: str = "pgdr",
    settings: dict[str, str] | None = None,
) -> Iterator[Connection[TupleRow]]:
    """Open a connection for a block of work; errors of the database become ours.

    Raises:
        PgdrError: the connection or a statement failed.
    """
    connection = connect(config, database, application_name=application_name, settings=settings)
    try:
        with connection:
            yield connection
    except psycopg.Error as error:
        raise explain(error) from error


def explain(error: psycopg.Error, action: str = "") -> PgdrError:
    """Turn an error of the database into one line.

    Args:
        error: what psycopg raised.
        action: what was tried.
    """
    what = f"{action}: " if action else ""
    text = " ".join((error.diag.message_primary or str(error)).split())
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return UnreachableError(f"{what}the connection to PostgreSQL broke: {text}", remedy="run again")
    return OperationFailedError(f"{what}PostgreSQL refused: {text} [{error.sqlstate or 'no SQLSTATE'}]")


def _connect_error(config: HostConfig, error: psycopg.OperationalError) -> PgdrError:
    where = f"PostgreSQL at {config.socket_directory}, port {config.port}"
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    text = lines[0].rpartition("failed: ")[2] if lines else "no reason given"
    # `the database system is starting up` is a FATAL too, but one that passes by itself.
    if "FATAL" in text and "database system is" not in text and "too many" not in text:
        return RefusedError(f"{where} refused: {text}", remedy="run as postgres")
    return UnreachableError(f"{where} does not answer: {text}", remedy=f"see systemctl status {config.service_unit}")


def _escape(value: str) -> str:
    """Escape a setting's value for libpq's ``options``."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
