"""Each kind of relation broken: named, cured by its own smallest means in one run, and every committed row is there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from scripts.tests.integration.breakage import PAGE, cure, damage, examine, file_of, the_one
from scripts.tests.integration.chain import World, owned, world_of

from pgdr.errors import ExitCode
from pgdr.pgbackrest.client import PgBackRest
from pgdr.recovery.target import make_target
from pgdr.side import borrowed, launch, store
from pgdr.side.plan import SideOptions, make_side_plan

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, SiteFactory

    from pgdr.hostconfig import HostConfig

# Names that no shell, no regular expression and no list must stumble over.
PARTITION = 'sales."2026\'s ""best""; drop % of\tit"'
TICKETS = 'sales."ticket""s no."'
_SCHEMA = f"""
create schema sales;
create table sales.docs (id bigint primary key, title text not null, body text not null);
alter table sales.docs alter body set storage external;
create table sales.orders (id int, year int, note text) partition by list (year);
create table {PARTITION} partition of sales.orders for values in (2026);
create table sales.far (id int, note text) tablespace elsewhere;
create index far_id on sales.far (id);
create sequence {TICKETS} increment 7;
create unlogged table sales.cache (id int, note text);
insert into sales.docs select g, 'title ' || g, string_agg(md5(random()::text), '')
    from generate_series(1, 200) g, generate_series(1, 190) group by g;
insert into sales.orders select g, 2026, repeat('o', 60) || g from generate_series(1, 3000) g;
insert into sales.far select g, repeat('f', 60) || g from generate_series(1, 3000) g;
create materialized view sales.totals as select id, length(note) as long, note from sales.orders;
"""
_TABLES = ("sales.docs", "sales.orders", "sales.far")


@dataclass
class Shop:
    """A production, and what its clients know to be committed."""

    world: World
    rows: dict[str, set[tuple[Any, ...]]]
    ticket: int = 0

    @property
    def cluster(self) -> Cluster:
        return self.world.site.cluster

    def run(self, statement: str) -> None:
        """Write."""
        self.cluster.execute(statement, "erp")

    def note(self) -> None:
        """Remember what is committed."""
        self.rows = {table: self.all_of(table) for table in _TABLES}

    def all_of(self, table: str) -> set[tuple[Any, ...]]:
        with self.cluster.connect("erp") as connection:
            return set(connection.execute(f"select * from {table}".encode()).fetchall())

    def next_ticket(self) -> int:
        self.ticket = self.cluster.value(f"select nextval($s${TICKETS}$s$)", "erp")
        return self.ticket

    def agrees(self) -> None:
        """Every row, and no other."""
        for table in _TABLES:
            assert self.all_of(table) == self.rows[table], table


@pytest.fixture(scope="module")
def shop(new_site: SiteFactory) -> Iterator[Shop]:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "30"})
    site.cluster.create_database("erp")
    site.cluster.execute(f"create tablespace elsewhere location '{owned(site, 'elsewhere')}'")
    site.cluster.execute(_SCHEMA, "erp")
    site.cluster.execute("vacuum analyze", "erp")
    shop = Shop(world_of(site, "erp"), {})
    shop.world.pgdr("heartbeat", "--init")
    shop.world.pgdr("backup", "full", "--repo", "1")
    # What no backup has, only WAL.
    shop.run("update sales.docs set body = reverse(body) where id % 3 = 0")
    shop.run("delete from sales.docs where id % 50 = 0")
    shop.run("update sales.orders set note = note || ' changed' where id % 7 = 0")
    shop.run("update sales.far set note = note || ' changed' where id % 7 = 0")
    for _ in range(50):
        shop.next_ticket()
    shop.note()
    yield shop
    for name in store.names(shop.world.host):
        shop.world.begin("side", "stop", name).communicate(timeout=60)


def broken(shop: Shop, chance: random.Random, relations: dict[str, str]) -> dict[str, int]:
    """Break a block of each relation while the server is down: no memory has it."""
    paths = {what: file_of(shop.cluster, relation) for what, relation in relations.items()}
    shop.cluster.stop()
    found = {what: damage(path, chance) for what, path in paths.items()}
    shop.cluster.start()
    return found


def toast_of(shop: Shop, table: str) -> str:
    return str(
        shop.cluster.value(f"select reltoastrelid::regclass from pg_class where oid = '{table}'::regclass", "erp")
    )


def test_every_kind_is_named_and_cured_in_one_run(shop: Shop, chance: random.Random) -> None:
    toast = toast_of(shop, "sales.docs")
    relations = {
        f"toast table {toast}": toast,
        f"index {toast}_index": f"{toast}_index",
        f"sequence {TICKETS}": TICKETS,
        "materialized view sales.totals": "sales.totals",
        "table sales.far": "sales.far",
        f"table {PARTITION}": PARTITION,
    }
    blocks = broken(shop, chance, relations)
    # Without its first block an index lets no query of its table be planned, not even one that does not use it.
    blocks["index sales.far_id"] = damage(file_of(shop.cluster, "sales.far_id"), chance, 0)
    map_of_docs = file_of(shop.cluster, "sales.docs")
    assert damage(map_of_docs.with_name(f"{map_of_docs.name}_fsm"), chance) >= 0
    with pytest.raises(psycopg.errors.DataCorrupted):
        shop.run("select sum(length(body)) from sales.docs")
    # A row whose value is broken can still be written, and must not fall back behind that.
    shop.run("update sales.docs set title = title || ' (edited)'")
    shop.rows["sales.docs"] = {(row[0], f"{row[1]} (edited)", row[2]) for row in shop.rows["sales.docs"]}
    found = {f"{one['kind']} {one['name']}": one for one in examine(shop.world)["damages"]}
    assert {name: one["cure"] for name, one in found.items()} == {
        f"toast table {toast}": "blocks from the past",
        f"index {toast}_index": "reindex",
        f"sequence {TICKETS}": "blocks from the past",
        "materialized view sales.totals": "refreshed",
        "table sales.far": "blocks from the past",
        "index sales.far_id": "reindex",
        f"table {PARTITION}": "blocks from the past",
        "free space map of sales.docs": "map rebuilt",
    }
    assert {name: one["blocks"] for name, one in found.items() if name in blocks} == {
        name: [block] for name, block in blocks.items()
    }
    # Somebody's transaction stays open meanwhile: nobody waits for it, and it does not wait either.
    with shop.cluster.connect("erp") as somebody, somebody.transaction():
        somebody.execute("insert into sales.docs values (1000, 'meanwhile', 'x')")
        done = cure(shop.world)
    shop.rows["sales.docs"].add((1000, "meanwhile", "x"))
    assert {one["name"]: one["blocks"] for one in done["relations"]} == {
        toast: 1,
        TICKETS: 1,
        "sales.far": 1,
        PARTITION: 1,
    }
    shop.agrees()
    before = shop.ticket
    assert shop.next_ticket() > before
    assert shop.cluster.value("select count(*) from sales.totals where note like '%changed'", "erp") == 3000 // 7
    examine(shop.world, expect=0)
    assert store.names(shop.world.host) == []
    shop.cluster.stop("immediate")
    shop.cluster.start()
    shop.agrees()
    examine(shop.world, expect=0)


def test_what_memory_still_has_is_written_again(shop: Shop, chance: random.Random) -> None:
    """Of a frozen TOAST table a vacuum writes nothing: its block comes from the past while nobody may change it."""
    toast = toast_of(shop, "sales.docs")
    shop.run("vacuum (freeze) sales.docs")
    shop.run(f"select sum(length(chunk_data)) from {toast}")
    shop.next_ticket()
    damage(file_of(shop.cluster, toast), chance)
    damage(file_of(shop.cluster, TICKETS), chance)
    found = examine(shop.world)["damages"]
    assert {one["cure"] for one in found} == {"written again from memory"}, found
    assert cure(shop.world)["relations"] == [{"name": toast, "blocks": 1}]
    shop.cluster.stop("immediate")
    shop.cluster.start()
    shop.agrees()
    before = shop.ticket
    assert shop.next_ticket() > before
    examine(shop.world, expect=0)


def test_a_file_that_lost_its_end_gets_all_of_it_back(shop: Shop, chance: random.Random) -> None:
    path = file_of(shop.cluster, "sales.far")
    shop.cluster.stop()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // PAGE // 2 * PAGE + 100)
    shop.cluster.start()
    one = the_one(examine(shop.world))
    assert "the file ends in the middle of it" in one["detail"]
    cure(shop.world)
    assert path.stat().st_size == size
    shop.agrees()


def test_a_catalog_comes_back_beneath_a_running_server(shop: Shop, chance: random.Random) -> None:
    """One of a database, and one that all share."""
    shop.run("comment on table sales.docs is 'since the backup'")
    shop.run("comment on database erp is 'since the backup, too'")
    blocks = broken(shop, chance, {"own": "pg_catalog.pg_description", "shared": "pg_catalog.pg_shdescription"})
    with pytest.raises(psycopg.errors.DataCorrupted):
        shop.run("select * from pg_catalog.pg_shdescription")
    found = {one["name"]: (one["blocks"], one["cure"]) for one in examine(shop.world)["damages"]}
    assert found == {
        "pg_catalog.pg_description": ([blocks["own"]], "blocks from the past"),
        "pg_catalog.pg_shdescription": ([blocks["shared"]], "blocks from the past"),
    }
    cure(shop.world)
    own = "select obj_description('sales.docs'::regclass, 'pg_class')"
    assert shop.cluster.value(own, "erp") == "since the backup"
    shared = "select shobj_description(oid, 'pg_database') from pg_database where datname = 'erp'"
    assert shop.cluster.value(shared) == "since the backup, too"
    examine(shop.world, expect=0)


def test_an_unlogged_table_is_nobodys_to_bring_back(shop: Shop, chance: random.Random) -> None:
    """Neither WAL nor a backup holds it: one line says what a person can do, and nothing is changed."""
    # A crash has emptied it before.
    shop.run("insert into sales.cache select g, repeat('c', 60) || g from generate_series(1, 3000) g")
    broken(shop, chance, {"cache": "sales.cache"})
    one = the_one(examine(shop.world))
    assert (one["kind"], one["name"], one["cure"]) == ("table", "sales.cache", "by hand")
    done = shop.world.pgdr("corruption", "cure", "--confirm", shop.world.host.cluster_name, expect=ExitCode.REFUSED)
    assert "neither WAL nor a backup holds it: save what can be read (COPY), then TRUNCATE it" in done.stderr
    shop.run("truncate sales.cache")
    shop.run("checkpoint")
    examine(shop.world, expect=0)


def test_a_damage_that_every_backup_has_is_refused_and_nothing_is_written(shop: Shop, chance: random.Random) -> None:
    blocks = broken(shop, chance, {"docs": toast_of(shop, "sales.docs")})
    path = file_of(shop.cluster, toast_of(shop, "sales.docs"))
    before = path.read_bytes()
    shop.world.pgdr("backup", "full", "--repo", "2", expect=ExitCode.NOT_PROVEN)
    done = shop.world.pgdr(
        *("corruption", "cure", "--repo", "2", "--confirm", shop.world.host.cluster_name), expect=ExitCode.REFUSED
    )
    assert "every backup set in repository 2 has page checksum errors" in done.stderr
    assert path.read_bytes() == before
    done = shop.world.pgdr("corruption", "cure", "--confirm", shop.world.host.cluster_name)
    assert f"{toast_of(shop, 'sales.docs')}: {len(blocks)} blocks came back" in done.stdout
    # Who waits sees what it waits for.
    assert [line for line in done.stderr.splitlines() if line in {"pgdr: restore files", "pgdr: replay WAL"}] == [
        "pgdr: restore files",
        "pgdr: replay WAL",
    ]
    shop.agrees()


def test_a_borrowed_instance_is_the_units_where_there_is_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd starts `pgdr side run NAME` as postgres; here the test does."""
    host = shop.world.host
    started = []
    told: list[str] = []

    def unit(_: HostConfig, name: str) -> None:
        shop.world.site.owned(host.state_directory)
        started.append(shop.world.begin("side", "run", name))

    monkeypatch.setattr(borrowed, "capped", lambda: True)
    monkeypatch.setattr(launch, "request", unit)
    target = make_target(lsn=str(shop.cluster.value("select pg_current_wal_insert_lsn()")))
    shop.world.archive()
    client = PgBackRest(host)
    plan = make_side_plan(host, client, SideOptions("lent", 1, target))
    with borrowed.borrowed(host, client, plan, 1, why="a test", told=told.append) as state:
        assert state.running_pid == started[0].pid
        with shop.world.connect("lent") as past:
            assert past.execute("select count(*) from sales.far").fetchone() == (3000,)
    assert any(line.startswith(("restore files", "replay WAL")) for line in told)
    started[0].communicate(timeout=30)
    assert started[0].returncode == 0
    assert store.names(host) == []


def test_without_page_checksums_a_header_that_makes_no_sense_is_cured_alike(shop: Shop, chance: random.Random) -> None:
    """What else stands on a page nobody can judge then, but for what amcheck finds to contradict itself."""
    toast_of_docs = toast_of(shop, "sales.docs")
    path, toast = file_of(shop.cluster, PARTITION), file_of(shop.cluster, toast_of_docs)
    shop.world.pgdr("backup", "full", "--repo", "1")
    shop.cluster.stop()
    shop.cluster.program("pg_checksums", "--disable", "-D", str(shop.cluster.data))
    broke = {}
    for name, file in ((PARTITION, path), (toast_of_docs, toast)):
        broke[name] = chance.randrange(file.stat().st_size // PAGE)
        with file.open("r+b") as handle:
            handle.seek(broke[name] * PAGE + 12)  # pd_lower, pd_upper and pd_special, in a wrong order
            handle.write(bytes((0, 31, 1, 0, 2, 0)))
    shop.cluster.start()
    found = examine(shop.world)
    assert "pages carry no checksums" in " ".join(found["unseen"])
    assert {one["name"]: (one["blocks"], one["detail"], one["cure"]) for one in found["damages"]} == {
        name: ([block], "its header makes no sense", "blocks from the past") for name, block in broke.items()
    }
    cure(shop.world)
    shop.agrees()
