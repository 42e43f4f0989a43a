"""Read archived segments in parallel and hand on what is in them, in the order of WAL.

Segments are fetched by threads (pgBackRest does the work) and taken apart by processes, some segments each. Only a
few are on disk at a time, whatever the range is.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pgdr.recovery.archive import WalArchive
from pgdr.recovery.lsn import Segment
from pgdr.when.records import Found, Stretch, read
from pgdr.when.segments import Piece

# Segments that one call of pg_waldump reads at most. Each call also begins the one behind, where a record may end.
_TOGETHER = 4

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Batch:
    """Segments that follow one another without a hole.

    Attributes:
        pieces: they.
        behind: the one behind, if it is there: the last record may end in it.
    """

    pieces: tuple[Piece, ...]
    behind: Piece | None


@dataclass(frozen=True)
class Settings:
    """How to read.

    Attributes:
        program: pg_waldump.
        scratch: folder for the segments.
        timeline: name all files as if they were this timeline's, so that a fork is no border for pg_waldump.
        workers: processes.
        kinds: changes that are counted: DELETE and UPDATE of rows, ALTER of columns.
        attributes: numbers of files of pg_attribute, where a rewrite gave it new ones.
    """

    program: Path
    scratch: Path
    timeline: int
    workers: int
    kinds: tuple[str, ...]
    attributes: tuple[int, ...] = ()


def batches(pieces: Sequence[Piece], together: int) -> list[Batch]:
    """Divide segments into batches; a hole ends one."""
    found: list[Batch] = []
    start = 0
    for place, piece in enumerate(pieces):
        follower = pieces[place + 1] if place + 1 < len(pieces) else None
        whole = piece.stop == piece.segment.end
        joined = follower if whole and follower and follower.segment.number == piece.segment.number + 1 else None
        if joined is None or place + 1 - start == together:
            found.append(Batch(tuple(pieces[start : place + 1]), joined))
            start = place + 1
    return found


def scan(archive: WalArchive, pieces: Sequence[Piece], settings: Settings, report: Report) -> Iterator[Found]:
    """Yield what is in each batch of segments, in the order of WAL.

    Args:
        archive: where they are fetched from.
        pieces: the segments, in order.
        settings: how to read.
        report: called with bytes of WAL read and their total.

    Raises:
        OperationFailedError: a segment could not be fetched.
    """
    # Few segments are shared out too: each process gets two batches at least.
    todo = batches(pieces, min(max(len(pieces) // (2 * settings.workers), 1), _TOGETHER))
    total = sum(piece.segment.size for piece in pieces)
    done = 0
    with ExitStack() as stack:
        pipeline = _Pipeline(archive, settings, stack)
        for place, batch in enumerate(todo):
            for coming in todo[place : place + settings.workers + 1]:
                pipeline.fetch(coming)
            pipeline.read(batch)
            # One batch more than there are processes, so that none waits for the next file.
            if pipeline.working <= settings.workers and place + 1 < len(todo):
                continue
            while pipeline.working > (settings.workers if place + 1 < len(todo) else 0):
                found, size = pipeline.next()
                done += size
                report(done, total)
                yield found


class _Pipeline:
    """Threads that fetch, processes that read, and the files between them."""

    def __init__(self, archive: WalArchive, settings: Settings, stack: ExitStack) -> None:
        self._archive = archive
        self._settings = settings
        self._fetched: dict[int, Future[Path]] = {}
        self._working: deque[tuple[Batch, Future[Found]]] = deque()
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="fetch")
        stack.callback(self._threads.shutdown, wait=True, cancel_futures=True)
        # Not forked: a fork copies the locks of our threads as they happen to stand.
        self._processes = ProcessPoolExecutor(settings.workers, mp_context=multiprocessing.get_context("spawn"))
        stack.callback(self._processes.shutdown, wait=True, cancel_futures=True)

    @property
    def working(self) -> int:
        """How many batches are being read or wait for it."""
        return len(self._working)

    def fetch(self, batch: Batch) -> None:
        """Have a batch's segments fetched, if that is not under way."""
        for piece in (*batch.pieces, *([batch.behind] if batch.behind else [])):
            number = piece.segment.number
            if number not in self._fetched:
                name = Segment(self._settings.timeline, number, piece.segment.size).name
                target = self._settings.scratch / name
                self._fetched[number] = self._threads.submit(self._archive.fetch, piece.path, target)

    def read(self, batch: Batch) -> None:
        """Wait for a batch's segments and have them read."""
        for piece in (*batch.pieces, *([batch.behind] if batch.behind else [])):
            self._fetched[piece.segment.number].result()
        self._working.append((batch, self._processes.submit(read, _stretch(batch, self._settings))))

    def next(self) -> tuple[Found, int]:
        """What is in the oldest batch, and its bytes; its files go."""
        batch, result = self._working.popleft()
        found = result.result()
        for piece in batch.pieces:
            self._fetched.pop(piece.segment.number).result().unlink()
        return found, sum(piece.segment.size for piece in batch.pieces)


def _stretch(batch: Batch, settings: Settings) -> Stretch:
    last = batch.pieces[-1]
    available = batch.behind.segment.end if batch.behind else last.segment.end
    return Stretch(
        program=settings.program,
        folder=settings.scratch,
        timeline=settings.timeline,
        start=batch.pieces[0].segment.start,
        stop=last.stop,
        available=available,
        kinds=settings.kinds,
        attributes=settings.attributes,
    )
