"""Drills judged: each promise that is missed is named, and what was not done is a finding."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgdr import drillbook, drilling
from pgdr.cli.main import main
from pgdr.errors import ConfigError, ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.policy.load import load_policy
from pgdr.policy.model import Policy
from pgdr.proof.look import now
from pgdr.report.collect import collect
from pgdr.report.page import html
from pgdr.status.history import read_history

_POLICY = Path(__file__).resolve().parents[3] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
_CHECKS = [
    {"name": "schemas", "ok": True, "detail": "all 9 of the policy", "fatal": True},
    {"name": "nothing is archived", "ok": True, "detail": "archive_mode off", "fatal": True},
]
_GOOD: dict[str, Any] = {
    "host": "dr1",
    "disaster_at": "2026-11-24T02:00:00+00:00",
    "provisioned": True,
    "from_cloud": True,
    "recovery": {
        "operation": "20261124T020100Z-ab12",
        "cluster_name": "erp-lab",
        "backup_label": "20261123-020000F",
        "repository": 2,
        "target": "the end of the archived WAL",
        "target_lsn": "0/5000000",
        "reached": "0/5000000",
        "reached_at": "2026-11-24T01:59:30+00:00",
        "timeline": 2,
        "started_at": "2026-11-24T02:00:00+00:00",
        "finished_at": "2026-11-24T02:10:00+00:00",
        "disaster_at": "2026-11-24T02:00:00+00:00",
        "rto_seconds": 600.0,
        "rpo_seconds": 30.0,
        "heartbeat_at": "2026-11-24T01:59:01+00:00",
        "phases": [{"name": "restore and replay", "started_at": "2026-11-24T02:01:00+00:00", "seconds": 400.0}],
        "host_phases": [],
        "set_aside": [],
        "checks": _CHECKS,
        "phases_off": ["arm", "dns", "notify"],
    },
    "client": {"answered_at": "2026-11-24T02:09:00+00:00", "newest_at": "2026-11-24T01:59:20+00:00"},
    "tests": {"command": "make test", "status": 0, "seconds": 12.0, "tail": "200 passed"},
    "findings": [],
}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(_POLICY)


def _judged(policy: Policy, **changes: Any) -> drilling.Verdict:
    """Judge the good drill with some keys changed: ``recovery__rto_seconds`` is one of ``recovery``."""
    content = deepcopy(_GOOD)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    return drilling.judge(drilling.read_drill(json.dumps(content), "test"), policy)


@pytest.fixture
def host(tmp_path: Path) -> HostConfig:
    """The host that is drilled for."""
    return HostConfig(
        stanza="erp",
        cluster_name="erp-lab",
        database="erp",
        postgresql_version=17,
        data_directory=tmp_path,
        bin_directory=tmp_path,
        state_directory=tmp_path,
    )


def test_a_drill_that_kept_every_promise_passes(policy: Policy) -> None:
    verdict = _judged(policy)
    assert verdict.passed
    assert verdict.findings == []
    assert (verdict.client_rto_seconds, verdict.client_rpo_seconds) == (540.0, 40.0)
    assert {item.answer for item in verdict.items} == {drilling.Answer.DONE}


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"recovery__rto_seconds": 14_401.0}, "RTO: 14401 s; the objective is 4h"),
        (
            {
                "recovery__reached_at": "2026-11-24T01:44:59+00:00",
                "recovery__heartbeat_at": "2026-11-24T01:44:59+00:00",
            },
            "RPO: 901 s; the objective is 15m",
        ),
        (
            {"recovery__reached_at": None, "recovery__heartbeat_at": None},
            "RPO: not measured; the objective is 15m",
        ),
        ({"recovery__heartbeat_at": None}, "RPO by the heartbeat: not measured; the objective is 15m"),
        ({"client__answered_at": "2026-11-24T07:00:00+00:00"}, "RTO by a client: 18000 s; the objective is 4h"),
        ({"client__newest_at": "2026-11-24T01:00:00+00:00"}, "RPO by a client: 3600 s; the objective is 15m"),
        (
            {"tests": {"command": "make test", "status": 2, "seconds": 3.0, "tail": "1\n2 failed"}},
            "the application's tests pass: make test: exit status 2 after 3s: 2 failed",
        ),
        (
            {"recovery__checks": [{**_CHECKS[0], "ok": False, "detail": "missing: sales"}]},
            "all 9 schemas are back: missing: sales",
        ),
        (
            {"recovery__checks": [_CHECKS[0], {**_CHECKS[1], "ok": False, "detail": "archive_mode on"}]},
            "nothing is lost short of the target: nothing is archived: archive_mode on",
        ),
        ({"from_cloud": False}, "restored from a repository that is off every host: repository 2, 20261123-020000F"),
    ],
)
def test_a_promise_that_was_missed_fails_it_and_is_a_finding(
    policy: Policy, changes: dict[str, Any], missed: str
) -> None:
    verdict = _judged(policy, **changes)
    assert not verdict.passed
    assert missed in verdict.findings


def test_what_production_archived_after_the_disaster_hides_no_loss(policy: Policy) -> None:
    """It lived on: the restore holds more than there was when the disaster was declared."""
    plan = {"name": "plan", "started_at": "2026-11-24T02:20:00+00:00", "seconds": 10.0}
    late = {"recovery__phases": [plan], "recovery__reached_at": "2026-11-24T02:05:09+00:00"}
    assert _judged(policy, **late).rpo_seconds == 0.0
    verdict = _judged(policy, **late, production_lived=True)
    assert verdict.rpo_seconds == 901.0
    assert "RPO: 901 s; the objective is 15m" in verdict.findings


def test_what_was_not_done_is_a_finding_and_no_failure(policy: Policy) -> None:
    verdict = _judged(policy, tests=None, client=None, provisioned=False, findings=["no coffee"])
    assert verdict.passed
    assert len(verdict.findings) == 4
    assert "the application's tests pass: not run: give -e drill_tests_command" in verdict.findings
    assert verdict.findings[-1] == "no coffee"


def test_it_is_kept_where_report_and_status_read_it(policy: Policy, host: HostConfig) -> None:
    drill = drilling.read_drill(json.dumps(_GOOD), "test")
    number = drilling.record(host, drill, drilling.judge(drill, policy))
    [entry] = list(Journal(host.journal_path).entries())
    assert (entry.seq, entry.operation, entry.result) == (number, "drill", "ok")
    assert (entry.details["rto_seconds"], entry.details["client_rto_seconds"]) == (600.0, 540.0)
    assert entry.times == {"restore and replay": 400.0}
    assert datetime.fromisoformat(entry.details["disaster_at"]) == datetime(2026, 11, 24, 2, tzinfo=UTC)


def test_another_file_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="is not the record of a drill: host"):
        drilling.read_drill("{}", "drill.json")


def _later(**ago: float) -> datetime:
    return datetime.now(UTC) + timedelta(**ago)


def test_a_drill_that_never_ends_is_recorded_as_failed_once(host: HostConfig, policy: Policy) -> None:
    drillbook.begin(host, "20261124T020000Z", "dr1", datetime(2026, 11, 24, 2, tzinfo=UTC))
    assert drillbook.conclude_broken(host, policy, _later(minutes=50)) == []
    assert read_history(host, now()).failed == {}
    patience = max(2 * policy.objectives.rto.seconds, 3600)
    [broken] = drillbook.conclude_broken(host, policy, _later(seconds=patience + 60))
    assert (broken.drill, broken.host) == ("20261124T020000Z", "dr1")
    assert drillbook.conclude_broken(host, policy, _later(days=1)) == []
    begun, ended = Journal(host.journal_path).entries()
    assert (begun.operation, ended.operation, ended.result) == ("drill-begin", "drill", "failed")
    assert "the play failed or was broken off" in read_history(host, now()).failed["drill"][1]
    # In the trend and on the page, beside those that went well.
    drill = drilling.read_drill(json.dumps(_GOOD), "test")
    drilling.record(host, drill, drilling.judge(drill, policy))
    today = datetime.now(UTC).date()
    document = collect(host, policy, today, today, None)
    assert [one["result"] for one in document["trend"]] == ["failed", "ok"]
    assert [one["result"] for one in document["drills"]] == ["failed", "ok"]
    assert "has not ended within" in html(document)
    assert "drill" not in read_history(host, now()).failed


def test_a_drill_that_ends_is_not_concluded(host: HostConfig, policy: Policy) -> None:
    drillbook.begin(host, "one", "dr1", datetime(2026, 11, 24, 2, tzinfo=UTC))
    drillbook.begin(host, "two", "dr1", datetime(2026, 11, 24, 3, tzinfo=UTC))
    drill = drilling.read_drill(json.dumps({**_GOOD, "drill": "one"}), "test")
    drilling.record(host, drill, drilling.judge(drill, policy))
    assert [one.drill for one in drillbook.conclude_broken(host, policy, _later(days=1))] == ["two"]


def test_one_that_was_broken_off_is_concluded_before_another_begins(host: HostConfig, policy: Policy) -> None:
    """Concluded later, it would make the status say that the last drill failed when it did not."""
    disaster = datetime(2026, 11, 24, 2, tzinfo=UTC)
    for name, where in (("killed", "dr1"), ("elsewhere", "dr2"), ("one", "dr1")):
        drillbook.begin(host, name, where, disaster)
    drill = drilling.read_drill(json.dumps({**_GOOD, "drill": "one"}), "test")
    drilling.record(host, drill, drilling.judge(drill, policy))
    told = [(one.operation, one.details["drill"], one.result) for one in Journal(host.journal_path).entries()]
    assert told[2:4] == [("drill", "killed", "failed"), ("drill-begin", "one", "ok")]
    assert "drill" not in read_history(host, now()).failed
    assert [one.drill for one in drillbook.unfinished(Journal(host.journal_path).entries())] == ["elsewhere"]


def test_a_person_says_why_it_failed(host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))

    def pgdr(*arguments: str) -> int:
        return main(["--config", str(config), "drill", *arguments])

    assert pgdr("begin", "one", "--host=dr1", "--disaster=2026-11-24T02:00:00") == ExitCode.USAGE
    assert pgdr("begin", "one", "--host=dr1", "--disaster=tomorrow") == ExitCode.USAGE
    assert pgdr("fail", "one", "--reason", "x") == ExitCode.REFUSED
    assert pgdr("begin", "one", "--host=dr1", "--disaster=2026-11-24T02:00:00+00:00") == 0
    assert pgdr("fail", "one", "--reason", "no escrow", "--finding", "the paper is damp") == 0
    assert pgdr("fail", "one", "--reason", "again") == ExitCode.REFUSED
    assert "no drill one is open" in capfd.readouterr().err
    last = list(Journal(host.journal_path).entries())[-1]
    assert (last.result, last.details["findings"]) == ("failed", ["no escrow", "the paper is damp"])
    assert last.details["message"] == "no escrow"
