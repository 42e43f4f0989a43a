"""A hole in the archive is found, across timelines, before anything is restored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgdr.recovery.lsn import Segment
from pgdr.recovery.walend import first_missing


def segments(timeline: int, *numbers: int) -> set[Segment]:
    return {Segment(timeline, number) for number in numbers}


def test_a_whole_archive_has_no_hole() -> None:
    assert first_missing(segments(1, 3, 4, 5), 3, 5, {1: 5}) is None


def test_the_first_missing_segment_counts_whatever_lies_behind_it() -> None:
    assert first_missing(segments(1, 3, 5, 7), 3, 7, {1: 7}) == 4


def test_a_backup_whose_own_first_segment_is_gone_is_seen() -> None:
    assert first_missing(segments(1, 4, 5), 3, 5, {1: 5}) == 3


def test_a_timeline_goes_on_from_its_parent_where_it_was_left() -> None:
    # Left in segment 5: the parent's own fifth segment may never have been archived, the child's holds its content.
    assert first_missing(segments(1, 3, 4) | segments(2, 5, 6), 3, 6, {1: 5, 2: 6}) is None


def test_what_the_parent_wrote_after_the_fork_fills_no_hole() -> None:
    assert first_missing(segments(1, 3, 4, 5, 6, 7) | segments(2, 7), 3, 7, {1: 5, 2: 7}) == 6


def test_a_timeline_that_does_not_lead_to_the_end_fills_no_hole() -> None:
    assert first_missing(segments(1, 3, 5) | segments(2, 4), 3, 5, {1: 5}) == 4


@given(st.sets(st.integers(0, 40)), st.integers(0, 20), st.integers(0, 20))
def test_everything_before_the_hole_is_there_and_the_hole_is_not(present: set[int], first: int, length: int) -> None:
    last = first + length
    hole = first_missing(segments(1, *present), first, last, {1: last})
    end = last + 1 if hole is None else hole
    assert set(range(first, end)) <= present
    assert hole is None or (hole not in present and first <= hole <= last)
