"""Back to a moment on the second timeline, on the host that now is production, with both consents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drill.expect import Notes
from drill.host import DATA, Host
from drill.running import RunningPlay, until
from lab.api import Lab

CLUSTER = "erp-lab"


@pytest.fixture(scope="module")
def moment(dr1: Host) -> str:
    """A time between a row that must come back and one that must not, both archived."""
    dr1.sql("CREATE TABLE system.before_and_after (what text PRIMARY KEY)")
    dr1.sql("INSERT INTO system.before_and_after VALUES ('before')")
    target = dr1.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00'")
    dr1.sql("INSERT INTO system.before_and_after VALUES ('after')")
    last = dr1.switch_wal()
    until(f"{last} is archived", lambda: last in dr1.segments(2), 120, poll=1)
    return target


@pytest.fixture(scope="module")
def report(lab: Lab, dr1: Host, moment: str) -> dict[str, Any]:
    """The recovery to that moment."""
    file = lab.folder / "point-in-time.json"
    extra = {
        # As JSON: a time has a blank in it.
        "cluster_restore_confirm": CLUSTER,
        "cluster_restore_replace_running": CLUSTER,
        "cluster_restore_report_file": file,
        "target_time": moment.replace(" ", "T"),
    }
    play = RunningPlay(lab.name, "dr-restore.yml", "point-in-time", extra)
    assert play.wait(900) == 0, play.errors()
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


@pytest.mark.step
def test_what_was_before_is_there_and_what_was_after_is_not(dr1: Host, report: dict[str, Any]) -> None:
    """To the transaction."""
    assert dr1.sql("SELECT what FROM system.before_and_after") == "before"


def test_it_went_on_from_the_second_timeline(dr1: Host, report: dict[str, Any]) -> None:
    """The third timeline left the second one; the first recovery is not undone."""
    assert report["timeline"] == 3
    assert dr1.sql("SELECT timeline_id FROM pg_control_checkpoint()") == "3"
    assert int(dr1.sql("SELECT count(*) FROM system.client_transactions")) > 100


def test_what_ran_before_was_set_aside_and_not_deleted(dr1: Host, report: dict[str, Any]) -> None:
    """The report names the folder, and it holds the cluster of before, shut down."""
    [[source, kept]] = report["set_aside"]
    assert source == DATA
    assert kept.startswith(f"{DATA}.before_")
    control = dr1.control(kept)
    assert control["Database cluster state"] == "shut down"
    assert control["Latest checkpoint's TimeLineID"] == "2"
    assert control["Database system identifier"] == dr1.control()["Database system identifier"]


@pytest.mark.parametrize("repository", [1, 2])
def test_the_third_timeline_is_archived(dr1: Host, report: dict[str, Any], repository: int) -> None:
    """Its configuration had passed a check before; the check was made again, and archiving works."""
    segment = dr1.switch_wal()
    assert segment.startswith("00000003")
    until(f"{segment} is archived", lambda: segment in dr1.segments(repository), 90, poll=1)


def test_the_journal_is_whole(dr1: Host, report: dict[str, Any], notes: Notes) -> None:
    """Two recoveries later."""
    assert dr1.pgdr("journal", "verify").returncode == 0
