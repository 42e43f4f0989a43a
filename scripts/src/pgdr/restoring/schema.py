"""Restore a schema beside the live one, prove it, and swap the two by name; foreign keys go off and come back."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from pgdr import parallel
from pgdr.archive import catalog
from pgdr.archive.counting import count_rows
from pgdr.archive.dump import client_environment, connection_string
from pgdr.archive.model import ForeignKeyEntry, OwnedObject, SchemaEntry
from pgdr.archive.names import exact_pattern, label_of, with_suffix, working_name
from pgdr.errors import BusyError, NotProvenError, OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected, explain
from pgdr.postgres.marks import mark
from pgdr.restoring import checks, contents, links, quarantine
from pgdr.restoring.database import Clock
from pgdr.restoring.owners import Erasures, keys_among, owner_tables
from pgdr.restoring.part import Part, is_definition, quarantined
from pgdr.restoring.proof import prove
from pgdr.restoring.source import Source

_SETTINGS = {"search_path": "", "row_security": "off", "statement_timeout": "0"}
_LOCK_TIMEOUT = "10s"


@dataclass(frozen=True)
class SchemaPlan:
    """What a restore of a schema would do.

    Attributes:
        source: label of the archive.
        schema: the schema.
        replaces: whether it is there now.
        kept_as: name that the one of now gets.
        tables: tables that come back.
        rows: rows that come back.
        ties: what ties it to other schemas now.
        foreign_keys: its archived foreign keys to other schemas; they are validated against the rows of now.
        drift: how the live schema differs in structure from the archived one.
        tablespaces: relations go back into the tablespaces where they lay; else all into the default one.
    """

    source: str
    schema: str
    replaces: bool
    kept_as: str
    tables: int
    rows: int
    ties: links.Links
    foreign_keys: tuple[ForeignKeyEntry, ...]
    drift: tuple[checks.Drift, ...]
    tablespaces: bool = True


@dataclass
class SchemaRestore:
    """What became of a restore of a schema."""

    plan: SchemaPlan
    times: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Beside:
    """The restored schema under its passing name.

    Attributes:
        name: that name.
        folder: its dump.
        owners: who owns what in it.
        comment: its comment.
    """

    name: str
    folder: Path
    owners: Sequence[OwnedObject]
    comment: str | None


def make_plan(config: HostConfig, source: Source, schema: str, *, tablespaces: bool = True) -> SchemaPlan:
    """Look at archive and live schema; nothing is changed.

    Raises:
        RefusedError: the archive has no such schema, or a role is missing.
    """
    manifest = source.manifest
    entry = _entry(source, schema)
    tables = [table for table in manifest.tables if table.schema_ == schema]
    with connected(config, application_name="pgdr restore", settings=_SETTINGS) as live:
        checks.require_roles(live, manifest, [*{o.owner for o in _owners_of(manifest.owners, schema)}, entry.owner])
        if tablespaces:
            checks.require_tablespaces(live, manifest)
        replaces = live.execute("select from pg_catalog.pg_namespace where nspname = %s", (schema,)).fetchone()
        drift = checks.find_drift(tables, [t for t in checks.live_tables(live) if t.schema_ == schema])
        ties = links.find(live, schema) if replaces is not None else links.Links()
        outward = tuple(k for k in manifest.foreign_keys if k.schema_ == schema and k.parent_schema != schema)
        present = {(table.schema_, table.name) for table in checks.live_tables(live)}
    gone = [k for k in outward if (k.parent_schema, k.parent_table) not in present]
    if gone:
        raise RefusedError(
            f"{gone[0].schema_}.{gone[0].table} refers to {gone[0].parent_schema}.{gone[0].parent_table}, "
            "which the live database does not have",
            remedy="restore that schema or table first",
        )
    return SchemaPlan(
        source=manifest.label,
        schema=schema,
        replaces=replaces is not None,
        kept_as=with_suffix(schema, f"_before_{label_of(datetime.now(UTC))}") if replaces is not None else "",
        tables=len(tables),
        rows=sum(table.rows or 0 for table in tables),
        ties=ties,
        foreign_keys=outward,
        drift=drift,
        tablespaces=tablespaces,
    )


def _entry(source: Source, schema: str) -> SchemaEntry:
    entry = source.manifest.schema_entry(schema)
    if entry is None:
        known = ", ".join(item.name for item in source.manifest.schemas)
        raise RefusedError(f"archive {source.manifest.label} has no schema {schema}", remedy=f"it has: {known}")
    return entry


def _owners_of(owners: Sequence[OwnedObject], schema: str) -> list[OwnedObject]:
    """The objects of a schema; types and arguments are written with their schema in front."""
    prefixes = (f"{schema}.", exact_pattern(schema) + ".")
    return [o for o in owners if any(name == schema or name.startswith(prefixes) for name in o.names)]


def require_unblocked(plan: SchemaPlan) -> None:
    """Refuse when something elsewhere is bound to the live schema and cannot be put back.

    Raises:
        RefusedError: there is such a thing.
    """
    if plan.ties.blocking:
        raise RefusedError(
            f"{len(plan.ties.blocking)} things stand in the way of swapping schema {plan.schema}: "
            f"{checks.listed(plan.ties.blocking)}",
            remedy="drop them and make them again afterwards, or restore single tables: pgdr restore table",
        )


def restore(
    config: HostConfig,
    source: Source,
    plan: SchemaPlan,
    *,
    jobs: int | None = None,
    on_phase: Callable[[str], None] = lambda _phase: None,
    erasures: Erasures | None = None,
) -> SchemaRestore:
    """Carry out a plan.

    Args:
        config: what this host is.
        source: the archive.
        plan: what was decided.
        jobs: how much is done at once.
        on_phase: told what begins.
        erasures: who was erased since; ``None`` where nobody ever was. They are removed while the schema is still in
            quarantine: their parents in other schemas are gone, and no foreign key to them could be validated.

    Raises:
        RefusedError: something is bound to the live schema and cannot be put back.
        OperationFailedError: rows of now do not fit the archived ones; the live schema is as before.
        NotProvenError: what was restored differs from the manifest; the live schema is as before.
        BusyError: somebody holds a lock.
    """
    require_unblocked(plan)
    workers = quarantine.processors(jobs)
    clock = Clock(on_phase)
    entry = _entry(source, plan.schema)
    source.check(entry.dump)
    tables = [table for table in source.manifest.tables if table.schema_ == plan.schema]
    wanted = {table.oid for table in tables}
    beside = with_suffix(plan.schema, f"_restore_{secrets.token_hex(4)}")
    folder = source.archive.folder.parent / working_name(label_of(datetime.now(UTC)), "restoring")
    with connected(config, application_name="pgdr restore", settings=_SETTINGS) as admin:
        if erasures is not None:
            wanted |= {entry.oid for entry in owner_tables(admin, erasures.tenancy, source.manifest, tables)}
        try:
            with quarantined(
                config, admin, source, wanted, jobs=workers, on_phase=clock.begin, tablespaces=plan.tablespaces
            ) as part:
                _complete(config, source, entry, part, plan, () if erasures is None else wanted, workers)
                wanted_rows = _rows_to_come(config, source, part, plan, erasures)
                clock.begin("bring it beside the live schema")
                passing = _dump_renamed(config, part, plan.schema, beside, folder, workers)
                _load_beside(config, admin, part, passing, entry, workers)
                clock.begin("count again")
                _prove_beside(admin, source, wanted_rows, beside)
            clock.begin("swap")
            _swap(config, plan, passing)
        except BaseException:
            admin.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(beside)))
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    clock.end()
    return SchemaRestore(plan, clock.times)


def _complete(
    config: HostConfig,
    source: Source,
    entry: SchemaEntry,
    part: Part,
    plan: SchemaPlan,
    owners: Collection[int],
    jobs: int,
) -> None:
    """Add keys, indexes, triggers and the rest of the schema in quarantine, prove it, and give it its owners.

    Args:
        owners: all tables whose rows are there, where those of other schemas say whose the rows of this one are.
    """
    dump = source.archive.folder / entry.dump
    outside = {key.oid for key in plan.foreign_keys}
    listed = contents.read_contents(config, dump)
    rest = [
        e
        for e in listed
        if not (e.is_privilege or e.is_extension or e.is_privileged or e.is_table_data or is_definition(e))
        and not (e.catalog == contents.PG_CONSTRAINT and e.oid in outside)
    ]
    quarantine.load(config, dump, rest, part.database, login=part.login, jobs=jobs, tablespaces=plan.tablespaces)
    left_out = {(t.key, k.name) for k in plan.foreign_keys for t in [source.manifest.table(k.schema_, k.table)] if t}
    prove(config, part.database, source.manifest, schemas={plan.schema}, leave_out=left_out, jobs=jobs)
    if owners:
        made = {e.oid for e in rest}
        every = contents.read_contents(config, source.full_dump)
        keys = [e for e in keys_among(source.manifest, every, owners) if e.oid not in made]
        quarantine.load(config, source.full_dump, keys, part.database, login=part.login, tablespaces=False)
    quarantine.hand_over(config, part.database, part.login, source.manifest)
    privileges = [e for e in listed if e.is_privilege]
    if privileges:
        quarantine.load(config, dump, privileges, part.database, login=None)


def _dump_renamed(config: HostConfig, part: Part, schema: str, beside: str, folder: Path, jobs: int) -> _Beside:
    """Give the schema in quarantine its passing name, and dump it under that."""
    with connected(config, part.database, application_name="pgdr restore", settings=_SETTINGS) as inside:
        inside.execute(sql.SQL("alter schema {} rename to {}").format(sql.Identifier(schema), sql.Identifier(beside)))
        owners = _owners_of(catalog.read_owners(inside), beside)
        comment = _comment_of(inside, beside)
    program = parallel.Program(
        argv=(
            config.program("pg_dump"),
            *("--format=directory", f"--jobs={jobs}", "--compress=1", "--no-password", "--strict-names", "--no-sync"),
            *(f"--schema={exact_pattern(beside)}", f"--file={folder}"),
            f"--dbname={connection_string(config, part.database)}",
        ),
        name="pg_dump",
    )
    parallel.run_all([program], 1, env=client_environment())
    return _Beside(beside, folder, owners, comment)


def _load_beside(
    config: HostConfig, admin: Connection[TupleRow], part: Part, beside: _Beside, entry: SchemaEntry, jobs: int
) -> None:
    """Load the schema into the live database, with the rights of its owners and no others."""
    role = sql.Identifier(part.login.role)
    supers = {row[0] for row in admin.execute("select rolname from pg_catalog.pg_roles where rolsuper").fetchall()}
    for owner in {item.owner for item in beside.owners} - supers:
        admin.execute(sql.SQL("grant {} to {}").format(sql.Identifier(owner), role))
    forced = admin.execute("select from pg_catalog.pg_class where relforcerowsecurity limit 1").fetchone()
    if forced is None:
        admin.execute(sql.SQL("alter role {} nobypassrls").format(role))
    database = sql.Identifier(config.database)
    admin.execute(sql.SQL("grant connect, create on database {} to {}").format(database, role))
    quarantine.open_tablespaces(admin, part.login.role)
    for (name,) in admin.execute(
        "select nspname from pg_catalog.pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
    ).fetchall():
        admin.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(name), role))
    # Marked from its first moment: whatever happens to us, cleanup knows it.
    marked = mark("restore", of=entry.name, role=part.login.role)
    admin.execute(sql.SQL("create schema {} authorization {}").format(sql.Identifier(beside.name), role))
    _comment(admin, beside.name, marked)
    listed = contents.read_contents(config, beside.folder)
    try:
        ordinary = [e for e in listed if not (e.is_privilege or e.is_privileged or _is_schema(e))]
        quarantine.load(config, beside.folder, ordinary, config.database, login=part.login, jobs=jobs)
        quarantine.take_over(admin, part.login, beside.owners, entry.owner)
    finally:
        admin.execute(sql.SQL("drop owned by {} cascade").format(role))
    privileges = [e for e in listed if e.is_privilege]
    if privileges:
        quarantine.load(config, beside.folder, privileges, config.database, login=None)


def _is_schema(entry: contents.Entry) -> bool:
    return entry.catalog == contents.PG_NAMESPACE or entry.text.startswith("COMMENT - SCHEMA ")


def _rows_to_come(
    config: HostConfig, source: Source, part: Part, plan: SchemaPlan, erasures: Erasures | None
) -> dict[int, int]:
    """How many rows each table of the schema is to have, by its number in the manifest; who was erased is no more."""
    tables = [table for table in source.manifest.tables if table.schema_ == plan.schema and table.rows is not None]
    if erasures is None:
        return {table.oid: table.rows or 0 for table in tables}
    erasures.keep(part.database)
    with connected(config, part.database, application_name="pgdr restore", settings=_SETTINGS) as inside:
        # References to other schemas have said whose the rows are; they are made again with the live ones.
        for key in plan.foreign_keys:
            inside.execute(
                sql.SQL("alter table {} drop constraint if exists {}").format(
                    sql.Identifier(key.schema_, key.table), sql.Identifier(key.name)
                )
            )
        return {table.oid: count_rows(inside, table) for table in tables}


def _prove_beside(admin: Connection[TupleRow], source: Source, wanted: dict[int, int], beside: str) -> None:
    for table in source.manifest.tables:
        if table.oid in wanted:
            found = count_rows(admin, table.model_copy(update={"schema_": beside}))
            if found != wanted[table.oid]:
                raise NotProvenError(
                    f"{table.key}: {found} rows came back instead of {wanted[table.oid]}",
                    remedy="nothing was changed",
                )


def _swap(config: HostConfig, plan: SchemaPlan, beside: _Beside) -> None:
    """Swap the names in one transaction; the foreign keys are validated in it, so that it holds or did not happen."""
    settings = {**_SETTINGS, "lock_timeout": _LOCK_TIMEOUT}
    with connected(config, application_name="pgdr restore", settings=settings) as live:
        try:
            with live.transaction():
                # Looked up again: the plan may be minutes old.
                ties = links.find(live, plan.schema) if plan.replaces else links.Links()
                if ties.blocking:
                    raise RefusedError(f"something came up meanwhile: {checks.listed(ties.blocking)}")
                links.detach(live, ties)
                if plan.replaces:
                    comment = _comment_of(live, plan.schema)
                    _rename(live, plan.schema, plan.kept_as)
                    note = mark("kept", of=plan.schema, at=datetime.now(UTC).isoformat(), comment=comment)
                    _comment(live, plan.kept_as, note)
                _rename(live, beside.name, plan.schema)
                _comment(live, plan.schema, beside.comment)
                links.attach(live, ties, plan.foreign_keys)
        except psycopg.errors.LockNotAvailable as error:
            raise BusyError(
                f"somebody works in schema {plan.schema} and did not end within {_LOCK_TIMEOUT}",
                remedy="nothing was changed; see pg_stat_activity, then run again",
            ) from error
        except psycopg.errors.IntegrityError as error:
            detail = " ".join(t for t in (error.diag.message_primary or "", error.diag.message_detail or "") if t)
            raise OperationFailedError(
                f"the archived rows and those of now do not fit: {detail}",
                remedy="nothing was changed; restore the other side too, or single tables: pgdr restore table",
            ) from error
        except psycopg.Error as error:
            raise explain(error, "swapping the schema") from error


def _rename(live: Connection[TupleRow], old: str, new: str) -> None:
    live.execute(sql.SQL("alter schema {} rename to {}").format(sql.Identifier(old), sql.Identifier(new)))


def _comment(live: Connection[TupleRow], schema: str, text: str | None) -> None:
    live.execute(
        sql.SQL("comment on schema {} is {}").format(
            sql.Identifier(schema), sql.NULL if text is None else sql.Literal(text)
        )
    )


def _comment_of(live: Connection[TupleRow], schema: str) -> str | None:
    row = live.execute(
        "select pg_catalog.obj_description(oid, 'pg_namespace') from pg_catalog.pg_namespace where nspname = %s",
        (schema,),
    ).fetchone()
    return row[0] if row else None
