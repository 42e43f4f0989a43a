"""Holes in WAL over timelines, and what they mean."""

from __future__ import annotations

from pgdr.health import Level
from pgdr.pgbackrest.client import RepositoryFile
from pgdr.pgbackrest.info import Backup
from pgdr.proof.continuity import Stored, examine, stored
from pgdr.proof.wal import wal_checks
from pgdr.recovery.lsn import DEFAULT_SEGMENT_SIZE as SIZE
from pgdr.recovery.lsn import Segment

_NOW = 2**62


def _name(timeline: int, number: int) -> str:
    return Segment(timeline, number, SIZE).name


def _stored(*segments: tuple[int, int], histories: tuple[int, ...] = ()) -> Stored:
    files = {
        f"{_name(t, n)[:16]}/{_name(t, n)}-{'a' * 40}.zst": RepositoryFile(10, 1000 + n, False) for t, n in segments
    }
    files |= {f"{timeline:08X}.history": RepositoryFile(1, 0, False) for timeline in histories}
    return stored(files, SIZE)


def _backup(label: str, timeline: int, start: int, stop: int, kind: str = "full") -> Backup:
    return Backup.model_validate(
        {
            "label": label,
            "type": kind,
            "database": {"id": 1, "repo-key": 1},
            "archive": {"start": _name(timeline, start), "stop": _name(timeline, stop)},
            "timestamp": {"start": 1000 + start, "stop": 1000 + stop},
        }
    )


def test_wal_that_changes_its_timeline_is_whole() -> None:
    found = _stored(*((1, n) for n in range(5, 12)), *((2, n) for n in range(10, 15)), histories=(2,))
    assert found.newest_timeline == 2
    wal = examine(found, [_backup("F1", 1, 5, 6), _backup("F2", 2, 12, 13)], {1: 10, 2: _NOW}, SIZE)
    assert wal.holes == ()
    assert wal.last == Segment(2, 14, SIZE)
    assert wal.incomplete == {}


def test_a_segment_of_the_branch_that_was_left_fills_no_hole() -> None:
    """After the fork at 8, what timeline 1 went on to archive is of no use to timeline 2."""
    found = _stored(*((1, n) for n in range(5, 13)), (2, 8), (2, 9), (2, 11), (2, 12), histories=(2,))
    wal = examine(found, [_backup("F1", 1, 5, 6)], {1: 8, 2: _NOW}, SIZE)
    assert [(hole.first.number, hole.count) for hole in wal.holes] == [(10, 1)]


def test_a_backup_on_the_branch_that_was_left_needs_only_its_own_wal() -> None:
    found = _stored(*((1, n) for n in (5, 6, 7, 8, 20, 21)), (2, 8), (2, 9), histories=(2,))
    orphan = _backup("F9", 1, 20, 21)
    wal = examine(found, [_backup("F1", 1, 5, 6), orphan], {1: 8, 2: _NOW}, SIZE)
    assert (wal.holes, wal.incomplete) == ((), {})
    wal = examine(_stored((1, 20)), [orphan], {2: _NOW}, SIZE)
    assert wal.incomplete == {"F9": Segment(1, 21, SIZE)}


def test_a_hole_is_red_until_a_full_backup_was_begun_after_it() -> None:
    found = _stored(*((1, n) for n in (5, 6, 7, 9, 10, 11, 12)))
    before, increment, after = _backup("F1", 1, 5, 6), _backup("I1", 1, 9, 9, "incr"), _backup("F2", 1, 10, 11)
    wal = examine(found, [before, increment], {1: _NOW}, SIZE)
    [hole] = [check for check in wal_checks(wal, [before, increment], 1, SIZE) if check.name == "wal-hole"]
    assert (hole.level, _name(1, 8) in hole.message) == (Level.RED, True)
    wal = examine(found, [before, increment, after], {1: _NOW}, SIZE)
    [hole] = [check for check in wal_checks(wal, [before, increment, after], 1, SIZE) if check.name == "wal-hole"]
    assert hole.level is Level.AMBER
    # Where older WAL was removed on purpose, it is no hole.
    wal = examine(found, [before, increment, after], {1: _NOW}, SIZE, wal_from="F2")
    assert wal.holes == ()


def test_several_holes_are_counted_and_a_segment_that_is_there_twice_is_red() -> None:
    found = _stored(*((1, n) for n in (5, 6, 9, 12)))
    wal = examine(found, [_backup("F1", 1, 5, 6)], {1: _NOW}, SIZE)
    assert [(hole.first.number, hole.count) for hole in wal.holes] == [(7, 2), (10, 2)]
    twice = {f"x/{_name(1, 5)}-{letter * 40}.zst": RepositoryFile(1, 1, False) for letter in "ab"}
    wal = examine(stored(twice, SIZE), [], {1: _NOW}, SIZE)
    assert "wal-duplicate" in {check.name for check in wal_checks(wal, [], 1, SIZE)}
