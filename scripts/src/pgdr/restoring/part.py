"""Have a part of an archive in a database of its own: all definitions, and only the rows that are wanted."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql

from pgdr.archive.counting import count_rows
from pgdr.archive.names import with_suffix
from pgdr.errors import NotProvenError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.marks import mark
from pgdr.restoring import checks, contents, quarantine
from pgdr.restoring.source import Source, require_version

_MARGIN = 2.5  # in quarantine, in staging, and in their place
# Kinds that stand behind the data in a dump, and what belongs to them.
_AFTER_DATA = frozenset({2606, 2620, 2618, 3256, 3381})  # constraint, trigger, rule, policy, statistics
_AFTER_WORDS = (
    "INDEX ",
    "FK CONSTRAINT ",
    "CONSTRAINT ",
    "CHECK CONSTRAINT ",
    "TRIGGER ",
    "RULE ",
    "POLICY ",
    "ROW SECURITY ",
    "STATISTICS ",
    "MATERIALIZED VIEW DATA ",
    "INDEX ATTACH ",
)


@dataclass(frozen=True)
class Part:
    """A quarantine that holds a part of an archive.

    Attributes:
        database: its name.
        login: the role that owns it.
    """

    database: str
    login: quarantine.Login


@contextmanager
def quarantined(
    config: HostConfig,
    admin: Connection[TupleRow],
    source: Source,
    table_oids: Collection[int],
    *,
    jobs: int,
    on_phase: Callable[[str], None],
    tablespaces: bool = False,
) -> Iterator[Part]:
    """Restore all definitions and the rows of some tables into a database of their own, for a block of work.

    The rows are counted and compared with the manifest. Database and role are gone at the end.

    Args:
        config: what this host is.
        admin: a superuser's connection.
        source: the archive.
        table_oids: the tables whose rows are wanted, by their numbers in the manifest.
        jobs: how much is done at once.
        on_phase: told what begins.
        tablespaces: put everything where it lay; rows that are only read from here may lie anywhere.

    Raises:
        RefusedError: archive and host do not fit.
        NotProvenError: the archive is damaged, or rows did not come back.
    """
    manifest = source.manifest
    wanted = [table for table in manifest.tables if table.oid in table_oids]
    require_version(config, admin, source)
    checks.require_extensions(admin, manifest)
    checks.require_space(config, int(sum(table.size for table in wanted) * _MARGIN))
    on_phase("checksums")
    source.check()
    entries = contents.read_contents(config, source.full_dump)
    name = with_suffix(config.database, f"_restore_{secrets.token_hex(4)}")
    role = None
    try:
        with quarantine.throwaway_role(config, admin, bypass_rls=True) as login:
            role = login.role
            try:
                on_phase("restore beside the live database")
                marked = mark("restore", archive=manifest.label, of=config.database, role=role)
                quarantine.create_database(admin, name, role, manifest.database, marked)
                made = quarantine.create_extensions(config, name, role, manifest.extensions)
                there = [schema.oid for schema in manifest.schemas if schema.name in made]
                definitions = [entry for entry in entries if is_definition(entry)]
                rows = [entry for entry in entries if entry.is_table_data and entry.oid in table_oids]
                chosen = quarantine.without_schemas([*definitions, *rows], there)
                quarantine.load(config, source.full_dump, chosen, name, login=login, jobs=jobs, tablespaces=tablespaces)
                on_phase("proof")
                with login.connected(config, name) as connection:
                    for table in wanted:
                        if table.rows is not None and (found := count_rows(connection, table)) != table.rows:
                            raise NotProvenError(
                                f"{table.key}: {found} rows came back instead of {table.rows}",
                                remedy="nothing was changed; try another archive",
                            )
                yield Part(name, login)
            finally:
                admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
    except BaseException:
        quarantine.drop(config, name, role)
        raise


def is_definition(entry: contents.Entry) -> bool:
    """Whether an entry stands before the data: schemas, types, functions, tables, views."""
    if entry.is_privilege or entry.is_extension or entry.is_privileged or entry.is_table_data:
        return False
    if entry.catalog in _AFTER_DATA or entry.text.startswith(_AFTER_WORDS):
        return False
    return not entry.text.startswith(("SEQUENCE SET ", "BLOB", "COMMENT ", "SECURITY LABEL "))


def parse_name(text: str) -> tuple[str, str]:
    """Read ``schema.table``; a part with a dot or a quote in it stands in double quotes, as in SQL.

    Names are exact, case included: nothing is folded to lower case.

    Raises:
        RefusedError: it is no such name.
    """
    parts: list[str] = []
    rest = text
    while rest:
        if rest.startswith('"'):
            end = 1
            while (end := rest.find('"', end)) != -1 and rest[end : end + 2] == '""':
                end += 2
            if end == -1:
                break
            parts.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :]
        else:
            word, _, _ = rest.partition(".")
            parts.append(word)
            rest = rest[len(word) :]
        if not rest:
            break
        if not rest.startswith(".") or rest == ".":
            break
        rest = rest[1:]
    if rest or len(parts) != 2 or not all(parts):
        raise RefusedError(
            f"{text!r} is no name of a table", remedy="write schema.table, in double quotes a part with a dot in it"
        )
    return parts[0], parts[1]


def owner_role(connection: Connection[TupleRow], schema: str, table: str) -> tuple[str, bool]:
    """Who owns a live table, and whether that is a superuser."""
    row = connection.execute(
        "select r.rolname, r.rolsuper from pg_catalog.pg_class c"
        " join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
        " join pg_catalog.pg_roles r on r.oid = c.relowner where n.nspname = %s and c.relname = %s",
        (schema, table),
    ).fetchone()
    if row is None:
        raise RefusedError(f"the live database has no table {schema}.{table}", remedy="use --into, or restore schema")
    return row[0], row[1]
