"""Bring an exported tenant into an empty database, and prove that all of it arrived."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from pgdr import process
from pgdr.errors import NotProvenError, RefusedError
from pgdr.fingerprint_model import NOTHING, TableSum
from pgdr.hostconfig import HostConfig
from pgdr.postgres import stream
from pgdr.postgres.connection import Connection, TupleRow, connected, explain
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.checks import sum_of
from pgdr.surgery.export import Manifest, in_database, load_manifest, written_columns
from pgdr.surgery.images import read_rows, verify_file
from pgdr.surgery.source import APPLICATION, SETTINGS, conninfo, no_service

_VIEWS = """
select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'm' and not c.relispopulated order by c.oid
"""


@dataclass(frozen=True)
class LocalTarget:
    """A database of this host's cluster."""

    config: HostConfig
    database: str

    @property
    def name(self) -> str:
        """What it is."""
        return f"database {self.database}"

    @property
    def conninfo(self) -> str:
        """How pg_restore reaches it."""
        return conninfo(self.config, self.database)


@dataclass(frozen=True)
class ServiceTarget:
    """A database that a libpq service names."""

    service: str

    @property
    def name(self) -> str:
        """What it is."""
        return f"service {self.service}"

    @property
    def conninfo(self) -> str:
        """How pg_restore reaches it."""
        return psycopg.conninfo.make_conninfo(service=self.service)


# An empty database.
Target = LocalTarget | ServiceTarget


@dataclass(frozen=True)
class Moved:
    """What arrived.

    Attributes:
        tables: how many were compared.
        rows: how many rows they hold.
        views: materialized views that were filled.
    """

    tables: int
    rows: int
    views: int


def load_tenant(config: HostConfig, folder: Path, target: Target) -> Moved:
    """Load an export into an empty database: definitions, rows, then keys, references and triggers; then compare.

    Raises:
        RefusedError: the database is not empty, or roles are missing.
        NotProvenError: a file is damaged, or what arrived differs.
        PgdrError: anything else: drop the target and begin again.
    """
    manifest = load_manifest(folder)
    for file in (manifest.definitions, *(table.file for table in manifest.tables)):
        verify_file(folder, file)
    with _open(target) as connection:
        _require_ready(connection, manifest, target)
    restore = [config.program("pg_restore"), "--exit-on-error", "--no-password", f"--dbname={target.conninfo}"]
    definitions = str(folder / manifest.definitions.name)
    process.run([*restore, "--section=pre-data", definitions])
    with _open(target) as connection, connection.transaction():
        schema = read_schema(connection)
        for exported in manifest.tables:
            name = sql.Identifier(exported.schema_name, exported.table)
            columns = sql.SQL(", ").join(map(sql.Identifier, exported.columns))
            stream.load(connection, name, columns, read_rows(folder, exported.file))
        for sequence in manifest.sequences:
            name = sql.Identifier(sequence.schema_name, sequence.name)
            connection.execute(
                sql.SQL("select setval({}::regclass, {}, {})").format(
                    sql.Literal(name.as_string()), sql.Literal(sequence.last_value), sql.Literal(sequence.is_called)
                )
            )
    # Keys, references and triggers come last: every row is checked against them, and no trigger fires.
    process.run([*restore, "--section=post-data", definitions])
    with _open(target) as connection:
        schema = read_schema(connection)
        expected: dict[tuple[str, str], TableSum] = {}
        for exported in manifest.tables:
            place = (exported.schema_name, exported.table)
            expected[place] = expected.get(place, NOTHING).plus(exported.content)
        tables = {(one.schema_name, one.table): in_database(schema, one) for one in manifest.tables}
        for place, wanted in expected.items():
            table = tables[place]
            names = sql.SQL(", ").join(sql.Identifier("t", name) for name in written_columns(table))
            found = sum_of(
                connection,
                sql.SQL("select row({})::text as content from {} as t").format(names, table.rows),
            )
            if found != wanted:
                raise NotProvenError(
                    f"{table.label}: {found.rows} rows ({found.checksum}) arrived, {wanted.rows} ({wanted.checksum}) "
                    "were exported",
                    remedy="drop the target and begin again",
                )
        views = connection.execute(_VIEWS.encode()).fetchall()
        for view, name in views:
            connection.execute(sql.SQL("refresh materialized view {}").format(sql.Identifier(view, name)))
        connection.execute("analyze")
    return Moved(len(expected), sum(one.rows for one in expected.values()), len(views))


@contextmanager
def _open(target: Target) -> Iterator[Connection[TupleRow]]:
    if isinstance(target, LocalTarget):
        with connected(target.config, target.database, application_name=APPLICATION, settings=SETTINGS) as connection:
            yield connection
        return
    try:
        connection = psycopg.connect(target.conninfo, application_name=APPLICATION, autocommit=True)
    except psycopg.OperationalError as error:
        raise no_service(target.service, error) from error
    try:
        with connection:
            for name, value in SETTINGS.items():
                connection.execute("select set_config(%s, %s, false)", (name, value))
            yield connection
    except psycopg.Error as error:
        raise explain(error, target.name) from error


def require_empty(target: Target) -> None:
    """Look at the target before anything is exported.

    Raises:
        RefusedError: there is none, or it holds something.
        UnreachableError: it does not answer.
    """
    with _open(target) as connection:
        _require_no_tables(connection, target)


def _require_no_tables(connection: Connection[TupleRow], target: Target) -> None:
    if read_schema(connection).tables:
        raise RefusedError(f"{target.name} is not empty", remedy="create a new database; nothing was changed")


def _require_ready(connection: Connection[TupleRow], manifest: Manifest, target: Target) -> None:
    _require_no_tables(connection, target)
    there = {row[0] for row in connection.execute("select rolname::text from pg_roles")}
    missing = [role for role in manifest.roles if role not in there]
    if missing:
        raise RefusedError(
            f"{target.name} lacks roles: {', '.join(missing)}", remedy="create them there; nothing was changed"
        )
