"""Plan the smallest cures, carry them out, and believe none of them before everything was examined again."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pgdr.corruption import blocks, cluster, indexes, maps, memory
from pgdr.corruption.evidence import Evidence
from pgdr.corruption.examine import Examined, Options, bad_now, examine
from pgdr.corruption.model import FEW_RELATIONS, Cure, Damage, Findings, Kind
from pgdr.errors import NotProvenError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import connected
from pgdr.surgery.records import recorded

Told = Callable[[str], None]
# Order of the work: what memory holds first, before it goes; tables before what is made of them.
_ORDER = (Cure.MEMORY, Cure.BLOCKS, Cure.REINDEX, Cure.MAPS, Cure.REFRESH, Cure.WAL)
_NEEDS_SERVER = (Cure.MEMORY, Cure.BLOCKS, Cure.REINDEX, Cure.MAPS, Cure.REFRESH)
_OPERATION = "corruption cure"


@dataclass(frozen=True)
class Wish:
    """What a person asked for.

    Attributes:
        repository: where the past comes from.
        whole_cluster: restore all, whatever smaller cure there is.
        lock_timeout: how long to wait for a table that somebody holds.
        wait: seconds to wait for another operation.
    """

    repository: int = 1
    whole_cluster: bool = False
    lock_timeout: str = "30s"
    wait: float = 0.0


@dataclass(frozen=True)
class Step:
    """One cure of one thing; of the whole cluster, of all of them.

    Attributes:
        cure: what is done.
        damages: what it cures.
        line: for a person.
    """

    cure: Cure
    damages: tuple[Damage, ...]
    line: str


@dataclass
class CurePlan:
    """What would be done.

    Attributes:
        examined: what was found.
        steps: in their order.
        blockers: what stands in the way.
        resumes: a restore that was begun goes on.
    """

    examined: Examined | None
    findings: Findings
    steps: list[Step] = field(default_factory=list)
    blockers: list[str] = field(default_factory=list)
    resumes: bool = False

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to cure."""
        return not self.steps and not self.blockers

    @property
    def whole_cluster(self) -> bool:
        """Whether the cluster is restored."""
        return any(step.cure is Cure.CLUSTER for step in self.steps)

    def require_ready(self) -> None:
        """Refuse a plan that cannot be carried out.

        Raises:
            RefusedError: so it is.
        """
        if self.blockers:
            raise RefusedError(self.blockers[0], remedy=f"{len(self.blockers)} such, see --plan; nothing was changed")

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {
            **self.findings.document(),
            "steps": [{"cure": str(one.cure), "line": one.line} for one in self.steps],
            "blockers": self.blockers,
            "whole_cluster": self.whole_cluster,
        }


@dataclass(frozen=True)
class Cured:
    """What was done.

    Attributes:
        lines: what was done, for a person.
        findings: of the examination afterwards.
        kept: the folder with copies of what was damaged.
        left_to_do: what a person or the play does next.
    """

    lines: list[str]
    findings: Findings
    kept: Path
    left_to_do: str = ""
    relations: tuple[blocks.Returned, ...] = ()

    def require_proven(self) -> None:
        """Fail where something is damaged still.

        Raises:
            NotProvenError: so it is.
        """
        if not self.findings.clean:
            first = self.findings.damages[0]
            raise NotProvenError(
                f"{len(self.findings.damages)} things are damaged still, first: {first.subject}: {first.detail}",
                remedy="run it again, or with --whole-cluster; see playbooks/README.md, Data is damaged",
            )

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {
            "done": self.lines,
            "kept": str(self.kept),
            "left_to_do": self.left_to_do,
            "relations": [asdict(one) for one in self.relations],
            **self.findings.document(),
        }


def make_plan(config: HostConfig, client: PgBackRest, options: Options, wish: Wish, *, told: Told) -> CurePlan:
    """Examine, and decide.

    Raises:
        RefusedError: there is no cluster, or it is a standby.
    """
    begun = cluster.unfinished(config)
    if begun is not None:
        findings = Findings(at=datetime.now(UTC), server="being restored")
        line = f"go on with recovery {begun.plan.operation} (stage {begun.stage})"
        return CurePlan(None, findings, [Step(Cure.CLUSTER, (), line)], resumes=True)
    examined = examine(config, client, options, told=told)
    plan = CurePlan(examined, examined.findings)
    if examined.findings.clean and not wish.whole_cluster:
        return plan
    if examined.condition.in_recovery:
        raise RefusedError(
            "this server is a standby: what is damaged here is whole on its primary",
            remedy="make the standby anew from a backup; nothing was changed",
        )
    if wish.whole_cluster or _needs_all(examined.findings.damages):
        _plan_cluster(config, client, wish, plan)
    else:
        _plan_small(config, client, wish, plan)
    return plan


def _needs_all(damages: list[Damage]) -> bool:
    broken = [one for one in damages if one.cure is Cure.BLOCKS]
    return len(broken) > FEW_RELATIONS or any(one.cure is Cure.CLUSTER for one in damages)


def _plan_cluster(config: HostConfig, client: PgBackRest, wish: Wish, plan: CurePlan) -> None:
    try:
        source = cluster.require_possible(config, client, wish.repository)
    except PgdrError as error:
        plan.blockers.append(f"the cluster cannot be restored: {error}")
        return
    line = f"stop the server, archive all its WAL, restore {source}; what stands there is set aside"
    if plan.findings.standbys:
        line += f" (or promote a standby instead, playbooks/promote-standby.yml: {plan.findings.standbys[0]})"
    plan.steps.append(Step(Cure.CLUSTER, tuple(plan.findings.damages), line))


def _plan_small(config: HostConfig, client: PgBackRest, wish: Wish, plan: CurePlan) -> None:
    damages = sorted(
        (one for one in plan.findings.damages if one.cure is not Cure.NONE), key=lambda one: _ORDER.index(one.cure)
    )
    needs = [one for one in damages if one.cure in _NEEDS_SERVER]
    if needs and not plan.findings.running:
        plan.blockers.append(
            f"the server does not run, and the cure of {needs[0].subject} needs it: "
            f"systemctl start {config.service_unit}, or restore the cluster with --whole-cluster"
        )
    broken = tuple(one for one in damages if one.cure is Cure.BLOCKS)
    if broken:
        _plan_blocks(config, client, wish, plan, broken)
    plan.steps += [
        Step(one.cure, (one,), f"{one.cure}: {one.subject}") for one in damages if one.cure is not Cure.BLOCKS
    ]
    plan.steps.sort(key=lambda step: _ORDER.index(step.cure))
    by_hand = [one for one in plan.findings.damages if one.cure is Cure.NONE]
    if by_hand and not plan.steps and not plan.blockers:
        plan.blockers.append(f"{by_hand[0].subject}: {by_hand[0].detail}; {by_hand[0].by_hand}")


def _plan_blocks(
    config: HostConfig, client: PgBackRest, wish: Wish, plan: CurePlan, broken: tuple[Damage, ...]
) -> None:
    try:
        label = blocks.require_source(config, client, wish.repository)
    except PgdrError as error:
        plan.blockers.append(f"blocks of {broken[0].name} cannot be brought back: {error}")
        return
    names = ", ".join(f"{one.subject} ({len(one.blocks)} blocks)" for one in broken)
    plan.steps.append(
        Step(
            Cure.BLOCKS,
            broken,
            f"{Cure.BLOCKS}: {names}, out of backup {label} of repository {wish.repository} replayed to now",
        )
    )


def cure(config: HostConfig, client: PgBackRest, options: Options, wish: Wish, plan: CurePlan, *, told: Told) -> Cured:
    """Carry a plan out and examine again.

    Raises:
        BusyError: another operation runs, or somebody holds a table.
        PgdrError: a cure failed; what was cured before stays cured, a rerun does the rest.
    """
    now = datetime.now(UTC)
    folder = config.state_directory / "corruption" / f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    kept = Evidence(folder, config)
    facts = {"steps": [step.line for step in plan.steps], "kept": str(folder)}
    if plan.examined is not None:
        kept.first(plan.findings.log, plan.findings.server)
        kept.pages(plan.examined.bad, plan.findings.damages, plan.examined.segment_pages)
        kept.document(plan.findings, {"plan": facts["steps"]})
    if plan.whole_cluster:
        return _cure_cluster(config, client, options, wish, folder, facts, told)
    with recorded(
        config, _OPERATION, wait=wish.wait, on_wait=lambda who, _: told(f"waiting for {who}"), **facts
    ) as record:
        lines, returned = _small(config, client, options, wish, plan, told)
        if plan.findings.running:
            with connected(config, "postgres") as connection:
                connection.execute("checkpoint")  # so that the files say what the server knows
        after = examine(config, client, options, told=told).findings
        record.details["done"] = lines
        record.details["damaged_still"] = [one.subject for one in after.damages]
        gap = any(step.cure is Cure.WAL for step in plan.steps)
        next_step = "pgdr backup incr (nothing can be replayed across a damaged segment)" if gap else ""
        cured = Cured(lines, after, folder, next_step, relations=tuple(returned))
        cured.require_proven()
    return cured


def _small(
    config: HostConfig, client: PgBackRest, options: Options, wish: Wish, plan: CurePlan, told: Told
) -> tuple[list[str], list[blocks.Returned]]:
    lines: list[str] = []
    broken: list[Damage] = []
    for step in (one for one in plan.steps if one.cure in {Cure.MEMORY, Cure.BLOCKS}):
        if step.cure is Cure.BLOCKS:
            broken += step.damages
            continue
        told(step.line)
        for damage in step.damages:
            if memory.write_again(config, damage, wish.lock_timeout) and not _bad(plan, damage):
                lines.append(step.line)
            elif damage.blocks and not damage.unlogged and not damage.catalog:
                broken.append(damage)  # its memory had gone, or is not written by itself
    returned = _blocks(config, client, options, wish, plan, broken, told) if broken else []
    lines += [f"{one.name}: {one.blocks} blocks came back" for one in returned]
    for step in (one for one in plan.steps if one.cure not in {Cure.MEMORY, Cure.BLOCKS}):
        told(step.line)
        for damage in step.damages:
            _simple(config, client, wish, step.cure, damage)
            lines.append(step.line)
    return lines, returned


def _blocks(
    config: HostConfig,
    client: PgBackRest,
    options: Options,
    wish: Wish,
    plan: CurePlan,
    broken: list[Damage],
    told: Told,
) -> list[blocks.Returned]:
    if plan.examined is None:
        return []
    seen = plan.examined
    how = blocks.How(
        seen.condition.checksums, seen.segment_pages, wish.repository, wish.lock_timeout, processes=options.jobs
    )
    return blocks.bring_back(config, client, broken, how, told)


def _bad(plan: CurePlan, damage: Damage) -> bool:
    """Whether a page of it is wrong on disk still."""
    if plan.examined is None or damage.kind is Kind.CONTROL_FILE:
        return False
    number = damage.file.rpartition("/")[2]
    return any(str(page.node.number) == number for page in bad_now(plan.examined))


def _simple(config: HostConfig, client: PgBackRest, wish: Wish, what: Cure, damage: Damage) -> None:
    if what is Cure.REINDEX:
        indexes.rebuild(config, damage, wish.lock_timeout)
    elif what is Cure.MAPS:
        maps.rebuild(config, damage, wish.lock_timeout)
    elif what is Cure.REFRESH:
        maps.refresh(config, damage, wish.lock_timeout)
    elif what is Cure.WAL:
        cluster.replace_segment(config, client, damage)


def _cure_cluster(
    config: HostConfig,
    client: PgBackRest,
    options: Options,
    wish: Wish,
    folder: Path,
    facts: dict[str, Any],
    told: Told,
) -> Cured:
    """Not under the lock of operations: the recovery takes it itself."""
    journal = Journal.of(config)
    try:
        state = cluster.restore(config, client, wish.repository, options.jobs, told)
        after = examine(config, client, options, told=told).findings
    except PgdrError as error:
        journal.append(operation=_OPERATION, result="failed", details={**facts, "error": str(error)})
        raise
    reached = state.reached
    lines = [
        f"restored from {state.plan.backup_label} up to {reached.lsn if reached else 'its end'}, promoted and stopped; "
        f"what stood there is kept: {cluster.set_aside(state)}"
    ]
    result = "ok" if after.clean else "not proven"
    journal.append(operation=_OPERATION, result=result, details={**facts, "done": lines})
    return Cured(lines, after, folder, cluster.FINISH.format(state.plan.repository))
