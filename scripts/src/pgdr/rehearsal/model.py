"""What a rehearsal was asked for, how far it is, and what it found."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from pgdr.errors import ExitCode
from pgdr.files import write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.recovery.verify import Check
from pgdr.side.model import REHEARSAL
from pgdr.statefile import State, StateFile

#: Two rehearsals at once would take twice what one may take; everything else goes on beside one.
SCOPE = REHEARSAL


class Part(StrEnum):
    """What is restored."""

    BACKUP = "backup"  # the newest backup, to the end of its WAL
    POINT = "point"  # a moment of the recoverable window
    ARCHIVE = "archive"  # the newest logical archive

    @property
    def instance(self) -> str:
        """Name of its throw-away instance."""
        return f"{REHEARSAL}-{self}"


class Shelf(StrEnum):
    """Where the archive that is rehearsed is taken from."""

    VOLUME = "volume"  # the backup volume of this host
    CLOUD = "cloud"  # the policy's bucket for archives: on any host, with credentials that can only read


class Outcome(StrEnum):
    """How a part ended."""

    OK = "ok"
    NOT_PROVEN = "not proven"  # it was restored, or was to be, and is not what it should be
    FAILED = "failed"  # it could not be tried to its end
    SKIPPED = "skipped"  # there is nothing of the kind


class PartReport(BaseModel):
    """One restore and what it showed.

    Attributes:
        part: what was restored.
        label: the set or archive.
        place: where the archive was taken from; empty for a backup.
        target: where it was brought.
        reached: the position that it reached; empty for an archive.
        reached_at: its newest change, where it says so.
        seconds: by phase.
        checks: what was looked at.
        tables: how many were read whole.
        rows: how many rows they have.
        checksum: one checksum over the rows of all of them.
        message: why it did not end well.
    """

    model_config = ConfigDict(extra="forbid")

    part: Part
    outcome: Outcome = Outcome.OK
    repository: int | None = None
    label: str = ""
    place: str = ""
    target: str = ""
    reached: str = ""
    reached_at: datetime | None = None
    bytes: int = 0
    seconds: dict[str, float] = Field(default_factory=dict)
    checks: list[Check] = Field(default_factory=list)
    tables: int = 0
    rows: int = 0
    checksum: str = ""
    message: str = ""
    remedy: str = ""
    exit_code: ExitCode = ExitCode.OK

    @property
    def what(self) -> str:
        """What was restored, in words."""
        if self.part is Part.ARCHIVE:
            return f"archive {self.label}" if self.label else "the newest archive"
        where = f" of repository {self.repository}" if self.repository else ""
        return f"backup {self.label}{where} at {self.target}" if self.label else f"{self.target or self.part}{where}"


class Request(BaseModel):
    """What is to be rehearsed.

    Attributes:
        parts: which restores.
        repository: read this one; ``None`` to choose.
        point: the moment for the part of that name; empty for a random one.
        wait: seconds to wait for operations that have precedence.
        processes: how many restore files; 0 for half the cores.
        archive_from: where the archive is taken from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: tuple[Part, ...] = tuple(Part)
    repository: int | None = None
    point: str = ""
    wait: float = 0.0
    processes: int = 0
    archive_from: Shelf = Shelf.VOLUME

    @property
    def everything(self) -> bool:
        """Whether it is the rehearsal that the schedule asks for."""
        return set(self.parts) == set(Part)


class Rehearsal(State):
    """The last rehearsal, or the running one: the file from which whoever waits for it learns.

    Attributes:
        running_pid: the process that works on it.
        progress: what it does.
        error: why it ended before its end.
    """

    request: Request = Request()
    began_at: datetime | None = None
    finished_at: datetime | None = None
    running_pid: int | None = None
    progress: str = ""
    parts: list[PartReport] = Field(default_factory=list)
    error: str = ""
    remedy: str = ""
    error_code: ExitCode = ExitCode.OK

    @property
    def exit_code(self) -> ExitCode:
        """Not proven before everything else, then what went wrong first."""
        codes = [part.exit_code for part in self.parts if part.exit_code is not ExitCode.OK]
        if ExitCode.NOT_PROVEN in codes:
            return ExitCode.NOT_PROVEN
        return self.error_code or (codes[0] if codes else ExitCode.OK)

    @property
    def result(self) -> str:
        """One word for the journal."""
        if self.exit_code is ExitCode.OK:
            return "ok"
        return "not proven" if self.exit_code is ExitCode.NOT_PROVEN else "failed"


def rehearsal_file(config: HostConfig) -> StateFile[Rehearsal]:
    """Where the last rehearsal is."""
    return StateFile(config.state_directory / "rehearsal.json", Rehearsal)


def save(config: HostConfig, state: Rehearsal) -> None:
    """Replace it; only the process that works on it writes."""
    write_atomically(rehearsal_file(config).path, state.model_dump_json(indent=1) + "\n")
