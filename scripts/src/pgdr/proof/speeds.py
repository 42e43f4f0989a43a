"""How fast a recovery was: what the next one is estimated from."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from pgdr.proof.marks import Proven
from pgdr.recovery.lsn import parse_lsn
from pgdr.recovery.model import PhaseTime, Plan, Reached

FILES, REPLAY = "restore files", "replay WAL"


class Restored(Protocol):
    """A recovery, or a throw-away instance."""

    plan: Plan
    phases: list[PhaseTime]
    reached: Reached | None


def measured(state: Restored, at: datetime, by: str = "recovery") -> Proven:
    """Return what a finished restore shows of the set that it used.

    Args:
        state: the recovery.
        at: when it was proven.
        by: ``recovery`` or ``rehearsal``.
    """
    seconds = {name: sum(p.seconds for p in state.phases if p.name == name) for name in (FILES, REPLAY)}
    reached = parse_lsn(state.reached.lsn) if state.reached else parse_lsn(state.plan.recovery_lsn)
    return Proven(
        repository=state.plan.repository,
        label=state.plan.backup_label,
        at=at,
        restore_seconds=seconds[FILES],
        restored_bytes=state.plan.backup_bytes,
        replay_seconds=seconds[REPLAY],
        replayed_bytes=max(0, reached - parse_lsn(state.plan.backup_stop_lsn)),
        by=by,
        point=state.plan.target.text,
    )
