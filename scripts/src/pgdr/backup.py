"""Take backups, and believe in them only when the repository shows them.

pgBackRest does the work. Around it: one operation at a time, one backup of a cluster from whatever host, only on a
primary, each repository by itself, and a look into the repository afterwards: a new set must be there, without page
checksum errors. Nothing is expired here: ``pgdr expire`` does that, and only what a verified set makes dispensable.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pgdr import relationmap
from pgdr.errors import ConfigError, ExitCode, NotProvenError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import Holder, operation_lock
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.faults import PgBackRestBusyError, PgBackRestFailedError, warnings
from pgdr.pgbackrest.info import STATUS_NO_BACKUP, STATUS_OK, Backup, StanzaInfo
from pgdr.pgbackrest.repositories import ConfiguredRepository
from pgdr.postgres.advisory import backup_lock
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import in_recovery
from pgdr.supervise import InterruptedOperationError, Supervisor

Kind = Literal["full", "incr"]
_NAMES: dict[str, str] = {"full": "full backup", "incr": "incremental backup"}
_RESULTS = {
    ExitCode.OK: "ok",
    ExitCode.NOT_PROVEN: "not proven",
    ExitCode.BUSY: "busy",
    ExitCode.REFUSED: "refused",
    ExitCode.UNREACHABLE: "unreachable",
}
_ENGINE_RETRY = 15.0
_PROGRESS_TIMEOUT = 20.0
# pgBackRest 2.55.1 dies of its own warning of a file with several damaged pages: it takes the "s" of "checksums" from
# where memory is another's already. Of what it would have said, its index still tells which files are damaged.
_WITHOUT_WARNINGS = ("--log-level-stderr=error", "--log-level-file=off")


@dataclass(frozen=True)
class RepositoryBackup:
    """What became of the backup to one repository.

    Attributes:
        repository: its key.
        place: where it is.
        exit_code: how it ended.
        result: the same in a word.
        label: the new set.
        type: the type that the set really has.
        promoted: an incremental was asked for and became a full, because there was none yet.
        size: bytes of the database.
        stored: bytes that it added to the repository.
        seconds: how long it took.
        message: what went wrong.
        damaged_files: files with page checksum errors.
        warnings: what pgBackRest warned of.
    """

    repository: int
    place: str
    exit_code: ExitCode
    result: str
    label: str = ""
    type: str = ""
    promoted: bool = False
    size: int = 0
    stored: int = 0
    seconds: float = 0.0
    message: str = ""
    damaged_files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackupReport:
    """What became of the backups to all repositories.

    Attributes:
        map_error: why the relation map was not renewed; the backups are good without it.
    """

    kind: Kind
    repositories: tuple[RepositoryBackup, ...]
    journal_error: str = ""
    map_error: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """The code that says most: all well, all failed in the same way, or something failed."""
        codes = {item.exit_code for item in self.repositories}
        bad = codes - {ExitCode.OK}
        if not bad:
            return ExitCode.CONFIG if self.journal_error else ExitCode.OK
        if bad == {ExitCode.NOT_PROVEN} or (len(codes) == 1 and len(bad) == 1):
            return bad.pop()
        return ExitCode.FAILED


class BackupListener:
    """Is told what happens. This one says nothing."""

    #: seconds between two looks at the progress
    tick: float = 30.0

    def waiting(self, holder: Holder | None, waited: float) -> None:
        """Another operation holds the lock."""

    def started(self, kind: Kind, repository: ConfiguredRepository) -> None:
        """The backup to a repository begins."""

    def progress(self, done: int, total: int) -> None:
        """So many bytes of so many are copied."""

    def finished(self, result: RepositoryBackup) -> None:
        """The backup to a repository ended, well or not."""


def back_up(
    config: HostConfig,
    kind: Kind,
    *,
    repository: int | None = None,
    wait: float = 0.0,
    listener: BackupListener | None = None,
) -> BackupReport:
    """Back the cluster up to one or all configured repositories, one after the other.

    Args:
        config: what this host is.
        kind: ``full`` or ``incr``.
        repository: this one only.
        wait: seconds to wait for another operation to end; 0 gives way at once.
        listener: is told what happens.

    Raises:
        BusyError: another operation holds the lock.
        RefusedError: the server is a standby, or the repository is not configured.
        UnreachableError: the server does not answer.
        InterruptedOperationError: a signal came; what was finished before is kept and recorded.
    """
    work = _Work(config, kind, listener or BackupListener(), deadline=time.monotonic() + wait)
    try:
        with work.supervisor:
            repositories = _chosen(work.client, repository)
            _require_primary(config)
            with (
                operation_lock(config, _NAMES[kind], wait=wait, on_wait=work.listener.waiting),
                backup_lock(config, wait=work.left, on_wait=lambda: work.listener.waiting(None, 0.0)),
            ):
                return work.run(repositories)
    except PgdrError as error:
        if not work.recorded_failure:
            work.record(_result_word(error), {"requested": kind, "error": error.message}, {})
        raise


class _Work:
    """One call of :func:`back_up`."""

    def __init__(self, config: HostConfig, kind: Kind, listener: BackupListener, *, deadline: float) -> None:
        self.kind = kind
        self._config = config
        self.listener = listener
        self.supervisor = Supervisor()
        self.client = PgBackRest(config, self._supervised)
        self.recorded_failure = False
        self._journal = Journal.of(config)
        self._journal_error = ""
        self._deadline = deadline
        self._repository: int | None = None

    @property
    def left(self) -> float:
        """Seconds that may still be waited for others."""
        return max(0.0, self._deadline - time.monotonic())

    def run(self, repositories: Sequence[ConfiguredRepository]) -> BackupReport:
        results: list[RepositoryBackup] = []
        for target in repositories:
            self.supervisor.raise_if_signalled()
            self.listener.started(self.kind, target)
            result = self._one(target)
            results.append(result)
            self.listener.finished(result)
        self.supervisor.raise_if_signalled()
        return BackupReport(self.kind, tuple(results), self._journal_error, self._remember_files())

    def _remember_files(self) -> str:
        """Note which files belong to which table now; return why it failed."""
        try:
            relationmap.refresh(self._config)
        except PgdrError as error:
            return str(error)
        return ""

    def record(self, result: str, details: dict[str, Any], times: dict[str, float]) -> None:
        """Write a journal entry; a journal that cannot be written does not stop a backup, but it is told."""
        try:
            self._journal.append(operation="backup", result=result, details=details, times=times)
        except PgdrError as error:
            self._journal_error = str(error)

    def _one(self, target: ConfiguredRepository) -> RepositoryBackup:
        began = time.monotonic()
        times: dict[str, float] = {}
        self._repository = target.key
        try:
            result = self._proven(target, times)
        except PgdrError as error:
            interrupted = self.supervisor.signalled is not None
            result = RepositoryBackup(
                repository=target.key,
                place=target.place,
                exit_code=error.exit_code,
                result="interrupted" if interrupted else _result_word(error),
                message=str(error),
                seconds=time.monotonic() - began,
            )
            if interrupted:
                self.recorded_failure = True
        details = {"requested": self.kind, **asdict(result), "exit_code": int(result.exit_code)}
        details["damaged_files"], details["warnings"] = list(result.damaged_files), list(result.warnings)
        del details["result"], details["seconds"]
        self.record(result.result, details, times or {"backup": result.seconds})
        return result

    def _proven(self, target: ConfiguredRepository, times: dict[str, float]) -> RepositoryBackup:
        """Back up to one repository and prove from its own index that a new, undamaged set is there."""
        key = target.key
        _require_writable(target)
        before = self._readable(key).labels(key)
        began = time.monotonic()
        warned = self._engine_backup(key)
        times["backup"] = time.monotonic() - began
        after = self._readable(key)
        made = [backup for backup in after.backups(key) if backup.label not in before]
        if not made:
            raise NotProvenError(
                f"backup to repository {key}: pgBackRest ended well, but its index shows no new set",
                remedy="read pgBackRest's log",
            )
        made_set = made[-1]
        damaged = self._damaged_files(made_set, key)
        message = ""
        if damaged:
            message = (
                f"backup {made_set.label} in repository {key} has page checksum errors in {', '.join(damaged[:5])}"
                f"{' and more' if len(damaged) > 5 else ''}: the database itself is damaged; older sets are kept"
            )
        code = ExitCode.NOT_PROVEN if damaged else ExitCode.OK
        return RepositoryBackup(
            repository=key,
            place=target.place,
            exit_code=code,
            result=_RESULTS[code],
            label=made_set.label,
            type=made_set.type,
            promoted=made_set.type != self.kind,
            size=made_set.info.size,
            stored=made_set.info.repository.delta,
            seconds=times["backup"],
            message=message,
            damaged_files=damaged,
            warnings=warned,
        )

    def _readable(self, key: int) -> StanzaInfo:
        """Ask a repository what it holds; unlike ``info`` itself, fail if it could not be read."""
        found = self.client.info(key)
        repository = found.repository(key)
        status = found.status if repository is None else repository.status
        if status.code not in {STATUS_OK, STATUS_NO_BACKUP}:
            raise status.as_error(f"backup to repository {key}")
        return found

    def _engine_backup(self, key: int) -> tuple[str, ...]:
        """Run pgBackRest's backup and return its warnings; wait for its own lock as long as we would for ours."""
        options: tuple[str, ...] = ()
        noted: tuple[str, ...] = ()
        while True:
            try:
                return (*noted, *warnings(self.client.backup(self.kind, key, options).stderr))
            except PgBackRestBusyError:
                if not self.left or self.supervisor.signalled is not None:
                    raise
                self.listener.waiting(None, 0.0)
                time.sleep(min(_ENGINE_RETRY, self.left))
            except PgBackRestFailedError as error:
                if not error.crashed or options:
                    raise
                options = _WITHOUT_WARNINGS
                noted = (f"pgBackRest died of signal {-error.status} and was run again without its warnings",)

    def _damaged_files(self, made: Backup, key: int) -> tuple[str, ...]:
        if not made.error:
            return ()
        detailed = self.client.info(key, made.label).find(made.label, key)
        named = detailed.error_list if detailed is not None else None
        return named or ("files that pgBackRest's log names",)

    def _supervised(self, argv: Sequence[str]) -> Any:
        done = self.supervisor.run(argv, on_tick=self._tick, tick=self.listener.tick)
        if done.returncode != 0:
            self.supervisor.raise_if_signalled()
        return done

    def _tick(self) -> None:
        if self._repository is None:
            return
        try:
            lock = self.client.info(self._repository, timeout=_PROGRESS_TIMEOUT).status.lock.backup
        except InterruptedOperationError:
            raise
        except PgdrError:
            return  # only the progress is lost
        if lock.size and lock.size_complete is not None:
            self.listener.progress(lock.size_complete, lock.size)


def _chosen(client: PgBackRest, repository: int | None) -> tuple[ConfiguredRepository, ...]:
    configured = client.repositories
    chosen = tuple(item for item in configured if repository is None or item.key == repository)
    if not chosen:
        keys = ", ".join(str(item.key) for item in configured)
        raise RefusedError(f"repository {repository} is not configured", remedy=f"configured: {keys}")
    return chosen


def _require_writable(target: ConfiguredRepository) -> None:
    """Refuse a repository on a disk that is read-only.

    pgBackRest waits for WAL to arrive there until its time is up, and the other repository has no new backup meanwhile.

    Raises:
        RefusedError: it is.
    """
    if target.type != "posix":
        return
    with suppress(OSError):  # one that is missing says so itself
        if os.statvfs(target.path).f_flag & os.ST_RDONLY:
            raise RefusedError(
                f"backup to repository {target.key}: {target.path} is on a file system that is read-only",
                remedy="dmesg says why; mount it writable, then run again",
            )


def _require_primary(config: HostConfig) -> None:
    with connected(config, "postgres", application_name="pgdr backup") as connection:
        if in_recovery(connection):
            raise RefusedError(
                f"{config.cluster_name} on this host is a standby or still recovers",
                remedy="take backups on the primary",
            )


def _result_word(error: PgdrError) -> str:
    if isinstance(error, InterruptedOperationError):
        return "interrupted"
    if isinstance(error, ConfigError):
        return "refused"
    return _RESULTS.get(error.exit_code, "failed")
