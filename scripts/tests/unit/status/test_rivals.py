"""Two servers with one identity, told from what an ordinary recovery leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pgdr.health import Check
from pgdr.postgres.archiver import Archiver
from pgdr.postgres.facts import ServerFacts
from pgdr.proof.continuity import Stored
from pgdr.recovery.lsn import Segment
from pgdr.status.rivals import rival_checks

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SIZE = 16 * 2**20
SERVER = ServerFacts("16.4", 16, False, "7", 2, "0/14000000", NOW)  # segment 20 of timeline 2
ARCHIVER = Archiver(False, SIZE, "on", None, None, None, None, 0, 0, NOW)


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """A server that left timeline 1 in segment 10."""
    (tmp_path / "pg_wal").mkdir()
    (tmp_path / "pg_wal" / "00000002.history").write_text("1\t0/A000028\tno recovery target specified\n")
    nowhere = tmp_path / "nowhere"
    return SimpleNamespace(
        data_directory=tmp_path, socket_directory=nowhere, port=5432, database="erp", service_unit="x"
    )


def judged(
    config: Any,
    *stored: Mapping[tuple[int, int], float],
    histories: tuple[int, ...] = (2,),
    server: ServerFacts = SERVER,
    archiver: Archiver = ARCHIVER,
) -> list[Check]:
    """The findings for repositories that hold segments of this age, in minutes, by timeline and number."""
    repositories = [
        SimpleNamespace(
            key=key,
            recent=SimpleNamespace(
                stored=Stored(
                    {
                        Segment(timeline, number, SIZE): int((NOW - timedelta(minutes=age)).timestamp())
                        for (timeline, number), age in held.items()
                    },
                    (),
                    frozenset(histories),
                    0,
                )
            ),
        )
        for key, held in enumerate(stored, start=1)
    ]
    facts: Any = SimpleNamespace(
        now=NOW,
        repositories=repositories,
        server=SimpleNamespace(facts=server, archiver=archiver, segment_size=SIZE),
    )
    return list(rival_checks(config, facts))


def levels(checks: list[Check]) -> list[str]:
    return [str(check.level) for check in checks]


# A recovery to a point of segment 10: timeline 1 had gone on to 15 before, and timeline 2 began ten minutes ago.
ORDINARY = {(1, 9): 40, (1, 10): 39, (1, 15): 20, (2, 10): 10, (2, 19): 1}


def test_what_a_recovery_leaves_behind_is_no_rival(config: Any) -> None:
    assert levels(judged(config, ORDINARY)) == ["green"]
    # An abandoned timeline beside it, as after two recoveries in a row.
    third = replace(SERVER, timeline=3)
    (config.data_directory / "pg_wal" / "00000003.history").write_text("1\t0/A000028\tbefore\n")
    assert levels(judged(config, {**ORDINARY, (3, 10): 0.5}, histories=(2, 3), server=third)) == ["green"]


def test_the_server_that_was_left_behind_lives(config: Any) -> None:
    [check] = judged(config, {**ORDINARY, (1, 16): 5})
    assert check.level == "red"
    assert "00000001000000000000001" in check.message
    assert "was archived 5 min ago, of timeline 1" in check.message
    # An abandoned timeline that somebody writes on.
    third = replace(SERVER, timeline=3)
    (config.data_directory / "pg_wal" / "00000003.history").write_text("1\t0/A000028\tbefore\n")
    [check] = judged(config, {(1, 9): 40, (3, 10): 9, (2, 11): 1}, histories=(2, 3), server=third)
    assert (check.level, "of timeline 2" in check.message) == ("red", True)
    # Silent for longer than an hour: it was stopped, and people were told.
    assert levels(judged(config, {(1, 16): 70, (2, 10): 120, (2, 19): 1})) == ["green"]


def test_another_was_promoted(config: Any) -> None:
    [check] = judged(config, {**ORDINARY, (3, 19): 2}, histories=(2, 3))
    assert (check.level, "holds timeline 3, and this server writes on 2" in check.message) == ("red", True)
    [check] = judged(config, {**ORDINARY, (3, 19): 200}, histories=(2, 3))
    assert (check.level, "silent for 3.3 h; a recovery to the latest would follow it" in check.message) == (
        "amber",
        True,
    )
    [check] = judged(config, ORDINARY, histories=(2, 3))
    assert (check.level, "nothing but its history" in check.message) == ("amber", True)
    # A standby archives nothing, and its primary's WAL is ahead of it.
    assert judged(config, {**ORDINARY, (2, 99): 0}, server=replace(SERVER, in_recovery=True)) == []


def test_a_segment_that_is_everywhere_and_cannot_be_pushed(config: Any) -> None:
    name = Segment(2, 19, SIZE).name
    failing = replace(ARCHIVER, last_failed=name, last_failed_at=NOW, last_archived_at=NOW - timedelta(minutes=9))
    held = {**ORDINARY, (2, 19): 5}
    assert levels(judged(config, held, held, archiver=failing)) == ["red", "red"]
    # One repository is down: the other has it, and the push fails all the same. That is said elsewhere.
    assert levels(judged(config, held, ORDINARY | {(2, 19): 0.1}, archiver=failing)) == ["green", "green"]
    lacking = {key: age for key, age in ORDINARY.items() if key != (2, 19)}
    assert levels(judged(config, held, lacking, archiver=failing)) == ["green", "green"]
    over = replace(failing, last_archived_at=NOW)
    assert levels(judged(config, held, held, archiver=over)) == ["green", "green"]


def test_where_the_server_does_not_answer_again_nothing_is_claimed(config: Any) -> None:
    assert levels(judged(config, {**ORDINARY, (2, 25): 0.1})) == ["green"]
