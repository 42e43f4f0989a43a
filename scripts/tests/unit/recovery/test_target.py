"""What a person may type as a recovery target, and what is refused with one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdr.errors import RefusedError
from pgdr.recovery.lsn import Segment, format_lsn, parse_lsn
from pgdr.recovery.target import TargetKind, make_target, parse_time


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_an_lsn_survives_being_written_and_read(position: int) -> None:
    assert parse_lsn(format_lsn(position)) == position


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**20), st.sampled_from([2**20, 2**24, 2**26, 2**30]))
def test_a_segment_name_survives_being_written_and_read(timeline: int, number: int, size: int) -> None:
    segment = Segment(timeline, number, size)
    assert Segment.parse(segment.name, size) == segment


def test_segment_names_are_those_of_postgresql() -> None:
    # SELECT pg_walfile_name('16/B374D848') on timeline 1 with 16 MB segments
    assert Segment(1, parse_lsn("16/B374D848") // 2**24).name == "0000000100000016000000B3"
    assert Segment.parse("0000000100000016000000B3").start == parse_lsn("16/B3000000")


@pytest.mark.parametrize("text", ["", "16", "16/", "16/B374D848/1", "x/y", "123456789/0", "16/B374D848; DROP"])
def test_what_is_no_lsn_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="not an LSN"):
        parse_lsn(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-24 14:30:00+01:00", "2026-11-24 13:30:00+00:00"),
        ("2026-11-24T14:30:00.250Z", "2026-11-24 14:30:00.250000+00:00"),
        ("2026-11-24 14:30-0330", "2026-11-24 18:00:00+00:00"),
    ],
)
def test_a_time_is_taken_in_utc(text: str, utc: str) -> None:
    target = make_target(time=text)
    assert target.kind is TargetKind.TIME
    assert target.value == utc


@pytest.mark.parametrize("text", ["2026-11-24 14:30:00", "2026-11-24", "2026-11-24T14:30"])
def test_a_time_without_offset_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(RefusedError, match="has no offset from UTC") as refused:
        parse_time(text)
    assert "+01:00" in refused.value.remedy


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(RefusedError, match="is not a time"):
        make_target(time="yesterday")


def test_two_targets_are_refused_by_name() -> None:
    with pytest.raises(RefusedError, match="target_lsn, target_xid"):
        make_target(lsn="0/1", xid="5")


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32, "a\nb"])
def test_a_name_that_cannot_be_a_restore_point_is_refused(name: str) -> None:
    with pytest.raises(RefusedError, match="cannot be a restore point"):
        make_target(name=name)


def test_a_name_with_quotes_and_percent_is_taken_as_it_is() -> None:
    assert make_target(name="before 'v2' \"%p\"").value == "before 'v2' \"%p\""


@pytest.mark.parametrize("xid", ["0", "-1", "12x", "1 OR 1"])
def test_what_is_no_transaction_is_refused(xid: str) -> None:
    with pytest.raises(RefusedError, match="not a transaction id"):
        make_target(xid=xid)


@pytest.mark.parametrize("timeline", ["0", "newest", "-1", ""])
def test_what_is_no_timeline_is_refused(timeline: str) -> None:
    with pytest.raises(RefusedError, match="not a timeline"):
        make_target(timeline=timeline)
