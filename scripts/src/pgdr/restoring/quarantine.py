"""Restore into a database of its own, as a role that can do nothing elsewhere.

A dump is code: functions in checks, generated columns, defaults and indexes run while it is loaded, as whoever
loads it. ``SET ROLE`` would not hold it, because the code can reset it; so the loading is done in sessions that
log in as a throw-away role, which owns this database and nothing else. Owners and privileges are set afterwards,
by statements that run no code of the dump. Event triggers and their like are not restored unless asked for.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from pgdr import parallel
from pgdr.archive.dump import client_environment, connection_string
from pgdr.archive.model import DatabaseFacts, Extension, Manifest, OwnedObject
from pgdr.errors import OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.process import CommandError
from pgdr.restoring.contents import PG_NAMESPACE, Entry, write_list

ROLE_PREFIX = "pgdr_restore_"
_LOCALHOST = "127.0.0.1"
# How long the throw-away role could log in if we were killed and nobody cleaned up.
_VALID = timedelta(days=2)
_NO_TABLESPACE = re.compile(r'tablespace ".*" does not exist|"default_tablespace"')
_NO_OWNER_COMMAND = {"statistics object": "statistics", "materialized view": "materialized view"}


@dataclass(frozen=True)
class Login:
    """A throw-away role that can log in.

    Attributes:
        role: its name.
        host: where it connects to: the socket's folder, or the local address where sockets want a peer.
        environment: what PostgreSQL's programs need to log in as it.
        password: its password.
    """

    role: str
    host: str
    environment: dict[str, str]
    password: str

    def conninfo(self, config: HostConfig, database: str) -> str:
        """A connection string, without the password."""
        return psycopg.conninfo.make_conninfo(host=self.host, port=config.port, dbname=database, user=self.role)

    @contextmanager
    def connected(self, config: HostConfig, database: str) -> Iterator[Connection[TupleRow]]:
        """Open a connection as this role; errors of the database become ours."""
        from pgdr.postgres.connection import explain  # noqa: PLC0415

        try:
            with psycopg.connect(
                self.conninfo(config, database),
                password=self.password,
                autocommit=True,
                client_encoding="UTF8",
                application_name="pgdr restore",
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise explain(error) from error


@contextmanager
def throwaway_role(
    config: HostConfig, admin: Connection[TupleRow], *, bypass_rls: bool, member_of: Sequence[str] = ()
) -> Iterator[Login]:
    """Have a role for a block of work that can log in and has no rights; it is dropped at the end.

    Args:
        config: what this host is.
        admin: a superuser's connection.
        bypass_rls: whether row-level security does not apply to it.
        member_of: roles whose rights it has.

    Raises:
        RefusedError: ``pg_hba.conf`` lets no role in with a password.
    """
    name = ROLE_PREFIX + secrets.token_hex(8)
    password = secrets.token_hex(32)
    # The server gets the verifier only: a statement may end in its log.
    verifier = admin.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    admin.execute(
        sql.SQL("create role {} login nosuperuser nocreatedb nocreaterole {} password {} valid until {}").format(
            sql.Identifier(name),
            sql.SQL("bypassrls" if bypass_rls else "nobypassrls"),
            sql.Literal(verifier),
            sql.Literal((datetime.now(UTC) + _VALID).isoformat()),
        )
    )
    try:
        open_tablespaces(admin, name)
        for role in member_of:
            admin.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(name)))
        with tempfile.TemporaryDirectory(prefix="pgdr-login-", dir=config.run_directory) as folder:
            passfile = Path(folder) / "pgpass"
            passfile.touch(0o600)
            passfile.write_text(f"*:*:*:{name}:{password}\n", encoding="utf-8")
            environment = {**client_environment(), "PGPASSFILE": str(passfile)}
            environment.pop("PGUSER", None)
            yield Login(name, _door(config, name, password), environment, password)
    finally:
        _drop_role(admin, name)


def _drop_role(admin: Connection[TupleRow], role: str) -> None:
    """Drop a throw-away role; one that still owns something stays, for ``pgdr cleanup``."""
    with suppress(psycopg.Error):
        _tablespaces(admin, "revoke all on tablespace {} from {}", role)
        admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def open_tablespaces(admin: Connection[TupleRow], role: str) -> None:
    """Let a role put relations into every tablespace; ``drop owned`` in any database takes that back."""
    _tablespaces(admin, "grant create on tablespace {} to {}", role)


def _tablespaces(admin: Connection[TupleRow], statement: LiteralString, role: str) -> None:
    """Run a statement for each tablespace of this server: what a dump holds may have lain in any of them."""
    rows = admin.execute("select spcname from pg_catalog.pg_tablespace where spcname !~ '^pg_'").fetchall()
    for (name,) in rows:
        admin.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(role)))


def _door(config: HostConfig, role: str, password: str) -> str:
    """Where this role may log in: Debian's sockets let only the system's own users in, its local address does."""
    for host in (str(config.socket_directory), _LOCALHOST):
        with suppress(psycopg.OperationalError):
            psycopg.connect(
                host=host, port=config.port, user=role, password=password, dbname="postgres", connect_timeout=5
            ).close()
            return host
    raise RefusedError(
        f"pg_hba.conf lets no role log in with a password on {config.socket_directory} or {_LOCALHOST}",
        remedy="restores run as a throw-away role: add the line 'host all all 127.0.0.1/32 scram-sha-256'",
    )


def create_database(admin: Connection[TupleRow], name: str, owner: str, facts: DatabaseFacts, marked: str) -> None:
    """Make an empty database as the archived one was made, closed to everybody but its owner.

    Raises:
        PgdrError: the locale is not there on this host, for example.
    """
    provider = {"c": "libc", "i": "icu", "b": "builtin"}[facts.locale_provider]
    statement = sql.SQL(
        "create database {name} owner {owner} template template0 encoding {encoding} lc_collate {collate}"
        " lc_ctype {ctype} locale_provider {provider}"
    ).format(
        name=sql.Identifier(name),
        owner=sql.Identifier(owner),
        encoding=sql.Literal(facts.encoding),
        collate=sql.Literal(facts.collate),
        ctype=sql.Literal(facts.ctype),
        provider=sql.SQL(provider),
    )
    if facts.locale is not None and provider != "libc":
        word = "icu_locale" if provider == "icu" else "builtin_locale"
        statement += sql.SQL(" {} {}").format(sql.SQL(word), sql.Literal(facts.locale))
    admin.execute(statement)
    admin.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(name), sql.Literal(marked)))
    admin.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))


def create_extensions(config: HostConfig, database: str, owner: str, extensions: Sequence[Extension]) -> list[str]:
    """Make the extensions, from the files of this host; returns the schemas that had to be made for them."""
    made: list[str] = []
    with connected(config, database, application_name="pgdr restore") as admin:
        there = {row[0] for row in admin.execute("select extname from pg_catalog.pg_extension").fetchall()}
        schemas = {row[0] for row in admin.execute("select nspname from pg_catalog.pg_namespace").fetchall()}
        known = {
            (row[0], row[1])
            for row in admin.execute("select name, version from pg_catalog.pg_available_extension_versions").fetchall()
        }
        for extension in extensions:
            if extension.name in there:
                continue
            if extension.schema_ not in schemas:
                admin.execute(
                    sql.SQL("create schema {} authorization {}").format(
                        sql.Identifier(extension.schema_), sql.Identifier(owner)
                    )
                )
                schemas.add(extension.schema_)
                made.append(extension.schema_)
            statement = sql.SQL("create extension {} schema {}").format(
                sql.Identifier(extension.name), sql.Identifier(extension.schema_)
            )
            # A host with newer packages has only newer versions; the plan says so.
            if (extension.name, extension.version) in known:
                statement += sql.SQL(" version {}").format(sql.Literal(extension.version))
            admin.execute(statement)
    return made


def without_schemas(entries: Sequence[Entry], oids: Sequence[int]) -> list[Entry]:
    """Leave out the making of schemas that are there already."""
    return [entry for entry in entries if not (entry.catalog == PG_NAMESPACE and entry.oid in oids)]


def load(
    config: HostConfig,
    dump: Path,
    entries: Sequence[Entry],
    database: str,
    *,
    login: Login | None,
    jobs: int = 1,
    tablespaces: bool = True,
) -> None:
    """Restore entries of a dump into a database; the first error ends it.

    Args:
        config: what this host is.
        dump: the dump's folder.
        entries: what of it, in order.
        database: where to.
        login: the throw-away role that does it and owns everything, or ``None`` for the superuser.
        jobs: how much is done at once.
        tablespaces: put everything where it lay; else into the database's own tablespace.

    Raises:
        OperationFailedError: PostgreSQL refused something.
    """
    with tempfile.TemporaryDirectory(prefix="pgdr-list-", dir=config.run_directory) as folder:
        path = Path(folder) / "list"
        write_list(path, entries)
        program = parallel.Program(
            argv=(
                config.program("pg_restore"),
                *("--format=directory", "--exit-on-error", "--no-password", f"--use-list={path}"),
                *((f"--jobs={jobs}",) if jobs > 1 else ()),
                *(("--no-owner",) if login else ()),
                *(() if tablespaces else ("--no-tablespaces",)),
                f"--dbname={login.conninfo(config, database) if login else connection_string(config, database)}",
                str(dump),
            ),
            name="pg_restore",
        )
        environment = login.environment if login else client_environment()
        try:
            parallel.run_all([program], 1, env=environment)
        except CommandError as error:
            lines = [line for line in error.completed.tail.splitlines() if "error:" in line] or ["no reason given"]
            # An archive of before tablespaces were noted in its manifest.
            make = "; make it, or add --no-tablespaces" if _NO_TABLESPACE.search(lines[0]) else ""
            raise OperationFailedError(
                f"the restore failed: {lines[0]}", remedy=f"nothing was changed{make}"
            ) from error


def analyze(config: HostConfig, database: str, login: Login, jobs: int) -> None:
    """Gather the planner's statistics, as the role that owns the tables: their indexes may run code."""
    program = parallel.Program(
        argv=(
            config.program("vacuumdb"),
            *("--analyze-only", "--quiet", "--no-password", f"--jobs={jobs}"),
            f"--dbname={login.conninfo(config, database)}",
        ),
        name="vacuumdb",
    )
    parallel.run_all([program], 1, env=login.environment)


def hand_over(config: HostConfig, database: str, login: Login, manifest: Manifest) -> None:
    """Give every object its owner of the archive, and what has none there to the database's owner."""
    default = manifest.database.owner
    with (
        connected(config, database, application_name="pgdr restore", settings={"search_path": ""}) as admin,
        admin.transaction(),
    ):
        admin.execute(sql.SQL("reassign owned by {} to {}").format(sql.Identifier(login.role), sql.Identifier(default)))
        for item in manifest.owners:
            if item.owner != default:
                _give(admin, item)
        admin.execute(sql.SQL("drop owned by {}").format(sql.Identifier(login.role)))


def take_over(admin: Connection[TupleRow], login: Login, owners: Sequence[OwnedObject], default: str) -> None:
    """Give what the throw-away role made in the live database to its owners."""
    with admin.transaction():
        admin.execute(sql.SQL("reassign owned by {} to {}").format(sql.Identifier(login.role), sql.Identifier(default)))
        for item in owners:
            if item.owner != default:
                _give(admin, item)


def _give(admin: Connection[TupleRow], item: OwnedObject) -> None:
    try:
        with admin.transaction():
            row = admin.execute(
                "select i.type, i.identity from pg_catalog.pg_get_object_address(%s, %s, %s) a"
                " cross join lateral pg_catalog.pg_identify_object(a.classid, a.objid, 0) i",
                (item.type, list(item.names), list(item.arguments)),
            ).fetchone()
    except psycopg.Error:
        return  # not restored, for example an event trigger
    if row is None:
        return
    kind = _NO_OWNER_COMMAND.get(row[0], row[0])
    # Kind and identity are PostgreSQL's own words, quoted by it.
    statement = f"alter {kind} {row[1]} owner to "
    admin.execute(sql.SQL(statement) + sql.Identifier(item.owner))


def drop(config: HostConfig, database: str, login_role: str | None = None) -> None:
    """Remove a database that we made, and end what is connected to it."""
    with connected(config, "postgres", application_name="pgdr restore") as admin:
        admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database)))
        if login_role is not None:
            _drop_role(admin, login_role)


def processors(jobs: int | None) -> int:
    """How much is done at once."""
    return jobs or os.cpu_count() or 1
