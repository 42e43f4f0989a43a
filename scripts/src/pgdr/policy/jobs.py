"""Which jobs a policy schedules on the host, and when the newest result of one is late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from pgdr.policy.cron import Cron
from pgdr.policy.model import Policy

_PGDR = "/usr/local/bin/pgdr"


class Job(TypedDict):
    """One line of /etc/cron.d/erp-backup."""

    name: str
    schedule: str
    command: str
    comment: str


def cron_jobs(policy: Policy) -> list[Job]:
    """Return the jobs that the host's cron starts; what the policy does not schedule is not there."""
    wanted = [*_backups(policy), *_proofs(policy), *_archives(policy)]
    return [
        Job(name=name, schedule=str(cron), command=f"{_PGDR} {command}", comment=comment)
        for name, cron, command, comment in wanted
        if cron is not None
    ]


def late_after(gap: int) -> int:
    """Return the age in seconds at which the newest result of a job is late.

    A quarter of its longest pause is left for the run itself, and never less than two minutes.
    """
    return gap + max(gap // 4, 120)


def _backups(policy: Policy) -> Iterator[tuple[str, Cron | None, str, str]]:
    schedule = policy.schedule
    yield "backup-full", schedule.full, "backup full", "Full backup to every repository"
    yield (
        "backup-incremental",
        schedule.incremental,
        "backup incr",
        "Incremental backup to every repository; yields to a full that is running",
    )
    yield "heartbeat", schedule.heartbeat, "heartbeat", "Row that lets a recovery say how much was lost"
    yield "watch", schedule.watch, "watch", "Looks at everything, tells people what changed, writes the metrics"


def _proofs(policy: Policy) -> Iterator[tuple[str, Cron | None, str, str]]:
    """Jobs that prove backups, and the one that removes what a proven one makes dispensable."""
    schedule = policy.schedule
    yield "verify", schedule.verify, "verify", "Reads every repository whole and marks the backups that are good"
    yield "expire", schedule.expire, "expire", "Removes what a newer verified backup makes dispensable"
    yield (
        "rehearsal",
        schedule.rehearsal,
        # The night's full backup has precedence.
        "rehearse --wait 4h",
        "Restores newest backup, a past moment and newest archive, looks through them, removes them",
    )


def _archives(policy: Policy) -> Iterator[tuple[str, Cron | None, str, str]]:
    """Jobs of logical archives; without archives in the policy there are none."""
    schedule, archives = policy.schedule, policy.archives
    if archives is None:
        return
    yield (
        "archive",
        schedule.archive,
        # Until then yesterday's may still be on its way to the cloud.
        "archive --wait 2h",
        "Logical archive of every schema; a schema that no policy line covers is an error",
    )
    yield (
        "archive-verify",
        schedule.verify,
        "archives verify --wait 4h",
        "Read the newest logical archive to its last row: older ones are only removed when it is whole",
    )
    yield (
        "config-backup",
        schedule.configuration if archives.configuration else None,
        "config-backup",
        "Copy of the host's configuration, without secrets",
    )
    yield (
        "archive-offsite",
        archives.offsite.schedule if archives.offsite is not None and archives.offsite.bucket is not None else None,
        "archives offsite",
        "Monthly archive to the bucket of the other account",
    )
