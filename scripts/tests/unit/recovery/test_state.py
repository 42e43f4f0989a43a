"""A recovery's state survives kills, and a watcher tells a dead recovery from a running one."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgdr.errors import BusyError, ConfigError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.locks import operation_lock
from pgdr.pgbackrest.client import PgBackRest
from pgdr.recovery import run
from pgdr.recovery.model import Plan, Reached, RecoveryState, Stage
from pgdr.recovery.state import StateStore
from pgdr.recovery.target import Target
from pgdr.recovery.verify import Check, Mark, amended, make_report, phases_of, require_proven
from pgdr.recovery.watch import watch_recovery

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def make_state(**changes: object) -> RecoveryState:
    plan = Plan(
        operation="recover-20261124T120000Z-abcd",
        created_at=NOON,
        cluster_name="erp-lab",
        stanza="erp",
        system_identifier=7,
        postgresql_version=17,
        repository=2,
        backup_label="20261124-020000F",
        backup_type="full",
        backup_stop_at=NOON,
        backup_stop_lsn="0/2000100",
        backup_bytes=1,
        wal_end_segment="000000010000000000000003",
        wal_segment_bytes=2**24,
        wal_end_lsn="0/3000060",
        wal_last_commit_at=NOON,
        target=Target(),
        recovery_lsn="0/3000060",
        data_directory="/nowhere",
        tablespaces=[],
        set_aside=[],
        stop_first=False,
        free_bytes=1,
        warnings=[],
    )
    return RecoveryState.model_validate({"plan": plan, **changes})


def test_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "recovery")
    assert store.load() is None
    store.save(make_state(stage=Stage.FILES))
    found = store.load()
    assert found is not None
    assert found == make_state(stage=Stage.FILES)


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"plan": {')
    with pytest.raises(ConfigError, match=r"state\.json cannot be read"):
        StateStore(tmp_path).load()


def test_watching_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no recovery on this host"):
        watch_recovery(StateStore(tmp_path), 0)


def test_a_killed_recovery_is_seen_as_killed(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "pgdr"])
    store.save(make_state(stage=Stage.ASIDE, running_pid=child.pid))
    assert not watch_recovery(store, 0).ended
    child.kill()
    child.wait()
    seen = watch_recovery(store, 0)
    assert seen.ended
    assert "was killed" in seen.failure


def test_another_process_with_the_same_number_is_not_the_recovery(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        store.save(make_state(stage=Stage.ASIDE, running_pid=child.pid))
        assert watch_recovery(store, 0).ended
        child.kill()


def test_a_failed_recovery_says_why_and_a_promoted_one_that_it_is_done(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.save(make_state(stage=Stage.FILES, failure="repository 2 stopped answering", failure_code=7))
    assert watch_recovery(store, 0).failure_code == 7
    store.save(make_state(stage=Stage.PROMOTED, reached=Reached(lsn="0/3000098", last_commit_at=NOON, timeline=2)))
    seen = watch_recovery(store, 0)
    assert (seen.ended, seen.failure) == (True, "")


def test_phases_end_where_the_next_begins() -> None:
    marks = [Mark("base", NOON), Mark("plan", NOON.replace(second=30))]
    phases = phases_of(marks, NOON.replace(second=45))
    assert [(phase.name, phase.seconds) for phase in phases] == [("base", 30.0), ("plan", 15.0)]


def test_rto_counts_from_the_disaster_and_rpo_up_to_it() -> None:
    reached = Reached(lsn="0/3000098", last_commit_at=NOON, heartbeat_at=NOON.replace(second=20), timeline=2)
    state = make_state(stage=Stage.PROMOTED, reached=reached)
    report = make_report(
        state,
        marks=[Mark("base", NOON.replace(minute=5))],
        disaster_at=NOON.replace(minute=1),
        checks=[],
        now=NOON.replace(minute=11),
    )
    assert report.rto_seconds == 600.0
    assert report.rpo_seconds == 40.0


def test_only_fatal_checks_deny_the_proof() -> None:
    warning = Check(name="indexes", ok=False, detail="one invalid", fatal=False)
    require_proven([warning])
    with pytest.raises(Exception, match="schemas: missing"):
        require_proven([warning, Check(name="schemas", ok=False, detail="missing: auth")])


def test_a_recovery_gives_way_to_a_running_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("17\n")
    host = HostConfig(
        cluster_name="erp-lab",
        stanza="erp",
        database="erp_generic",
        postgresql_version=17,
        bin_directory=tmp_path,
        data_directory=data,
        state_directory=tmp_path / "state",
        run_directory=tmp_path,
    )
    store = StateStore(tmp_path / "recovery")
    state = make_state()
    store.save(state.model_copy(update={"plan": state.plan.model_copy(update={"data_directory": str(data)})}))
    monkeypatch.setattr(run, "_LOCK_WAIT", 0.0)
    with operation_lock(host, "backup full"), pytest.raises(BusyError, match="backup full"):
        run.Recovery(host, PgBackRest(host), store, lambda _progress: None).run(processes=1)
    found = store.load()
    assert found is not None
    assert found.stage is Stage.PLANNED
    assert "gave way to backup full" in found.failure, "the play that watches shows this line"
    assert (data / "PG_VERSION").exists()


def test_phases_that_ran_later_are_added_and_what_was_measured_stays() -> None:
    """The name was moved an hour after the recovery was closed: its RTO is neither longer nor that phase alone."""
    begun = [Mark("base", NOON)]
    off = ["application", "dns"]
    first = make_report(make_state(), marks=begun, disaster_at=NOON, checks=[], now=NOON.replace(minute=30), off=off)
    later = make_report(
        make_state(),
        marks=[Mark("dns", NOON.replace(hour=13))],
        disaster_at=None,
        checks=[],
        now=NOON.replace(hour=13, second=9),
        off=["application"],
    )
    report = amended(first, later)
    assert report.rto_seconds == first.rto_seconds == 1800
    assert [(phase.name, phase.seconds) for phase in report.phases] == [("base", 1800), ("dns", 9)]
    assert report.phases_off == ["application"]
