"""A cluster that was recovered by hand starts when who was erased is removed again, and not before."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml
from scripts.tests.integration.chain import World, world_of

from pgdr.errors import ExitCode
from pgdr.recovery.door import close_door, is_closed, open_door

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.tests.integration.conftest import SiteFactory

REPLAY = ("erasures", "replay", "--before-opening")
SHOP = """
create table tenants (id int primary key); insert into tenants values (1), (2);
create table orders (id int primary key, tenant_id int not null references tenants);
create table lines (order_id int references orders, no int, primary key (order_id, no));
insert into orders select g, 1 + g % 2 from generate_series(1, 20) g;
insert into lines select g, n from generate_series(1, 20) g, generate_series(1, 2) n;
"""


@pytest.fixture(scope="module")
def world(new_site: SiteFactory) -> World:
    """A host without a bucket, so that its ledger is all there is."""
    site = new_site(16, compress="zst", settings={"full_page_writes": "on"})
    site.cluster.create_database("erp")
    site.cluster.execute(SHOP, "erp")
    made = world_of(site, "erp")
    path = made.host.policy_path
    policy = yaml.safe_load(path.read_text())
    rules = policy["recovery_policy"]
    rules["repositories"] = [one for one in rules["repositories"] if one["type"] == "posix"]
    del rules["archives"]["cloud"]
    path.write_text(yaml.safe_dump(policy))
    made.pgdr("backup", "full", "--repo", "1")
    return made


def _refused(world: World) -> str:
    """Start as anybody would; returns the server's last word."""
    with pytest.raises(RuntimeError, match="could not start server"):
        world.site.cluster.start()
    return (world.site.cluster.folder / "log").read_text().splitlines()[-2:][0]


def test_a_recovered_cluster_is_closed_until_the_ledger_was_replayed(world: World) -> None:
    cluster, host = world.site.cluster, world.host
    policy = ("--policy", str(host.policy_path))
    position = cluster.value("select pg_current_wal_insert_lsn()::text")
    world.pgdr("tenant", "erase", "1", "--confirm", "1", *policy)
    world.archive()
    # A side instance is in recovery: nothing can be removed from it, so it says what it shows.
    began = world.pgdr("side", "start", "--name", "then", "--repo", "1", "--target-lsn", position, "--uncapped")
    assert "it still shows 1 subjects that were erased since" in began.stdout
    assert json.loads(world.pgdr("side", "list", "--output", "json").stdout)[0]["erased_since"] == 1
    world.pgdr("side", "stop", "then")
    cluster.stop()
    world.pgdr("recover", "plan", "--repo", "1", "--target-lsn", position)
    said = world.pgdr("recover", "run", "--confirm", host.cluster_name).stdout
    assert "it starts when who was erased is removed again: pgdr erasures replay --before-opening" in said
    _refused(world)
    # It could not be replayed, so it stays closed, and nobody can talk that away.
    key = host.state_directory / "erasures.key"
    shutil.move(key, key.with_suffix(".lost"))
    world.pgdr(*REPLAY, *policy, expect=ExitCode.NOT_PROVEN)
    shutil.move(key.with_suffix(".lost"), key)
    world.pgdr(*REPLAY, "--nobody-was-erased", expect=ExitCode.REFUSED)
    assert is_closed(cluster.data)
    _refused(world)
    done = world.pgdr(*REPLAY, *policy).stdout
    assert "subjects removed again" in done
    cluster.start()
    assert cluster.value("select count(*) from orders where tenant_id = 1", "erp") == 0
    assert cluster.value("select count(*) from lines", "erp") == 20
    assert cluster.value("select pg_is_in_recovery()") is False
    world.pgdr("recover", "finish", *policy)


def test_settings_of_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "postgresql.auto.conf"
    for text in ("", "# no end", "hba_file = '/etc/it''s'\nwork_mem = '5MB'\n"):
        file.write_text(text)
        close_door(tmp_path)
        close_door(tmp_path)
        assert is_closed(tmp_path)
        assert file.read_text().count("hba_file = ") == text.count("hba_file") + 1
        assert file.read_text().startswith(text)
        assert open_door(tmp_path)
        assert file.read_text().rstrip("\n") == text.rstrip("\n")
        assert not open_door(tmp_path)
    file.unlink()
    assert not open_door(tmp_path)
    close_door(tmp_path)
    assert is_closed(tmp_path)
