"""Bring one tenant back to how it was."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.policy.tenancy import Hook, Tenancy
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery import apply, diff, numbering, staging
from pgdr.surgery.adopt import adopt
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.drift import map_tables
from pgdr.surgery.home import Choices, Homecoming, Report, Staged, silent
from pgdr.surgery.plan import disputed, look_around, look_at_tenancy
from pgdr.surgery.scope import TenantScope, canonical
from pgdr.surgery.source import PastSource
from pgdr.surgery.tenancy import resolve


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


def restore_tenant(
    request: Request, choices: Choices, *, plan_only: bool, progress: staging.Progress = silent
) -> Report:
    """Make the rows of a tenant what they were in the past, or only say what that would take.

    One transaction of the live database: it is committed as a whole with everything proven, or leaves nothing.

    Raises:
        RefusedError: unknown tenant, tables that have changed, conflicts without a choice, missing rights.
        BusyError: somebody else works on the same rows.
        PgdrError: anything else; nothing was changed.
    """
    return _Restore(request, choices, progress).run(plan_only=plan_only)


class _Restore(Homecoming):
    """One tenant's rows in all tables."""

    def __init__(self, request: Request, choices: Choices, progress: staging.Progress) -> None:
        super().__init__(request.config, request.source, request.database, choices, progress)
        self._request = request

    @property
    def subject(self) -> str:
        return f"tenant {self._request.tenant}"

    @property
    def hooks(self) -> Iterable[Hook]:
        return self._request.tenancy.hooks

    @property
    def tenant(self) -> str:
        return self._request.tenant

    def stage(self, past: Connection[TupleRow], live: Connection[TupleRow], *, gate: bool) -> Staged:
        request = self._request
        schema = read_schema(live, request.schemas)
        past_ownership = resolve(read_schema(past, request.schemas), request.tenancy)
        scope = TenantScope(resolve(schema, request.tenancy), request.tenant)
        past_scope = TenantScope(past_ownership, request.tenant)
        scope.check_value(live)
        past_scope.check_value(past)
        mapped = map_tables(scope.tables, past_ownership.schema, past_scope.tables, self.choices.columns)
        self.note_untouched(scope.tables, mapped)
        ground = self.bring_over(past, live, schema, mapped, scope, past_scope, gate=gate)
        self.notes.blockers += disputed(past, past_scope, "of the past")
        self.lap("read the past")
        # Before the gate: who has taken a number and waits at the gate would wait for us, and we for him.
        numbers = numbering.Found([], [], [])
        if request.tenancy.sequences:
            name = canonical(live, scope.ownership, request.tenant)
            numbers = numbering.to_restore(past, live, request.tenancy, name, gate=gate)
        if gate and not apply.close_gate(live, scope):
            self.notes.notes.append("no register of tenants: new rows of this tenant are noticed, not held up")
        for stage in ground.stages.values():
            staging.fill_live(live, stage, scope)
        for label, rows in adopt(live, ground.stages, scope).items():
            self.notes.notes.append(f"{label}: {rows} rows without an owner are taken for this tenant's")
        self.notes.blockers += disputed(live, scope, "of today")
        for stage in ground.stages.values():
            diff.compare(live, stage, self.choices.mode)
        self.lap("compare")
        return Staged(ground, scope, past_ownership.schema, scope.ownership, numbers)

    def nothing_there(self, live_rows: int) -> RefusedError:
        known = "" if live_rows else ", nor does today's database"
        return RefusedError(
            f"{self.source.name} holds no row of tenant {self._request.tenant!r}{known}",
            remedy="names are exact; nothing was changed",
        )

    def look(self, live: Connection[TupleRow], staged: Staged) -> None:
        look_around(live, staged.ground, self.notes)
        look_at_tenancy(staged.ownership, self.notes)
