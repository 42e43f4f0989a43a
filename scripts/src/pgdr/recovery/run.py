"""Carry out a planned recovery, stage by stage, so that a kill at any point costs only the stage it hit.

Every stage is written to the state file when it is done. A rerun skips what is done and repeats the rest: the
restore continues as a delta, replay goes on from its last restart point, a promotion that happened is seen.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pgdr import process
from pgdr.errors import OperationFailedError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.locks import Holder, operation_lock
from pgdr.pgbackrest.client import PgBackRest
from pgdr.recovery.controldata import read_control_data
from pgdr.recovery.door import close_door
from pgdr.recovery.files import restore_files, set_aside
from pgdr.recovery.ground import process_lives, server_process
from pgdr.recovery.lsn import Segment, parse_lsn
from pgdr.recovery.model import PhaseTime, Progress, Reached, RecoveryState, Show, Stage
from pgdr.recovery.replay import leave_nothing, promote, replayed_server, wait_until_open
from pgdr.recovery.server import ClosedServer, ServerPaths, recovery_settings
from pgdr.recovery.state import StateStore
from pgdr.supervise import Supervisor

_log = logging.getLogger(__name__)

# How often progress is written to the state file, in seconds.
_PROGRESS_SECONDS = 1.0
# Seconds that a backup of what is about to be replaced has to come to its end.
_LOCK_WAIT = 60.0
_IN_RECOVERY = "in archive recovery"
_SIGNAL = "recovery.signal"


class Recovery:
    """One recovery of one cluster on this host.

    Args:
        config: this host.
        client: pgBackRest on this host.
        store: where the state is kept.
        show: called with each progress report, for a person who watches.
    """

    def __init__(self, config: HostConfig, client: PgBackRest, store: StateStore, show: Show) -> None:
        self._config = config
        self._client = client
        self._store = store
        self._show = show
        self._last_report = 0.0
        state = store.load()
        if state is None:
            raise RefusedError("there is no planned recovery", remedy="run: pgdr recover plan")
        self._state = state

    @property
    def state(self) -> RecoveryState:
        """How far it has come."""
        return self._state

    def run(self, processes: int) -> RecoveryState:
        """Do what is left to do, up to a promoted and cleanly stopped cluster.

        Args:
            processes: how many processes restore files.

        Raises:
            BusyError: another operation holds this host's lock.
        PgdrError: a stage failed; the state file holds its message, a rerun goes on from there.
        """
        state = self._state
        require_idle(state)
        state.running_pid = os.getpid()
        state.attempts += 1
        state.failure, state.failure_code = "", 0
        self._store.save(state)
        try:
            # A signal ends what runs and leaves nothing behind; a backup of what is being replaced would be in the way.
            with Supervisor(), operation_lock(self._config, "recover run", wait=_LOCK_WAIT, on_wait=self._waiting):
                self._stages(processes)
        except PgdrError as error:
            state.failure, state.failure_code = str(error), int(error.exit_code)
            raise
        except psycopg.Error as error:
            failed = OperationFailedError(
                f"the recovering server went away: {' '.join(str(error).split())}",
                remedy="run the same command again: it goes on from there",
            )
            state.failure, state.failure_code = str(failed), int(failed.exit_code)
            raise failed from error
        finally:
            state.running_pid = None
            self._store.save(state)
        return state

    def _waiting(self, other: Holder | None, seconds: float) -> None:
        self._reporter("waiting")(f"{other or 'another operation'} has the lock, {seconds:.0f} s", None)

    def _stages(self, processes: int) -> None:
        plan = self._state.plan
        if self._state.stage.rank < Stage.ASIDE.rank:
            with self._phase("set aside", Stage.ASIDE):
                set_aside(plan)
        if self._state.stage.rank < Stage.FILES.rank:
            self._restore(processes)
        if self._state.stage.rank < Stage.PROMOTED.rank:
            self._recover(processes)

    def _restore(self, processes: int) -> None:
        with self._phase("restore files", Stage.FILES):
            restore_files(self._config, self._client, self._state.plan, processes, self._reporter("restore files"))
            # From its first file on: whoever starts it would show rows that were erased.
            close_door(Path(self._state.plan.data_directory))

    def _recover(self, processes: int) -> None:
        paths = self._paths()
        stop_leftover(paths.bin_directory, paths.data_directory)
        close_door(paths.data_directory)
        if not (paths.data_directory / _SIGNAL).exists():
            if self._promoted_before():
                self._tidy_promoted()
                return
            # Killed in the middle of its promotion. Without the signal PostgreSQL would take what is there for a
            # crashed primary, replay past the target and write on the old timeline. The backup is the way back.
            _log.warning("an earlier attempt was killed while it promoted: restoring the files again")
            self._advance(Stage.ASIDE)
            (paths.data_directory / "postmaster.pid").unlink(missing_ok=True)
            self._restore(processes)
        server = self._replayed(paths)
        try:
            with self._phase("promote", Stage.PROMOTED):
                timeline = promote(server, self._reporter("promote"))
                self._state.reached = self._promoted_reached(timeline)
                server.forget_recovery_settings()
                server.stop()
        finally:
            leave_nothing(server)

    def _replayed(self, paths: ServerPaths) -> ClosedServer:
        """Start the recovering server and have it stand at its target."""
        plan = self._state.plan
        with self._phase("replay WAL", Stage.REPLAYED):
            server, reached = replayed_server(paths, plan, self._reporter("replay WAL"))
            try:
                # Before the door opens: from then on new heartbeats hide how old the last one was.
                beat = server.newest_heartbeat(self._config.database)
            except BaseException:
                leave_nothing(server)
                raise
            self._state.reached = reached.model_copy(update={"heartbeat_at": beat})
            return server

    def _promoted_before(self) -> bool:
        """Tell whether an earlier attempt was killed after its promotion was complete.

        PostgreSQL removes the signal first, and writes the control file when its last checkpoint is on the new
        timeline: only both together say that it is done.
        """
        plan = self._state.plan
        control = read_control_data(self._config.bin_directory, Path(plan.data_directory))
        recovered = Segment.parse(plan.wal_end_segment, plan.wal_segment_bytes).timeline
        return self._state.stage is Stage.REPLAYED and control.state != _IN_RECOVERY and control.timeline > recovered

    def _tidy_promoted(self) -> None:
        """Do what a killed attempt had left to do after its promotion: forget the target, shut down cleanly."""
        paths = self._paths()
        control = read_control_data(paths.bin_directory, paths.data_directory)
        server = ClosedServer(paths, recovery_settings(control))
        try:
            with self._phase("promote", Stage.PROMOTED):
                server.start()
                wait_until_open(server, self._reporter("promote"))
                self._state.reached = self._promoted_reached(server.timeline())
                server.forget_recovery_settings()
                server.stop()
        finally:
            leave_nothing(server)

    def _promoted_reached(self, timeline: int) -> Reached:
        reached = self._state.reached or Reached(lsn="", last_commit_at=None)
        return reached.model_copy(update={"timeline": timeline})

    def _paths(self) -> ServerPaths:
        return ServerPaths(
            bin_directory=self._config.bin_directory,
            data_directory=Path(self._state.plan.data_directory),
            folder=self._store.folder / "server",
            socket_directory=self._config.run_directory / "recovery",
            port=self._config.port,
        )

    @contextmanager
    def _phase(self, name: str, reaches: Stage) -> Iterator[None]:
        started = datetime.now(UTC)
        clock = time.monotonic()
        self._reporter(name)(name, None)
        try:
            yield
        finally:
            # A failed attempt took time too, and it belongs into the RTO that is reported.
            seconds = round(time.monotonic() - clock, 3)
            self._state.phases.append(PhaseTime(name=name, started_at=started, seconds=seconds))
        self._advance(reaches)

    def _advance(self, stage: Stage) -> None:
        self._state.stage = stage
        self._store.save(self._state)

    def _reporter(self, phase: str) -> Callable[[str, float | None], None]:
        def report(detail: str, percent: float | None) -> None:
            now = time.monotonic()
            if now - self._last_report < _PROGRESS_SECONDS:
                return
            self._last_report = now
            progress = Progress(at=datetime.now(UTC), phase=phase, percent=percent, detail=detail)
            self._state.progress = progress
            self._store.save(self._state)
            self._show(progress)

        return report


def works(state: RecoveryState) -> bool:
    """Tell whether another process works on this recovery now."""
    return state.running_pid != os.getpid() and process_lives(state.running_pid, "pgdr")


def require_idle(state: RecoveryState) -> None:
    """Refuse when another process works on this recovery.

    Raises:
        RefusedError: with the process's number.
    """
    if works(state):
        raise RefusedError(
            f"recovery {state.plan.operation} is running as process {state.running_pid}",
            remedy="watch it with: pgdr recover watch",
        )


def stop_leftover(bin_directory: Path, data_directory: Path) -> None:
    """Stop a recovering server that outlived a killed attempt.

    Raises:
        OperationFailedError: it does not stop.
    """
    if server_process(data_directory) is None:
        return
    argv = [str(bin_directory / "pg_ctl"), "stop", "-D", str(data_directory), "-m", "fast", "-w", "-t", "600"]
    done = process.run(argv, allowed=lambda _: True)
    if server_process(data_directory) is not None:
        raise OperationFailedError(f"the server of an earlier attempt does not stop: {done.tail}")


def reached_target(state: RecoveryState) -> bool:
    """Tell whether recovery stood at least where the plan wanted it."""
    if state.reached is None or not state.reached.lsn:
        return False
    # Just before a position may be the end of a page, some bytes before it.
    if not state.plan.target.inclusive:
        return True
    return not state.plan.recovery_lsn or parse_lsn(state.reached.lsn) >= parse_lsn(state.plan.recovery_lsn)
