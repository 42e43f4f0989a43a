"""A PostgreSQL server that recovers behind a closed door.

It listens on no network address, its socket lies in a folder that only the backup user may enter, and it reads
none of the host's configuration files: an application cannot connect to a half-recovered database by accident.
Everything it needs stands on its command line, which outranks ``postgresql.auto.conf`` of the lost server
(``shared_buffers`` of a bigger machine, a preload library that is not installed here).
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from pgdr import process
from pgdr.errors import OperationFailedError
from pgdr.recovery.controldata import ControlData
from pgdr.recovery.model import REPLAY_WAL_BYTES

_log = logging.getLogger(__name__)

_RESTORED = re.compile(r'restored log file "([0-9A-F]{24})" from archive')
_STOPPING = re.compile(r"recovery stopping (?:before|after|at) .*")
_FATAL = re.compile(r"(?:FATAL|PANIC):\s+(.*)")
_GIB = 2**30


@dataclass(frozen=True)
class ReplayStatus:
    """Where replay stands.

    Attributes:
        in_recovery: false after promotion.
        paused: recovery has reached its target and waits.
        lsn: end of the last replayed record, empty before the server answers.
        last_commit_at: time of the last replayed commit.
    """

    in_recovery: bool
    paused: bool
    lsn: str
    last_commit_at: datetime | None


@dataclass(frozen=True)
class ServerPaths:
    """Where the recovering server's own files are.

    Attributes:
        label: what it calls itself in its log and in the list of processes.
    """

    bin_directory: Path
    data_directory: Path
    folder: Path
    socket_directory: Path
    port: int
    label: str = "pgdr-recovery"

    @property
    def log_file(self) -> Path:
        """What the server writes."""
        return self.folder / "server.log"


def memory_bytes() -> int:
    """Memory of this machine, in bytes; a container's limit is not seen, so callers take a small part of it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class ClosedServer:
    """Starts, watches and stops the recovering server.

    Args:
        paths: where its files are.
        settings: PostgreSQL settings for its command line, on top of what keeps the door closed.
        passwords: roles other than the superuser may log in with a password, over the same closed socket.
    """

    def __init__(self, paths: ServerPaths, settings: Mapping[str, str], *, passwords: bool = False) -> None:
        self._paths = paths
        self._passwords = passwords
        self._settings = {**settings, **self._closed()}
        self._child: subprocess.Popen[bytes] | None = None

    def _closed(self) -> dict[str, str]:
        folder = self._paths.folder
        return {
            "listen_addresses": "",
            "unix_socket_directories": str(self._paths.socket_directory),
            "unix_socket_permissions": "0700",
            "port": str(self._paths.port),
            "config_file": str(folder / "postgresql.conf"),
            "hba_file": str(folder / "pg_hba.conf"),
            "ident_file": str(folder / "pg_ident.conf"),
            "cluster_name": self._paths.label,
            "ssl": "off",
            "hot_standby": "on",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_line_prefix": "%m [%p] ",
            "log_timezone": "UTC",
            "lc_messages": "C",
        }

    def start(self) -> None:
        """Start the server; it may take long until it answers.

        Raises:
            OperationFailedError: the program could not be started.
        """
        self._write_files()
        argv = [str(self._paths.bin_directory / "postgres"), "-D", str(self._paths.data_directory)]
        for name, value in self._settings.items():
            argv += ["-c", f"{name}={value}"]
        with self._paths.log_file.open("ab") as sink:
            try:
                self._child = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
                )
            except OSError as error:
                raise OperationFailedError(f"PostgreSQL could not be started: {error.strerror}") from error

    def _write_files(self) -> None:
        folder = self._paths.folder
        for directory in (folder, self._paths.socket_directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "postgresql.conf").write_text("# All settings of the recovering server are on its command line.\n")
        others = "local all all scram-sha-256\n" if self._passwords else ""
        (folder / "pg_hba.conf").write_text(f"local all postgres peer map=pgdr\n{others}")
        # The user that runs it is its superuser, as on the lost host; root could become that user anyway.
        users = "".join(f"pgdr {name} postgres\n" for name in sorted({getpass.getuser(), "root"}))
        (folder / "pg_ident.conf").write_text(users)
        if self._paths.log_file.exists():
            # A rerun must not take an earlier attempt's words for its own.
            self._paths.log_file.replace(folder / "server.log.1")

    def exit_status(self) -> int | None:
        """Exit status of the server, or ``None`` while it runs."""
        return self._child.poll() if self._child else 0

    def status(self) -> ReplayStatus | None:
        """Where replay stands, or ``None`` while the server does not answer yet."""
        query = (
            "SELECT pg_is_in_recovery(),"
            " CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() = 'paused' ELSE false END,"
            " coalesce(pg_last_wal_replay_lsn()::text, ''), pg_last_xact_replay_timestamp()"
        )
        try:
            with self.connect() as connection:
                row = connection.execute(query).fetchone()
        except psycopg.OperationalError:
            return None
        if row is None:
            return None
        moment = row[3].astimezone(UTC) if isinstance(row[3], datetime) else None
        return ReplayStatus(bool(row[0]), bool(row[1]), str(row[2]), moment)

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Connect over the closed socket.

        Raises:
            psycopg.OperationalError: the server does not accept connections (yet).
        """
        return psycopg.connect(
            host=str(self._paths.socket_directory),
            port=self._paths.port,
            dbname=database,
            user="postgres",
            connect_timeout=10,
            autocommit=True,
            # A cluster made as SQL_ASCII would give bytes where text is expected.
            client_encoding="utf8",
            application_name="pgdr recovery",
        )

    def newest_heartbeat(self, database: str) -> datetime | None:
        """Time of the newest heartbeat row, ``None`` where there is no such database, table or row."""
        try:
            with self.connect(database) as connection:
                row = connection.execute("SELECT max(beat_at) FROM pgdr.heartbeat").fetchone()
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return None
        return row[0].astimezone(UTC) if row and isinstance(row[0], datetime) else None

    def resume(self) -> None:
        """Leave the pause at the target, which ends recovery and promotes."""
        with self.connect() as connection:
            connection.execute("SELECT pg_wal_replay_resume()")

    def timeline(self) -> int:
        """Timeline on which the promoted server writes."""
        with self.connect() as connection:
            row = connection.execute("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").fetchone()
        return int(str(row[0]), 16) if row else 0

    def forget_recovery_settings(self) -> None:
        """Remove what the restore wrote into ``postgresql.auto.conf``: no later standby may stop at this target."""
        names = (
            "restore_command",
            "recovery_target",
            "recovery_target_time",
            "recovery_target_lsn",
            "recovery_target_name",
            "recovery_target_xid",
            "recovery_target_inclusive",
            "recovery_target_action",
            "recovery_target_timeline",
        )
        with self.connect() as connection:
            for name in names:
                connection.execute(f"ALTER SYSTEM RESET {name}")  # fixed words, see above

    def stop(self) -> None:
        """Shut down cleanly, so that the next start needs no recovery.

        Raises:
            OperationFailedError: it did not stop.
        """
        pg_ctl = self._paths.bin_directory / "pg_ctl"
        process.run(
            [str(pg_ctl), "stop", "-D", str(self._paths.data_directory), "-m", "fast", "-w", "-t", "3600"],
            allowed=lambda _: True,
        )
        deadline = time.monotonic() + 60
        while self.exit_status() is None:
            if time.monotonic() > deadline:
                raise OperationFailedError("the recovering server does not stop", remedy=f"see {self._paths.log_file}")
            time.sleep(0.1)

    def last_restored_segment(self) -> str:
        """Name of the last segment that the server fetched, empty before the first."""
        found = ""
        for line in self._lines():
            match = _RESTORED.search(line)
            if match:
                found = match[1]
        return found

    def stop_line(self) -> str:
        """PostgreSQL's own words on where recovery stopped, empty while it has not."""
        for line in reversed(list(self._lines())):
            match = _STOPPING.search(line)
            if match:
                return match[0]
        return ""

    def lacks_settings(self) -> bool:
        """Tell whether replay paused because the primary had raised a setting (XLOG_PARAMETER_CHANGE)."""
        return any("insufficient parameter settings" in line for line in self._lines())

    def fatal_lines(self) -> list[str]:
        """The errors in the server's log, oldest first; a client refused during start-up is none."""
        return [
            match[1]
            for line in self._lines()
            if (match := _FATAL.search(line)) and "the database system is" not in match[1]
        ]

    def _lines(self) -> Iterator[str]:
        try:
            with self._paths.log_file.open(encoding="utf-8", errors="replace") as handle:
                yield from handle
        except FileNotFoundError:
            return


def recovery_settings(control: ControlData) -> dict[str, str]:
    """Settings for the recovering server.

    Some must be at least what they were on the primary, or hot standby refuses to start; they come from the
    control file (PostgreSQL documentation, "Hot Standby", section "Administrator's Overview").

    Args:
        control: control data of the restored cluster.
    """
    shared_buffers = min(memory_bytes() // 8, 4 * _GIB)
    return {
        **control.minimum_settings,
        "shared_buffers": f"{max(shared_buffers // 2**20, 64)}MB",
        "huge_pages": "try",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "wal_level": "replica",
        # On, or the promotion would not mark the new timeline's history file as due; without a command, so that
        # nothing leaves the host before the cluster is opened and the repositories are checked.
        "archive_mode": "on",
        "archive_command": "",
        "archive_library": "",
        "recovery_prefetch": "try",
        # Restart points let a killed replay go on near where it was.
        "checkpoint_timeout": "2min",
        "max_wal_size": f"{REPLAY_WAL_BYTES // 2**20}MB",
        "checkpoint_completion_target": "0.3",
        "max_standby_archive_delay": "0",
        "synchronous_standby_names": "",
        "log_checkpoints": "on",
        # Not "log", which would leave out warnings and errors: lacks_settings() reads one.
        "log_min_messages": "warning",
        "autovacuum": "off",
        "jit": "off",
    }
