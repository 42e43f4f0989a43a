"""One tenant as a folder: its rows, the shared rows that it needs, definitions, sequences, all from one snapshot.

``schema.dump`` holds the definitions of the whole database but for other tenants' sequences (pg_dump, custom format),
``NNNN.copy.zst`` the rows of one table in COPY's text format, ``manifest.json`` names, checksums, roles that the
definitions need, and what was left out.
A table without tenant column that nothing leads to is exported only if rows of the tenant refer to it: what nobody can
assign may be another tenant's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import zstandard
from psycopg import IsolationLevel, sql
from pydantic import BaseModel, ConfigDict, ValidationError

from pgdr import __version__, process
from pgdr.archive.names import exact_pattern
from pgdr.errors import ConfigError, NotProvenError, RefusedError
from pgdr.files import adopt_owner, sync_directory, write_atomically
from pgdr.fingerprint_model import TableSum
from pgdr.hostconfig import HostConfig
from pgdr.policy.tenancy import Tenancy
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import one, server_facts
from pgdr.surgery import apply
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.checks import sum_of
from pgdr.surgery.images import ImageFile
from pgdr.surgery.model import Schema, Table
from pgdr.surgery.numbering import of_others
from pgdr.surgery.scope import TenantScope, canonical
from pgdr.surgery.source import APPLICATION, SETTINGS, conninfo
from pgdr.surgery.tenancy import Ownership, resolve

FORMAT = 1
_ROLES = """
with own as (
    select oid, nspowner, nspacl from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
)
select distinct r.rolname::text from (
    select nspowner as oid from own
    union select (aclexplode(nspacl)).grantee from own
    union select relowner from pg_class where relnamespace in (select oid from own)
    union select (aclexplode(relacl)).grantee from pg_class where relnamespace in (select oid from own)
    union select proowner from pg_proc where pronamespace in (select oid from own)
    union select (aclexplode(proacl)).grantee from pg_proc where pronamespace in (select oid from own)
    union select unnest(polroles) from pg_policy
) as used join pg_roles r on r.oid = used.oid where r.rolname !~ '^pg_' order by 1
"""
_SEQUENCES = """
select n.nspname::text, c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'S' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'pgdr' order by 1, 2
"""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExportedTable(_Document):
    """Rows of one table.

    Attributes:
        kind: whose rows: the tenant's, or shared ones (of a table that may have both).
        content: rows and checksum.
    """

    schema_name: str
    table: str
    kind: str
    columns: tuple[str, ...]
    file: ImageFile
    content: TableSum


class ExportedSequence(_Document):
    """Where a sequence stood."""

    schema_name: str
    name: str
    last_value: int
    is_called: bool


class Manifest(_Document):
    """A tenant in a folder."""

    format: int = FORMAT
    tenant: str
    database: str
    server_version: str
    pgdr_version: str
    taken_at: datetime
    definitions: ImageFile
    tables: tuple[ExportedTable, ...]
    sequences: tuple[ExportedSequence, ...]
    roles: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(table.file.rows for table in self.tables)


@dataclass(frozen=True)
class Request:
    """What is to be exported."""

    config: HostConfig
    tenancy: Tenancy
    tenant: str
    database: str | None = None


def export_tenant(request: Request, folder: Path) -> Manifest:
    """Write a tenant to a new folder.

    Raises:
        RefusedError: unknown tenant, or the folder holds something.
        PgdrError: anything else; what was written is of no use without its manifest.
    """
    new_folder(folder)
    config = request.config
    with connected(config, request.database, application_name=APPLICATION, settings=SETTINGS) as live:
        live.isolation_level = IsolationLevel.REPEATABLE_READ
        live.read_only = True
        try:
            with live.transaction():
                return _export(live, request, folder)
        except psycopg.Error as error:
            raise apply.in_words(error, "0") from error


def new_folder(folder: Path) -> None:
    """Make a folder for an export.

    Raises:
        RefusedError: it holds something.
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RefusedError(f"{folder} is not empty", remedy="name a new folder; nothing was changed")
        adopt_owner(folder)
    except OSError as error:
        raise ConfigError(
            f"cannot write {folder}: {error.strerror}", remedy="name a folder that postgres owns"
        ) from error


def _export(live: Connection[TupleRow], request: Request, folder: Path) -> Manifest:
    ownership = resolve(read_schema(live), request.tenancy)
    scope = TenantScope(ownership, request.tenant)
    scope.check_value(live)
    everybody = TenantScope(ownership, request.tenant, everybody=True)
    tables: list[ExportedTable] = []
    for table in scope.tables:
        query = scope.select(table, _list(table))
        tables.append(_save(live, table, "tenant", query, folder, len(tables)))
        if not ownership.owned[table.oid].always:
            tables.append(_save(live, table, "shared", _nobodys(table, everybody), folder, len(tables)))
    if not sum(one.file.rows for one in tables if one.kind == "tenant"):
        raise RefusedError(f"no row belongs to tenant {request.tenant!r}", remedy="names are exact")
    whole = _needed(ownership)
    for table in whole:
        query = sql.SQL("select {} from {} as t").format(_list(table), table.rows)
        tables.append(_save(live, table, "shared", query, folder, len(tables)))
    facts = server_facts(live)
    others: set[tuple[str, str]] = set()
    if request.tenancy.sequences:
        others = of_others(live, request.tenancy, canonical(live, ownership, request.tenant))
    manifest = Manifest(
        tenant=request.tenant,
        database=live.info.dbname,
        server_version=facts.version,
        pgdr_version=__version__,
        taken_at=datetime.now(UTC),
        definitions=_definitions(live, request.config, folder, others),
        tables=tuple(tables),
        sequences=tuple(_sequences(live, others)),
        roles=tuple(row[0] for row in live.execute(_ROLES.encode())),
        left_out=tuple(t.label for t in ownership.unreached if t not in whole),
    )
    sync_directory(folder)
    write_atomically(folder / "manifest.json", manifest.model_dump_json(indent=2) + "\n", 0o600)
    return manifest


def written_columns(table: Table) -> list[str]:
    """The columns that are copied: all but those that the server computes."""
    return [column.name for column in table.columns if not column.generated]


def _list(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier("t", name) for name in written_columns(table))


def _nobodys(table: Table, everybody: TenantScope) -> sql.Composed:
    """Rows that belong to no tenant at all."""
    return sql.SQL(
        "select {columns} from {rows} as t left join ({owned}) as o on o.tab = t.tableoid and o.tid = t.ctid"
        " where o.tid is null"
    ).format(
        columns=_list(table),
        rows=table.rows,
        owned=everybody.select(table, sql.SQL("t.tableoid as tab, t.ctid as tid")),
    )


def _needed(ownership: Ownership) -> list[Table]:
    """Tables of nobody that go along: those that the policy calls shared, and all that exported ones refer to."""
    wanted = dict.fromkeys(table.oid for table in ownership.shared)
    exported = {*ownership.owned, *wanted}
    grew = True
    while grew:
        grew = False
        for key in ownership.schema.foreign_keys:
            if key.child in exported and key.parent not in exported:
                exported.add(key.parent)
                wanted[key.parent] = None
                grew = True
    return [ownership.schema.tables[oid] for oid in wanted]


def _save(
    live: Connection[TupleRow], table: Table, kind: str, query: sql.Composed, folder: Path, number: int
) -> ExportedTable:
    path = folder / f"{number:04d}.copy.zst"
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, live.cursor() as cursor:
        compressor = zstandard.ZstdCompressor(level=6).compressobj()
        with cursor.copy(sql.SQL("copy ({}) to stdout").format(query)) as rows:
            for chunk in rows:
                data = compressor.compress(chunk)
                digest.update(data)
                file.write(data)
        data = compressor.flush()
        digest.update(data)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        count = cursor.rowcount
    adopt_owner(path)
    return ExportedTable(
        schema_name=table.schema,
        table=table.name,
        kind=kind,
        columns=tuple(written_columns(table)),
        file=ImageFile(name=path.name, rows=count, size=path.stat().st_size, sha256=digest.hexdigest()),
        content=sum_of(live, sql.SQL("select row(s.*)::text as content from ({}) as s").format(query)),
    )


def _definitions(
    live: Connection[TupleRow], config: HostConfig, folder: Path, without: Iterable[tuple[str, str]]
) -> ImageFile:
    snapshot = str(one(live, "select pg_export_snapshot()")[0])
    path = folder / "schema.dump"
    process.run(
        [
            config.program("pg_dump"),
            "--schema-only",
            "--format=custom",
            f"--snapshot={snapshot}",
            "--no-password",
            *(f"--exclude-table={exact_pattern(schema)}.{exact_pattern(name)}" for schema, name in sorted(without)),
            f"--file={path}",
            f"--dbname={conninfo(config, live.info.dbname)}",
        ]
    )
    path.chmod(0o600)
    adopt_owner(path)
    content = path.read_bytes()
    return ImageFile(name=path.name, rows=0, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _sequences(live: Connection[TupleRow], without: set[tuple[str, str]]) -> Iterable[ExportedSequence]:
    for schema, name in live.execute(_SEQUENCES.encode()).fetchall():
        if (schema, name) in without:
            continue
        row = live.execute(
            sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, name))
        ).fetchone()
        if row is not None:
            yield ExportedSequence(schema_name=schema, name=name, last_value=row[0], is_called=row[1])


def load_manifest(folder: Path) -> Manifest:
    """Read the manifest of an export.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
    try:
        found = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except OSError as error:
        raise ConfigError(f"{folder} holds no export: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{folder / 'manifest.json'} is not a manifest: {error.errors()[0]['msg']}") from error
    if found.format != FORMAT:
        raise NotProvenError(f"{folder} has format {found.format}, this pgdr reads {FORMAT}")
    return found


def in_database(schema: Schema, exported: ExportedTable) -> Table:
    """The table of an export in another database.

    Raises:
        NotProvenError: it is not there.
    """
    table = schema.find(exported.schema_name, exported.table)
    if table is None:
        raise NotProvenError(f"the target has no table {exported.schema_name}.{exported.table}")
    return table
