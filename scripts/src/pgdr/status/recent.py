"""The end of the archived WAL, without listing years of it again.

The daily verification lists everything. In between only folders are listed that have changed since: a look takes
seconds also with fifty thousand segments in a bucket.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest, RepositoryFile
from pgdr.pgbackrest.info import StanzaInfo
from pgdr.proof import continuity
from pgdr.proof.continuity import Continuity, Stored
from pgdr.recovery.lsn import Segment
from pgdr.statefile import State, StateFile

_log = logging.getLogger(__name__)

_HISTORY = ".history"
_MOST_FOLDERS = 4
#: A repository that does not answer must not keep the rest waiting.
_PATIENCE = 20.0
# A person waits for so many times what it took the last time, and not less than this: a bucket has slow seconds.
_TIMES, _LEAST_PATIENCE = 4.0, 1.5


class Known(BaseModel):
    """What is known to be whole in one repository.

    Attributes:
        archive_id: the archive.
        timeline: its newest timeline.
        first: the segment from which it is whole.
        whole_to: the segment up to which it is.
        segments: how many there were.
        limits: timelines that lead to the newest, each with the last number that counts.
    """

    model_config = ConfigDict(extra="forbid")

    archive_id: str
    timeline: int
    first: str
    whole_to: str
    segments: int
    limits: dict[int, int]


class KnownWal(State):
    """What is known of each repository.

    Attributes:
        repositories: what was whole.
        seconds: how long a repository took to answer the last time that somebody waited for it.
    """

    repositories: dict[int, Known] = Field(default_factory=dict)
    seconds: dict[int, float] = Field(default_factory=dict)

    def patience(self, repository: int, *, patient: bool) -> float:
        """How long to wait for an answer."""
        usual = self.seconds.get(repository)
        return _PATIENCE if patient or usual is None else min(max(_TIMES * usual, _LEAST_PATIENCE), _PATIENCE)


@dataclass(frozen=True)
class RecentWal:
    """The WAL of one repository as far as a quick look shows it.

    Attributes:
        wal: holes since what is known to be whole, and the end.
        stored: segments that were listed.
        segments: how many there are in all.
    """

    wal: Continuity
    stored: Stored
    segments: int

    @property
    def last_stored(self) -> datetime | None:
        """When the newest segment was stored, by the repository's clock."""
        return self.wal.last_stored


def known_file(config: HostConfig) -> StateFile[KnownWal]:
    """What is known of this host's archives."""
    return StateFile(config.state_directory / "wal.json", KnownWal, cache=True)


def look(
    client: PgBackRest,
    found: StanzaInfo,
    repository: int,
    size: int,
    known: Known | None,
    wal_from: str,
    listed: dict[str, RepositoryFile] | None = None,
) -> RecentWal | None:
    """Look at the end of a repository's WAL; ``None`` where there is no archive.

    Args:
        client: pgBackRest.
        found: what the repositories hold.
        repository: the repository's key.
        size: bytes of a segment.
        known: what was whole at the last look.
        wal_from: see :func:`pgdr.proof.continuity.examine`.
        listed: what :func:`changed_files` gave, where it was asked before.

    Raises:
        PgBackRestError: the repository could not be read.
    """
    archive, database = found.current_archive(repository), found.database(repository)
    if archive is None or database is None:
        return None
    backups = [b for b in found.backups(repository) if b.database.id == database.id and b.archive.start]
    files = listed if known is not None and known.archive_id == archive.id else None
    if files is not None and known is not None:
        stored = continuity.stored(files, size)
        start = Segment.parse(known.whole_to, size)
        recent = [b for b in backups if Segment.parse(str(b.archive.start), size).number > start.number]
        wal = continuity.examine(stored, recent, known.limits, size)
        there = {s.number for s in stored.times if s.number <= known.limits.get(s.timeline, -1)}
        end = wal.last.number if wal.last else start.number
        holes = tuple(continuity.holes_in(there, Segment(start.timeline, start.number + 1, size), end))
        wal = continuity.Continuity(
            Segment.parse(known.first, size), wal.last, wal.last_stored, wal.segments, wal.size, holes,
            wal.incomplete, wal.duplicates,
        )  # fmt: skip
        new = sum(1 for s in stored.times if s.number > start.number)
        return RecentWal(wal, stored, known.segments + new)
    stored = continuity.read(client, repository, archive.id, size)
    limits = continuity.lineage(client, repository, archive.id, stored.newest_timeline, size)
    wal = continuity.examine(stored, backups, limits, size, wal_from=wal_from)
    try:
        _remember(client.config, repository, archive.id, stored, wal, limits)
    except PgdrError as error:
        _log.warning("%s", error)  # the next look lists everything again
    return RecentWal(wal, stored, wal.segments)


def remember_speed(config: HostConfig, repository: int, seconds: float) -> None:
    """Remember how long a repository took; written only where it is another figure, not with each look."""
    try:
        last = known_file(config).read().seconds.get(repository, 0.0)
        if not last / 2 <= seconds <= last * 2:
            with known_file(config).change() as state:
                state.seconds[repository] = round(seconds, 3)
    except PgdrError as error:
        _log.warning("%s", error)  # the next look is a patient one


def changed_files(
    client: PgBackRest, repository: int, known: Known, timeout: float
) -> dict[str, RepositoryFile] | None:
    """List what may have changed; ``None`` where everything must be listed.

    It needs nothing of what the repository says of itself, so both can be asked at once.
    """
    root = f"archive/{client.config.stanza}/{known.archive_id}"
    top = client.list_files(root, repository, timeout=timeout)
    if max([1, *(int(name[:8], 16) for name in top if _HISTORY in name)]) != known.timeline:
        return None
    floor = known.whole_to[:16]
    folders = [
        name
        for name, file in top.items()
        if file.folder and len(name) == 16 and name[8:] >= floor[8:] and int(name[:8], 16) in known.limits
    ]
    if len(folders) > _MOST_FOLDERS or not folders:
        return None
    files = dict(top)
    for folder in folders:
        listed = client.list_files(f"{root}/{folder}", repository, timeout=timeout)
        files |= {f"{folder}/{name}": file for name, file in listed.items()}
    return files


def _remember(
    config: HostConfig, repository: int, archive_id: str, stored: Stored, wal: Continuity, limits: dict[int, int]
) -> None:
    with known_file(config).change() as state:
        if wal.holes or wal.first is None or wal.last is None:
            state.repositories.pop(repository, None)
            return
        state.repositories[repository] = Known(
            archive_id=archive_id,
            timeline=stored.newest_timeline,
            first=wal.first.name,
            whole_to=wal.last.name,
            segments=wal.segments,
            limits=limits,
        )
