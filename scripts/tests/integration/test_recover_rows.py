"""The whole night: an unqualified DELETE on a busy production, found and brought home, by hand and by the play."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from scripts.tests.integration.chain import World, python_of_owner, world_of

from pgdr.side import store

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import SiteFactory

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
_SCHEMA = """
create schema sales;
create table sales.orders (id bigint generated always as identity primary key, tenant_id int not null default 1,
    note text not null);
create table sales.lines (order_id bigint not null references sales.orders on delete cascade, no int, qty int not null,
    primary key (order_id, no));
create table sales.stamps (id bigserial primary key, order_id bigint references sales.orders on delete cascade);
insert into sales.orders (note) select 'old ' || g from generate_series(1, 3000) g;
insert into sales.lines select o.id, n, n from sales.orders o, generate_series(1, 3) n;
insert into sales.stamps (order_id) select id from sales.orders where id % 2 = 0;
"""
_OLD = """
select coalesce(md5(string_agg(x::text, '|' order by x::text)), ''), count(*) from (
    select o::text as x from sales.orders o where note like 'old %'
    union all select l::text from sales.lines l where no < 10
    union all select s::text from sales.stamps s) as old
"""


@dataclass
class Load:
    """Orders with a line each, as fast as they go.

    Attributes:
        committed: ids that clients were told.
        errors: what went wrong.
        began: when it began.
    """

    world: World
    committed: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Work until told to stop."""
        with self.world.site.cluster.connect("erp") as connection:
            while not self.stop.is_set():
                try:
                    with connection.transaction():
                        row = connection.execute(
                            "insert into sales.orders (note) values ('new') returning id"
                        ).fetchone()
                        assert row is not None
                        connection.execute("insert into sales.lines values (%s, 10, 1)", (row[0],))
                except psycopg.Error as error:
                    self.errors.append(str(error))
                    return
                self.committed.append(row[0])
                time.sleep(0.02)


@pytest.fixture(scope="module")
def world(new_site: SiteFactory) -> Iterator[World]:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "20"})
    site.cluster.create_database("erp")
    site.cluster.execute(_SCHEMA, "erp")
    world = world_of(site, "erp")
    world.pgdr("backup", "full", "--repo", "1")
    yield world
    for name in store.names(world.host):
        world.begin("side", "stop", name).communicate(timeout=60)


@pytest.fixture
def load(world: World) -> Iterator[Load]:
    made = Load(world)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop.set()
    thread.join()
    assert made.errors == []


def _accident(world: World, load: Load) -> tuple[str, int]:
    """Delete all orders in the middle of work, and return what was there."""
    with world.site.cluster.connect("erp") as connection:
        row = connection.execute(_OLD.encode()).fetchone()
        assert row is not None
        done = connection.execute("delete from sales.orders")
        assert done.rowcount >= 3000
    lost = len(load.committed)
    until = time.monotonic() + 30
    while len(load.committed) < lost + 50:
        assert time.monotonic() < until
        time.sleep(0.01)
    world.archive()
    return row[0], row[1]


def _all_home(world: World, load: Load, before: tuple[str, int], *, without: int = 0) -> None:
    told = {number for number in load.committed if not without or number % without}
    with world.site.cluster.connect("erp") as connection:
        assert connection.execute(_OLD.encode()).fetchone() == before
        have = {row[0] for row in connection.execute("select id from sales.orders where note = 'new'").fetchall()}
        assert have >= told, "an order that a client was told of is gone"
        for query in (
            "select count(*) from sales.lines l left join sales.orders o on o.id = l.order_id where o.id is null",
            "select count(*) from sales.orders o where note = 'new' and not exists"
            " (select from sales.lines l where l.order_id = o.id)",
        ):
            row = connection.execute(query.encode()).fetchone()
            assert row == (0,)
        # No number is given out twice: the next ones come behind all that is there.
        row = connection.execute(
            "insert into sales.orders (note) values ('next') returning id > (select max(id) from sales.orders)"
        ).fetchone()
        assert row == (True,)


def test_by_hand_and_taken_back(world: World, load: Load) -> None:
    before = _accident(world, load)
    found = json.loads(world.pgdr("when", "sales.orders", "--kind", "delete", "--output", "json").stdout)
    world.pgdr(*found["candidates"][0]["before"]["side"][1:], "--uncapped", "--name", "before")
    rows = ["restore", "rows", "sales.orders", "--side", "before"]
    plan = json.loads(world.pgdr(*rows, "--plan", "--output", "json").stdout)
    gone = {one["table"]: one["inserts"] for one in plan["tables"]}
    assert gone["sales.lines"] >= 9000
    assert gone["sales.stamps"] == 1500
    done = json.loads(world.pgdr(*rows, "--confirm", world.host.cluster_name, "--output", "json").stdout)
    assert done["outcome"]["changed"] == sum(gone.values())
    _all_home(world, load, before)
    world.pgdr("restore", "rows", "--undo", done["operation"], "--confirm", done["operation"])
    assert world.site.cluster.value("select count(*) from sales.orders where note like 'old %'", "erp") == 0
    assert world.site.cluster.value("select count(*) from sales.stamps", "erp") == 0
    world.pgdr(*rows, "--confirm", world.host.cluster_name)
    _all_home(world, load, before)
    world.pgdr("side", "stop", "before")


def _play(world: World, *more: str) -> tuple[int, str]:
    """Run the play against this production, and return its exit code and what it said."""
    inventory = world.config.with_name("hosts.ini")
    inventory.write_text("[database]\nproduction ansible_connection=local\n")
    given = {
        "host_pgdr": world.command,
        "side_options": ["--uncapped"],
        "recovery_policy": {"cluster": {"name": world.host.cluster_name}},
        "ansible_become": False,
        "ansible_python_interpreter": python_of_owner(),
    }
    done = subprocess.run(
        [
            str(BIN / "ansible-playbook"),
            "-i",
            str(inventory),
            "playbooks/dr-recover-rows.yml",
            "-e",
            json.dumps(given),
            *more,
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_play_refuses_what_nobody_can_mean(world: World) -> None:
    code, out = _play(world, "-e", "tables=sales.orders", "-e", "mode=exact")
    assert code != 0
    assert "mode missing-only or keep-new" in out
    code, out = _play(world, "-e", "tables=sales.nothing")
    assert code != 0
    assert "no table 'sales.nothing' is known" in out
    assert store.names(world.host) == []


def test_the_play_finds_asks_and_brings_home(world: World, load: Load) -> None:
    before = _accident(world, load)
    world.site.cluster.execute("delete from sales.orders where note = 'new' and id % 10 = 0", "erp")
    world.archive()
    since = ["-e", "tables=sales.orders", "-e", f"time_from={load.began}"]
    # Two transactions deleted orders: nobody guesses which.
    code, out = _play(world, *since)
    assert code != 0
    said = " ".join(out.split())
    assert "2 transactions could be meant: choose one with -e transaction=NUMBER" in said
    found = json.loads(world.pgdr("when", "sales.orders", "--from", load.began, "--output", "json").stdout)
    this = found["candidates"][0]["xid"]  # the largest is the first
    assert f"{this}, ended" in said
    chosen = [*since, "-e", f"transaction={this}"]
    code, out = _play(world, *chosen, "-e", "restore_confirm=somebody-elses")
    assert code != 0
    assert "is not the name of this cluster; nothing was changed" in " ".join(out.split())
    assert store.names(world.host) == [], "a refused play leaves no side instance"
    code, out = _play(world, *chosen, "-e", f"restore_confirm={world.host.cluster_name}")
    assert code == 0, out
    assert "to take it back: pgdr restore rows --undo" in out
    _all_home(world, load, before, without=10)
    assert store.names(world.host) == []
