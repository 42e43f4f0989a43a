"""What an operation would do, as a document for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.conflicts import Conflict, Ground
from pgdr.surgery.diff import Kind, Mode
from pgdr.surgery.model import quoted
from pgdr.surgery.numbering import SequencePlan
from pgdr.surgery.scope import TenantScope
from pgdr.surgery.tenancy import Owned, Ownership

# How the subject begins of an operation that is about tables, and not about one tenant.
ROWS = "rows of "


@dataclass(frozen=True)
class TablePlan:
    """One table.

    Attributes:
        table: its name.
        inserts: rows that come back.
        updates: rows that get their old content.
        deletes: rows that go.
        unchanged: rows that are as they were.
        kept: rows that stay as they are though the past says otherwise.
        skipped: rows of the past that do not come back.
        shared: these are shared rows that the tenant's rows need.
    """

    table: str
    inserts: int
    updates: int
    deletes: int
    unchanged: int
    kept: int
    skipped: int
    shared: bool = False

    @property
    def changes(self) -> int:
        """How many rows would be written or removed."""
        return self.inserts + self.updates + self.deletes


@dataclass(frozen=True)
class Plan:
    """An operation before it is carried out.

    Attributes:
        subject: whose rows.
        source: where the past comes from.
        mode: how far it goes.
        tables: what happens to each table.
        conflicts: what stands in the way, until a choice is made.
        settled: conflicts that a choice has settled; their rows are among the kept and skipped ones.
        blockers: what stands in the way whatever is chosen.
        notes: what a person should know.
        sequences: what happens to sequences that are the tenant's own.
    """

    subject: str
    source: str
    mode: Mode
    tables: tuple[TablePlan, ...]
    conflicts: tuple[Conflict, ...] = ()
    settled: tuple[Conflict, ...] = ()
    blockers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    past_rows: int = 0
    live_rows: int = 0
    sequences: tuple[SequencePlan, ...] = ()

    @property
    def changes(self) -> int:
        """How many rows would be written or removed in all."""
        return sum(table.changes for table in self.tables)

    @property
    def ready(self) -> bool:
        """Whether it can be carried out."""
        return not self.conflicts and not self.blockers

    def document(self) -> dict[str, Any]:
        """The plan for a program."""
        return {**asdict(self), "changes": self.changes, "ready": self.ready}


@dataclass
class Notes:
    """Blockers and notes, collected on the way."""

    blockers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def table_plans(connection: Connection[TupleRow], ground: Ground) -> tuple[TablePlan, ...]:
    """Count what is staged."""
    plans = []
    for stage in ground.stages.values():
        found = ground.count(connection, stage)
        plans.append(
            TablePlan(
                table=stage.table.label,
                inserts=found.get(Kind.INSERT, 0),
                updates=found.get(Kind.UPDATE, 0) + found.get(Kind.REPLACE, 0),
                deletes=found.get(Kind.DELETE, 0),
                unchanged=found.get(Kind.SAME, 0),
                kept=found.get(Kind.KEEP, 0),
                skipped=found.get(Kind.SKIP, 0),
                shared=not stage.scoped,
            )
        )
    return tuple(plans)


def look_around(connection: Connection[TupleRow], ground: Ground, notes: Notes) -> None:
    """Find what a person should know about the tables that would change."""
    for stage in ground.stages.values():
        found = ground.count(connection, stage)
        if not any(number for kind, number in found.items() if kind not in {Kind.SAME, Kind.KEEP, Kind.SKIP}):
            continue
        for what in stage.table.always_firing:
            notes.blockers.append(
                f"{stage.table.label}: {what} fires ALWAYS or for replicas: it would fire a second time "
                "(make it fire for origin only)"
            )
        for what in stage.table.constraint_triggers:
            notes.notes.append(f"{stage.table.label}: constraint {what} does not check the returning rows")
        if any(rule.deferrable for rule in stage.table.unique_rules):
            notes.notes.append(f"{stage.table.label}: others cannot write to it during the last steps (deferrable key)")


def look_at_tenancy(ownership: Ownership, notes: Notes) -> None:
    """Say which tables hold rows of nobody, and which are not touched."""
    if ownership.unreached:
        names = ", ".join(table.label for table in ownership.unreached[:10])
        more = f" and {len(ownership.unreached) - 10} more" if len(ownership.unreached) > 10 else ""
        notes.notes.append(f"no tenant column and no way to one, taken for shared: {names}{more}")
    notes.notes += [f"not touched: {what}" for what in ownership.schema.skipped]


def disputed(connection: Connection[TupleRow], scope: TenantScope, when: str) -> list[str]:
    """Rows that two tenants could claim: their parents belong to different ones."""
    found = []
    for one in scope.ownership.owned.values():
        if len(one.edges) < 2:
            continue
        for edge in one.edges:
            parent = scope.ownership.owned[edge.parent]
            if parent.column is None:
                continue
            query = scope.select(
                one.table,
                sql.SQL(
                    "exists (select from {rows} as p where {holds} and p.{column} is not null and not ({mine})) as bad"
                ).format(
                    rows=parent.table.rows,
                    holds=edge.holds("p", "t"),
                    column=sql.Identifier(parent.column),
                    mine=scope.is_tenant(parent, "p"),
                ),
            )
            row = connection.execute(
                sql.SQL("select count(*) filter (where bad) from ({}) as s").format(query)
            ).fetchone()
            if row is not None and row[0]:
                found.append(_dispute(one, edge.name, row[0], when))
    return found


def _dispute(one: Owned, edge: str, rows: int, when: str) -> str:
    return (
        f"{one.table.label}: {rows} rows {when} are claimed by another tenant too, by {quoted(edge)} "
        "(say under tenancy.owners which reference owns them)"
    )
