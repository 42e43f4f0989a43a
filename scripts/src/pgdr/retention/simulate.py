"""``pgdr policy simulate``: which copies exist on a day to come, what could be restored, what it weighs.

The plan is the one that ``pgdr expire`` carries out; only time and backups are made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pgdr.policy.model import Policy
from pgdr.retention.places import repository_rule
from pgdr.retention.plan import PERIODS, Copy, Plan, Rule, make_plan

#: Says of the number of a day whether its backup succeeds; for tests, failures are thrown in.
Succeeds = Callable[[int], bool]


@dataclass(frozen=True)
class Weights:
    """What things weigh, in bytes.

    Attributes:
        full: a full backup.
        wal: the WAL of a day, increments included.
        archive: a logical archive.
    """

    full: int
    wal: int
    archive: int


@dataclass(frozen=True)
class Simulated:
    """One place on the day.

    Attributes:
        place: its name.
        copies: the labels that exist, oldest first.
        reasons: why each exists.
        reach: the oldest moment from which on every moment can be reached; ``None`` for archives.
        oldest: the oldest copy.
        size: bytes.
        conflicts: where rules disagree.
    """

    place: str
    copies: tuple[str, ...]
    reasons: tuple[str, ...]
    reach: datetime | None
    oldest: datetime | None
    size: int
    conflicts: tuple[str, ...] = ()


def simulate(policy: Policy, begin: date, until: date, weights: Weights) -> list[Simulated]:
    """Let the policy run from a day, with nothing there, to another and say what exists then.

    Args:
        policy: the policy.
        begin: the first day.
        until: the last day.
        weights: what things weigh.
    """
    result = []
    for repository in policy.repositories:
        rule = repository_rule(repository, policy)
        plan = run_fulls(policy, rule, begin, until)
        anchor = next((copy for copy in plan.kept if copy.label == plan.anchor), None)
        reach = anchor.at if anchor else (plan.kept[0].at if plan.kept else None)
        days = (datetime.combine(until, time.max, UTC) - reach).days if reach else 0
        result.append(
            Simulated(
                place=f"repository {repository.id}",
                copies=tuple(copy.label for copy in plan.kept),
                reasons=tuple(item.reasons[0] for item in plan.decisions if item.keep),
                reach=reach,
                oldest=plan.kept[0].at if plan.kept else None,
                size=len(plan.kept) * weights.full + days * weights.wal,
                conflicts=plan.conflicts,
            )
        )
    return [*result, *_archives(policy, begin, until, weights)]


def run_fulls(
    policy: Policy,
    rule: Rule,
    begin: date,
    until: date,
    *,
    made: Succeeds = lambda _day: True,
    good: Succeeds = lambda _day: True,
) -> Plan:
    """Let fulls be made and expired day by day and return the plan of the last day.

    Args:
        policy: says on which days a full is made.
        rule: what is kept.
        begin: the first day.
        until: the last day.
        made: whether a day's backup is there at all.
        good: whether it passes verification.
    """
    copies: list[Copy] = []
    plan = Plan((), (), None)
    for number, day in enumerate(_days(begin, until)):
        for minute in policy.schedule.full.minutes_on(day):
            if made(number):
                at = datetime.combine(day, time(minute // 60, minute % 60), UTC)
                copies.append(Copy(f"{at:%Y%m%d-%H%M%S}F", at, good=good(number)))
        plan = make_plan(copies, rule, datetime.combine(day, time(23, 59), UTC), {})
        copies = list(plan.kept)
    return plan


def _archives(policy: Policy, begin: date, until: date, weights: Weights) -> Iterator[Simulated]:
    archives, schedule = policy.archives, policy.schedule.archive
    if archives is None or schedule is None:
        return
    places = {"archives local": ("daily", archives.local.retention.days)}
    for name, slot in (archives.cloud.slots if archives.cloud else {}).items():
        places[f"archives {name}"] = (name, slot.retention.days)
    for place, (slot_name, days) in places.items():
        chosen: dict[str, date] = {}
        for day in _days(begin, until):
            if schedule.minutes_on(day):
                chosen.setdefault(PERIODS[slot_name](datetime.combine(day, time(), UTC)), day)
        left = sorted(day for day in chosen.values() if day >= until - timedelta(days=days))
        labels = tuple(f"{day:%Y%m%d}" for day in left)
        oldest = datetime.combine(left[0], time(), UTC) if left else None
        yield Simulated(place, labels, (slot_name,) * len(labels), None, oldest, len(labels) * weights.archive)


def _days(begin: date, until: date) -> Iterator[date]:
    for number in range((until - begin).days + 1):
        yield begin + timedelta(days=number)
