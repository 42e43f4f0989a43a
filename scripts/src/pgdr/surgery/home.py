"""What every way home has in common: past and present side by side, the plan, one transaction, the proof.

Which rows are meant is a subclass's: one tenant's in all tables (:mod:`pgdr.surgery.restore`), what is gone from some
tables (:mod:`pgdr.surgery.rows`). Where the past comes from is the source's.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import psycopg
from psycopg import Rollback

from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.policy.tenancy import Hook
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.surgery import apply, images, numbering, operation, shared, staging
from pgdr.surgery.conflicts import Conflict, Ground, Trouble, ask, findings, prepare
from pgdr.surgery.diff import Mode
from pgdr.surgery.drift import ColumnMap, Mapping
from pgdr.surgery.forgotten import Forgotten
from pgdr.surgery.model import Schema, Table
from pgdr.surgery.operation import Outcome
from pgdr.surgery.plan import Notes, Plan, table_plans
from pgdr.surgery.scope import Scope
from pgdr.surgery.source import APPLICATION, SETTINGS, PastSource
from pgdr.surgery.tenancy import Ownership


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
        bring_shared: bring back rows that returning rows refer to and that are gone.
        columns: what to do about columns that have changed since.
        lock_timeout: how long to wait for any lock, as PostgreSQL writes it.
    """

    mode: Mode = Mode.EXACT
    on_conflict: OnConflict = OnConflict.REFUSE
    bring_shared: bool = False
    columns: ColumnMap = field(default_factory=ColumnMap)
    lock_timeout: str = "10s"


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


@dataclass(frozen=True)
class Staged:
    """Past and present, compared.

    Attributes:
        ground: what was staged.
        scope: read again at the end and compared with the plan; ``None`` where others go on writing the same rows.
        past: the database of the past.
        ownership: which rows are shared: those may be brought back on request.
        numbers: what happens to sequences of the tenant's own.
        forgotten: who was erased since: none of their rows comes along.
    """

    ground: Ground
    scope: Scope | None
    past: Schema
    ownership: Ownership
    numbers: numbering.Found = field(default_factory=lambda: numbering.Found([], [], []))
    forgotten: Forgotten = field(default_factory=Forgotten)


def silent(_table: str, _size: int) -> None:
    """Progress that nobody watches."""


class Homecoming(ABC):
    """One run: what is known grows from step to step.

    Args:
        config: what this host is.
        source: the past.
        database: the live database; ``None`` for the ERP's.
        choices: what a person decided.
        progress: told what has been read.
    """

    # What the command line calls Choices.bring_shared.
    sharing = "--bring-shared"

    def __init__(
        self,
        config: HostConfig,
        source: PastSource,
        database: str | None,
        choices: Choices,
        progress: staging.Progress,
    ) -> None:
        self.config = config
        self.source = source
        self.database = database
        self.choices = choices
        self.progress = progress
        self.times: dict[str, float] = {}
        self.notes = Notes()
        self._began = time.monotonic()

    @property
    @abstractmethod
    def subject(self) -> str:
        """Whose rows, or which."""

    @property
    def hooks(self) -> Iterable[Hook]:
        """The policy's statements that run in the same transaction."""
        return ()

    @property
    def tenant(self) -> str:
        """What hooks are told."""
        return ""

    @abstractmethod
    def stage(self, past: Connection[TupleRow], live: Connection[TupleRow], *, gate: bool) -> Staged:
        """Bring past and present side by side, and compare them.

        Args:
            past: the source.
            live: in the transaction of the change.
            gate: keep others from what would be in the way; a plan alone needs no locks.
        """

    def note_untouched(self, wanted: Iterable[Table], mapped: Sequence[Mapping]) -> None:
        """Say which tables have no counterpart in the past."""
        present = {mapping.table.oid for mapping in mapped}
        self.notes.notes += [
            f"{table.label} did not exist then, or is left out: not touched"
            for table in wanted
            if table.oid not in present
        ]

    def bring_over(
        self,
        past: Connection[TupleRow],
        live: Connection[TupleRow],
        schema: Schema,
        mapped: Sequence[Mapping],
        scope: Scope,
        past_scope: Scope,
        *,
        gate: bool,
    ) -> Ground:
        """Make the temporary tables of all tables, and fill those of the past.

        Args:
            past: the source.
            live: in the transaction of the change.
            schema: of today.
            mapped: tables of today with those of the past.
            scope: which rows are meant today.
            past_scope: which rows were meant then.
            gate: hold the tables against changes of their structure.
        """
        prepare(live)
        ground = Ground(schema)
        if gate:
            apply.hold_tables(live, [mapping.table for mapping in mapped])
        for number, mapping in enumerate(mapped, start=1):
            stage = staging.make(number, mapping, scope)
            ground.stages[mapping.table.oid] = stage
            staging.create(live, stage)
            staging.fill_past(past, live, stage, past_scope, self.progress)
        return ground

    @abstractmethod
    def nothing_there(self, live_rows: int) -> RefusedError:
        """What to say where the past holds no such row."""

    @abstractmethod
    def look(self, live: Connection[TupleRow], staged: Staged) -> None:
        """Find what a person should know, and put it into the notes."""

    def run(self, *, plan_only: bool) -> Report:
        """Do it, or only say what that would take."""
        with self.opened() as (past, live):
            return self._in_transaction(past, live, plan_only=plan_only)

    @contextmanager
    def opened(self) -> Iterator[tuple[Connection[TupleRow], Connection[TupleRow]]]:
        """The past and the live database; errors of either in words."""
        with (
            self.source.open() as past,
            connected(self.config, self.database, application_name=APPLICATION, settings=SETTINGS) as live,
        ):
            try:
                yield past, live
            except psycopg.Error as error:
                raise apply.in_words(error, self.choices.lock_timeout) from error

    def _in_transaction(self, past: Connection[TupleRow], live: Connection[TupleRow], *, plan_only: bool) -> Report:
        report: Report | None = None
        folder = None
        with live.transaction():
            operation.begin(live, self.choices.lock_timeout, alone=not plan_only)
            staged = self.stage(past, live, gate=not plan_only)
            plan = self.plan(past, live, staged)
            if plan_only:
                report = Report(plan, None, "", self.times)
                raise Rollback
            _require_ready(plan, self.sharing)
            if not plan.changes and not plan.sequences and not self.hooks:
                report = Report(plan, None, "", self.times)
                raise Rollback
            name, folder = images.new_operation(self.config)
            numbers = tuple(staged.numbers.changes)
            moved = numbering.carry_out(live, numbers)
            outcome = operation.carry_out(
                live,
                staged.ground,
                staged.scope,
                folder=folder,
                save_manifest=lambda xid, saved: images.save_manifest(
                    folder, self._manifest(live, name, xid, saved, numbers)
                ),
                hooks=self.hooks,
                tenant=self.tenant,
            ).also(moved)
            self.lap("apply")
            report = Report(plan, outcome, name, self.times)
        if folder is not None:
            images.mark_committed(folder)
        self.lap("commit")
        if report is None:  # pragma: no cover - every way above sets it
            raise AssertionError("no report")
        return report

    def lap(self, phase: str) -> None:
        """Note how long a phase took."""
        now = time.monotonic()
        self.times[phase] = now - self._began
        self._began = now

    def plan(self, past: Connection[TupleRow], live: Connection[TupleRow], staged: Staged) -> Plan:
        """What would be done, and what stands in the way.

        Raises:
            RefusedError: the past holds no such row.
        """
        ground = staged.ground
        past_rows = sum(_rows(live, stage.past) for stage in ground.stages.values())
        live_rows = sum(_rows(live, stage.live) for stage in ground.stages.values())
        if not past_rows:
            raise self.nothing_there(live_rows)
        if self.choices.bring_shared:
            self._bring_shared(past, live, staged)
        settled: list[Conflict] = []
        conflicts: list[Conflict] = []
        if self.choices.on_conflict is OnConflict.SKIP:
            settled = operation.settle(live, ground)
        else:
            conflicts = operation.ask_all(live, ground)
            if not self.choices.bring_shared:  # else what is missing still is not to be had
                conflicts = _with_sharing(conflicts, staged)
        self.look(live, staged)
        self.notes.blockers += staged.numbers.blockers
        self.notes.notes += staged.numbers.notes
        self.lap("check")
        return Plan(
            subject=self.subject,
            source=self.source.name,
            mode=self.choices.mode,
            tables=table_plans(live, ground),
            conflicts=tuple(conflicts),
            settled=tuple(settled),
            blockers=tuple(dict.fromkeys(self.notes.blockers)),
            notes=tuple(self.notes.notes),
            past_rows=past_rows,
            live_rows=live_rows,
            sequences=staged.numbers.plans,
        )

    def _bring_shared(self, past: Connection[TupleRow], live: Connection[TupleRow], staged: Staged) -> None:
        """Such rows may need others themselves: go on until nothing more comes."""
        ground = staged.ground
        came = True
        while came:
            came = False
            for finding in list(findings(live, ground)):
                if finding.trouble is Trouble.MISSING and finding.key is not None and ask(live, finding):
                    added = shared.bring(
                        past, live, ground, staged.past, staged.ownership, finding.key, staged.forgotten
                    )
                    came = came or bool(added)
                    ground.forget()

    def _manifest(
        self,
        live: Connection[TupleRow],
        name: str,
        xid: str,
        saved: tuple[images.TableImage, ...],
        numbers: tuple[numbering.Change, ...],
    ) -> images.Manifest:
        return images.Manifest(
            operation=name,
            kind="restore",
            subject=self.subject,
            source=self.source.name,
            database=live.info.dbname,
            cluster=images.cluster_now(live),
            transaction=xid,
            at=datetime.now(UTC),
            tables=saved,
            sequences=numbers,
        )


def _with_sharing(conflicts: list[Conflict], staged: Staged) -> list[Conflict]:
    by_label = {table.label: table.oid for table in staged.ground.schema.tables.values()}
    return [
        Conflict(**{**one.__dict__, "shared": shared.is_shared(staged.ownership.owned.get(by_label[one.other]))})
        if one.trouble is Trouble.MISSING
        else one
        for one in conflicts
    ]


def _rows(connection: Connection[TupleRow], table: psycopg.sql.Identifier) -> int:
    row = connection.execute(psycopg.sql.SQL("select count(*) from {}").format(table)).fetchone()
    return 0 if row is None else int(row[0])


def _require_ready(plan: Plan, sharing: str) -> None:
    if plan.blockers:
        raise RefusedError(plan.blockers[0], remedy=f"{len(plan.blockers)} such; see --plan; nothing was changed")
    if plan.conflicts:
        first = plan.conflicts[0]
        remedy = f"{sharing} brings them back" if first.shared else "--on-conflict skip leaves such rows as they are"
        raise RefusedError(
            f"{first}", remedy=f"{len(plan.conflicts)} such conflicts, see --plan; {remedy}; nothing was changed"
        )
