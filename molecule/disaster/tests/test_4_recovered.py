"""The recovered cluster is a protected one again: archiving, backups, heartbeat, journal and report."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from drill.expect import Notes, refused, unchanged
from drill.host import DATA, RECOVERY, Host
from drill.running import RunningPlay, until
from lab.api import Lab

RPO_SECONDS = 15 * 60
PHASES = [
    "reachable",
    "base",
    "plan",
    "restore and replay",
    "erasures",
    "open",
    "arm",
    "verify",
    "health",
    "notify",
    "evidence",
]


@pytest.fixture(scope="module")
def report(lab: Lab) -> dict[str, Any]:
    """What the recovery said of itself."""
    content: dict[str, Any] = json.loads((lab.folder / "recovery.json").read_text(encoding="utf-8"))
    return content


def test_the_report_has_measured_times(report: dict[str, Any], notes: Notes) -> None:
    """RTO from the disaster to the end, RPO from the last recovered change to the disaster."""
    disaster = datetime.fromisoformat(notes["disaster_at"])
    finished = datetime.fromisoformat(report["finished_at"])
    assert report["rto_seconds"] == pytest.approx((finished - disaster).total_seconds(), abs=1)
    assert 0 <= report["rpo_seconds"] < RPO_SECONDS
    assert [phase["name"] for phase in report["phases"]] == PHASES
    assert report["timeline"] == 2
    assert not [check for check in report["checks"] if not check["ok"]]


def test_settings_raised_after_the_backup_were_met_on_the_way(dr1: Host, raised_connections: int) -> None:
    """The backup's control file knew of fewer connections; replay stopped there, and went on with more."""
    said = dr1.run("sh", "-c", f"cat {RECOVERY}/server/server.log*").stdout
    assert "insufficient parameter settings" in said
    assert f"max_connections={raised_connections}" in said


@pytest.mark.parametrize("repository", [1, 2])
def test_the_new_timeline_is_archived_in_each_repository(dr1: Host, repository: int) -> None:
    """A segment that is switched now arrives, and the engine's own check agrees."""
    segment = dr1.switch_wal()
    assert segment.startswith("00000002")
    until(f"{segment} is archived", lambda: segment in dr1.segments(repository), 90, poll=1)


def test_every_repository_passes_the_engines_own_check(dr1: Host) -> None:
    """Both repositories, on the new timeline."""
    done = dr1.postgres("pgbackrest", "--stanza=erp", "--log-level-console=info", "check")
    archived = [line for line in done.stdout.splitlines() if "successfully archived" in line]
    assert sorted(line[-1] for line in archived) == ["1", "2"]
    assert all("00000002" in line for line in archived)


@pytest.mark.parametrize("repository", [1, 2])
def test_a_new_full_backup_appears_in_each_repository(dr1: Host, report: dict[str, Any], repository: int) -> None:
    """It was started in the background by the play."""
    finished = datetime.fromisoformat(report["finished_at"]).timestamp()

    def newest() -> dict[str, Any] | None:
        fulls = [one for one in dr1.info(repository)["backup"] if one["type"] == "full"]
        return fulls[-1] if fulls and fulls[-1]["archive"]["stop"].startswith("00000002") else None

    backup = until("the full backup of the new timeline", newest, 180, poll=2)
    assert backup["timestamp"]["stop"] > finished - 600
    assert not backup["error"]


def test_the_heart_beats(dr1: Host, report: dict[str, Any]) -> None:
    """Cron writes a row a minute, after the recovery too."""
    finished = report["finished_at"]
    question = f"SELECT count(*) FROM pgdr.heartbeat WHERE beat_at > '{finished}'"  # noqa: S608 - our own report
    until("a heartbeat after the recovery", lambda: int(dr1.sql(question)), 130, poll=2)


def test_nothing_remembers_the_target(dr1: Host) -> None:
    """A standby made from this cluster must not stop at an old target."""
    configuration = dr1.run("cat", f"{DATA}/postgresql.auto.conf").stdout
    assert "recovery_target" not in configuration
    assert "restore_command" not in configuration


def test_the_door_is_open_only_now(dr1: Host) -> None:
    """The opened cluster has the host's configuration, and the recovering server's socket is gone."""
    assert dr1.sql("SHOW config_file") == "/etc/postgresql/17/main/postgresql.conf"
    assert not dr1.exists("/run/pgdr/recovery/.s.PGSQL.5432")


def test_the_journal_tells_the_whole_story(dr1: Host, report: dict[str, Any]) -> None:
    """Its chain is whole, and it has every attempt and the end."""
    assert dr1.pgdr("journal", "verify").returncode == 0
    lines = [json.loads(line) for line in dr1.run("cat", "/var/lib/pgdr/journal.jsonl").stdout.splitlines()]
    runs = [line for line in lines if line["operation"] == "recover run"]
    assert len([line for line in runs if line["result"] == "started"]) >= 5
    failed = [line for line in runs if line["result"] == "failed"]
    assert any("stopped answering" in json.dumps(line) for line in failed)
    closing = [line for line in lines if line["operation"] == "recover"]
    assert closing[-1]["result"] == "ok"
    assert str(report["rto_seconds"]) in json.dumps(closing[-1])


def test_the_running_cluster_is_not_replaced_without_a_second_consent(lab: Lab, dr1: Host) -> None:
    """The same command on what is now the production host: refused, and the server never noticed."""
    started = dr1.sql("SELECT pg_postmaster_start_time()")
    with unchanged(dr1, running=True):
        play = RunningPlay(lab.name, "dr-restore.yml", "refused-running", {"cluster_restore_confirm": "erp-lab"})
        refused(play, "erp-lab is running on dr1", "cluster_restore_replace_running=erp-lab", "Nothing was changed")
    assert dr1.sql("SELECT pg_postmaster_start_time()") == started


def test_the_host_command_refuses_the_running_cluster_too(dr1: Host) -> None:
    """Typed on the host, past the play."""
    with unchanged(dr1, running=True):
        done = dr1.pgdr("recover", "plan", "--repo=2", check=False)
    assert done.returncode == 4
    assert "erp-lab is running here" in done.stderr
