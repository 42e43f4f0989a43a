"""Look into a restored database: everything is read, and what production does not have too counts against it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgdr import fingerprint, process
from pgdr.archive import catalog
from pgdr.archive.dump import client_environment
from pgdr.errors import PgdrError
from pgdr.fingerprint_model import Fingerprint
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.recovery.verify import Check, check_collations, check_schemas
from pgdr.supervise import InterruptedOperationError

_APPLICATION = "pgdr rehearse"
_SETTINGS = {"statement_timeout": "0", "jit": "off"}
_SHOWN = 5
_AMCHECK_DAMAGE = 2

_NOT_VALIDATED = """
select format('%I.%I: %I', n.nspname, c.relname, k.conname)
from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace where not k.convalidated order by 1
"""
_INVALID_INDEXES = """
select format('%I.%I', n.nspname, c.relname)
from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace where not (i.indisvalid and i.indisready) order by 1
"""
_MISSING_EXTENSIONS = """
select format('%s %s', e.extname, e.extversion) from pg_catalog.pg_extension e
where not exists (select from pg_catalog.pg_available_extension_versions v
                  where v.name = e.extname and v.version = e.extversion) order by 1
"""
_SEQUENCES = """
select sn.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement > 0
from pg_catalog.pg_class s join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace
join pg_catalog.pg_sequence q on q.seqrelid = s.oid
join pg_catalog.pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.oid
  and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') and d.refobjsubid > 0
join pg_catalog.pg_class t on t.oid = d.refobjid join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
where s.relkind = 'S' and s.relpersistence <> 't' and not q.seqcycle
  and a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) order by 1, 2
"""

# What the catalogs say, and a copy of files repeats; a dump repeats the same, but for indexes, which it builds anew.
_STATED = frozenset({"constraints", "indexes", "sequences"})
_DUMPED = _STATED - {"indexes"}

Faults = Callable[[Connection[TupleRow]], list[str]]


@dataclass(frozen=True)
class Read:
    """What was read whole.

    Attributes:
        checks: what was looked at.
        schemas: whether those of the policy are there.
        tables: how many tables.
        rows: rows of all of them.
        checksum: one checksum over the checksums of all tables.
    """

    checks: list[Check]
    schemas: Check
    tables: int = 0
    rows: int = 0
    checksum: str = ""


def examine(
    there: HostConfig, schemas: Sequence[str], production: HostConfig | None, *, jobs: int, copied: bool = False
) -> Read:
    """Read a restored database whole, and look at what makes it usable.

    Args:
        there: the instance that holds it, and its name.
        schemas: those that the policy says it has.
        production: the live cluster, where it runs on this host: what is wrong there too is no fault of the backup.
        jobs: how much is read at once.
        copied: it is a copy of production's files, not a dump: that something was marked as not valid there, or that a
            sequence was set too low, neither brings about. Where production cannot be asked it is told and does not
            count.
    """
    repeated = _STATED if copied else _DUMPED
    checks = []
    with connected(there, application_name=_APPLICATION, settings=_SETTINGS) as connection:
        named = check_schemas(connection, schemas)
        for name, faults in (
            ("constraints", _listed(_NOT_VALIDATED)),
            ("indexes", _listed(_INVALID_INDEXES)),
            ("extensions", _listed(_MISSING_EXTENSIONS)),
            ("sequences", sequences_behind),
            ("foreign keys", orphans),
        ):
            checks.append(_compared(name, faults, connection, production, excused=name in repeated))
        checks.append(check_collations(connection))
    read, found = _read_all(there, jobs)
    checks.append(read)
    if found is None:
        return Read(checks, named)
    digest = hashlib.sha256()
    for key, table in found.tables.items():
        digest.update(f"{key}\0{table.rows}\0{table.checksum}\n".encode())
    return Read(checks, named, found.totals.tables, found.totals.rows, digest.hexdigest()[:32])


def amcheck(there: HostConfig, databases: Sequence[str], *, jobs: int) -> Check:
    """Hold every index against its table and read every table's pages, with PostgreSQL's own program.

    Args:
        there: the instance; the extension is made in it where it is missing.
        databases: which; empty for all.
        jobs: how much is done at once.
    """
    name = "pg_amcheck"
    program = there.program("pg_amcheck")
    if not os.access(program, os.X_OK):
        return Check(name=name, ok=False, detail="not installed: indexes were not held against tables", fatal=False)
    argv = [
        *(program, f"--host={there.socket_directory}", f"--port={there.port}", "--username=postgres", "--no-password"),
        *("--install-missing", "--heapallindexed", f"--jobs={jobs}"),
        *([f"--database={item}" for item in databases] or ["--all"]),
    ]
    # The instance is read-only unless it is told otherwise, and the extension has to be made.
    environment = {**client_environment(), "PGOPTIONS": "-c default_transaction_read_only=off"}
    done = process.run(argv, allowed=lambda _: True, env=environment)
    lines = [line for line in (*done.stdout.splitlines(), *done.stderr.splitlines()) if line.strip()]
    if done.returncode == 0:
        return Check(name=name, ok=True, detail="every index agrees with its table")
    if "is not available" in done.stderr:
        detail = "the extension amcheck is not installed on this host: indexes were not held against tables"
        return Check(name=name, ok=False, detail=detail, fatal=False)
    first = " ".join(" ".join(lines[:2]).split())[:300] if lines else f"exit status {done.returncode}"
    what = f"{len(lines)} lines of damage, first: " if done.returncode == _AMCHECK_DAMAGE else "it failed: "
    return Check(name=name, ok=False, detail=what + first)


def sequences_behind(connection: Connection[TupleRow]) -> list[str]:
    """Sequences that would give out a number which is taken."""
    behind = []
    for schema, name, table_schema, table, column, upwards in connection.execute(_SEQUENCES).fetchall():
        row = connection.execute(
            sql.SQL(
                "select s.last_value, s.is_called, (select {end}({column}) from {table}) from {sequence} as s"
            ).format(
                end=sql.SQL("max" if upwards else "min"),
                column=sql.Identifier(column),
                table=sql.Identifier(table_schema, table),
                sequence=sql.Identifier(schema, name),
            )
        ).fetchone()
        if row is None or row[2] is None:
            continue
        last, called, top = row
        distance = (last - top) if upwards else (top - last)
        if distance < 0 or (distance == 0 and not called):
            behind.append(f"{schema}.{name} stands at {last}, {table_schema}.{table}.{column} has {top}")
    return behind


def orphans(connection: Connection[TupleRow]) -> list[str]:
    """Foreign keys with a row that points nowhere."""
    broken = []
    for key in catalog.read_foreign_keys(connection):
        pairs = list(zip(key.columns, key.parent_columns, strict=True))
        statement = sql.SQL(
            "select from {child} as c where {given} and not exists (select from {parent} as p where {equal}) limit 1"
        ).format(
            child=sql.Identifier(key.schema_, key.table),
            parent=sql.Identifier(key.parent_schema, key.parent_table),
            given=sql.SQL(" and ").join(sql.SQL("c.{} is not null").format(sql.Identifier(own)) for own, _ in pairs),
            equal=sql.SQL(" and ").join(
                sql.SQL("p.{} = c.{}").format(sql.Identifier(other), sql.Identifier(own)) for own, other in pairs
            ),
        )
        if connection.execute(statement).fetchone() is not None:
            broken.append(f"{key.schema_}.{key.table}: {key.name} has rows that point nowhere")
    return broken


def _listed(query: str) -> Faults:
    return lambda connection: [str(row[0]) for row in connection.execute(query.encode()).fetchall()]


def _compared(
    name: str, faults: Faults, connection: Connection[TupleRow], production: HostConfig | None, *, excused: bool
) -> Check:
    """One kind of fault; what production has too is told, and does not count."""
    try:
        found = faults(connection)
    except psycopg.Error as error:
        return Check(name=name, ok=False, detail=" ".join(str(error).split()))
    if not found:
        return Check(name=name, ok=True, detail="nothing wrong")
    own, shared = found, list[str]()
    if production is not None:
        try:
            with connected(production, application_name=_APPLICATION, settings=_SETTINGS) as live:
                there = {_subject(item) for item in faults(live)}
            own = [item for item in found if _subject(item) not in there]
            shared = [item for item in found if _subject(item) in there]
        except PgdrError:
            if excused:
                detail = f"nobody could ask production, which may have it too: {_shown(found)}"
                return Check(name=name, ok=False, detail=detail, fatal=False)
    if own:
        return Check(name=name, ok=False, detail=_shown(own))
    return Check(name=name, ok=False, detail=f"as in production: {_shown(shared)}", fatal=False)


def _subject(fault: str) -> str:
    """What a fault is about, without its figures: those differ between two moments."""
    return fault.partition(" stands at ")[0]


def _shown(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more


def _read_all(there: HostConfig, jobs: int) -> tuple[Check, Fingerprint | None]:
    """Count and checksum every table: a damaged page, or a row that cannot be read, shows here."""
    try:
        found = fingerprint.take(there, jobs=jobs)
    except InterruptedOperationError:
        raise
    except PgdrError as error:
        return Check(name="tables", ok=False, detail=f"not all can be read: {error.message}"), None
    detail = f"{found.totals.tables} tables, {found.totals.rows} rows read whole"
    return Check(name="tables", ok=True, detail=detail), found
