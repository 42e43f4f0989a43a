"""Where the past comes from: a database that answers queries as it did then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import psycopg
from psycopg import IsolationLevel

from pgdr.errors import PgdrError, RefusedError, UnreachableError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected, explain
from pgdr.rowhash import SESSION_SETTINGS

SETTINGS = {
    **dict(SESSION_SETTINGS),
    "lc_monetary": "C",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",
    # Our temporary tables are asked a few times each: a sample of 3,000 rows tells enough, one of 30,000 wide ones
    # takes longer than their comparison.
    "default_statistics_target": "10",
    # A killed pgdr must not keep its locks until a long statement has ended.
    "client_connection_check_interval": "1s",
}
APPLICATION = "pgdr surgery"


class PastSource(Protocol):
    """Something that can show the past as a database.

    An archive does so by restoring into a scratch database, a side instance by running.
    """

    @property
    def name(self) -> str:
        """What it is, for plan and journal; no secret is part of it."""
        ...

    @property
    def conninfo(self) -> str:
        """How pg_dump reaches it; no secret is part of it."""
        ...

    def open(self) -> AbstractContextManager[Connection[TupleRow]]:
        """A connection that only reads, in one snapshot, with :data:`SETTINGS`."""
        ...


@dataclass(frozen=True)
class LocalDatabase:
    """A database of this host's own cluster that holds the past.

    Attributes:
        config: what this host is.
        database: its name.
        title: what it is to a person, where that is more than a database.
    """

    config: HostConfig
    database: str
    title: str = ""

    @property
    def name(self) -> str:
        """What it is."""
        return self.title or f"database {self.database}"

    @property
    def conninfo(self) -> str:
        """How pg_dump reaches it."""
        return conninfo(self.config, self.database)

    @contextmanager
    def open(self) -> Iterator[Connection[TupleRow]]:
        """Connect over the local socket."""
        with connected(self.config, self.database, application_name=APPLICATION, settings=SETTINGS) as connection:
            yield from _reading(connection)


@dataclass(frozen=True)
class ServiceDatabase:
    """A database that a libpq service names: host, port and user in ``pg_service.conf``, password in ``.pgpass``.

    Attributes:
        service: the service's name.
    """

    service: str

    @property
    def name(self) -> str:
        """What it is."""
        return f"service {self.service}"

    @property
    def conninfo(self) -> str:
        """How pg_dump reaches it."""
        return psycopg.conninfo.make_conninfo(service=self.service)

    @contextmanager
    def open(self) -> Iterator[Connection[TupleRow]]:
        """Connect as the service says."""
        try:
            connection = psycopg.connect(
                service=self.service, application_name=APPLICATION, client_encoding="UTF8", autocommit=True
            )
        except psycopg.OperationalError as error:
            raise no_service(self.service, error) from error
        try:
            with connection:
                for name, value in SETTINGS.items():
                    connection.execute("select set_config(%s, %s, false)", (name, value))
                yield from _reading(connection)
        except psycopg.Error as error:
            raise explain(error, self.name) from error


def no_service(service: str, error: psycopg.OperationalError) -> PgdrError:
    """Say why a service cannot be reached."""
    text = " ".join(str(error).split())
    if "definition of service" in text:
        return RefusedError(f"no service {service!r}", remedy="name it in pg_service.conf, or set PGSERVICEFILE")
    return UnreachableError(f"service {service} does not answer: {text}", remedy="run again")


def conninfo(config: HostConfig, database: str) -> str:
    """How a program of PostgreSQL reaches a database of this host."""
    return psycopg.conninfo.make_conninfo(host=str(config.socket_directory), port=config.port, dbname=database)


def _reading(connection: Connection[TupleRow]) -> Iterator[Connection[TupleRow]]:
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction():
        yield connection
