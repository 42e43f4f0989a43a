"""Find out, before anything is restored, where the archived WAL of a repository ends.

A restore "to the latest" without an explicit target is the classic silent loss: any failure to fetch a segment
looks to PostgreSQL like the end of WAL, and it promotes. So the end is computed first, from the highest archived
segment itself, and recovery gets it as ``recovery_target_lsn``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pgdr import process
from pgdr.errors import OperationFailedError, RefusedError
from pgdr.recovery.archive import WalArchive
from pgdr.recovery.lsn import Segment, parse_lsn
from pgdr.recovery.xids import Running, dumped, following, running

_RECORD = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+), prev [^,]*, desc: (.*)")
_COMMIT = re.compile(r"(?:COMMIT|ABORT)(?:_PREPARED)? .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
# How many segments to look back for a commit: an idle cluster archives a segment a minute, with a heartbeat in it.
_LOOK_BACK = 8


@dataclass(frozen=True)
class WalEnd:
    """The end of what is archived on one timeline.

    Attributes:
        segment: highest archived segment.
        last_record: position of the first byte of the last complete record.
        last_commit_at: time of the newest commit or abort near the end, ``None`` if none was found.
        missing: the segment behind it, where later ones are archived and this one is not.
        unusable: how many later segments that makes useless.
    """

    segment: Segment
    last_record: int
    last_commit_at: datetime | None
    missing: Segment | None = None
    unusable: int = 0


class ArchiveReader:
    """Finds out where the WAL of an archive ends.

    Args:
        archive: the archive.
        bin_directory: folder of PostgreSQL's programs, for ``pg_waldump``.
    """

    def __init__(self, archive: WalArchive, bin_directory: Path) -> None:
        self._archive = archive
        self._waldump = bin_directory / "pg_waldump"
        self._number = archive.repository

    def end(self, timeline: str, backup_timeline: int) -> WalEnd:
        """Return where the WAL of a timeline ends.

        Args:
            timeline: ``latest``, ``current`` (the backup's) or a number, as PostgreSQL takes it.
            backup_timeline: timeline on which the backup was taken.

        Raises:
            RefusedError: nothing is archived on that timeline.
            OperationFailedError: the repository or a segment could not be read.
        """
        folders, forks = self._archive.timelines()
        wanted = self._wanted_timeline(timeline, backup_timeline, folders, forks)
        own = [name for name in folders if int(name[:8], 16) == wanted]
        if not own and wanted in forks:
            # Promoted, but no segment of the new timeline has been archived yet: its WAL ends at the fork.
            raise RefusedError(
                f"timeline {wanted} has a history file but no archived WAL in repository {self._number}",
                remedy="give target_timeline with the number of the timeline before it",
            )
        if not own:
            raise RefusedError(f"no WAL of timeline {wanted} is archived in repository {self._number}")
        return self._end_in(own[-1])

    def history(self, timeline: int) -> dict[int, int]:
        """Return the ancestors of a timeline, each with the position at which it was left.

        Raises:
            OperationFailedError: the history file is missing or could not be read.
        """
        return self._archive.history(timeline)

    @staticmethod
    def _wanted_timeline(timeline: str, backup_timeline: int, folders: list[str], forks: set[int]) -> int:
        if timeline == "current":
            return backup_timeline
        if timeline != "latest":
            return int(timeline)
        return max([backup_timeline, *forks, *(int(name[:8], 16) for name in folders)])

    def connected(self, end: WalEnd, first: Segment, history: Mapping[int, int]) -> WalEnd:
        """Return where WAL ends that leads on from a segment without a hole.

        Segments are pushed in parallel: a host that is lost leaves a hole near the end as a matter of course, and what
        lies behind it can never be replayed.

        Args:
            end: end of the wanted timeline.
            first: a segment that is needed, the first of a backup.
            history: ancestors of the wanted timeline, each with the position at which it was left.

        Raises:
            OperationFailedError: the repository or a segment could not be read.
        """
        limits = {end.segment.timeline: end.segment.number}
        limits |= {timeline: position // end.segment.size for timeline, position in history.items()}
        present = self._archive.present(first.number, limits, end.segment.size)
        missing = first_missing(present, first.number, end.segment.number, limits)
        if missing is None:
            return end
        behind = {segment.number for segment in present if segment.number > missing}
        before = [segment for segment in present if segment.number < missing]
        newest_first = sorted(before, key=lambda segment: (segment.number, segment.timeline), reverse=True)
        found = self._end_of((segment.name, present[segment]) for segment in newest_first)
        return replace(found, missing=Segment(end.segment.timeline, missing, end.segment.size), unusable=len(behind))

    def next_xid(self, end: WalEnd) -> int | None:
        """The transaction number that would be given out next where the archive ends; ``None`` where it is not known.

        Raises:
            OperationFailedError: the repository or a segment could not be read.
        """
        text = ""
        archived = self._archive.in_folder(end.segment.name[:16])
        for name in islice(sorted((name for name in archived if name <= end.segment.name), reverse=True), _LOOK_BACK):
            text = self._text(archived[name]) + text
            found = following(text)
            if found is not None:
                return found
        return None

    def running(self, segment: str, limit: int) -> Running | None:
        """Which transactions ran in a segment, as late as possible but not behind a position; ``None`` if not known.

        Raises:
            OperationFailedError: the repository or the segment could not be read.
        """
        path = self._archive.in_folder(segment[:16]).get(segment)
        found = [one for one in running(self._text(path)) if one.lsn <= limit] if path else []
        return found[-1] if found else None

    def _text(self, archived: str) -> str:
        with tempfile.TemporaryDirectory(prefix="pgdr-wal-") as scratch:
            return dumped(self._waldump, self._archive.fetch(archived, Path(scratch) / Path(archived).name[:24]))

    def _end_in(self, folder: str) -> WalEnd:
        files = self._archive.in_folder(folder)
        if not files:
            raise RefusedError(f"no segment in {self._archive.root}/{folder} of repository {self._number}")
        return self._end_of((name, files[name]) for name in sorted(files, reverse=True))

    def _end_of(self, newest_first: Iterable[tuple[str, str]]) -> WalEnd:
        """Find the last record and the last commit, looking at segments from the newest on."""
        highest: Segment | None = None
        last_record: int | None = None
        last_commit: datetime | None = None
        for name, path in islice(newest_first, _LOOK_BACK):
            segment, record, commit = self._scan(name, path)
            highest = highest or segment
            last_record = record if last_record is None else last_record
            last_commit = last_commit or commit
            if last_record is not None and last_commit is not None:
                break
        if highest is None or last_record is None:
            raise OperationFailedError(f"no complete WAL record in the newest segments of repository {self._number}")
        return WalEnd(highest, last_record, last_commit)

    def _scan(self, name: str, archived: str) -> tuple[Segment, int | None, datetime | None]:
        """Return a segment, the position of its last complete record and the time of its last commit."""
        with tempfile.TemporaryDirectory(prefix="pgdr-wal-") as scratch:
            path = self._archive.fetch(archived, Path(scratch) / name)
            segment = Segment.parse(name, path.stat().st_size)
            try:
                record, commit = last_in(self._waldump, path)
            except OperationFailedError as error:
                raise OperationFailedError(f"archived segment {name} cannot be read: {error.message}") from error
        return segment, record, commit


def last_in(waldump: Path, path: Path) -> tuple[int | None, datetime | None]:
    """Position of the last complete record of a segment's file, and time of its last commit or abort.

    Raises:
        OperationFailedError: it cannot be read.
    """
    # pg_waldump exits 1 at the end of a lone segment: it cannot know that this is the end.
    done = process.run([str(waldump), str(path)], allowed=lambda _: True, env={"TZ": "UTC", "LC_ALL": "C"})
    record: int | None = None
    commit: datetime | None = None
    for position, description in _records(done.stdout):
        record = position
        found = _COMMIT.match(description)
        if found:
            commit = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    if record is None and "first record" not in done.stderr:
        raise OperationFailedError(done.tail)
    return record, commit


def first_missing(present: Collection[Segment], first: int, last: int, limits: Mapping[int, int]) -> int | None:
    """Return the number of the first segment that no timeline has, or ``None``.

    Args:
        present: what is archived.
        first: number of the first segment that must be there.
        last: number of the last one.
        limits: timelines that lead to the end, each with the last number that counts on it.
    """
    there = {segment.number for segment in present if segment.number <= limits.get(segment.timeline, -1)}
    return next((number for number in range(first, last + 1) if number not in there), None)


def _records(text: str) -> Iterator[tuple[int, str]]:
    for line in text.splitlines():
        found = _RECORD.search(line)
        if found:
            yield parse_lsn(found[1]), found[2]
