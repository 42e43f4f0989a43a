"""Connections to the sample's database, and whom they act as."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from pgdr.errors import ConfigError, UnreachableError
from pgdr.rowhash import SESSION_SETTINGS

Connection = psycopg.Connection[tuple[Any, ...]]

# A host that was destroyed answers nothing, not even with a reset: give up on it after about ten seconds.
_LIVENESS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# `row_security` is about who may read, not about the text of a row, and `off` would refuse the tenants' own role.
_TEXT_SETTINGS = tuple((name, value) for name, value in SESSION_SETTINGS if name != "row_security")


def check_dsn(dsn: str) -> None:
    """Refuse a connection string that libpq cannot read.

    Raises:
        ConfigError: it is not one; the message does not repeat it, as it may hold a password.
    """
    try:
        psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise ConfigError("--dsn is no PostgreSQL connection string", remedy="postgresql://... or key=value") from error


def connect(dsn: str, *, application: str, owner: str | None = None) -> Connection:
    """Open a connection on which the text of every row is the same as on all others of this project.

    It is in autocommit mode and prepares nothing unless it is told to.

    Args:
        dsn: libpq connection string.
        application: what ``pg_stat_activity`` shows.
        owner: role to act as, or ``None`` for the one that logs in.
    """
    connection: Connection = psycopg.connect(
        dsn, autocommit=True, application_name=application, client_encoding="UTF8", **_LIVENESS
    )
    connection.prepare_threshold = None
    try:
        for name, value in _TEXT_SETTINGS:
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        if owner is not None:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
    except BaseException:
        connection.close()
        raise
    return connection


def open_or_fail(dsn: str, *, application: str, owner: str | None = None) -> Connection:
    """Open the first connection of a command.

    Raises:
        ConfigError: the connection string is none, or the role may not be used.
        UnreachableError: the server does not answer, or does not let us in.
    """
    check_dsn(dsn)
    try:
        return connect(dsn, application=application, owner=owner)
    except psycopg.OperationalError as error:
        raise UnreachableError(f"cannot connect: {one_line(error)}", remedy="check --dsn and the server") from error
    except psycopg.Error as error:
        raise ConfigError(f"cannot act as role {owner!r}: {one_line(error)}") from error


def one_line(error: psycopg.Error) -> str:
    """What PostgreSQL said, without its line breaks and details."""
    return (error.diag.message_primary or str(error).strip() or type(error).__name__).splitlines()[0]
