"""Bring home what is gone from some tables, with its children, while everybody goes on writing to them.

Only rows of the past and what stands today under the same key are looked at: rows that came since are not even read.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.policy.tenancy import Tenancy
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery import diff, kin, staging
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.diff import Kind, Mode
from pgdr.surgery.drift import map_tables
from pgdr.surgery.forgotten import Forgotten, forgotten
from pgdr.surgery.home import Choices, Homecoming, Report, Staged, silent
from pgdr.surgery.ledger import Ledger
from pgdr.surgery.model import Schema, Table, quoted
from pgdr.surgery.plan import ROWS, look_around
from pgdr.surgery.scope import Scope, TenantScope, WholeTables
from pgdr.surgery.source import PastSource
from pgdr.surgery.tenancy import Ownership, resolve

# Rows that come since are others' work: a mode that removes them is not for whole tables.
MODES = (Mode.MISSING_ONLY, Mode.KEEP_NEW)
_SIZE = """
select coalesce(sum(pg_catalog.pg_table_size(p.relid)), 0)::bigint
from unnest(%s::oid[]) as t (oid), lateral (
    select t.oid::regclass as relid union select relid from pg_catalog.pg_partition_tree(t.oid)
) as p
"""


@dataclass(frozen=True)
class Request:
    """What is to come home, and from where.

    Attributes:
        config: what this host is.
        source: the past.
        tables: schema and name of each table that is meant.
        database: the live database; ``None`` for the ERP's.
        children: with the rows of other tables that hang on returning rows.
        tenancy: how rows belong to tenants; needed for ``tenant``, and where somebody was erased.
        tenant: only this tenant's rows.
        ledger: who was erased: their rows stay away. ``None`` where nobody ever was.
    """

    config: HostConfig
    source: PastSource
    tables: Sequence[tuple[str, str]]
    database: str | None = None
    children: bool = True
    tenancy: Tenancy | None = None
    tenant: str | None = None
    ledger: Ledger | None = None


def recover_rows(request: Request, choices: Choices, *, plan_only: bool, progress: staging.Progress = silent) -> Report:
    """Bring rows back that are gone, or only say which; with mode ``keep-new`` changed ones too.

    One transaction of the live database: it is committed as a whole with everything proven, or leaves nothing.

    Raises:
        RefusedError: unknown table, tables that have changed, conflicts without a choice, missing rights or space.
        BusyError: somebody else works on the same rows.
        PgdrError: anything else; nothing was changed.
    """
    return RowsHome(request, choices, progress).run(plan_only=plan_only)


class RowsHome(Homecoming):
    """Rows of some tables and their children."""

    sharing = "--bring-parents"

    def __init__(self, request: Request, choices: Choices, progress: staging.Progress = silent) -> None:
        super().__init__(request.config, request.source, request.database, choices, progress)
        self._request = request
        self._chosen: set[int] = set()

    @property
    def subject(self) -> str:
        """The tables, and the tenant where there is one."""
        names = ", ".join(f"{quoted(schema)}.{quoted(name)}" for schema, name in self._request.tables)
        return ROWS + names + (f" of tenant {self._request.tenant}" if self._request.tenant is not None else "")

    def stage(self, past: Connection[TupleRow], live: Connection[TupleRow], *, gate: bool) -> Staged:
        """Bring past and present side by side; see :class:`Homecoming`."""
        schema, then = read_schema(live), read_schema(past)
        for table in find_tables(then, self._request.tables, self.source.name):
            if schema.find(*table.identity) is None:
                raise RefusedError(
                    f"table {table.label} is gone itself, not only its rows",
                    remedy="--export dump --to FOLDER writes it as it was, for pg_restore; nothing was changed",
                )
        chosen = find_tables(schema, self._request.tables, "this database")
        self._chosen = {table.oid for table in chosen}
        gone = self._forgotten(past, then, schema, chosen)
        scope, past_scope, wanted = self._scopes(past, live, schema, then, chosen, gone)
        names = {table.identity for table in wanted}
        mapped = map_tables(
            wanted, then, [t for t in then.tables.values() if t.identity in names], self.choices.columns
        )
        self.note_untouched(wanted, mapped)
        if self._request.tenant is None:
            self._require_space(past, [mapping.past.oid for mapping in mapped if mapping.past is not None])
        ground = self.bring_over(past, live, schema, mapped, scope, past_scope, gate=gate)
        self.lap("read the past")
        for stage in ground.stages.values():
            staging.fill_matching(live, stage)
            diff.compare(live, stage, self.choices.mode)
        kin.keep_hanging(live, ground, self._chosen)
        self.lap("compare")
        nobodys = Ownership(schema, {}, (), (), ())  # any row may come along that a returning row refers to
        return Staged(ground, None, then, nobodys, forgotten=gone)

    def _forgotten(self, past: Connection[TupleRow], then: Schema, schema: Schema, chosen: list[Table]) -> Forgotten:
        """Who was erased, of those whose rows could come along."""
        if self._request.ledger is None or self._request.tenancy is None:
            return Forgotten()
        coming = kin.family(schema, chosen, children=self._request.children)
        if self.choices.bring_shared:
            coming = kin.ancestors(schema, coming)
        tables = [found for table in coming if (found := then.find(*table.identity)) is not None]
        gone = forgotten(past, then, self._request.tenancy, self._request.ledger, tables)
        if gone.scopes:
            self.notes.notes.append(f"rows of {len(gone.scopes)} subjects that were erased since stay away")
        return gone

    def _scopes(
        self,
        past: Connection[TupleRow],
        live: Connection[TupleRow],
        schema: Schema,
        then: Schema,
        chosen: list[Table],
        gone: Forgotten,
    ) -> tuple[Scope, Scope, list[Table]]:
        """Which rows count today and then, and the tables that hold them."""
        tables = kin.family(schema, chosen, children=self._request.children)
        if self._request.tenant is None or self._request.tenancy is None:
            return WholeTables(schema, tables), WholeTables(then, list(then.tables.values()), gone.left_out), tables
        scope = TenantScope(resolve(schema, self._request.tenancy), self._request.tenant)
        past_scope = TenantScope(resolve(then, self._request.tenancy), self._request.tenant)
        scope.check_value(live)
        past_scope.check_value(past)
        owned = {one.table.identity for one in past_scope.ownership.owned.values()}
        wanted = []
        for table in tables:
            if table.oid in scope.ownership.owned and table.identity in owned:
                wanted.append(table)
            elif table.oid in self._chosen:
                raise RefusedError(
                    f"{table.label} holds no rows of tenants", remedy="leave out --tenant; nothing was changed"
                )
            else:
                self.notes.notes.append(f"{table.label} holds no rows of tenants: not touched")
        return scope, past_scope, wanted

    def _require_space(self, past: Connection[TupleRow], oids: list[int]) -> None:
        """What is compared is copied once: refuse where that would fill production's disk."""
        row = past.execute(_SIZE, (oids,)).fetchone()
        needed = row[0] if row else 0
        try:
            free = shutil.disk_usage(self.config.data_directory).free
        except OSError:  # a server that is not on this host
            return
        if needed > free:
            raise RefusedError(
                f"comparing needs {needed} bytes beside production and {self.config.data_directory} has {free} free",
                remedy="name fewer tables, --no-children, or one --tenant; nothing was changed",
            )

    def nothing_there(self, live_rows: int) -> RefusedError:  # noqa: ARG002 - the base's signature
        """What to say where the tables were empty."""
        return RefusedError(f"{self.source.name} holds none of the {self.subject}", remedy="nothing was changed")

    def look(self, live: Connection[TupleRow], staged: Staged) -> None:
        """Say what is not brought back, and why."""
        look_around(live, staged.ground, self.notes)
        for oid, stage in staged.ground.stages.items():
            kept = staged.ground.count(live, stage).get(Kind.KEEP, 0)
            if kept and self.choices.mode is Mode.MISSING_ONLY:
                self.notes.notes.append(
                    f"{stage.table.label}: {kept} rows were changed since and stay (--mode keep-new: as they were)"
                )
            if not stage.key and oid in self._chosen:
                self.notes.notes.append(
                    f"{stage.table.label} has no key: a row that was changed since counts as gone and comes back beside"
                )


def find_tables(schema: Schema, names: Sequence[tuple[str, str]], where: str) -> list[Table]:
    """The tables of these names.

    Raises:
        RefusedError: there is no such table; what looks like it is named.
    """
    found: dict[int, Table] = {}
    for name in names:
        table = schema.find(*name)
        if table is None:
            label = f"{quoted(name[0])}.{quoted(name[1])}"
            near = get_close_matches(label, [one.label for one in schema.tables.values()], n=1)
            raise RefusedError(
                f"{where} has no table {label}",
                remedy=(f"did you mean {near[0]}?" if near else "names are exact;") + " nothing was changed",
            )
        found[table.oid] = table
    return list(found.values())
