"""``pgdr expire``: remove what is past its time, place by place, and leave a record of why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgdr.errors import ExitCode, PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import operation_lock
from pgdr.pgbackrest.client import PgBackRest
from pgdr.policy.model import Policy
from pgdr.proof.look import now
from pgdr.proof.marks import marks_file
from pgdr.retention.archives import ArchivesPlace
from pgdr.retention.holds import holds_file
from pgdr.retention.places import Place, RepositoryPlace
from pgdr.retention.plan import Plan, make_plan


@dataclass(frozen=True)
class Expired:
    """What became of one place.

    Attributes:
        place: its name.
        plan: what was planned; ``None`` where the place could not be read.
        removed: labels that are gone.
        error: what went wrong.
        exit_code: how it ended.
    """

    place: str
    plan: Plan | None
    removed: tuple[str, ...] = ()
    error: str = ""
    exit_code: ExitCode = ExitCode.OK


def places_of(config: HostConfig, policy: Policy) -> list[Place]:
    """All places whose copies this host looks after."""
    client = PgBackRest(config)
    marks = marks_file(config).read()
    places: list[Place] = [RepositoryPlace(client, repository, policy, marks) for repository in policy.repositories]
    if policy.archives is not None:
        places.append(ArchivesPlace(config, policy.archives, marks))
    return places


def expire(config: HostConfig, places: Sequence[Place], *, plan_only: bool, wait: float = 0.0) -> list[Expired]:
    """Remove what no rule keeps, or only say what would be removed. One place that fails does not stop the others.

    Args:
        config: what this host is.
        places: where copies are.
        plan_only: change nothing.
        wait: seconds to wait for another operation to end.

    Raises:
        BusyError: another operation holds the lock.
    """
    if plan_only:
        return [_one(config, place, plan_only=True) for place in places]
    with operation_lock(config, "expiry", wait=wait):
        return [_one(config, place, plan_only=False) for place in places]


def _one(config: HostConfig, place: Place, *, plan_only: bool) -> Expired:
    began = time.monotonic()
    plan: Plan | None = None
    try:
        plan = make_plan(place.copies(), place.rule, now(), holds_file(config).read().at_place(place.name))
        if plan_only:
            return Expired(place.name, plan)
        removed = tuple(place.remove(plan))
        _remember(config, place, plan)
        result = Expired(place.name, plan, removed)
    except PgdrError as error:
        result = Expired(place.name, plan, error=str(error), exit_code=error.exit_code)
        if plan_only:
            return result
    _record(config, result, time.monotonic() - began)
    return result


def _remember(config: HostConfig, place: Place, plan: Plan) -> None:
    """Marks of sets that are gone go too; from the anchor on, WAL is whole, and verify expects it."""
    if not isinstance(place, RepositoryPlace):
        return
    key = int(place.name.rpartition(" ")[2])
    with marks_file(config).change() as marks:
        marks.forget_all_but(key, {copy.label for copy in plan.kept})
        if plan.anchor is None:
            marks.wal_from.pop(key, None)
        else:
            marks.wal_from[key] = plan.anchor


def _record(config: HostConfig, result: Expired, seconds: float) -> None:
    plan = result.plan
    Journal.of(config).append(
        operation="expire",
        result="ok" if result.exit_code is ExitCode.OK else "failed",
        details={
            "place": result.place,
            "removed": list(result.removed),
            "kept": len(plan.kept) if plan else None,
            "conflicts": list(plan.conflicts) if plan else [],
            "error": result.error,
        },
        times={"expire": seconds},
    )


def document(results: Sequence[Expired]) -> dict[str, Any]:
    """Write the results as the JSON document of ``pgdr expire --output json``."""
    return {
        "places": [
            {
                "place": item.place,
                "removed": list(item.removed),
                "error": item.error,
                "anchor": item.plan.anchor if item.plan else None,
                "conflicts": list(item.plan.conflicts) if item.plan else [],
                "copies": [
                    {
                        "label": decision.copy.label,
                        "at": decision.copy.at.isoformat(timespec="seconds"),
                        "good": decision.copy.good,
                        "keep": decision.keep,
                        "reasons": list(decision.reasons),
                    }
                    for decision in (item.plan.decisions if item.plan else ())
                ],
            }
            for item in results
        ]
    }
