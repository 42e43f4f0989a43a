"""What the commands of row surgery share: consent, plan, lock, journal, result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pgdr.cli import options, output
from pgdr.cli.context import invocation
from pgdr.cli.output import OutputFormat
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.locks import Holder
    from pgdr.policy.model import Policy
    from pgdr.policy.tenancy import Tenancy
    from pgdr.surgery.diff import Mode
    from pgdr.surgery.home import Choices, Report
    from pgdr.surgery.operation import Outcome
    from pgdr.surgery.plan import Plan
    from pgdr.surgery.source import PastSource

_LINE_EVERY = 10.0


def policy_of(path: Path | None) -> tuple[Policy, Tenancy]:
    """The policy, and its part about tenants.

    Raises:
        ConfigError: there is none, or it has no such part.
    """
    from pgdr.errors import ConfigError  # noqa: PLC0415 - start-up time, see main
    from pgdr.policy.load import DEFAULT_PATH  # noqa: PLC0415

    policy = options.policy_of(path)
    if policy.tenancy is None:
        raise ConfigError(f"{path or DEFAULT_PATH} says nothing about tenants", remedy="add recovery_policy.tenancy")
    return policy, policy.tenancy


def show_plan(plan: Plan, sharing: str = "--bring-shared") -> None:
    """Write a plan for a person; ``sharing`` is the option that brings back rows that others refer to."""
    numbers = ("insert", "update", "delete", "unchanged", "kept", "skipped")
    output.table(
        ("table", *numbers),
        [
            (
                f"{one.table} (shared)" if one.shared else one.table,
                *(str(n) for n in (one.inserts, one.updates, one.deletes, one.unchanged, one.kept, one.skipped)),
            )
            for one in plan.tables
            if one.changes or one.kept or one.skipped or one.unchanged
        ],
        right=set(numbers),
    )
    for sequence in plan.sequences:
        now, then = ("none" if n is None else f"next {n}" for n in (sequence.now, sequence.then))
        output.result(f"sequence {sequence.sequence} {sequence.action}: {now} -> {then}")
    for what in plan.blockers:
        output.result(f"stands in the way: {what}")
    for conflict in plan.conflicts:
        choice = sharing if conflict.shared else "--on-conflict skip"
        output.result(f"conflict: {conflict} [{choice}]")
    for conflict in plan.settled:
        output.result(f"left as today: {conflict}")
    for note in plan.notes:
        output.result(f"note: {note}")
    output.result(
        f"{plan.subject} from {plan.source}, mode {plan.mode}: {plan.changes} rows to change; "
        f"{plan.past_rows} rows then, {plan.live_rows} now"
    )


def show_outcome(
    plan: Plan, outcome: Outcome | None, operation: str, times: dict[str, float], undo: str = "tenant restore"
) -> None:
    """Write a result for a person; ``undo`` is the command that takes it back."""
    if outcome is None:
        output.result(f"{plan.subject}: nothing to do")
        return
    output.result(
        f"{plan.subject}: {outcome.changed} rows changed, {outcome.references} foreign keys checked, "
        f"{sum(one.rows for one in outcome.sums.values())} rows in {len(outcome.sums)} tables proven, "
        f"{len(outcome.sequences)} sequences changed, {output.seconds_text(sum(times.values()))}"
    )
    if operation:
        output.result(f"to take it back: pgdr {undo} --undo {operation} --confirm {operation}")


def document(plan: Plan, outcome: Outcome | None, operation: str, times: dict[str, float]) -> dict[str, Any]:
    """The same for a program."""
    done = None if outcome is None else asdict(outcome)
    if done is not None and outcome is not None:
        done["sums"] = {table: one.model_dump() for table, one in outcome.sums.items()}
    return {"plan": plan.document(), "outcome": done, "operation": operation, "times": times}


def choices_of(given: dict[str, Any], lock_timeout: str, modes: Sequence[Mode] | None = None) -> Choices:
    """What a person decided, from the options of a command; ``modes`` are those that it knows."""
    from pgdr.surgery.diff import Mode  # noqa: PLC0415 - start-up time, see main
    from pgdr.surgery.drift import ColumnMap, load_column_map  # noqa: PLC0415
    from pgdr.surgery.home import Choices, OnConflict  # noqa: PLC0415

    path = given["column_map"]
    return Choices(
        mode=Mode(_one_of("--mode", given["mode"], list(modes or Mode))),
        on_conflict=OnConflict(_one_of("--on-conflict", given["on_conflict"], [*OnConflict])),
        bring_shared=given["bring_shared"],
        columns=load_column_map(path) if path is not None else ColumnMap(),
        lock_timeout=lock_timeout,
    )


@dataclass
class Journey:
    """One command on rows, from plan to result.

    Attributes:
        command: its name; also what takes its work back, with ``--undo``.
        sharing: the option that brings back rows that returning rows refer to.
    """

    context: typer.Context
    database: str | None
    policy: Path | None
    lock_timeout: str
    wait: int
    output_format: OutputFormat
    command: str = "tenant restore"
    sharing: str = "--bring-shared"

    @property
    def _host(self) -> HostConfig:
        return invocation(self.context).host

    def restore(
        self, tenant: str, source: PastSource, choices: dict[str, Any], confirm: str | None, *, plan_only: bool
    ) -> None:
        """Bring a tenant back."""
        from pgdr.surgery import restore as work  # noqa: PLC0415 - start-up time, see main

        _, tenancy = policy_of(self.policy)
        request = work.Request(self._host, tenancy, source, tenant, self.database)
        decided = choices_of(choices, self.lock_timeout)
        self.bring_home(
            lambda plan_only: work.restore_tenant(request, decided, plan_only=plan_only, progress=progress()),
            tenant,
            confirm,
            plan_only=plan_only,
            details={"tenant": tenant, "source": source.name, "mode": str(decided.mode)},
        )

    def bring_home(
        self,
        work: Callable[[bool], Report],
        name: str,
        confirm: str | None,
        *,
        plan_only: bool,
        details: dict[str, Any],
        afterwards: Callable[[], object] = lambda: None,
    ) -> None:
        """Plan, ask, do it, and show what was done.

        Who has consented in the command is not asked, so past and present are read once, under the locks, and not
        for the plan before.

        Args:
            work: does it, or only plans it.
            name: what a person types for consent.
            confirm: what was typed on the command line.
            plan_only: show the plan and end.
            details: for the journal.
            afterwards: what belongs to the operation once it is committed.
        """
        from pgdr.surgery.records import recorded  # noqa: PLC0415 - start-up time, see main

        consented = confirm == name and not plan_only
        if not consented:
            report = work(True)
            if plan_only:
                self._show_plan_only(report.plan)
                return
            self._ask(report.plan, name, confirm)
        with recorded(self._host, self.command, wait=self.wait, on_wait=waiting, **details) as record:
            report = work(False)
            record.details["operation"] = report.operation
            record.details["rows_changed"] = report.outcome.changed if report.outcome else 0
            record.times.update(report.times)
            afterwards()
        if consented and self.output_format is OutputFormat.TABLE:
            show_plan(report.plan, self.sharing)
        self._show(report.plan, report.outcome, report.operation, report.times)

    def undo(self, operation: str, confirm: str | None, *, plan_only: bool) -> None:
        """Take an operation back."""
        from pgdr.surgery.records import recorded  # noqa: PLC0415
        from pgdr.surgery.undo import undo  # noqa: PLC0415

        plan, _, _ = undo(self._host, operation, plan_only=True, lock_timeout=self.lock_timeout)
        if plan_only:
            self._show_plan_only(plan)
            return
        self._ask(plan, operation, confirm)
        began = time.monotonic()
        with recorded(self._host, f"{self.command} undo", wait=self.wait, on_wait=waiting, undoes=operation) as record:
            plan, outcome, name = undo(self._host, operation, lock_timeout=self.lock_timeout)
            record.details["operation"] = name
            record.details["rows_changed"] = outcome.changed if outcome else 0
        self._show(plan, outcome, name, {"total": time.monotonic() - began})

    def erase(self, tenant: str, confirm: str | None, *, plan_only: bool) -> None:
        """Erase a tenant."""
        from pgdr.surgery import erase as work  # noqa: PLC0415
        from pgdr.surgery.ledger import Ledger  # noqa: PLC0415
        from pgdr.surgery.records import recorded  # noqa: PLC0415
        from pgdr.surgery.shipping import cloud_ledger  # noqa: PLC0415

        policy, tenancy = policy_of(self.policy)
        request = work.Request(self._host, tenancy, self.database, lock_timeout=self.lock_timeout)
        copy = cloud_ledger(self._host, policy)
        ledger = Ledger(self._host, copy)
        plan, _ = work.erase_tenant(request, tenant, ledger, plan_only=True)
        if plan_only:
            self._show_plan_only(plan)
            return
        self._ask(plan, tenant, confirm)
        began = time.monotonic()
        # The journal outlives the subject: it names nobody either.
        with recorded(self._host, "tenant erase", wait=self.wait, on_wait=waiting) as record:
            if copy is not None:
                copy.require_in_line()
            plan, outcome = work.erase_tenant(request, tenant, ledger, plan_only=False)
            record.details["rows_changed"] = outcome.changed if outcome else 0
            record.details["ledger_entries"] = len(ledger.erasures())
            record.details["ledger_copied"] = copy is not None and copy.failure is None
        self._show(plan, outcome, "", {"total": time.monotonic() - began})
        if copy is not None:
            copy.require_copied("the tenant is erased")

    def _ask(self, plan: Plan, name: str, confirm: str | None) -> None:
        """Show the plan and want the name typed."""
        if self.output_format is OutputFormat.TABLE:
            show_plan(plan, self.sharing)
        if confirm is None and output.interactive():
            confirm = typer.prompt(f"type {name} to go on", err=True)
        if confirm != name:
            raise RefusedError(
                f"{confirm!r} is not {name!r}" if confirm else "no consent",
                remedy=f"type --confirm {name} if you mean it; nothing was changed",
            )

    def _show_plan_only(self, plan: Plan) -> None:
        if self.output_format is OutputFormat.JSON:
            output.json_result(plan.document())
        else:
            show_plan(plan, self.sharing)
        if not plan.ready:
            raise RefusedError(
                f"{len(plan.conflicts)} conflicts and {len(plan.blockers)} other things stand in the way",
                remedy=f"choose --on-conflict or {self.sharing}; nothing was changed",
            )

    def _show(self, plan: Plan, outcome: Outcome | None, operation: str, times: dict[str, float]) -> None:
        if self.output_format is OutputFormat.JSON:
            output.json_result(document(plan, outcome, operation, times))
        else:
            show_outcome(plan, outcome, operation, times, self.command)


def _one_of(option: str, value: str, known: list[Any]) -> str:
    if value not in [str(one) for one in known]:
        raise typer.BadParameter(f"{option}: {value!r} is none of {', '.join(str(one) for one in known)}")
    return value


def waiting(holder: Holder | None, waited: float) -> None:
    """Tell a person who holds the lock."""
    who = str(holder) if holder else "another operation"
    output.message(f"waiting for {who} to end, {output.seconds_text(waited)} so far")


def progress() -> Callable[[str, int], None]:
    """A plain line from time to time: how much has been read from the past."""
    told = time.monotonic()
    total = 0

    def report(table: str, size: int) -> None:
        nonlocal told, total
        total += size
        if time.monotonic() - told >= _LINE_EVERY:
            told = time.monotonic()
            output.message(f"reading the past: {table}, {output.bytes_text(total)} so far")

    return report
