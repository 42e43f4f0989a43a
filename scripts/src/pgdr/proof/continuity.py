"""Whether the WAL in a repository is whole: from the oldest backup to now, and within every backup.

pgBackRest's own verify counts what is there; a segment that is gone is no error to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pgdr.pgbackrest.client import PgBackRest, RepositoryFile
from pgdr.pgbackrest.info import Backup
from pgdr.recovery.archive import SEGMENT_FILE, WalArchive
from pgdr.recovery.lsn import Segment

_HISTORY_SUFFIX = ".history"


@dataclass(frozen=True)
class Hole:
    """Segments that are missing, one after the other.

    Attributes:
        first: the first that is missing.
        count: how many.
    """

    first: Segment
    count: int

    @property
    def last_number(self) -> int:
        """Number of the last one that is missing."""
        return self.first.number + self.count - 1


@dataclass(frozen=True)
class Stored:
    """The segments that an archive holds.

    Attributes:
        times: each segment and when it was stored, seconds since the epoch.
        duplicates: segments that are there twice with different content: neither can be used.
        timelines: timelines that have a history file.
        size: bytes of all of it.
    """

    times: Mapping[Segment, int]
    duplicates: tuple[Segment, ...]
    timelines: frozenset[int]
    size: int

    @property
    def newest_timeline(self) -> int:
        """The highest timeline that anything is known of."""
        return max([1, *self.timelines, *(segment.timeline for segment in self.times)])


@dataclass(frozen=True)
class Continuity:
    """The WAL of one archive, held against what the backups need.

    Attributes:
        first: segment from which it must be whole, ``None`` without a backup.
        last: the highest archived segment on the line that leads to now.
        last_stored: when that one was stored, by the repository's clock.
        segments: how many segments are there.
        size: bytes of them.
        holes: what is missing between first and last, oldest first.
        incomplete: sets whose own WAL is not whole, each with the first missing segment.
        duplicates: segments that are there twice.
    """

    first: Segment | None
    last: Segment | None
    last_stored: datetime | None
    segments: int
    size: int
    holes: tuple[Hole, ...]
    incomplete: Mapping[str, Segment]
    duplicates: tuple[Segment, ...]


def read(client: PgBackRest, repository: int, archive_id: str, segment_size: int) -> Stored:
    """List all WAL of one archive.

    Raises:
        PgBackRestError: the repository could not be read.
    """
    files = client.list_files(f"archive/{client.config.stanza}/{archive_id}", repository, recurse=True)
    return stored(files, segment_size)


def stored(files: Mapping[str, RepositoryFile], segment_size: int) -> Stored:
    """Make segments of a listing whose names are ``FOLDER/SEGMENT-CHECKSUM.zst`` and ``TIMELINE.history``."""
    times: dict[Segment, int] = {}
    duplicates: list[Segment] = []
    timelines: set[int] = set()
    size = 0
    for name, file in files.items():
        base = name.rpartition("/")[2]
        if found := SEGMENT_FILE.fullmatch(base):
            segment = Segment.parse(found[1], segment_size)
            if segment in times:
                duplicates.append(segment)
            times[segment] = file.time
            size += file.size
        elif _HISTORY_SUFFIX in base:
            timelines.add(int(base[:8], 16))
    return Stored(times, tuple(duplicates), frozenset(timelines), size)


def lineage(client: PgBackRest, repository: int, archive_id: str, timeline: int, segment_size: int) -> dict[int, int]:
    """Return the timelines that lead to one, each with the last segment number that counts on it.

    Raises:
        PgdrError: the history file could not be read.
    """
    archive = WalArchive(client, repository, client.config.stanza, archive_id)
    limits = {parent: position // segment_size for parent, position in archive.history(timeline).items()}
    return {**limits, timeline: 2**62}


def examine(
    stored_wal: Stored, backups: Iterable[Backup], limits: Mapping[int, int], size: int, *, wal_from: str = ""
) -> Continuity:
    """Hold what is archived against what the backups need.

    Args:
        stored_wal: what is archived.
        backups: the sets of this repository and cluster, oldest first.
        limits: see :func:`lineage`.
        size: bytes of a segment.
        wal_from: label of the set from which on WAL is kept whole; empty: the oldest that leads to now.
    """
    sets = [item for item in backups if item.archive.start and item.archive.stop]
    there = {s.number for s in stored_wal.times if s.number <= limits.get(s.timeline, -1)}
    on_line = [s for s in stored_wal.times if s.number <= limits.get(s.timeline, -1)]
    last = max(on_line, key=lambda s: (s.number, s.timeline), default=None)
    leading = [item for item in sets if _on_line(item, limits, size)]
    whole_from = next((item for item in leading if item.label == wal_from), leading[0] if leading else None)
    first = Segment.parse(str(whole_from.archive.start), size) if whole_from else None
    # A backup that ended needs its last segment, also where nothing later has arrived.
    ends = [_range(item, size)[1] for item in leading]
    end = max([last.number if last else -1, *(segment.number for segment in ends)])
    holes = tuple(holes_in(there, first, end)) if first is not None else ()
    incomplete = {item.label: gap for item in sets if (gap := _first_gap(item, stored_wal, size)) is not None}
    return Continuity(
        first=first,
        last=last,
        last_stored=None if last is None else datetime.fromtimestamp(stored_wal.times[last], UTC),
        segments=len(stored_wal.times),
        size=stored_wal.size,
        holes=holes,
        incomplete=incomplete,
        duplicates=stored_wal.duplicates,
    )


def _range(backup: Backup, size: int) -> tuple[Segment, Segment]:
    return Segment.parse(str(backup.archive.start), size), Segment.parse(str(backup.archive.stop), size)


def _on_line(backup: Backup, limits: Mapping[int, int], size: int) -> bool:
    _, stop = _range(backup, size)
    return stop.number <= limits.get(stop.timeline, -1)


def holes_in(there: set[int], first: Segment, end: int) -> Iterator[Hole]:
    """Yield what is missing between a first segment and the number of the last one."""
    missing = [number for number in range(first.number, end + 1) if number not in there]
    begin = 0
    for index, number in enumerate(missing):
        if index + 1 == len(missing) or missing[index + 1] != number + 1:
            yield Hole(Segment(first.timeline, missing[begin], first.size), index - begin + 1)
            begin = index + 1


def _first_gap(backup: Backup, stored_wal: Stored, size: int) -> Segment | None:
    start, stop = _range(backup, size)
    needed = (Segment(start.timeline, number, size) for number in range(start.number, stop.number + 1))
    return next((segment for segment in needed if segment not in stored_wal.times), None)
