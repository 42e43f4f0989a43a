"""``pgdr rehearse``: restore, look, remove, and write down what that proves."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pgdr.errors import BusyError, ExitCode, NotProvenError, PgdrError, RefusedError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import holder, operation_lock
from pgdr.pgbackrest.client import PgBackRest
from pgdr.policy.model import Policy
from pgdr.proof.findings import record
from pgdr.proof.marks import marks_file, record_archive_proven, record_not_proven, record_proven
from pgdr.proof.speeds import measured
from pgdr.recovery.target import Target, make_target
from pgdr.rehearsal.logical import rehearse_archive
from pgdr.rehearsal.model import SCOPE, Outcome, Part, PartReport, Rehearsal, Request, Shelf, save
from pgdr.rehearsal.physical import random_point, rehearse_backup
from pgdr.side import manage
from pgdr.supervise import InterruptedOperationError, Supervisor

Tell = Callable[[str], None]

_POLL_SECONDS = 2.0
#: Name of the look in the findings; one finding a part, see :func:`findings`.
LOOK = "rehearse"


def rehearse(
    config: HostConfig,
    policy: Policy,
    request: Request,
    *,
    tell: Tell = lambda _line: None,
    choose: random.Random | None = None,
) -> Rehearsal:
    """Carry out a rehearsal; a part that fails does not stop the others.

    Args:
        config: this host.
        policy: what is expected.
        request: what is to be rehearsed.
        tell: is told what happens.
        choose: draws the random moment and repository.

    Raises:
        BusyError: another rehearsal runs, or an operation with precedence did not end in time.
        InterruptedOperationError: a signal came; nothing is left behind.
    """
    state = Rehearsal(request=request, began_at=datetime.now(UTC), running_pid=os.getpid())

    def progress(line: str) -> None:
        state.progress = line
        save(config, state)
        tell(line)

    with Supervisor() as supervisor, operation_lock(config, "rehearsal", scope=SCOPE):
        save(config, state)
        try:
            for name in clear(config):
                progress(f"removed what a killed rehearsal left: {name}")
            for part in request.parts:
                supervisor.raise_if_signalled()
                _give_way(config, request.wait, progress)
                state.parts.append(_part(config, policy, request, part, choose or random.SystemRandom(), progress))
                save(config, state)
        except PgdrError as error:
            state.error, state.remedy, state.error_code = error.message, error.remedy, error.exit_code
            raise
        finally:
            state.finished_at, state.running_pid, state.progress = datetime.now(UTC), None, ""
            save(config, state)
            if state.error_code is not ExitCode.BUSY:
                keep(config, state)
    return state


def clear(config: HostConfig) -> list[str]:
    """Remove what killed rehearsals left; the caller holds the rehearsals' lock.

    Raises:
        PgdrError: something could not be removed.
    """
    found = manage.rehearsals(config)
    for name in found:
        manage.stop(config, name, why="left by a killed rehearsal")
    return found


def _give_way(config: HostConfig, wait: float, tell: Tell) -> None:
    """Begin nothing beside a backup, an expiry or a recovery."""
    deadline = time.monotonic() + wait
    told = False
    while (other := holder(config)) is not None:
        if time.monotonic() >= deadline:
            raise BusyError(f"gave way to {other}", remedy="nothing was changed; give it time with --wait 4h")
        if not told:
            tell(f"waiting for {other}")
            told = True
        time.sleep(_POLL_SECONDS)


def _part(
    config: HostConfig, policy: Policy, request: Request, part: Part, choose: random.Random, tell: Tell
) -> PartReport:
    report = PartReport(part=part)
    processes = request.processes or max((os.cpu_count() or 1) // 2, 1)
    try:
        if part is Part.ARCHIVE:
            _archive(config, policy, request.archive_from, report, processes, tell)
        else:
            _backup(config, policy, request, report, choose, processes, tell)
    except InterruptedOperationError:
        raise
    except PgdrError as error:
        report.message, report.remedy, report.exit_code = error.message, error.remedy, error.exit_code
        report.outcome = Outcome.NOT_PROVEN if _damaging(error) else Outcome.FAILED
        if report.outcome is Outcome.NOT_PROVEN and part is not Part.ARCHIVE and report.label:
            broken = not isinstance(error, NotProvenError) or not report.reached
            record_not_proven(config, report.repository or 0, report.label, error.message if broken else "")
    return report


def _damaging(error: PgdrError) -> bool:
    return error.exit_code is ExitCode.NOT_PROVEN


def _backup(
    config: HostConfig,
    policy: Policy,
    request: Request,
    report: PartReport,
    choose: random.Random,
    processes: int,
    tell: Tell,
) -> None:
    client = PgBackRest(config)
    report.repository = request.repository or _repository(client, report.part, choose)
    if report.repository not in {item.key for item in client.repositories}:
        keys = ", ".join(str(item.key) for item in client.repositories)
        raise RefusedError(f"repository {report.repository} is not configured", remedy=f"configured: {keys}")
    target = Target()
    if report.part is Part.POINT:
        if request.point:
            target = make_target(time=request.point)
        else:
            try:
                target = random_point(config, client, report.repository, marks_file(config).read(), choose)
            except RefusedError as error:
                report.outcome, report.message = Outcome.SKIPPED, error.message
                return
    side = rehearse_backup(config, client, policy, report, target, processes=processes, tell=tell)
    record_proven(config, measured(side, datetime.now(UTC), by="rehearsal"))


def _archive(config: HostConfig, policy: Policy, shelf: Shelf, report: PartReport, processes: int, tell: Tell) -> None:
    if policy.archives is None:
        report.outcome, report.message = Outcome.SKIPPED, "the policy has no archives"
        return
    rehearse_archive(config, policy, shelf, report, processes=processes, tell=tell)
    record_archive_proven(config, report.label, datetime.now(UTC), report.seconds.get("restore", 0.0), report.bytes)


def _repository(client: PgBackRest, part: Part, choose: random.Random) -> int:
    """The newest backup from where a lost host would be rebuilt; a moment of the past from any."""
    known = client.repositories
    if part is Part.POINT:
        return choose.choice(known).key
    return next((item for item in known if item.type != "posix"), known[0]).key


def findings(state: Rehearsal) -> list[Check]:
    """One finding for each part: what is wrong with what, and what to do."""
    found = []
    for part in state.parts:
        name = f"rehearsal-{part.part}"
        if part.outcome in (Outcome.OK, Outcome.SKIPPED):
            found.append(green(name, f"{part.what}: {part.message or 'restored, looked through and right'}"))
            continue
        bad = part.outcome is Outcome.NOT_PROVEN
        found.append(
            Check(
                name,
                Level.RED if bad else Level.AMBER,
                f"the rehearsal of {part.what} {'failed its proof' if bad else 'could not be done'}: {part.message}",
                endangers="every restore from it" if bad else "the belief that the backups can be restored",
                remedy=f"{part.remedy}; then pgdr rehearse --only {part.part}".lstrip("; "),
                code=part.exit_code,
            )
        )
    return found


def keep(config: HostConfig, state: Rehearsal, *, host: str = "") -> None:
    """Write down what was found: for the status, and for the record.

    Args:
        config: this host.
        state: what was found.
        host: where it was rehearsed, if it was elsewhere.
    """
    at = state.finished_at or datetime.now(UTC)
    record(config, LOOK, findings(state), at, keep=True)
    first = next((part for part in state.parts if part.part is not Part.ARCHIVE), None)
    failed = [f"{part.what}: {part.message}" for part in state.parts if part.exit_code is not ExitCode.OK]
    Journal.of(config).append(
        operation="rehearse",
        result=state.result,
        details={
            **({"rehearsed_on": host} if host else {}),
            "requested": "all" if state.request.everything else ", ".join(state.request.parts),
            "backup_label": first.label if first else "",
            "repository": first.repository if first else None,
            "target": first.target if first else "",
            "reached": first.reached if first else "",
            "message": "; ".join([*failed, *([state.error] if state.error else [])]),
            "parts": [part.model_dump(mode="json", exclude={"checks", "remedy"}) for part in state.parts],
            "checks": [
                {"part": str(part.part), **check.model_dump(mode="json")}
                for part in state.parts
                for check in part.checks
            ],
        },
        times={f"{part.part}: {name}": seconds for part in state.parts for name, seconds in part.seconds.items()},
    )
