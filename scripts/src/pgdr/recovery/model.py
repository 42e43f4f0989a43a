"""What a recovery plans, how far it has come, and what it measured."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from pgdr.recovery.target import Target

# WAL that replay keeps on disk at the same time: its max_wal_size, and so a part of the disk that a restore needs.
REPLAY_WAL_BYTES = 8 * 2**30


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Stage(StrEnum):
    """How far a recovery has come. The order is the order of the work."""

    PLANNED = "planned"
    ASIDE = "aside"  # what stood in the way was renamed
    FILES = "files"  # the backup's files are there
    REPLAYED = "replayed"  # recovery stands, paused, at its target
    PROMOTED = "promoted"  # new timeline, cleanly shut down, door still closed
    FINISHED = "finished"  # opened, proven and reported

    @property
    def rank(self) -> int:
        """Position in the order of the work."""
        return list(Stage).index(self)


class Tablespace(_Record):
    """A tablespace of the backup and where its files will go."""

    name: str
    location: str


class Plan(_Record):
    """All that a recovery is going to do, decided before anything is changed.

    Attributes:
        operation: identity of this recovery in journal, log files and folder names.
        cluster_name: the name that a person types to agree.
        repository: pgBackRest's number of the repository to read from.
        backup_label: the backup set to start from.
        backup_stop_lsn: WAL position at which that backup became consistent.
        backup_bytes: size of the restored files, in bytes.
        wal_end_segment: the highest segment in the archive.
        recovery_lsn: for a target of kind latest or lsn, the position recovery must reach.
        set_aside: folders that will be renamed before the restore: from, to.
        stop_first: a cluster runs in the data directory and must be stopped.
        place: the repository for a person, with its bucket, and whether it is a replica.
        behind_seconds: from the last archived transaction to the disaster or, where its time is unknown, to the plan.
        beside: the cluster lives on elsewhere: tablespaces get other places, nothing is archived.
        databases: with ``beside``, only these databases are restored, empty for all.
    """

    operation: str
    created_at: datetime
    cluster_name: str
    stanza: str
    system_identifier: int
    postgresql_version: int
    repository: int
    backup_label: str
    backup_type: str
    backup_stop_at: datetime
    backup_stop_lsn: str
    backup_bytes: int
    wal_end_segment: str
    wal_segment_bytes: int
    wal_end_lsn: str
    wal_last_commit_at: datetime | None
    target: Target
    recovery_lsn: str
    data_directory: str
    tablespaces: list[Tablespace]
    set_aside: list[tuple[str, str]]
    stop_first: bool
    free_bytes: int
    warnings: list[str]
    place: str = ""
    behind_seconds: float | None = None
    beside: bool = False
    databases: list[str] = []


class PhaseTime(_Record):
    """A phase of the work and how long it took."""

    name: str
    started_at: datetime
    seconds: float


class Progress(_Record):
    """Where the running phase stands, for a person who waits.

    Attributes:
        remaining_seconds: until the whole work is done, ``None`` where nobody knows.
    """

    at: datetime
    phase: str
    percent: float | None = None
    detail: str = ""
    remaining_seconds: float | None = None

    @property
    def line(self) -> str:
        """One line of it."""
        share = f" {self.percent:.0f} %" if self.percent is not None else ""
        detail = f": {self.detail}" if self.detail not in {"", self.phase} else ""
        return f"{self.phase}{share}{detail}{self._estimate}"

    @property
    def _estimate(self) -> str:
        """What is left, no finer than a guess can be."""
        if self.remaining_seconds is None:
            return ""
        hours, minutes = divmod(round(self.remaining_seconds / 60), 60)
        if hours:
            return f", ready in about {hours} h {minutes:02d} min"
        return f", ready in about {minutes} min" if minutes else ", ready in less than a minute"


Show = Callable[[Progress], None]


class Reached(_Record):
    """Where recovery stood when it stopped.

    Attributes:
        lsn: end of the last replayed record.
        last_commit_at: time of the last replayed commit.
        heartbeat_at: newest heartbeat row at that point, ``None`` where the database has none.
        timeline: timeline after promotion, 0 before it.
        stop_line: what PostgreSQL itself wrote about the stop.
    """

    lsn: str
    last_commit_at: datetime | None
    heartbeat_at: datetime | None = None
    timeline: int = 0
    stop_line: str = ""


class RecoveryState(_Record):
    """The file from which a killed recovery goes on.

    Attributes:
        running_pid: process that works on it, or ``None``.
        failure: the one line of the last failure, empty where there is none.
        failure_code: the exit code of the last failure.
    """

    plan: Plan
    stage: Stage = Stage.PLANNED
    phases: list[PhaseTime] = []
    progress: Progress | None = None
    reached: Reached | None = None
    attempts: int = 0
    running_pid: int | None = None
    failure: str = ""
    failure_code: int = 0
