"""When erased data is really gone: the last day on which any backup may still hold it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.policy.units import DAY


@dataclass(frozen=True)
class Holding:
    """A place that may still hold erased data.

    Attributes:
        place: what it is.
        days: the longest time after the erasure, in days.
        until: the last moment.
        why: how the days come about.
    """

    place: str
    days: int
    until: datetime
    why: str


def holdings(policy: Policy, erased_at: datetime) -> list[Holding]:
    """All places by the policy, the one that lasts longest at the end.

    The newest backup that can hold the data was taken just before the erasure; it stays until its retention is over,
    and a full one until the next full has been taken as well. Locked or kept object versions come on top.
    """
    gap = -(-policy.schedule.full.longest_gap // DAY)
    found: list[tuple[str, int, str]] = []
    for repository in policy.repositories:
        retention = repository.retention.full.days
        versions = repository.noncurrent_days if isinstance(repository, S3Repository) else 0
        found.append(
            (
                f"physical backups and WAL, repository {repository.id}",
                retention + gap + versions,
                f"retention {retention} d, interval of fulls {gap} d, versions {versions} d",
            )
        )
    archives = policy.archives
    if archives is not None:
        days = archives.local.retention.days
        found.append(("logical archives, local", days, f"retention {days} d"))
        for name, slot in (archives.cloud.slots if archives.cloud else {}).items():
            days = slot.retention.days
            found.append((f"logical archives, {name}", days, f"retention {days} d"))
        if archives.offsite is not None:
            days = archives.offsite.retention.days
            found.append(("logical archives, offsite", days, f"retention {days} d"))
    return sorted(
        (Holding(place, days, erased_at + timedelta(days=days), why) for place, days, why in found),
        key=lambda one: (one.days, one.place),
    )
