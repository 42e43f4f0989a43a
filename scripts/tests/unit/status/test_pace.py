"""A full backup is compared with those before it."""

from __future__ import annotations

import pytest

from pgdr.health import Level
from pgdr.pgbackrest.info import Backup, DatabaseReference, Sizes, Timestamps
from pgdr.status.pace import pace_checks

_GIB = 2**30


def _full(seconds: int, size: int = _GIB) -> Backup:
    times = Timestamps(start=1_700_000_000, stop=1_700_000_000 + seconds)
    return Backup(label="X", type="full", database=DatabaseReference(id=1), info=Sizes(size=size), timestamp=times)


@pytest.mark.parametrize(
    ("sets", "level"),
    [
        pytest.param([_full(60), _full(60), _full(60)], Level.GREEN, id="as always"),
        pytest.param([_full(60), _full(60), _full(170)], Level.GREEN, id="not three times"),
        pytest.param([_full(60), _full(60), _full(200)], Level.AMBER, id="three times"),
        pytest.param([_full(60), _full(60), _full(700)], Level.RED, id="ten times"),
        pytest.param([_full(2), _full(2), _full(50)], Level.GREEN, id="seconds are not worth a word"),
        pytest.param([_full(60), _full(60), _full(600, 10 * _GIB)], Level.GREEN, id="ten times the size"),
        pytest.param([_full(60), _full(9000), _full(60), _full(60)], Level.GREEN, id="one slow night makes no habit"),
    ],
)
def test_slow_is_what_its_size_does_not_explain(sets: list[Backup], level: Level) -> None:
    [check] = pace_checks(sets, 2)
    assert (check.level, check.repository) == (level, 2)


def test_two_are_no_habit() -> None:
    assert list(pace_checks([_full(60), _full(9000)], 1)) == []
