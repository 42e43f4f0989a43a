"""The process of a side instance: restores, replays, then holds the server until its time is over.

Everything lies in the instance's own folder. A rerun goes on: files continue as a delta, a replay from its last restart
point. When this process ends, the server ends with it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pgdr.errors import BusyError, OperationFailedError, PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.faults import PgBackRestError
from pgdr.recovery.files import restore_files
from pgdr.recovery.lsn import parse_lsn
from pgdr.recovery.model import PhaseTime, Progress, Show
from pgdr.recovery.replay import leave_nothing, replayed_server
from pgdr.recovery.server import ClosedServer, ServerPaths
from pgdr.side import store
from pgdr.side.leftovers import end_leftovers
from pgdr.side.model import SideStage, SideState, place
from pgdr.side.reader import Reader, reading
from pgdr.supervise import InterruptedOperationError, Supervisor

_PROGRESS_SECONDS = 1.0
_HOLD_SECONDS = 0.5
# Until it is measured: what replay of a segment takes on a modest disk. Only the estimate depends on it.
_SECONDS_PER_SEGMENT = 0.3
_INVALID_PAGES = "invalid pages"
_SETTINGS = {
    # Nothing that is written here ever leaves: not even if somebody promotes it.
    "archive_mode": "off",
    "default_transaction_read_only": "on",
    "max_wal_size": "1GB",
    # A big sort of a reader must not fill production's disk.
    "temp_file_limit": "1GB",
    "shared_buffers": "256MB",
    "max_parallel_workers_per_gather": "0",
    "work_mem": "8MB",
}


class SideInstance:
    """One side instance on this host.

    Args:
        config: this host.
        client: pgBackRest on this host.
        name: name of the instance.
        show: called with each progress report, for a person who waits.
    """

    def __init__(self, config: HostConfig, client: PgBackRest, name: str, show: Show = lambda _progress: None) -> None:
        self._config = config
        self._client = client
        self._show = show
        self._reader = Reader(client)
        self._state = store.required(config, name)
        self._place = place(config, name)
        self._last_report = 0.0
        self._phase_began = 0.0

    @property
    def state(self) -> SideState:
        """How far it has come."""
        return self._state

    def run(self, processes: int) -> bool:
        """Bring it up and hold it.

        Args:
            processes: how many restore files.

        Returns:
            whether its time is over and it is to be removed.

        Raises:
            BusyError: another process works on it.
            PgdrError: it failed; the state holds the message, a rerun goes on.
        """
        with self.opened(processes) as server:
            return self._hold(server)

    @contextmanager
    def opened(self, processes: int) -> Iterator[ClosedServer]:
        """Bring it up for a block of work; when that ends, however it ends, so does the server.

        Args:
            processes: how many restore files.

        Raises:
            BusyError: another process works on it.
            PgdrError: it failed; the state holds the message, a rerun goes on.
        """
        with self._held(), Supervisor(), self._reading():
            paths = self._paths()
            end_leftovers(paths.bin_directory, paths.data_directory)
            if self._state.stage.rank < SideStage.FILES.rank:
                self._restore(processes)
            server = self._replayed(paths, processes)
            try:
                self._state.stage = SideStage.READY
                self._state.progress = None
                self._save()
                yield server
            finally:
                leave_nothing(server)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Be the one process of it, and write down how that ended."""
        lock = FileLock(self._place.folder / "lock", timeout=0, mode=0o600)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(f"side instance {self._state.name} is run by another process") from error
        state = self._state
        state.running_pid = os.getpid()
        state.failure, state.failure_code = "", 0
        self._save()
        try:
            yield
        except PgdrError as error:
            state.failure, state.failure_code = str(error), int(error.exit_code)
            raise
        finally:
            state.running_pid = None
            self._save()
            lock.release()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Have what it reads its repository with, and nothing of it afterwards."""
        means, repository = self._state.means, self._state.plan.repository
        with reading(self._client, repository, self._place.folder, means) as self._reader:
            yield

    def _restore(self, processes: int) -> None:
        self._place.tablespaces.mkdir(mode=0o700, exist_ok=True)
        with self._phase("restore files"):
            while not self._restored(processes):
                self._reporter("restore files")("its key had expired: going on with a new one", None)
        self._state.stage = SideStage.FILES
        self._save()

    def _restored(self, processes: int) -> bool:
        """Restore the files, or as many as one key lasts for: pgBackRest reads it once, and goes on where it was."""
        began_with = self._reader.key
        report = self._reporter("restore files")
        try:
            restore_files(self._config, self._reader.client, self._state.plan, processes, report)
        except PgBackRestError:
            self._reader.renew()
            if self._reader.key == began_with:
                raise
            return False
        return True

    def _replayed(self, paths: ServerPaths, processes: int) -> ClosedServer:
        with self._phase("replay WAL"):
            try:
                server, reached = replayed_server(paths, self._state.plan, self._reporter("replay WAL"), _SETTINGS)
            except OperationFailedError as error:
                if not self._state.plan.databases or _INVALID_PAGES not in str(error):
                    raise
                # WAL of a database that was left out could not be applied to its empty files: take all of them.
                self._state.plan = self._state.plan.model_copy(update={"databases": []})
                self._state.stage = SideStage.PLANNED
                self._restore(processes)
                server, reached = replayed_server(paths, self._state.plan, self._reporter("replay WAL"), _SETTINGS)
        self._state.reached = reached
        return server

    def _hold(self, server: ClosedServer) -> bool:
        """Wait until it is told to end, its time is over, or something is wrong."""
        try:
            while datetime.now(UTC) < self._state.expires_at:
                if server.exit_status() is not None:
                    lines = server.fatal_lines()
                    raise OperationFailedError(
                        f"the server of side instance {self._state.name} ended: {lines[-1] if lines else 'no reason'}",
                        remedy=f"see {self._paths().log_file}",
                    )
                self._require_room()
                self._reader.keep()
                time.sleep(_HOLD_SECONDS)
        except InterruptedOperationError:
            return False
        return True

    def _paths(self) -> ServerPaths:
        return ServerPaths(
            bin_directory=self._config.bin_directory,
            data_directory=self._place.data,
            folder=self._place.server,
            socket_directory=Path(self._state.socket_directory),
            port=self._state.port,
            label=f"pgdr-side-{self._state.name}",
        )

    def _require_room(self) -> None:
        free = shutil.disk_usage(self._place.folder).free
        if free < self._state.disk_floor:
            raise OperationFailedError(
                f"only {free / 2**30:.1f} GiB are free where side instance {self._state.name} is, "
                f"{self._state.disk_floor / 2**30:.1f} GiB must stay free: it was stopped",
                remedy=f"free space and start it again, or remove it: pgdr side stop {self._state.name}",
            )

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = datetime.now(UTC)
        clock = self._phase_began = time.monotonic()
        self._last_report = 0.0
        self._reporter(name)(name, None)
        try:
            yield
        finally:
            seconds = round(time.monotonic() - clock, 3)
            self._state.phases.append(PhaseTime(name=name, started_at=started, seconds=seconds))

    def _reporter(self, phase: str) -> Callable[[str, float | None], None]:
        def report(detail: str, percent: float | None) -> None:
            now = time.monotonic()
            if now - self._last_report < _PROGRESS_SECONDS:
                return
            self._last_report = now
            self._require_room()
            self._reader.keep()
            self._state.progress = Progress(
                at=datetime.now(UTC),
                phase=phase,
                percent=percent,
                detail=detail,
                remaining_seconds=self._remaining(phase, percent, now - self._phase_began),
            )
            self._save()
            self._show(self._state.progress)

        return report

    def _remaining(self, phase: str, percent: float | None, spent: float) -> float | None:
        """Seconds until queries work, as far as it can be known: the rest of this phase, and the replay behind it."""
        left = spent * (100.0 - percent) / percent if percent else None
        if phase == "replay WAL":
            return left
        plan = self._state.plan
        last = parse_lsn(plan.recovery_lsn or plan.wal_end_lsn)
        segments = max(last - parse_lsn(plan.backup_stop_lsn), 0) / plan.wal_segment_bytes
        return None if left is None else left + segments * _SECONDS_PER_SEGMENT

    def _save(self) -> None:
        store.save(self._config, self._state)
