"""Follow a recovery from another process: the play that started it may be a different one by now."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict

from pgdr.errors import RefusedError
from pgdr.recovery.ground import process_lives
from pgdr.recovery.model import RecoveryState, Stage
from pgdr.recovery.state import StateStore

_POLL_SECONDS = 0.3
# A process that was just started has not written its number yet.
_GRACE_SECONDS = 15.0


class Seen(BaseModel):
    """What a look at a recovery shows.

    Attributes:
        ended: it has come to an end, good or bad.
        failure: the one line of the failure, empty where there is none.
        failure_code: the failure's exit code.
        line: one line for a person.
    """

    model_config = ConfigDict(frozen=True)

    stage: Stage
    ended: bool
    failure: str
    failure_code: int
    line: str


def watch_recovery(store: StateStore, seconds: float) -> Seen:
    """Wait for the end of a recovery, at most some seconds, and say where it stands.

    Raises:
        RefusedError: there is no recovery on this host.
    """
    begin = time.monotonic()
    while True:
        state = store.load()
        if state is None:
            raise RefusedError("there is no recovery on this host", remedy="begin with: pgdr recover plan --repo N")
        waited = time.monotonic() - begin
        seen = _look(state, grace=waited < min(_GRACE_SECONDS, seconds))
        if seen.ended or waited >= seconds:
            return seen
        time.sleep(_POLL_SECONDS)


def _look(state: RecoveryState, *, grace: bool) -> Seen:
    if state.stage.rank >= Stage.PROMOTED.rank:
        lsn = state.reached.lsn if state.reached else ""
        return Seen(stage=state.stage, ended=True, failure="", failure_code=0, line=f"promoted at {lsn}")
    if state.failure:
        return Seen(
            stage=state.stage, ended=True, failure=state.failure, failure_code=state.failure_code, line=state.failure
        )
    if not process_lives(state.running_pid, "pgdr") and not grace:
        message = "the recovery process was killed (run again: it goes on where it was)"
        return Seen(stage=state.stage, ended=True, failure=message, failure_code=1, line=message)
    line = state.progress.line if state.progress is not None else "starting"
    return Seen(stage=state.stage, ended=False, failure="", failure_code=0, line=line)
