"""``pgdr verify``: read every repository whole, hold it against what the server claims, mark what is good.

A hole in the WAL, or a segment that was reported as archived and is nowhere, starts a full backup: the time from then
on can be recovered again, whatever became of the time before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pgdr.backup import BackupReport, back_up
from pgdr.errors import ExitCode, PgdrError, RefusedError
from pgdr.health import Check, Level, exit_code, worst
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import operation_lock
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.repositories import ConfiguredRepository
from pgdr.policy.derive import alerts
from pgdr.policy.model import Policy
from pgdr.proof.findings import record
from pgdr.proof.look import Server, ask_server, now
from pgdr.proof.marks import marks_file, record_verified
from pgdr.proof.repository import Verified, verify_repository
from pgdr.proof.usual import age_checks, size_checks
from pgdr.proof.wal import behind_newest_full, claimed_check
from pgdr.supervise import Supervisor

#: It reads for hours and changes nothing: a backup need not wait for it, nor it for a backup.
SCOPE = "verify"
_BACKUP_WAIT = 7200.0
_RESULTS = {ExitCode.OK: "ok", ExitCode.NOT_PROVEN: "not proven", ExitCode.UNREACHABLE: "unreachable"}


class VerifyListener:
    """Is told what happens. This one says nothing."""

    tick: float = 30.0

    def started(self, repository: ConfiguredRepository) -> None:
        """A repository is being read."""

    def still(self) -> None:
        """It still is."""

    def repairing(self, repository: int, reason: str) -> None:
        """A full backup begins because of a hole."""


@dataclass
class VerifyReport:
    """What a verification found.

    Attributes:
        repositories: each repository.
        checks: what concerns the host.
        repaired: full backups that were begun because of it.
    """

    repositories: list[Verified] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    repaired: list[BackupReport] = field(default_factory=list)

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """All findings."""
        return (*self.checks, *(check for item in self.repositories for check in item.checks))

    @property
    def exit_code(self) -> ExitCode:
        """0 when nothing is red, else what the worst finding says."""
        return exit_code(self.all_checks)


def verify(
    config: HostConfig,
    policy: Policy,
    *,
    repository: int | None = None,
    repair: bool = True,
    listener: VerifyListener | None = None,
) -> VerifyReport:
    """Verify one or all repositories and mark the sets that are good.

    Args:
        config: what this host is.
        policy: says how old a backup may be.
        repository: this one only.
        repair: take a full backup where WAL is lost for good.
        listener: is told what happens.

    Raises:
        BusyError: another verification runs.
        RefusedError: the repository is not configured.
        InterruptedOperationError: a signal came.
    """
    told = listener or VerifyListener()
    report = VerifyReport()
    with Supervisor() as supervisor, operation_lock(config, "verification", scope=SCOPE):
        client = PgBackRest(config, lambda argv: supervisor.run(argv, on_tick=told.still, tick=told.tick))
        chosen = _chosen(client, repository)
        server = ask_server(config)
        report.checks.append(server.check)
        for target in chosen:
            supervisor.raise_if_signalled()
            told.started(target)
            report.repositories.append(_one(config, client, policy, target, server))
            supervisor.raise_if_signalled()
        _keep(config, report)
    if repair and server.archiver is not None and not server.archiver.in_recovery:
        for item in report.repositories:
            reason = _lost_for_good(item, server)
            if reason:
                told.repairing(item.repository, reason)
                report.repaired.append(_repair(config, item))
    return report


def _one(
    config: HostConfig, client: PgBackRest, policy: Policy, target: ConfiguredRepository, server: Server
) -> Verified:
    marks = marks_file(config).read()
    result = verify_repository(
        client,
        target.key,
        target.place,
        segment_size=server.segment_size,
        wal_from=marks.wal_from.get(target.key, ""),
    )
    if server.archiver is not None and result.stored is not None and result.wal is not None:
        result.checks.append(claimed_check(server.archiver, result.stored, target.key, result.wal.first))
    if result.backups:
        result.checks += age_checks(result.backups, alerts(policy)["max_age"], target.key, now())
        result.checks += size_checks(result.backups, target.key)
    return result


def _keep(config: HostConfig, report: VerifyReport) -> None:
    """Write down what was found: marks, findings for ``pgdr status``, and a journal entry for each repository."""
    at = now()
    for item in report.repositories:
        record_verified(config, item.repository, item.good, item.damaged, at)
    dated = record(config, "verify", report.all_checks, at)
    report.checks = [dated[check.key] for check in report.checks]
    for item in report.repositories:
        item.checks = [dated[check.key] for check in item.checks]
    try:
        _record(config, report)
    except PgdrError as error:
        # Hours of reading are not thrown away because they could not be written down.
        report.checks.append(
            Check(
                "journal",
                Level.RED,
                f"the verification is not in the journal: {error.message}",
                endangers="the evidence of what was done",
                remedy=error.remedy,
                code=error.exit_code,
            )
        )


def _record(config: HostConfig, report: VerifyReport) -> None:
    journal = Journal.of(config)
    for item in report.repositories:
        code = exit_code(item.checks)
        journal.append(
            operation="verify",
            result=_RESULTS.get(code, "failed"),
            details={
                "repository": item.repository,
                "place": item.place,
                "verified": list(item.good),
                "damaged": item.damaged,
                "level": str(worst(item.checks)),
                "findings": [str(check) for check in item.checks if check.level is not Level.GREEN],
                "segments": item.wal.segments if item.wal else None,
            },
            times={"verify": item.seconds},
        )


def _lost_for_good(item: Verified, server: Server) -> str:
    claimed = next((check for check in item.checks if check.name == "wal-claimed" and check.level is Level.RED), None)
    if claimed is not None:
        return claimed.message
    if item.wal is None:
        return ""
    lost = [hole for hole in item.wal.holes if behind_newest_full(hole, item.backups, server.segment_size)]
    return f"WAL segment {lost[0].first.name} is missing" if lost else ""


def _repair(config: HostConfig, item: Verified) -> BackupReport:
    try:
        made = back_up(config, "full", repository=item.repository, wait=_BACKUP_WAIT)
    except PgdrError as error:
        item.checks.append(_not_repaired(item.repository, error.message, error.remedy))
        return BackupReport("full", ())
    item.checks += [_not_repaired(one.repository, one.message, "") for one in made.repositories if one.exit_code]
    return made


def _not_repaired(repository: int, message: str, remedy: str) -> Check:
    return Check(
        "repair",
        Level.RED,
        f"the full backup that lost WAL asks for failed: {message}",
        repository,
        endangers="every change since the newest backup",
        remedy=remedy or f"pgdr backup full --repo {repository}",
    )


def _chosen(client: PgBackRest, repository: int | None) -> Sequence[ConfiguredRepository]:
    configured = client.repositories
    chosen = [item for item in configured if repository is None or item.key == repository]
    if not chosen:
        keys = ", ".join(str(item.key) for item in configured)
        raise RefusedError(f"repository {repository} is not configured", remedy=f"configured: {keys}")
    return chosen


def document(report: VerifyReport) -> dict[str, Any]:
    """Write the report as the JSON document of ``pgdr verify --output json``."""
    return {
        "level": str(worst(report.all_checks)),
        "exit_code": int(report.exit_code),
        "checks": [check_document(check) for check in report.checks],
        "repositories": [
            {
                "key": item.repository,
                "place": item.place,
                "level": str(worst(item.checks)),
                "verified": list(item.good),
                "damaged": item.damaged,
                "seconds": round(item.seconds, 1),
                "checks": [check_document(check) for check in item.checks],
            }
            for item in report.repositories
        ],
        "full_backups": [one.label for made in report.repaired for one in made.repositories if one.label],
    }


def check_document(check: Check) -> dict[str, Any]:
    """A finding for a program."""
    content = asdict(check)
    content["level"] = str(check.level)
    content["code"] = int(check.code)
    content["since"] = check.since.isoformat(timespec="seconds") if check.since else None
    content["text"] = str(check)
    return content
