"""How much is kept where, and what that costs in a month when everything has reached its steady state.

All sizes are those of the store: compressed and encrypted. Nothing is measured here; the assumptions are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgdr.policy import Policy
from pgdr.policy.cloud import bucket_layout, replica_expire_days, transition_days
from pgdr.policy.repository import S3Repository
from pgdr.policy.units import DAY
from pgdr_infra.estimate.prices import Prices

_GIB = 2**30
_MONTH_DAYS = 365 / 12
_SLOT_DAYS = {"daily": 1.0, "weekly": 7.0, "monthly": _MONTH_DAYS, "annual": 365.0}


@dataclass(frozen=True)
class Workload:
    """What a database does to its store.

    Attributes:
        database_bytes: size of the database.
        change: part of the database that changes in a day, such as 0.02.
        wal_bytes: WAL written in a day.
        compression: size in the store as a part of the size in the database, such as 0.3.
    """

    database_bytes: int
    change: float
    wal_bytes: int
    compression: float


@dataclass(frozen=True)
class Line:
    """One line of the estimate.

    Attributes:
        where: ``store``, ``replica`` or ``tertiary``.
        prefix: below it, or what the line is about.
        storage_class: S3's class, or an empty string.
        gib: GiB kept on average.
        cost: in the table's currency, a month.
        note: what it is made of.
    """

    where: str
    prefix: str
    storage_class: str
    gib: float
    cost: float
    note: str


def estimate(policy: Policy, repository: S3Repository, work: Workload, prices: Prices) -> list[Line]:
    """Return the monthly cost of a repository's bucket and its copies.

    Raises:
        ConfigError: the price table does not have a region.
    """
    lines = _bucket("store", policy, repository, work, prices, repository.region, replica=False)
    lines.append(_requests(policy, work, prices, repository))
    if repository.replica is not None:
        region = repository.replica.region
        lines += _bucket("replica", policy, repository, work, prices, region, replica=True)
        lines.append(_transfer(policy, repository, work, prices))
    lines += _tertiary(policy, repository, work, prices)
    return lines


def _full_gib(work: Workload) -> float:
    return work.database_bytes * work.compression / _GIB


def _backups_per_day(policy: Policy) -> tuple[float, float]:
    """Return full and incremental backups in an average day."""
    fulls = DAY / policy.schedule.full.longest_gap
    return fulls, max(DAY / policy.schedule.incremental.longest_gap - fulls, 0.0)


def _daily_gib(policy: Policy, work: Workload) -> tuple[float, float]:
    """Return GiB of backups and of WAL that a day adds. What changes in a day is in its increments once."""
    fulls, incrementals = _backups_per_day(policy)
    changed = _full_gib(work) * work.change if incrementals else 0.0
    return fulls * _full_gib(work) + changed, work.wal_bytes * work.compression / _GIB


def _bucket(
    where: str,
    policy: Policy,
    repository: S3Repository,
    work: Workload,
    prices: Prices,
    region: str,
    *,
    replica: bool,
) -> list[Line]:
    layout, table = bucket_layout(policy, repository), prices.of(region)
    backups, wal = _daily_gib(policy, work)
    gap = -(-policy.schedule.full.longest_gap // DAY)
    current = replica_expire_days(policy, repository) if replica else repository.retention.full.days + gap
    hidden = repository.noncurrent_days
    standard = table.storage["STANDARD"]
    lines = [
        Line(where, prefix, "STANDARD", gib * days, gib * days * standard, f"{days} days {state}")
        for prefix, gib in ((layout.backups, backups), (layout.wal, wal))
        for days, state in ((current, "live"), (hidden, "hidden, locked"))
    ]
    cloud = policy.archives.cloud if policy.archives else None
    if cloud is not None and cloud.repository == repository.id:
        for name, slot in cloud.slots.items():
            per_day = _full_gib(work) / _SLOT_DAYS[name]
            kept = _Kept(slot.retention.days, hidden, slot.storage_class)
            lines += _archive(where, layout.archive(name), per_day, kept, prices, region)
    lines.append(Line(where, "customer key", "", 0.0, table.key_per_month, "KMS"))
    return lines


@dataclass(frozen=True)
class _Kept:
    """How long archives are kept, how long hidden after that, and in which class."""

    days: int
    hidden: int
    storage_class: str


def _archive(where: str, prefix: str, gib_per_day: float, kept: _Kept, prices: Prices, region: str) -> list[Line]:
    """Return the lines of archives: some days in the class that they start in, the rest in their own."""
    storage, name = prices.of(region).storage, kept.storage_class
    first = transition_days(name)
    if first is None:
        gib = gib_per_day * (kept.days + kept.hidden)
        return [Line(where, prefix, name, gib, gib * storage[name], f"{kept.days} days, {kept.hidden} hidden")]
    started = gib_per_day * first
    # An object that leaves a cold class early is charged to the end of the shortest time.
    charged = gib_per_day * max(kept.days - first + kept.hidden, prices.minimum_days.get(name, 0))
    then = f"then to day {kept.days}, {kept.hidden} hidden"
    return [
        Line(where, prefix, "STANDARD", started, started * storage["STANDARD"], f"first {first} days"),
        Line(where, prefix, name, charged, charged * storage[name], then),
    ]


def _requests(policy: Policy, work: Workload, prices: Prices, repository: S3Repository) -> Line:
    """Return the requests of WAL: one object a segment, at least one each archive_timeout while somebody writes."""
    segments = max(work.wal_bytes / (16 * 2**20), DAY / policy.wal.archive_timeout.seconds)
    monthly = segments * _MONTH_DAYS
    cost = monthly / 1000 * prices.of(repository.region).put_per_1000
    return Line("store", "requests", "", 0.0, cost, f"{monthly:,.0f} WAL segments")


def _transfer(policy: Policy, repository: S3Repository, work: Workload, prices: Prices) -> Line:
    backups, wal = _daily_gib(policy, work)
    cloud = policy.archives.cloud if policy.archives else None
    slots = cloud.slots if cloud is not None and cloud.repository == repository.id else {}
    archives = sum(_full_gib(work) / _SLOT_DAYS[name] for name in slots)
    monthly = (backups + wal + archives) * _MONTH_DAYS
    timed = repository.replica is not None and repository.replica.time_control
    price = prices.of(repository.region).transfer_to_region_per_gb + (prices.time_control_per_gb if timed else 0.0)
    return Line("replica", "replication", "", 0.0, monthly * price, f"{monthly:,.1f} GiB to the other region")


def _tertiary(policy: Policy, repository: S3Repository, work: Workload, prices: Prices) -> list[Line]:
    offsite = policy.archives.offsite if policy.archives else None
    if offsite is None or offsite.bucket is None:
        return []
    region = offsite.region or repository.region
    per_day = _full_gib(work) / (offsite.schedule.longest_gap / DAY)
    return [
        *_archive(
            "tertiary", "archive/", per_day, _Kept(offsite.retention.days, 1, offsite.storage_class), prices, region
        ),
        Line("tertiary", "customer key", "", 0.0, prices.of(region).key_per_month, "KMS"),
    ]
