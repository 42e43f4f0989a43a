"""Which archived segments lead through a stretch of time, and which of them are missing."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pgdr import process
from pgdr.errors import RefusedError
from pgdr.recovery.archive import WalArchive
from pgdr.recovery.lsn import Segment

_TIME = re.compile(r"desc: (?:COMMIT|ABORT)(?:_PREPARED)? .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
# An idle cluster archives a segment a minute, with a heartbeat in it: a few without any commit are rare.
_LOOK_AROUND = 16


@dataclass(frozen=True)
class Piece:
    """A segment on the way.

    Attributes:
        segment: the segment as it is archived.
        path: its path below the archive's root.
        stop: position after the last byte that counts: before the end where its timeline was left inside it.
    """

    segment: Segment
    path: str
    stop: int


@dataclass(frozen=True)
class Range:
    """Segments to read.

    Attributes:
        pieces: they, in order.
        missing: segments between them that are not archived.
        begins_at: first commit in the archive's part that is read, ``None`` if there is none.
        archive_from: time of the oldest archived commit on this way, only where the range begins before it.
        archive_to: time of the newest archived commit, only where the range ends behind it.
    """

    pieces: tuple[Piece, ...]
    missing: tuple[Segment, ...]
    archive_from: datetime | None = None
    archive_to: datetime | None = None


class Way:
    """The segments that lead to the end of a timeline, through those that it came from.

    Args:
        archive: the archive.
        timeline: ``latest`` or a number.
        program: pg_waldump.
        scratch: folder for segments that are looked at.
    """

    def __init__(self, archive: WalArchive, timeline: str, program: Path, scratch: Path) -> None:
        self._archive = archive
        self._program = program
        self._scratch = scratch
        self._looked: dict[int, tuple[datetime, datetime] | None] = {}
        folders, forks = archive.timelines()
        numbers = {int(name[:8], 16) for name in folders}
        if not numbers:
            raise RefusedError(f"no WAL is archived in repository {archive.repository}", remedy="see pgdr info")
        self.timeline = max(numbers | forks) if timeline == "latest" else int(timeline)
        if self.timeline not in numbers | forks:
            known = ", ".join(str(number) for number in sorted(numbers))
            raise RefusedError(
                f"no WAL of timeline {timeline} is archived in repository {archive.repository}",
                remedy=f"archived timelines: {known}",
            )
        self.history = archive.history(self.timeline)
        own = [name for name in folders if int(name[:8], 16) in {self.timeline, *self.history}]
        newest = max(archive.in_folder(own[-1]).items()) if own else None
        if newest is None:
            raise RefusedError(f"no WAL that leads to timeline {self.timeline} is archived", remedy="see pgdr info")
        looked = archive.fetch(newest[1], scratch / "size")
        self.size = looked.stat().st_size
        looked.unlink()

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """All archived segments of the way, in order."""
        limits = {timeline: position // self.size for timeline, position in self.history.items()}
        limits[self.timeline] = 2**64 // self.size
        chosen: dict[int, tuple[Segment, str]] = {}
        for segment, path in self._archive.present(0, limits, self.size).items():
            # A promoted server copies the segment that it forked in: the newer timeline's has both parts.
            there = chosen.get(segment.number)
            if segment.number <= limits[segment.timeline] and (there is None or segment.timeline > there[0].timeline):
                chosen[segment.number] = (segment, path)
        pieces = []
        for number in sorted(chosen):
            segment, path = chosen[number]
            left = self.history.get(segment.timeline, segment.end)
            pieces.append(Piece(segment, path, min(segment.end, left)))
        return tuple(pieces)

    def between(self, begin: datetime, end: datetime) -> Range:
        """Choose the segments that hold everything that was committed in a stretch of time.

        Raises:
            RefusedError: the archive holds nothing of that time.
            OperationFailedError: a segment could not be read.
        """
        pieces = self.pieces
        places = range(len(pieces))
        first = bisect_left(places, 1, key=lambda place: int(self._last(place) >= begin))
        behind = bisect_left(places, 1, key=lambda place: int(self._first(place) > end))
        oldest, newest = self._first(0), self._last(len(pieces) - 1)
        if first >= len(pieces) or behind == 0:
            raise RefusedError(
                f"the archive of repository {self._archive.repository} holds nothing between "
                f"{begin:%Y-%m-%d %H:%M:%S+00:00} and {end:%Y-%m-%d %H:%M:%S+00:00}",
                remedy=f"it reaches from {oldest:%Y-%m-%d %H:%M:%S+00:00} to {newest:%Y-%m-%d %H:%M:%S+00:00}",
            )
        chosen = pieces[first : max(behind, first + 1)]
        numbers = {piece.segment.number for piece in chosen}
        low, high = chosen[0].segment.number, chosen[-1].segment.number
        # Of a segment that a timeline was left in, what its successor wrote there may not be archived (yet).
        cut = {piece.segment.number for piece in chosen[:-1] if piece.stop < piece.segment.end}
        missing = tuple(
            Segment(chosen[-1].segment.timeline, n, self.size) for n in range(low, high) if n not in numbers - cut
        )
        return Range(
            chosen,
            missing,
            archive_from=oldest if oldest > begin else None,
            archive_to=newest if newest < end else None,
        )

    def _first(self, place: int) -> datetime:
        return self._near(place, 0)

    def _last(self, place: int) -> datetime:
        return self._near(place, 1)

    def _near(self, place: int, which: int) -> datetime:
        """First or last commit in a segment, or in the next one that has any."""
        for other in (*range(place, min(place + _LOOK_AROUND, len(self.pieces))), *range(place - 1, -1, -1)):
            times = self._times(other)
            if times is not None:
                # Asked for a segment without commits: those behind it begin later, those before it ended earlier.
                return times[which] if other == place else times[0] if other > place else times[1]
        return datetime.min.replace(tzinfo=UTC)

    def _times(self, place: int) -> tuple[datetime, datetime] | None:
        piece = self.pieces[place]
        number = piece.segment.number
        if number not in self._looked:
            path = self._archive.fetch(piece.path, self._scratch / piece.segment.name)
            # Exit status 1 is the end of a lone segment: pg_waldump cannot know that this is the end.
            done = process.run(
                [str(self._program), "--rmgr=Transaction", str(path)],
                allowed=lambda _: True,
                env={"TZ": "UTC", "LC_ALL": "C"},
            )
            path.unlink()
            found = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in _TIME.findall(done.stdout)]
            self._looked[number] = (min(found), max(found)) if found else None
        return self._looked[number]
