"""Restore tables: the rows that are missing, every row as it was, or a copy under another name."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pgdr.archive.counting import count_rows
from pgdr.archive.model import TableEntry
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.restoring import checks, contents, merge, quarantine
from pgdr.restoring.columns import ColumnPairs, pair_columns
from pgdr.restoring.owners import Erasures, keys_among, owner_tables
from pgdr.restoring.part import Part, quarantined
from pgdr.restoring.rows import SETTINGS, Work
from pgdr.restoring.selection import stored
from pgdr.restoring.source import Source
from pgdr.surgery.drift import ColumnMap


class Mode(StrEnum):
    """What happens to the live rows."""

    MISSING_ONLY = "missing-only"
    OVERWRITE = "overwrite"
    INTO = "into"


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        tables: which tables.
        mode: what happens to the live rows.
        new_name: name of the copy, in the table's schema; for ``into``.
        only_plan: roll everything back at the end.
        columns: what a person decided about columns that have changed since.
        erasures: who was erased since; ``None`` where nobody ever was.
    """

    tables: Sequence[TableEntry]
    mode: Mode
    new_name: str = ""
    only_plan: bool = False
    columns: ColumnMap = field(default_factory=ColumnMap)
    erasures: Erasures | None = None


@dataclass
class TablesRestore:
    """What became of a restore of tables, or what would.

    Attributes:
        erased: archived rows of each table that stay away, because whom they belonged to was erased.
    """

    source: str
    mode: Mode
    changes: dict[str, merge.Counts] = field(default_factory=dict)
    erased: dict[str, int] = field(default_factory=dict)
    drift: tuple[checks.Drift, ...] = ()
    seconds: float = 0.0


def restore(
    config: HostConfig,
    source: Source,
    request: Request,
    *,
    jobs: int | None = None,
    on_phase: Callable[[str], None] = lambda _phase: None,
) -> TablesRestore:
    """Restore tables in one transaction; a plan does the same and rolls it back, so its figures are exact.

    Args:
        config: what this host is.
        source: the archive.
        request: what is asked for.
        jobs: how much is done at once.
        on_phase: told what begins.

    Raises:
        RefusedError: the structure has changed, or rows of other tables would be changed.
        BusyError: somebody holds a lock on one of the tables.
        NotProvenError: what was restored differs from the archive.
        OperationFailedError: a constraint refused a row.
    """
    began = time.monotonic()
    tables, mode = request.tables, request.mode
    result = TablesRestore(source.manifest.label, mode)
    wanted = {entry.oid for table in tables for entry in stored(source.manifest, table)}
    pairs: ColumnPairs = {}
    with connected(config, application_name="pgdr restore", settings=SETTINGS) as admin:
        if mode is Mode.INTO:
            _require_free(admin, tables[0].schema_, request.new_name)
        else:
            pairs, result.drift = pair_columns(tables, checks.live_tables(admin), request.columns)
        owners: list[TableEntry] = []
        if request.erasures is not None:
            owners = owner_tables(admin, request.erasures.tenancy, source.manifest, _entries(source, wanted))
        here = wanted | {entry.oid for entry in owners}
        with quarantined(config, admin, source, here, jobs=quarantine.processors(jobs), on_phase=on_phase) as part:
            if request.erasures is not None:
                on_phase("erasures")
                result.erased = _keep_away(config, source, part, request.erasures, here, _entries(source, wanted))
            on_phase("compare" if request.only_plan else "bring the rows back")
            work = Work(config, admin, part, tables, pairs)
            if mode is Mode.INTO:
                result.changes = work.copy(request.new_name, only_plan=request.only_plan)
            else:
                result.changes = work.bring_back(overwrite=mode is Mode.OVERWRITE, only_plan=request.only_plan)
    result.seconds = time.monotonic() - began
    return result


def _entries(source: Source, oids: Collection[int]) -> list[TableEntry]:
    return [table for table in source.manifest.tables if table.oid in oids]


def _keep_away(
    config: HostConfig,
    source: Source,
    part: Part,
    erasures: Erasures,
    here: Collection[int],
    wanted: Sequence[TableEntry],
) -> dict[str, int]:
    """Remove from quarantine who was erased since, before any row of theirs could come near the live tables."""
    entries = contents.read_contents(config, source.full_dump)
    keys = keys_among(source.manifest, entries, here)
    quarantine.load(config, source.full_dump, keys, part.database, login=part.login, tablespaces=False)
    if not erasures.keep(part.database):
        return {}
    with part.login.connected(config, part.database) as there:
        left = {table.key: (table.rows or 0) - count_rows(there, table) for table in wanted if table.rows is not None}
    return {key: rows for key, rows in left.items() if rows}


def _require_free(admin: Connection[TupleRow], schema: str, name: str) -> None:
    there = admin.execute(
        "select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s",
        (schema, name),
    ).fetchone()
    if there is not None:
        raise RefusedError(f"{schema}.{name} exists already", remedy="choose another name")
    if admin.execute("select from pg_catalog.pg_namespace where nspname = %s", (schema,)).fetchone() is None:
        raise RefusedError(f"the live database has no schema {schema}", remedy="pgdr restore schema")
