"""Bring one tenant back to how it was."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import psycopg
from psycopg import Rollback

from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.policy.tenancy import Tenancy
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.surgery import apply, diff, images, operation, shared, staging
from pgdr.surgery.adopt import adopt
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.conflicts import Conflict, Ground, Trouble, ask, findings, prepare
from pgdr.surgery.diff import Mode
from pgdr.surgery.drift import ColumnMap, map_tables
from pgdr.surgery.operation import Outcome
from pgdr.surgery.plan import Notes, Plan, disputed, look_around, table_plans
from pgdr.surgery.scope import TenantScope
from pgdr.surgery.source import APPLICATION, SETTINGS, PastSource
from pgdr.surgery.tenancy import Ownership, resolve


class OnConflict(StrEnum):
    """What to do with rows that cannot be treated as the past wants it."""

    REFUSE = "refuse"
    SKIP = "skip"


@dataclass(frozen=True)
class Choices:
    """What a person decided.

    Attributes:
        mode: how far the restore goes.
        on_conflict: refuse, or leave the rows in trouble as they are today.
        bring_shared: bring back shared rows that returning rows need.
        columns: what to do about columns that have changed since.
        lock_timeout: how long to wait for any lock, as PostgreSQL writes it.
    """

    mode: Mode = Mode.EXACT
    on_conflict: OnConflict = OnConflict.REFUSE
    bring_shared: bool = False
    columns: ColumnMap = field(default_factory=ColumnMap)
    lock_timeout: str = "10s"


@dataclass(frozen=True)
class Request:
    """What is to be restored, and from where.

    Attributes:
        config: what this host is.
        tenancy: how rows belong to tenants.
        source: the past.
        tenant: whose rows.
        database: the live database; ``None`` for the ERP's.
        schemas: these schemas only; ``None`` for all.
    """

    config: HostConfig
    tenancy: Tenancy
    source: PastSource
    tenant: str
    database: str | None = None
    schemas: Collection[str] | None = None


@dataclass(frozen=True)
class Report:
    """What became of a restore.

    Attributes:
        plan: what was planned.
        outcome: what was done; ``None`` for a plan alone, or where nothing had to change.
        operation: its id, for ``--undo``; empty where nothing was changed.
        times: seconds by phase.
    """

    plan: Plan
    outcome: Outcome | None
    operation: str
    times: dict[str, float]


def _silent(_table: str, _size: int) -> None:
    """Progress that nobody watches."""


def restore_tenant(
    request: Request, choices: Choices, *, plan_only: bool, progress: staging.Progress = _silent
) -> Report:
    """Make the rows of a tenant what they were in the past, or only say what that would take.

    One transaction of the live database: it is committed as a whole with everything proven, or leaves nothing.

    Raises:
        RefusedError: unknown tenant, tables that have changed, conflicts without a choice, missing rights.
        BusyError: somebody else works on the same rows.
        PgdrError: anything else; nothing was changed.
    """
    return _Restore(request, choices, progress).run(plan_only=plan_only)


class _Restore:
    """One run: what is known grows from step to step."""

    def __init__(self, request: Request, choices: Choices, progress: staging.Progress) -> None:
        self._request = request
        self._choices = choices
        self._progress = progress
        self._times: dict[str, float] = {}
        self._began = time.monotonic()
        self._notes = Notes()

    def run(self, *, plan_only: bool) -> Report:
        request = self._request
        with (
            request.source.open() as past,
            connected(request.config, request.database, application_name=APPLICATION, settings=SETTINGS) as live,
        ):
            try:
                return self._in_transaction(past, live, plan_only=plan_only)
            except psycopg.Error as error:
                raise apply.in_words(error, self._choices.lock_timeout) from error

    def _in_transaction(self, past: Connection[TupleRow], live: Connection[TupleRow], *, plan_only: bool) -> Report:
        report: Report | None = None
        folder = None
        with live.transaction():
            operation.begin(live, self._choices.lock_timeout, alone=not plan_only)
            ground, scope, past_ownership = self._stage(past, live, gate=not plan_only)
            plan = self._plan(past, live, ground, scope, past_ownership)
            if plan_only:
                report = Report(plan, None, "", self._times)
                raise Rollback
            _require_ready(plan)
            if not plan.changes and not self._request.tenancy.hooks:
                report = Report(plan, None, "", self._times)
                raise Rollback
            name, folder = images.new_operation(self._request.config)
            outcome = operation.carry_out(
                live,
                ground,
                scope,
                folder=folder,
                save_manifest=lambda xid, saved: images.save_manifest(folder, self._manifest(live, name, xid, saved)),
                hooks=self._request.tenancy.hooks,
                tenant=self._request.tenant,
            )
            self._lap("apply")
            report = Report(plan, outcome, name, self._times)
        if folder is not None:
            images.mark_committed(folder)
        self._lap("commit")
        if report is None:  # pragma: no cover - every way above sets it
            raise AssertionError("no report")
        return report

    def _lap(self, phase: str) -> None:
        now = time.monotonic()
        self._times[phase] = now - self._began
        self._began = now

    def _stage(
        self, past: Connection[TupleRow], live: Connection[TupleRow], *, gate: bool
    ) -> tuple[Ground, TenantScope, Ownership]:
        request = self._request
        schema = read_schema(live, request.schemas)
        past_ownership = resolve(read_schema(past, request.schemas), request.tenancy)
        scope = TenantScope(resolve(schema, request.tenancy), request.tenant)
        past_scope = TenantScope(past_ownership, request.tenant)
        scope.check_value(live)
        past_scope.check_value(past)
        mapped = map_tables(scope.tables, past_ownership.schema, past_scope.tables, self._choices.columns)
        untouched = {table.oid: table for table in scope.tables}
        for mapping in mapped:
            del untouched[mapping.table.oid]
        self._notes.notes += [f"{t.label} did not exist then, or is left out: not touched" for t in untouched.values()]
        prepare(live)
        ground = Ground(schema)
        if gate:
            apply.hold_tables(live, [mapping.table for mapping in mapped])
        for number, mapping in enumerate(mapped, start=1):
            stage = staging.make(number, mapping, scope)
            ground.stages[mapping.table.oid] = stage
            staging.create(live, stage)
            staging.fill_past(past, live, stage, past_scope, self._progress)
        self._notes.blockers += disputed(past, past_scope, "of the past")
        self._lap("read the past")
        if gate and not apply.close_gate(live, scope):
            self._notes.notes.append("no register of tenants: new rows of this tenant are noticed, not held up")
        for stage in ground.stages.values():
            staging.fill_live(live, stage, scope)
        for label, rows in adopt(live, ground.stages, scope).items():
            self._notes.notes.append(f"{label}: {rows} rows without an owner are taken for this tenant's")
        self._notes.blockers += disputed(live, scope, "of today")
        for stage in ground.stages.values():
            diff.compare(live, stage, self._choices.mode)
        self._lap("compare")
        return ground, scope, past_ownership

    def _plan(
        self,
        past: Connection[TupleRow],
        live: Connection[TupleRow],
        ground: Ground,
        scope: TenantScope,
        past_ownership: Ownership,
    ) -> Plan:
        past_rows = sum(_rows(live, stage.past) for stage in ground.stages.values())
        live_rows = sum(_rows(live, stage.live) for stage in ground.stages.values())
        if not past_rows:
            known = "" if live_rows else ", nor does today's database"
            raise RefusedError(
                f"{self._request.source.name} holds no row of tenant {self._request.tenant!r}{known}",
                remedy="names are exact; nothing was changed",
            )
        if self._choices.bring_shared:
            self._bring_shared(past, live, ground, scope, past_ownership)
        settled: list[Conflict] = []
        conflicts: list[Conflict] = []
        if self._choices.on_conflict is OnConflict.SKIP:
            settled = operation.settle(live, ground)
        else:
            conflicts = self._with_sharing(operation.ask_all(live, ground), ground, scope)
        look_around(live, ground, scope.ownership, self._notes)
        self._lap("check")
        return Plan(
            subject=f"tenant {self._request.tenant}",
            source=self._request.source.name,
            mode=self._choices.mode,
            tables=table_plans(live, ground),
            conflicts=tuple(conflicts),
            settled=tuple(settled),
            blockers=tuple(dict.fromkeys(self._notes.blockers)),
            notes=tuple(self._notes.notes),
            past_rows=past_rows,
            live_rows=live_rows,
        )

    def _bring_shared(
        self,
        past: Connection[TupleRow],
        live: Connection[TupleRow],
        ground: Ground,
        scope: TenantScope,
        past_ownership: Ownership,
    ) -> None:
        """Shared rows may need shared rows themselves: go on until nothing more comes."""
        came = True
        while came:
            came = False
            for finding in list(findings(live, ground)):
                if finding.trouble is Trouble.MISSING and finding.key is not None and ask(live, finding):
                    schema = past_ownership.schema
                    came = bool(shared.bring(past, live, ground, schema, scope.ownership, finding.key)) or came
                    ground.forget()

    def _with_sharing(self, conflicts: list[Conflict], ground: Ground, scope: TenantScope) -> list[Conflict]:
        by_label = {table.label: table.oid for table in ground.schema.tables.values()}
        return [
            Conflict(**{**one.__dict__, "shared": shared.is_shared(scope.ownership.owned.get(by_label[one.other]))})
            if one.trouble is Trouble.MISSING
            else one
            for one in conflicts
        ]

    def _manifest(
        self, live: Connection[TupleRow], name: str, xid: str, saved: tuple[images.TableImage, ...]
    ) -> images.Manifest:
        return images.Manifest(
            operation=name,
            kind="restore",
            subject=f"tenant {self._request.tenant}",
            source=self._request.source.name,
            database=live.info.dbname,
            cluster=images.cluster_now(live),
            transaction=xid,
            at=datetime.now(UTC),
            tables=saved,
        )


def _rows(connection: Connection[TupleRow], table: psycopg.sql.Identifier) -> int:
    row = connection.execute(psycopg.sql.SQL("select count(*) from {}").format(table)).fetchone()
    return 0 if row is None else int(row[0])


def _require_ready(plan: Plan) -> None:
    if plan.blockers:
        raise RefusedError(plan.blockers[0], remedy=f"{len(plan.blockers)} such; see --plan; nothing was changed")
    if plan.conflicts:
        first = plan.conflicts[0]
        remedy = (
            "--bring-shared brings them back" if first.shared else "--on-conflict skip leaves such rows as they are"
        )
        raise RefusedError(
            f"{first}", remedy=f"{len(plan.conflicts)} such conflicts, see --plan; {remedy}; nothing was changed"
        )
