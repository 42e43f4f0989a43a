"""Rules about time: what is promised against how often things happen and how long they stay."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from pgdr.policy.findings import Finding, error, key_path, warning
from pgdr.policy.model import Policy
from pgdr.policy.units import Duration, seconds_text

# Time that a segment may need from its end to a repository (pgBackRest's own archive-timeout).
ARCHIVE_MARGIN_SECONDS = 60
SLOT_INTERVALS = {
    "daily": Duration(1, "d"),
    "weekly": Duration(1, "w"),
    "monthly": Duration(1, "mo"),
    "annual": Duration(1, "y"),
}


def archiving_meets_rpo(policy: Policy) -> Iterator[Finding]:
    """A segment must be archived, and its absence noticed, before the RPO is broken."""
    wal, rpo = policy.wal, policy.objectives.rpo
    if wal.archive_timeout.seconds + ARCHIVE_MARGIN_SECONDS > rpo.seconds:
        yield error(
            key_path("wal", "archive_timeout"),
            f"{wal.archive_timeout} and {ARCHIVE_MARGIN_SECONDS} s to store a segment exceed objectives.rpo {rpo}",
            "shorten it",
        )
    if wal.lag_alert >= rpo:
        yield error(
            key_path("wal", "lag_alert"),
            f"{wal.lag_alert} would alert when objectives.rpo {rpo} is already broken",
            "make it shorter than the RPO",
        )
    if wal.lag_alert <= wal.archive_timeout:
        yield warning(
            key_path("wal", "lag_alert"),
            f"{wal.lag_alert} is not longer than wal.archive_timeout {wal.archive_timeout}: a quiet database alerts",
            "make it longer",
        )


def heartbeat_measures_rpo(policy: Policy) -> Iterator[Finding]:
    """Loss is measured by heartbeats, so they must be closer together than the loss that is allowed."""
    gap, rpo = policy.schedule.heartbeat.longest_gap, policy.objectives.rpo
    if gap > rpo.seconds:
        yield error(
            key_path("schedule", "heartbeat"),
            f"pauses of {seconds_text(gap)} cannot measure objectives.rpo {rpo}",
            "run it each minute",
        )


def fulls_outlive_their_interval(policy: Policy) -> Iterator[Finding]:
    """A window shorter than the time between two fulls cannot be kept."""
    gap = policy.schedule.full.longest_gap
    for index, repository in enumerate(policy.repositories):
        full = repository.retention.full
        if full.seconds < gap:
            yield error(
                key_path("repositories", index, "retention", "full"),
                f"{full} is shorter than the {seconds_text(gap)} between two runs of schedule.full: mostly there is no "
                "window",
                "keep fulls longer or make them more often",
            )


def slots_outlive_their_interval(policy: Policy) -> Iterator[Finding]:
    """An archive slot must reach to its next archive."""
    cloud = policy.archives.cloud if policy.archives else None
    for name, slot in cloud.slots.items() if cloud else ():
        if slot.retention < SLOT_INTERVALS[name]:
            yield error(
                key_path("archives", "cloud", name, "retention"),
                f"{slot.retention} is shorter than the interval of the slot, {SLOT_INTERVALS[name]}",
                "keep it longer or leave the slot out",
            )


def archive_slots_grow(policy: Policy) -> Iterator[Finding]:
    """A rarer archive that is removed before a more frequent one protects nothing."""
    cloud = policy.archives.cloud if policy.archives else None
    if cloud is None:
        return
    for (shorter, first), (longer, second) in pairwise(cloud.slots.items()):
        if second.retention < first.retention:
            yield warning(
                key_path("archives", "cloud", longer, "retention"),
                f"{second.retention} is shorter than the {first.retention} of the {shorter} archives",
                "keep it longer or leave the slot out",
            )


def old_backups_go(policy: Policy) -> Iterator[Finding]:
    """Nothing expires by itself: a job removes what a verified backup makes dispensable."""
    if policy.schedule.expire is None:
        yield warning(
            key_path("schedule", "expire"),
            "nothing ever removes a backup: the repositories grow until a disk is full",
            "write a schedule after the one of verify, such as '0 5 * * *'",
        )
    elif policy.schedule.verify is None:
        yield warning(
            key_path("schedule", "verify"),
            "no backup is ever verified, and without a verified one nothing is removed",
            "write a schedule, such as '0 4 * * *'",
        )


def incremental_yields(policy: Policy) -> Iterator[Finding]:
    """Full and incremental may meet, because the incremental gives way; a person should know."""
    if policy.schedule.incremental.meets(policy.schedule.full):
        yield warning(
            key_path("schedule", "incremental"),
            f"{policy.schedule.incremental} starts in the same minute as schedule.full {policy.schedule.full}: that "
            "incremental yields",
            "move one of them to spare the skipped run",
        )
