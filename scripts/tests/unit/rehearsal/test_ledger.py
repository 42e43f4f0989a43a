"""The heartbeat ledger: what a restore must hold, to the beat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgdr.rehearsal.ledger import judge

_BEGIN = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
_LIVE = {number: (_BEGIN + timedelta(minutes=number), number * 100) for number in range(1, 11)}


def _restored(first: int, last: int) -> dict[int, tuple[datetime, int]]:
    return {number: _LIVE[number] for number in range(first, last + 1)}


@pytest.mark.parametrize(
    ("restored", "reached"),
    [
        pytest.param(_restored(1, 6), 650, id="all until then"),
        pytest.param(_restored(1, 5), 601, id="the last was not committed yet"),
        pytest.param({0: (_BEGIN, 1)} | _restored(1, 6), 650, id="production has forgotten an old one"),
        pytest.param({}, 50, id="before the first"),
    ],
)
def test_what_production_had_written_by_then_is_right(restored: dict[int, tuple[datetime, int]], reached: int) -> None:
    assert judge(restored, _LIVE, reached).ok


@pytest.mark.parametrize(
    ("restored", "reached", "said"),
    [
        pytest.param(_restored(1, 4), 650, "1 beats are missing, first number 5", id="the end is missing"),
        pytest.param(_restored(3, 6), 650, "2 beats are missing, first number 1", id="the beginning is missing"),
        pytest.param({}, 650, "5 beats are missing", id="nothing is there"),
        pytest.param(_restored(1, 6) | {4: (_BEGIN, 400)}, 650, "not production's, first number 4", id="another time"),
        pytest.param(_restored(1, 8), 650, "not production's, first number 7", id="further than it says"),
        pytest.param(
            _restored(1, 6) | {99: (_BEGIN, 640)}, 650, "not production's, first number 99", id="another history"
        ),
    ],
)
def test_everything_else_is_named(restored: dict[int, tuple[datetime, int]], reached: int, said: str) -> None:
    check = judge(restored, _LIVE, reached)
    assert not check.ok
    assert check.fatal
    assert said in check.detail
