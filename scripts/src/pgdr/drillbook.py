"""Drills that do not come to their end: begun, and then failed or broken off. A failed drill is evidence too.

``dr-drill.yml`` stops where something fails, and can then write nothing down any more. So it says at its beginning, in
the journal of the host that was drilled for, that it began. The callback ``drill_end`` beside the playbooks concludes
it with the reason; what never ended, because the control node went too, is concluded as failed by ``pgdr watch``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pgdr.chain import Entry
from pgdr.drilling import OPERATION
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.policy.model import Policy
from pgdr.policy.units import seconds_text

BEGUN = "drill-begin"
_FAILED = "failed"
_LEAST = timedelta(hours=1)


@dataclass(frozen=True)
class Begun:
    """A drill that has begun.

    Attributes:
        drill: its name: the folder of its evidence.
        host: where the cluster is brought up.
        at: when it was written down.
        disaster_at: when the disaster was declared.
    """

    drill: str
    host: str
    at: datetime
    disaster_at: str


def begin(config: HostConfig, drill: str, host: str, disaster_at: datetime) -> int:
    """Write down that a drill begins; return the entry's number.

    One that has not ended on the same host was broken off, and is concluded first: concluded later, it would hide how
    this one ends.
    """
    for one in unfinished(_journal(config).entries()):
        if one.host == host:
            _conclude(config, one, "it was broken off: another began on the same host", ())
    details = {"drill": drill, "drill_host": host, "disaster_at": disaster_at.isoformat()}
    return _journal(config).append(operation=BEGUN, result="ok", details=details).seq


def fail(config: HostConfig, drill: str, reason: str, findings: Iterable[str] = ()) -> int:
    """Write down that a drill failed; return the entry's number.

    Raises:
        RefusedError: no such drill has begun, or it has ended.
    """
    found = next((one for one in unfinished(_journal(config).entries()) if one.drill == drill), None)
    if found is None:
        raise RefusedError(
            f"no drill {drill} is open in this host's journal", remedy="see pgdr journal list --operation drill-begin"
        )
    return _conclude(config, found, reason, findings)


def conclude_broken(config: HostConfig, policy: Policy, now: datetime) -> list[Begun]:
    """Write down that drills failed which began long ago and never ended; returns those.

    A drill may take twice the objective: one that is late is judged by what it measured.
    """
    patience = max(timedelta(seconds=2 * policy.objectives.rto.seconds), _LEAST)
    broken = [one for one in unfinished(_journal(config).entries()) if now - one.at > patience]
    for one in broken:
        reason = f"it began {one.at:%Y-%m-%d %H:%M} UTC and has not ended within {seconds_text(patience.seconds)}"
        _conclude(config, one, f"{reason}: the play failed or was broken off", ())
    return broken


def unfinished(entries: Iterable[Entry]) -> list[Begun]:
    """The drills of a journal that have begun and not ended, oldest first."""
    found: dict[str, Begun] = {}
    for entry in entries:
        drill = str(entry.details.get("drill", ""))
        if entry.operation == BEGUN:
            at = datetime.fromisoformat(entry.at).astimezone(UTC)
            host, disaster = (str(entry.details.get(name, "")) for name in ("drill_host", "disaster_at"))
            found[drill] = Begun(drill, host, at, disaster)
        elif entry.operation == OPERATION:
            found.pop(drill, None)
    return list(found.values())


def _conclude(config: HostConfig, begun: Begun, reason: str, findings: Iterable[str]) -> int:
    details: dict[str, Any] = {
        "drill": begun.drill,
        "drill_host": begun.host,
        "disaster_at": begun.disaster_at,
        "checklist": [],
        "findings": [reason, *findings],
        "message": reason,
    }
    return _journal(config).append(operation=OPERATION, result=_FAILED, details=details).seq


def _journal(config: HostConfig) -> Journal:
    return Journal.of(config)
