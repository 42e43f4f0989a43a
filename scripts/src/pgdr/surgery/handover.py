"""Rows of the past as files, for people who want to look at them or load them themselves.

``csv`` and ``sql`` hold exactly the rows that would come home; ``dump`` the tables as they were, definitions included,
which is also the way back for a table that is gone itself. Nothing is changed anywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from json import dumps
from pathlib import Path

from psycopg import sql

from pgdr import process
from pgdr.archive.names import exact_pattern
from pgdr.errors import RefusedError
from pgdr.files import adopt_owner, sync_directory, write_atomically
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery import kin, operation, staging
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.diff import WRITTEN, kinds
from pgdr.surgery.export import new_folder
from pgdr.surgery.home import Choices, silent
from pgdr.surgery.rows import Request, RowsHome, find_tables
from pgdr.surgery.staging import Stage

_HEAD = b"""\
-- Rows of the past that are gone today, parents first. Triggers of the tables fire: if they must not, a superuser adds
--   set local session_replication_role = replica;
-- after the next line; foreign keys are not checked then.
begin;
"""
# Tables and their partitions: the rows are in those.
_STORED = """
select distinct n.nspname::text, c.relname::text
from unnest(%s::oid[]) as t (oid), lateral (
    select t.oid::regclass as relid union select relid from pg_catalog.pg_partition_tree(t.oid)
) as p join pg_catalog.pg_class c on c.oid = p.relid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
order by 1, 2
"""


class Form(StrEnum):
    """How rows are written."""

    CSV = "csv"
    SQL = "sql"
    DUMP = "dump"


@dataclass(frozen=True)
class WrittenFile:
    """One file.

    Attributes:
        name: in the folder.
        tables: whose rows it holds.
        rows: how many; ``None`` where nobody counted.
        sha256: of its content.
    """

    name: str
    tables: tuple[str, ...]
    rows: int | None
    sha256: str


@dataclass(frozen=True)
class Handover:
    """What was written."""

    subject: str
    source: str
    form: Form
    files: tuple[WrittenFile, ...]

    @property
    def rows(self) -> int:
        """All rows that were counted."""
        return sum(one.rows or 0 for one in self.files)


def hand_over(
    request: Request, choices: Choices, form: Form, folder: Path, progress: staging.Progress = silent
) -> Handover:
    """Write rows of the past to a new folder.

    Raises:
        RefusedError: unknown table, the folder holds something, or a dump of one tenant is asked for.
        PgdrError: anything else; what was written is of no use without its manifest.
    """
    if form is Form.DUMP and request.tenant is not None:
        raise RefusedError("a dump holds whole tables, of all tenants", remedy="choose csv or sql for one tenant")
    work = RowsHome(request, choices, progress)
    new_folder(folder)
    files = _dumped(work, request, folder) if form is Form.DUMP else _compared(work, form, folder)
    made = Handover(work.subject, request.source.name, form, tuple(files))
    sync_directory(folder)
    write_atomically(folder / "manifest.json", dumps(asdict(made), indent=2, ensure_ascii=False) + "\n", 0o600)
    return made


def _compared(work: RowsHome, form: Form, folder: Path) -> list[WrittenFile]:
    # Temporary tables are all that is made, and nothing of them stays.
    with work.opened() as (past, live), live.transaction(force_rollback=True):
        operation.begin(live, work.choices.lock_timeout, alone=False)
        staged = work.stage(past, live, gate=False)
        stages = [one for one in staged.ground.stages.values() if staged.ground.has(live, one, WRITTEN)]
        if form is Form.SQL:
            return [_sql(live, stages, folder)]
        return [_csv(live, stage, folder) for stage in stages]


def _csv(live: Connection[TupleRow], stage: Stage, folder: Path) -> WrittenFile:
    columns = sql.SQL(", ").join(
        sql.SQL("s.{} as {}").format(name, sql.Identifier(one.column.name)) for one, name in stage.carried
    )
    query = sql.SQL(
        "copy (select {columns} from {past} as s join {act} as a on a.p = s.n where a.kind in {written} order by s.n)"
        " to stdout (format csv, header)"
    ).format(columns=columns, past=stage.past, act=stage.act, written=kinds(*WRITTEN))
    # A table's name may hold anything, a slash too; the number keeps two of them apart.
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{stage.table.schema}.{stage.table.name}")
    with _File(folder / f"{stage.number:04d}-{plain}.csv") as file, live.cursor() as cursor:
        with cursor.copy(query) as rows:
            for chunk in rows:
                file.write(bytes(chunk))
        count = cursor.rowcount
    return file.done((stage.table.label,), count)


def _sql(live: Connection[TupleRow], stages: list[Stage], folder: Path) -> WrittenFile:
    count = 0
    with _File(folder / "rows.sql") as file:
        file.write(_HEAD)
        for stage in stages:
            count += _inserts(live, stage, file.write)
        file.write(b"commit;\n")
    return file.done(tuple(stage.table.label for stage in stages), count)


def _inserts(live: Connection[TupleRow], stage: Stage, write: Callable[[bytes], None]) -> int:
    """One statement a row; the server writes the values, so they are read as they were meant."""
    names = sql.SQL(", ").join(sql.Identifier(one.column.name) for one, _ in stage.carried)
    head = sql.SQL("insert into {} ({}) overriding system value values (").format(stage.table.identifier, names)
    values = sql.SQL(" || ', ' || ").join(
        sql.SQL("pg_catalog.quote_nullable(s.{}::text)").format(name) for _, name in stage.carried
    )
    query = sql.SQL(
        "select {values} from {past} as s join {act} as a on a.p = s.n where a.kind in {written} order by s.n"
    ).format(values=values, past=stage.past, act=stage.act, written=kinds(*WRITTEN))
    count = 0
    with live.cursor("pgdr_rows") as cursor:
        for (row,) in cursor.execute(query):
            write(f"{head.as_string(live)}{row});\n".encode())
            count += 1
    return count


def _dumped(work: RowsHome, request: Request, folder: Path) -> list[WrittenFile]:
    with request.source.open() as past:
        schema = read_schema(past)
        chosen = find_tables(schema, request.tables, request.source.name)
        tables = kin.family(schema, chosen, children=request.children)
        stored = past.execute(_STORED, ([table.oid for table in tables],)).fetchall()
    path = folder / "tables.dump"
    path.touch(0o600)
    process.run(
        [
            work.config.program("pg_dump"),
            "--format=custom",
            "--no-password",
            *(f"--table={exact_pattern(schema_name)}.{exact_pattern(name)}" for schema_name, name in stored),
            f"--file={path}",
            f"--dbname={request.source.conninfo}",
        ]
    )
    adopt_owner(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [WrittenFile(path.name, tuple(table.label for table in tables), None, digest)]


class _File:
    """A new file of ours that knows its checksum; durable when its block ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()

    def __enter__(self) -> _File:
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        adopt_owner(self._path)

    def write(self, data: bytes) -> None:
        """Add to it."""
        self._digest.update(data)
        self._file.write(data)

    def done(self, tables: tuple[str, ...], rows: int) -> WrittenFile:
        """Describe it."""
        return WrittenFile(self._path.name, tables, rows, self._digest.hexdigest())
