"""Restore a backup set into a throw-away instance, replay to a target, open it, and look."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta

from pgdr.errors import NotProvenError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.policy.model import Policy
from pgdr.proof.marks import Marks
from pgdr.recovery.replay import promote
from pgdr.recovery.smoke import ask
from pgdr.recovery.source import Wish, choose_source
from pgdr.recovery.target import Target, make_target
from pgdr.rehearsal import content, ledger
from pgdr.rehearsal.model import Part, PartReport
from pgdr.side import manage, store
from pgdr.side.model import SideState, place
from pgdr.side.plan import SideOptions, make_side_plan
from pgdr.side.reader import asking
from pgdr.side.run import SideInstance

Tell = Callable[[str], None]

#: Commits and the clock's steps are finer than this; a target on the very end would not be passed by any commit.
_MARGIN = timedelta(milliseconds=1)


def random_point(
    config: HostConfig, client: PgBackRest, repository: int, marks: Marks, choose: random.Random
) -> Target:
    """Draw a moment of the window from which a repository promises every moment.

    Raises:
        RefusedError: the window has no room for one yet.
    """
    with asking(client, repository) as reader:
        sets = reader.client.info(repository).backups(repository)
        last = choose_source(config, reader.client, Wish(repository, Target())).end.last_commit_at
    good = [item for item in sets if not item.error and not marks.of(repository, item.label).damaged]
    anchor = next((item for item in good if item.label == marks.wal_from.get(repository)), None)
    first = anchor or next(iter(good), None)
    begin = first.stopped + timedelta(seconds=1) if first else None
    if begin is None or last is None or last - _MARGIN <= begin:
        raise RefusedError(
            f"repository {repository} has no earlier point yet: nothing was committed since its first backup",
            remedy="run it again when there is more than one backup",
        )
    moment = begin + (last - _MARGIN - begin) * choose.random()
    return make_target(time=moment.isoformat(sep=" "))


def rehearse_backup(
    config: HostConfig,
    client: PgBackRest,
    policy: Policy,
    report: PartReport,
    target: Target,
    *,
    processes: int,
    tell: Tell,
) -> SideState:
    """Restore, replay, open, look, remove; what was seen goes into the report as it is seen.

    Raises:
        NotProvenError: something is not what it should be.
        PgdrError: it could not be done.
    """
    name = report.part.instance
    report.target = target.text
    state = make_side_plan(
        config, client, SideOptions(name=name, repository=report.repository or 1, target=target, rehearsal=True)
    )
    report.label, report.bytes = state.plan.backup_label, state.plan.backup_bytes
    store.save(config, state)
    try:
        instance = SideInstance(config, client, name)
        try:
            tell(f"restoring {report.what}")
            with instance.opened(processes) as server:
                state = instance.state
                report.seconds |= {phase.name: phase.seconds for phase in state.phases}
                reached = state.reached
                report.reached = reached.lsn if reached else ""
                report.reached_at = reached.last_commit_at if reached else None
                with timed(report, "open"):
                    promote(server, lambda _line, _percent: None)
                there = _address(config, state)
                tell(f"looking into {report.what}")
                with timed(report, "look"):
                    report.checks.append(ledger.compare(there, config, report.reached))
                    look(there, policy, report, production=config, databases=(), jobs=processes)
        finally:
            report.seconds = {phase.name: phase.seconds for phase in instance.state.phases} | report.seconds
    finally:
        with timed(report, "remove"):
            manage.stop(config, name, why="rehearsed")
    require_right(report)
    return state


def look(
    there: HostConfig,
    policy: Policy,
    report: PartReport,
    *,
    production: HostConfig | None,
    databases: tuple[str, ...],
    jobs: int,
) -> None:
    """Look into a restored database and put what is seen into the report."""
    copied = report.part is not Part.ARCHIVE
    read = content.examine(there, policy.schemas, production, jobs=jobs, copied=copied)
    asked = [read.schemas, *ask(there, policy.recovery.smoke_queries)]
    if report.part is Part.POINT:
        # The policy says what is there today; in the past a schema or a table may rightly not have been.
        asked = [check.model_copy(update={"fatal": False}) for check in asked]
    report.checks += [*read.checks, *asked]
    report.tables, report.rows, report.checksum = read.tables, read.rows, read.checksum
    report.checks.append(content.amcheck(there, databases, jobs=jobs))


def require_right(report: PartReport) -> None:
    """Refuse to call a restore right when a check that matters failed.

    Raises:
        NotProvenError: with every failed check.
    """
    failed = [f"{check.name}: {check.detail}" for check in report.checks if check.fatal and not check.ok]
    if failed:
        other = (
            "another archive: pgdr restore --archive" if report.part is Part.ARCHIVE else "another set or repository"
        )
        raise NotProvenError("; ".join(failed), remedy=f"until it is understood, restore from {other}")


class timed:  # noqa: N801 - read as a word of the language
    """Measure a phase of a report."""

    def __init__(self, report: PartReport, name: str) -> None:
        self._report, self._name, self._began = report, name, 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._report.seconds[self._name] = round(time.monotonic() - self._began, 3)


def _address(config: HostConfig, state: SideState) -> HostConfig:
    """The restored cluster as if it were a host of its own."""
    return config.model_copy(
        update={
            "port": state.port,
            "socket_directory": place(config, state.name).socket_directory,
            "data_directory": place(config, state.name).data,
        }
    )
