"""What the status says of a real standby, of real slots, and of two servers that live with one identity."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from scripts.tests.integration.chain import World, world_of
from scripts.tests.integration.pair import Pair, pair_of, wait_until

from pgdr.proof.findings import findings_file

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import ClusterFactory, SiteFactory

STREAMS = "select count(*) from pg_stat_replication where state = 'streaming'"


@pytest.fixture(scope="module")
def pair(new_site: SiteFactory, new_cluster: ClusterFactory) -> Pair:
    site = new_site(16, compress="zst", settings={"max_connections": "20"})
    site.cluster.create_database("erp")
    world = world_of(site, "erp")
    world.pgdr("heartbeat", "--init")
    world.pgdr("backup", "full")
    made = pair_of(world, new_cluster(16, start=False))
    for one in (made.primary, made.standby):
        path = one.host.policy_path
        policy = yaml.safe_load(path.read_text())
        rules = policy["recovery_policy"]
        rules.setdefault("wal", {})["keep_size"] = "8MiB"
        rules["repositories"] = [item for item in rules["repositories"] if item["type"] == "posix"]
        del rules["archives"]["cloud"]
        path.write_text(yaml.safe_dump(policy))
    return made


def status(world: World) -> dict[str, dict[str, Any]]:
    """The findings of a status, by name; of several repositories the worst."""
    process = world.begin("status", "--output", "json", "--policy", str(world.host.policy_path))
    out, err = process.communicate(timeout=120)
    assert out, err
    rank = ("green", "amber", "red")
    found: dict[str, dict[str, Any]] = {}
    for check in json.loads(out)["checks"]:
        if check["name"] not in found or rank.index(check["level"]) > rank.index(found[check["name"]]["level"]):
            found[check["name"]] = check
    return found


def write(world: World, megabytes: int) -> None:
    with world.site.cluster.connect() as connection:
        connection.execute("create table if not exists wide (t text)")
        connection.execute("insert into wide select repeat('x', 1000) from generate_series(1, %s)", (megabytes * 1024,))


def age(world: World, name: str, by: timedelta) -> None:
    """Time goes by, as far as a finding knows."""
    with findings_file(world.host).change() as state:
        kept = state.looks["status"].findings[name]
        state.looks["status"].findings[name] = kept.model_copy(update={"since": datetime.now(UTC) - by})
    world.site.owned(world.host.state_directory)


def test_a_standby_that_falls_behind_is_amber_then_red_and_green_again(pair: Pair) -> None:
    cluster = pair.standby.site.cluster
    assert status(pair.primary)["standby-walreceiver"]["level"] == "green"
    cluster.execute("select pg_wal_replay_pause()")
    write(pair.primary, 10)
    wait_until(lambda: cluster.value("select pg_get_wal_replay_pause_state()") == "paused")
    found = status(pair.primary)["standby-walreceiver"]
    assert found["level"] == "amber"
    assert "MiB of WAL; it is in state streaming" in found["message"]
    assert "pg_stat_replication" in found["remedy"]
    age(pair.primary, "standby-walreceiver", timedelta(minutes=20))
    assert status(pair.primary)["standby-walreceiver"]["level"] == "red"
    cluster.execute("select pg_wal_replay_resume()")
    pair.caught_up()
    lag = "select max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) from pg_stat_replication"
    wait_until(lambda: pair.primary.site.cluster.value(lag) < 2**20)
    assert status(pair.primary)["standby-walreceiver"]["level"] == "green"


def test_a_standby_that_stopped_is_said_for_a_day(pair: Pair) -> None:
    pair.standby.site.cluster.stop()
    wait_until(lambda: pair.primary.site.cluster.value(STREAMS) == 0)
    found = status(pair.primary)["standby-walreceiver"]
    assert (found["level"], found["message"]) == ("amber", "the standby walreceiver does not stream any more")
    age(pair.primary, "standby-walreceiver", timedelta(minutes=20))
    assert status(pair.primary)["standby-walreceiver"]["level"] == "red"
    pair.standby.site.cluster.start()
    wait_until(lambda: pair.primary.site.cluster.value(STREAMS) == 1)
    assert status(pair.primary)["standby-walreceiver"]["level"] == "green"
    pair.standby.site.cluster.stop()
    wait_until(lambda: pair.primary.site.cluster.value(STREAMS) == 0)
    status(pair.primary)
    age(pair.primary, "standby-walreceiver", timedelta(hours=25))
    assert "standby-walreceiver" not in status(pair.primary)
    pair.standby.site.cluster.start()
    pair.caught_up()


def test_a_slot_nobody_reads_and_one_that_has_lost_its_wal(pair: Pair) -> None:
    cluster = pair.primary.site.cluster
    cluster.execute("checkpoint")  # a slot begins at the last one
    cluster.execute("select pg_create_physical_replication_slot('for_db3', true)")
    try:
        assert status(pair.primary)["replication-slots"]["level"] == "green"
        write(pair.primary, 10)
        found = status(pair.primary)["slot-for_db3"]
        assert found["level"] == "amber"
        assert "nobody reads from it" in found["message"]
        assert "pg_drop_replication_slot('for_db3')" in found["remedy"]
        cluster.execute("alter system set max_slot_wal_keep_size = '1MB'")
        cluster.execute("select pg_reload_conf()")
        pair.primary.archive()
        write(pair.primary, 20)
        pair.primary.archive()
        cluster.execute("checkpoint")
        wait_until(lambda: cluster.value("select wal_status from pg_replication_slots") == "lost")
        found = status(pair.primary)["slot-for_db3"]
        assert found["level"] == "red"
        assert "has lost WAL that its reader needs" in found["message"]
    finally:
        cluster.execute("alter system reset max_slot_wal_keep_size")
        cluster.execute("select pg_reload_conf()")
        cluster.execute("select pg_drop_replication_slot('for_db3')")
    assert not {name for name in status(pair.primary) if "slot" in name}


def test_a_standby_that_somebody_promoted_beside_its_primary_is_said_on_both(pair: Pair) -> None:
    """The classic split brain: both archive into one stanza, and each believes itself to be the one."""
    pair.caught_up()
    assert status(pair.primary)["split-brain"]["level"] == "green"
    assert "split-brain" not in status(pair.standby)  # it archives nothing
    cluster = pair.standby.site.cluster
    cluster.execute("select pg_promote()")
    cluster.execute("checkpoint")
    write(pair.standby, 1)
    pair.standby.archive()
    found = status(pair.primary)["split-brain"]
    assert found["level"] == "red"
    assert "holds timeline 2, and this server writes on 1: another one was promoted, and archived" in found["message"]
    assert "they cannot be brought together" in found["endangers"]
    assert "pgdr standby fence" in found["remedy"]
    # What the old one wrote before is what any recovery leaves behind.
    assert status(pair.standby)["split-brain"]["level"] == "green"
    wait_until(lambda: _archived_behind_the_fork(pair))
    found = status(pair.standby)["split-brain"]
    assert found["level"] == "red"
    assert "of timeline 1, which this server does not come from" in found["message"]


def _archived_behind_the_fork(pair: Pair) -> bool:
    """The old primary goes on, into a second after the new one's first segment: repositories count whole ones."""
    write(pair.primary, 1)
    pair.primary.archive()
    return bool(status(pair.standby)["split-brain"]["level"] == "red")


@pytest.fixture(scope="module")
def cloned(pair: Pair, new_cluster: ClusterFactory) -> World:
    """The new primary's machine, copied as it ran, and started elsewhere: same timeline, same stanza."""
    pair.primary.site.cluster.stop()
    cluster, origin = new_cluster(16, start=False), pair.standby.site.cluster
    origin.stop()
    shutil.copytree(origin.data, cluster.data, symlinks=True)
    site = replace(pair.standby.site, cluster=cluster, folder=cluster.folder / "site")
    push = site.prepare(pair.primary.site.folder)
    site.owned(cluster.data)
    cluster.configure({"archive_command": f"'{push} archive-push %p'"})
    origin.start()
    cluster.start()
    world = world_of(site, "erp")
    shutil.copy(pair.standby.host.policy_path, world.host.policy_path)
    return world


def test_a_copied_machine_that_writes_on_the_same_timeline_is_said(pair: Pair, cloned: World) -> None:
    for _ in range(3):
        write(pair.standby, 1)
        pair.standby.archive()
    found = status(cloned)["split-brain"]
    assert found["level"] == "red"
    assert "another one writes on this timeline, or this one was put back to an older state" in found["message"]
    # Its own segment of that name is another one: pgBackRest refuses it, and archives nothing of this server any more.
    write(cloned, 1)
    cloned.site.cluster.execute("select pg_switch_wal()")
    wait_until(lambda: cloned.site.cluster.value("select failed_count from pg_stat_archiver") > 0)
