"""What the status says of a real standby and of real slots."""

from __future__ import annotations

import json
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
