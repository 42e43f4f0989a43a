"""Rules about law: locks, erasure and how long archives must stay."""

from __future__ import annotations

from collections.abc import Iterator

from pgdr.policy.findings import Finding, error, key_path, warning
from pgdr.policy.model import Framework, Policy
from pgdr.policy.repository import S3Repository
from pgdr.policy.units import DAY, Duration

RETENTION_FLOORS: dict[Framework, Duration] = {"hipaa": Duration(6, "y"), "sox": Duration(7, "y")}
SOC2_RESTORE_TEST = Duration(1, "mo")


def object_lock_fits(policy: Policy) -> Iterator[Finding]:
    """A lock protects what is needed, and lets go when the law asks."""
    cap = policy.compliance.erasure_cap
    gap_days = -(-policy.schedule.full.longest_gap // DAY)
    for index, repository in enumerate(policy.repositories):
        if not isinstance(repository, S3Repository) or repository.object_lock is None:
            continue
        days, retention = repository.object_lock.days, repository.retention.full.days
        path = key_path("repositories", index, "object_lock", "days")
        if days < retention:
            yield error(
                path,
                f"{days} days end before retention.full {repository.retention.full}: backups that are still needed "
                "could be destroyed",
                f"write at least {retention + gap_days}",
            )
        elif days < retention + gap_days:
            yield warning(
                path,
                f"{days} days end before the oldest full is removed, up to {retention + gap_days} days after its start",
                f"write at least {retention + gap_days}",
            )
        if cap is not None and days > cap.days:
            yield error(
                path,
                f"{days} days outlast compliance.erasure_cap {cap}: erased data could not be removed in time",
                "shorten the lock or agree on a longer cap",
            )


def erased_data_expires(policy: Policy) -> Iterator[Finding]:
    """Retention, the interval of fulls and kept versions add up; the sum must stay below the cap."""
    cap = policy.compliance.erasure_cap
    if cap is None:
        return
    gap_days = -(-policy.schedule.full.longest_gap // DAY)
    for index, repository in enumerate(policy.repositories):
        retention = repository.retention.longest.days
        noncurrent = repository.noncurrent_days if isinstance(repository, S3Repository) else 0
        total = retention + gap_days + noncurrent
        if total > cap.days:
            yield error(
                key_path("repositories", index, "retention", "full"),
                f"erased data lives on for {total} days (retention {retention}, interval of fulls {gap_days}, versions "
                f"{noncurrent}), longer than compliance.erasure_cap {cap}",
                "shorten retention or object_lock, or agree on a longer cap",
            )


def compliance_is_met(policy: Policy) -> Iterator[Finding]:
    """The presets: floors of retention, a cap on erasure, restores that are tested."""
    frameworks = policy.compliance.frameworks
    for framework in frameworks:
        if framework in RETENTION_FLOORS:
            yield from _retention_floor(policy, framework, RETENTION_FLOORS[framework])
    if "gdpr" in frameworks and policy.compliance.erasure_cap is None:
        yield error(
            key_path("compliance", "erasure_cap"),
            "gdpr needs a longest time for erased data to live on in backups",
            "write it, such as 90d",
        )
    if "soc2" in frameworks:
        rehearsal = policy.schedule.rehearsal
        if rehearsal is None or rehearsal.longest_gap > SOC2_RESTORE_TEST.seconds:
            yield error(
                key_path("schedule", "rehearsal"),
                "soc2 needs a restore test each month",
                "write a schedule that runs at least monthly, such as '0 3 * * 0'",
            )


def _retention_floor(policy: Policy, framework: Framework, floor: Duration) -> Iterator[Finding]:
    archives = policy.archives
    kept: list[tuple[Duration, str]] = []
    if archives and archives.cloud:
        kept += [(s.retention, f"archives.cloud.{n}.retention") for n, s in archives.cloud.slots.items()]
    if archives and archives.offsite:
        kept.append((archives.offsite.retention, "archives.offsite.retention"))
    if not kept:
        yield error(
            key_path("archives"),
            f"{framework} needs archives that are kept {floor}, and there are none off the host",
            "add archives.cloud.annual",
        )
        return
    longest, where = max(kept, key=lambda entry: entry[0].seconds)
    if longest < floor:
        yield error(
            key_path(*where.split(".")),
            f"{longest} is the longest retention of the archives, and {framework} needs {floor}",
            "keep it longer",
        )
