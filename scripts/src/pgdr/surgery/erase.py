"""The right to erasure: all rows of a tenant go, for good, and stay gone after any restore."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass

import psycopg
from psycopg import Rollback

from pgdr.errors import NotProvenError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.policy.tenancy import Tenancy
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import one
from pgdr.surgery import apply, diff, images, numbering, operation, staging
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.conflicts import Ground, prepare
from pgdr.surgery.diff import Mode
from pgdr.surgery.drift import StagedColumn
from pgdr.surgery.forgotten import erased_in, sequences_left, values
from pgdr.surgery.ledger import DONE, INTENDED, WITHDRAWN, Ledger
from pgdr.surgery.model import quoted
from pgdr.surgery.operation import Outcome
from pgdr.surgery.plan import ROWS, Notes, Plan, disputed, look_around, look_at_tenancy, table_plans
from pgdr.surgery.scope import TenantScope, canonical, main_column
from pgdr.surgery.source import APPLICATION, SETTINGS
from pgdr.surgery.staging import Stage
from pgdr.surgery.tenancy import Ownership, resolve


@dataclass(frozen=True)
class Request:
    """What is to be erased.

    Attributes:
        config: what this host is.
        tenancy: how rows belong to tenants.
        database: the live database; ``None`` for the ERP's.
        schemas: these schemas only; ``None`` for all.
        lock_timeout: how long to wait for any lock.
    """

    config: HostConfig
    tenancy: Tenancy
    database: str | None = None
    schemas: Collection[str] | None = None
    lock_timeout: str = "10s"


def erase_tenant(request: Request, tenant: str, ledger: Ledger, *, plan_only: bool) -> tuple[Plan, Outcome | None]:
    """Remove all rows of a tenant, history included, or only say which.

    No before-image is kept, and images of earlier operations on this tenant are removed: they are its data.

    Raises:
        RefusedError: unknown tenant, rows of others refer to its rows, missing rights.
        BusyError: somebody else works on the same rows.
        NotProvenError: something was left.
        PgdrError: anything else; nothing was changed.
    """
    with connected(request.config, request.database, application_name=APPLICATION, settings=SETTINGS) as live:
        try:
            settle_intentions(live, ledger)
            plan, outcome = _erase(live, request, tenant, ledger, record=True, plan_only=plan_only)
        except psycopg.Error as error:
            raise apply.in_words(error, request.lock_timeout) from error
    if outcome is not None:
        _remove_images(request.config, tenant)
    return plan, outcome


def _erase(
    live: Connection[TupleRow], request: Request, tenant: str, ledger: Ledger, *, record: bool, plan_only: bool
) -> tuple[Plan, Outcome | None]:
    outcome: Outcome | None = None
    number = 0
    with live.transaction():
        operation.begin(live, request.lock_timeout, alone=not plan_only)
        ownership = resolve(read_schema(live, request.schemas), request.tenancy)
        scope = TenantScope(ownership, tenant)
        scope.check_value(live)
        plan, ground, numbers = _plan(live, scope, request.tenancy, gate=not plan_only)
        if plan_only:
            raise Rollback
        if not plan.ready:
            raise RefusedError(
                str((*plan.blockers, *plan.conflicts)[0]),
                remedy="remove or repoint those rows first; see --plan; nothing was changed",
            )
        gone = numbering.carry_out(live, numbers)
        outcome = operation.carry_out(live, ground, scope, folder=None).also(gone)
        left = [label for label, found in outcome.sums.items() if found.rows]
        if left:
            raise NotProvenError(f"rows are left in {', '.join(left)}", remedy="nothing was changed")
        if record:
            transaction = str(one(live, "select pg_current_xact_id()::text")[0])
            number = ledger.intend(
                ledger.subject(canonical(live, ownership, tenant)),
                predicate(ownership),
                (transaction, images.cluster_now(live)),
                outcome.changed,
                _sealed(live, ownership, tenant, request.tenancy, ledger),
            )
    if number:
        ledger.conclude(number, DONE)
    return plan, outcome


def _sealed(
    live: Connection[TupleRow], ownership: Ownership, tenant: str, tenancy: Tenancy, ledger: Ledger
) -> list[str]:
    """What finds the tenant's sequences again though neither they nor the ledger say whose they are."""
    replacing = tenancy.model_copy(
        update={"sequences": tuple(one for one in tenancy.sequences if one.other_characters is not None)}
    )
    return [ledger.sequence(place) for place in numbering.names(replacing, canonical(live, ownership, tenant))]


def _plan(
    live: Connection[TupleRow], scope: TenantScope, tenancy: Tenancy, *, gate: bool
) -> tuple[Plan, Ground, list[numbering.Change]]:
    notes = Notes()
    prepare(live)
    ground = Ground(scope.schema)
    for number, table in enumerate(scope.tables, start=1):
        stage = Stage(number, table, None, tuple(StagedColumn(column, column.name) for column in table.columns))
        ground.stages[table.oid] = stage
        staging.create(live, stage)
    numbers = _numbers(live, scope, tenancy, gate=gate)
    notes.blockers += numbers.blockers
    if gate:
        apply.hold_tables(live, scope.tables)
        apply.close_gate(live, scope)
    rows = 0
    for stage in ground.stages.values():
        rows += staging.fill_live(live, stage, scope)
        diff.compare(live, stage, Mode.EXACT)
    if not rows and not numbers.changes:
        raise RefusedError(f"no row belongs to tenant {scope.tenant!r}", remedy="names are exact; nothing was changed")
    notes.blockers += disputed(live, scope, "of today")
    look_around(live, ground, notes)
    look_at_tenancy(scope.ownership, notes)
    plan = Plan(
        subject=f"tenant {scope.tenant}",
        source="nothing: erasure",
        mode=Mode.EXACT,
        tables=table_plans(live, ground),
        conflicts=tuple(operation.ask_all(live, ground)),
        blockers=tuple(notes.blockers),
        notes=tuple(notes.notes),
        live_rows=rows,
        sequences=numbers.plans,
    )
    return plan, ground, numbers.changes


def _numbers(live: Connection[TupleRow], scope: TenantScope, tenancy: Tenancy, *, gate: bool) -> numbering.Found:
    """The tenant's sequences; two ids may have one name where the policy replaces characters of them."""
    if not tenancy.sequences:
        return numbering.Found([], [], [])
    others: list[str] = []
    if any(sequence.other_characters is not None for sequence in tenancy.sequences):
        others = values(live, main_column(scope.ownership))
    tenant = canonical(live, scope.ownership, scope.tenant)
    return numbering.to_erase(live, tenancy, tenant, others, gate=gate)


def _remove_images(config: HostConfig, tenant: str) -> None:
    for folder in images.folder_of(config).glob("*"):
        try:
            manifest, _ = images.load_manifest(config, folder.name)
        except RefusedError:
            shutil.rmtree(folder)  # it ended before it changed anything; it may hold rows nevertheless
            continue
        # What was brought back by table holds rows of everybody.
        if manifest.subject == f"tenant {tenant}" or manifest.subject.startswith(ROWS):
            shutil.rmtree(folder)


def subject_of(request: Request, tenant: str, ledger: Ledger) -> str:
    """The keyed hash of a tenant, whether it is still there or not."""
    with connected(request.config, request.database, application_name=APPLICATION, settings=SETTINGS) as live:
        ownership = resolve(read_schema(live, request.schemas), request.tenancy)
        return ledger.subject(canonical(live, ownership, tenant))


def predicate(ownership: Ownership) -> str:
    """Which column names the subject."""
    main = main_column(ownership)
    return f"{main.table.label}.{quoted(main.column or '')}"


def settle_intentions(live: Connection[TupleRow], ledger: Ledger) -> None:
    """Ask the server what became of erasures that a crash left open.

    Raises:
        NotProvenError: it cannot know.
    """
    for erasure in ledger.erasures():
        if erasure.state != INTENDED:
            continue
        state = images.transaction_state(live, erasure.transaction[1], erasure.transaction[0])
        if state == "committed":
            ledger.conclude(erasure.number, DONE)
        elif state == "aborted":
            ledger.conclude(erasure.number, WITHDRAWN)
        else:
            raise NotProvenError(
                f"erasure {erasure.number} of {erasure.at} was begun, and whether it was completed is not known here",
                remedy="decide with pgdr erasures settle",
            )


@dataclass(frozen=True)
class Replayed:
    """What a replay removed again.

    Attributes:
        erasures: how many the ledger has.
        removed: number of the erasure, and rows removed, for each subject that was there again.
    """

    erasures: int
    removed: dict[int, int]


def replay(request: Request, ledger: Ledger, *, plan_only: bool = False) -> Replayed:
    """Remove again what the ledger says was erased. Every restore calls this before the service opens.

    Raises:
        NotProvenError: the ledger is damaged, an erasure's outcome is unknown, or a subject is still there afterwards.
        PgdrError: a removal failed: do not open the service.
    """
    erasures = ledger.erasures()
    if not erasures:
        return Replayed(0, {})
    removed: dict[int, int] = {}
    with connected(request.config, request.database, application_name=APPLICATION, settings=SETTINGS) as live:
        try:
            for tenant, number in _standing(live, request, ledger).items():
                plan, _ = _erase(live, request, tenant, ledger, record=False, plan_only=plan_only)
                removed[number] = plan.changes
            for number in _sequences(live, request, ledger, plan_only=plan_only):
                removed.setdefault(number, 0)
            left = {} if plan_only else _standing(live, request, ledger)
        except psycopg.Error as error:
            raise apply.in_words(error, request.lock_timeout) from error
    if left:
        raise NotProvenError(f"{len(left)} erased subjects are still there", remedy="do not open the service")
    return Replayed(len(erasures), removed)


def _standing(live: Connection[TupleRow], request: Request, ledger: Ledger) -> dict[str, int]:
    return erased_in(live, resolve(read_schema(live, request.schemas), request.tenancy), request.tenancy, ledger)


def _sequences(live: Connection[TupleRow], request: Request, ledger: Ledger, *, plan_only: bool) -> list[int]:
    """Remove sequences of which the ledger alone knows that they were an erased tenant's; returns whose erasures."""
    with live.transaction():
        ownership = resolve(read_schema(live, request.schemas), request.tenancy)
        found = sequences_left(live, ownership, request.tenancy, ledger)
        if found and not plan_only:
            operation.begin(live, request.lock_timeout, alone=True)
            numbering.remove(live, list(found))
    return list(found.values())
