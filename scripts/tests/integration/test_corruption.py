"""Damage at a random place in each thing that can break: named, cured by the smallest means, and no row is lost."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from scripts.tests.integration.breakage import PAGE, cure, damage, examine, file_of, the_one
from scripts.tests.integration.chain import World, python_of_owner, world_of

from pgdr.cli.main import main
from pgdr.corruption.catalogs import CATALOGS
from pgdr.corruption.checksum import page_checksum
from pgdr.errors import ExitCode
from pgdr.journal import Journal
from pgdr.side import store

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, ClusterFactory, SiteFactory

# A name that no shell, no regular expression and no list of file names must stumble over.
ODD = 'sales."Or""der\'s; drop"'
_INDEX = '"by ""note"" % of it"'
_SCHEMA = f"""
create schema sales;
create table {ODD} (id bigint generated always as identity primary key, tenant_id int not null default 1,
    note text not null, twice bigint generated always as (tenant_id * 2) stored);
create index {_INDEX} on {ODD} (note);
create table sales.lines (order_id bigint not null references {ODD}, no int, primary key (order_id, no));
insert into {ODD} (note) select 'old ' || g || repeat('x', 50) from generate_series(1, 4000) g;
insert into sales.lines select id, 1 from {ODD};
"""


@dataclass
class Ledger:
    """What clients were told is committed, kept by them and not by the server."""

    world: World
    rows: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def write(self, note: str) -> bool:
        """Add a row; one that the server did not confirm does not count."""
        try:
            with self.world.site.cluster.connect("erp") as connection:
                row = connection.execute(f"insert into {ODD} (note) values (%s) returning id", (note,)).fetchone()
        except psycopg.Error:
            self.refused += 1
            return False
        assert row is not None
        self.rows[row[0]] = note
        return True

    def load(self) -> None:
        """Write until told to stop."""
        while not self.stop.is_set():
            self.write(f"during {time.monotonic()}")
            time.sleep(0.02)

    def agrees(self) -> None:
        """Hold the server against it: every row, no other, and by index as well."""
        with self.world.site.cluster.connect("erp") as connection:
            there: dict[int, str] = dict(connection.execute(f"select id, note from {ODD}").fetchall())
            assert there == self.rows
            connection.execute("set enable_seqscan = off")
            some = sorted(there)[:: max(len(there) // 20, 1)]
            for number in some:
                found = connection.execute(f"select note, twice from {ODD} where id = %s", (number,)).fetchall()
                assert found == [(there[number], 2)]


@pytest.fixture(scope="module")
def world(new_site: SiteFactory) -> Iterator[World]:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "30"})
    site.cluster.create_database("erp")
    site.cluster.execute(_SCHEMA, "erp")
    site.cluster.execute("vacuum analyze", "erp")
    world = world_of(site, "erp")
    world.pgdr("heartbeat", "--init")
    world.pgdr("backup", "full", "--repo", "1")
    yield world
    for name in store.names(world.host):
        world.begin("side", "stop", name).communicate(timeout=60)


@pytest.fixture(scope="module")
def ledger(world: World) -> Ledger:
    made = Ledger(world)
    with world.site.cluster.connect("erp") as connection:
        made.rows = dict(connection.execute(f"select id, note from {ODD}").fetchall())
    return made


def restarted(world: World, ledger: Ledger) -> None:
    """Open what a cure of the whole cluster left promoted and stopped, as dr-restore.yml does."""
    world.pgdr("erasures", "replay", "--before-opening", "--nobody-was-erased")
    world.site.cluster.running = False
    world.site.cluster.start()
    until = time.monotonic() + 30
    while world.site.cluster.value("select pg_is_in_recovery()"):
        assert time.monotonic() < until
        time.sleep(0.05)
    ledger.agrees()
    world.pgdr("recover", "finish", "--off", "erasures", "--policy", str(world.host.policy_path))
    world.pgdr("backup", "full", "--repo", "1")


def test_a_sound_cluster_is_clean(world: World, ledger: Ledger, tmp_path: Path) -> None:
    found = examine(world, expect=0)
    assert found["clean"]
    assert found["damages"] == []
    assert found["pages"] > 500
    assert cure(world)["clean"]
    with world.site.cluster.connect() as connection:
        own: dict[int, str] = dict(
            connection.execute("select oid::bigint, relname from pg_class where relkind = 'r'").fetchall()
        )
    assert {own[number] for number in CATALOGS if number in own} == {
        name for number, name in CATALOGS.items() if number in own
    }
    assert set(own.values()) - set(CATALOGS.values()) <= {name for name in own.values() if name.startswith("sql_")}


def test_an_index_is_built_anew(world: World, ledger: Ledger, chance: random.Random) -> None:
    block = damage(file_of(world.site.cluster, f"sales.{_INDEX}"), chance)
    one = the_one(examine(world))
    assert (one["kind"], one["name"], one["database"]) == ("index", f"sales.{_INDEX}", "erp")
    assert one["blocks"] == [block]
    assert one["cure"] == "reindex"
    assert "which copied it whole" in one["since"]
    done = cure(world)
    assert done["done"] == [f"reindex: index sales.{_INDEX} in database erp"]
    ledger.agrees()
    examine(world, expect=0)


def test_a_visibility_map_is_built_anew(world: World, ledger: Ledger, chance: random.Random) -> None:
    # All frozen: a vacuum alone has nothing to write then, and would leave the page on the disk as it is.
    world.site.cluster.execute(f"vacuum (freeze) {ODD}", "erp")
    path = file_of(world.site.cluster, ODD)
    assert damage(path.with_name(f"{path.name}_vm"), chance) == 0
    one = the_one(examine(world))
    assert (one["kind"], one["name"], one["cure"]) == ("visibility map", f"of {ODD}", "map rebuilt")
    cure(world)
    ledger.agrees()
    examine(world, expect=0)


def test_what_the_server_has_in_memory_is_written_again(world: World, ledger: Ledger, chance: random.Random) -> None:
    cluster = world.site.cluster
    path = file_of(cluster, ODD)
    cluster.value(f"select sum(length(o::text)) from {ODD} o", "erp")
    block = damage(path, chance)
    one = the_one(examine(world))
    assert (one["kind"], one["blocks"], one["cure"]) == ("table", [block], "written again from memory")
    cure(world)
    cluster.stop("immediate")
    cluster.start()
    ledger.agrees()
    examine(world, expect=0)


def broken_table(world: World, chance: random.Random) -> int:
    """A block of the table broken where no memory has it."""
    cluster = world.site.cluster
    path = file_of(cluster, ODD)
    cluster.stop()
    block = damage(path, chance)
    cluster.start()
    return block


def test_a_cure_without_consent_or_without_a_clean_backup_changes_nothing(
    world: World, ledger: Ledger, chance: random.Random
) -> None:
    for number in range(30):
        assert ledger.write(f"since the backup {number}")
    block = broken_table(world, chance)
    path = file_of(world.site.cluster, ODD)
    before = path.read_bytes()
    one = the_one(examine(world))
    assert (one["kind"], one["name"], one["blocks"], one["cure"]) == ("table", ODD, [block], "blocks from the past")
    wrong = world.pgdr("corruption", "cure", "--confirm", "erp-prod", expect=ExitCode.REFUSED)
    assert "'erp-prod' is not the name of this cluster" in wrong.stderr
    nobody = world.pgdr("corruption", "cure", expect=ExitCode.REFUSED)
    assert "nobody has confirmed it" in nobody.stderr
    # Repository 2 has no backup, and then one that copied the damage.
    none = world.pgdr("corruption", "cure", "--plan", "--repo", "2", expect=ExitCode.REFUSED)
    assert "repository 2 holds no backup" in none.stderr
    world.pgdr("backup", "full", "--repo", "2", expect=ExitCode.NOT_PROVEN)
    unclean = world.pgdr("corruption", "cure", "--repo", "2", "--confirm", "erp-test", expect=ExitCode.REFUSED)
    assert "every backup set in repository 2 has page checksum errors" in unclean.stderr
    one = the_one(examine(world))
    assert "copied the damage" in one["since"]
    assert path.read_bytes() == before
    assert store.names(world.host) == []


def test_a_killed_cure_leaves_all_as_it_was(world: World, ledger: Ledger, chance: random.Random) -> None:
    """Killed while the past is being restored; the damage is that of the test before."""
    path = file_of(world.site.cluster, ODD)
    before = path.read_bytes()
    process = world.begin("corruption", "cure", "--confirm", world.host.cluster_name)
    until = time.monotonic() + 60
    while store.names(world.host) == []:
        assert time.monotonic() < until
        assert process.poll() is None, "".join(process.communicate())
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.read_bytes() == before
    assert file_of(world.site.cluster, ODD) == path


def test_a_table_gets_the_rows_of_its_broken_blocks_and_keeps_all_others(
    world: World, ledger: Ledger, chance: random.Random
) -> None:
    """The rerun of the killed one, with more damage, while clients write on."""
    cluster = world.site.cluster
    # pgBackRest 2.55.1 dies of two damaged pages in one file (signal 11), so the test before has one.
    broken_table(world, chance)
    blocks = the_one(examine(world))["blocks"]
    thread = threading.Thread(target=ledger.load)
    thread.start()
    try:
        done = cure(world)
    finally:
        ledger.stop.set()
        thread.join()
    assert done["relations"] == [{"name": ODD, "blocks": len(blocks)}]
    ledger.agrees()
    # A child still finds its parent, a number is not given out twice, and what was damaged is kept.
    orphans = f"select count(*) from sales.lines l where not exists (select from {ODD} o where o.id = l.order_id)"
    assert cluster.value(orphans, "erp") == 0
    assert ledger.write("after the cure")
    assert len(list(Path(done["kept"]).glob("*.block-*"))) == len(blocks)
    examine(world, expect=0)
    assert store.names(world.host) == []
    entry = [one for one in Journal(world.host.journal_path).entries() if one.operation == "corruption cure"][-1]
    assert entry.result == "ok"
    world.pgdr("backup", "full", "--repo", "1")


def test_a_control_file_comes_back_from_the_running_server(world: World, ledger: Ledger, chance: random.Random) -> None:
    path = world.site.cluster.data / "global" / "pg_control"
    with path.open("r+b") as file:
        file.seek(chance.randrange(0, 200))
        file.write(b"no longer")
    one = the_one(examine(world))
    assert (one["kind"], one["cure"]) == ("control file", "written again from memory")
    cure(world)
    world.site.cluster.stop("immediate")
    world.site.cluster.start()
    ledger.agrees()
    examine(world, expect=0)


def segment(world: World) -> Path:
    """An archived segment of its own, with records wherever it is broken, behind the last checkpoint."""
    cluster = world.site.cluster
    world.archive()
    cluster.execute("checkpoint")
    cluster.execute("create table wide as select g, repeat(md5(g::text), 20) from generate_series(1, 3000) g", "erp")
    name = cluster.value("select pg_walfile_name(pg_current_wal_lsn())")
    world.archive()
    return Path(cluster.data / "pg_wal" / str(name))


def break_segment(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(chance.randrange(64 * 1024, 512 * 1024))
        file.write(chance.randbytes(PAGE))


def test_a_wal_segment_is_left_behind(world: World, ledger: Ledger, chance: random.Random) -> None:
    """Damaged between archive and checkpoint: a crash would lose all behind it, and nobody would be told."""
    cluster = world.site.cluster
    path = segment(world)
    break_segment(path, chance)
    assert ledger.write("behind the damage")
    one = the_one(examine(world))
    assert (one["kind"], one["name"]) == ("WAL segment", path.name)
    assert "a crash recovery would end there" in one["detail"]
    assert "repository 1: whole, repository 2: whole" in one["detail"]
    done = cure(world)
    assert "pgdr backup incr" in done["left_to_do"]
    cluster.stop("immediate")
    cluster.start()
    ledger.agrees()
    cluster.execute("drop table wide", "erp")
    examine(world, expect=0)


def test_a_wal_segment_comes_back_from_the_archive(world: World, ledger: Ledger, chance: random.Random) -> None:
    """The server is down, and its crash recovery would stop in the middle."""
    cluster = world.site.cluster
    path = segment(world)
    assert ledger.write("behind the damage, and then the power went")
    cluster.stop("immediate")
    break_segment(path, chance)
    one = the_one(examine(world))
    assert (one["name"], one["cure"][:7]) == (path.name, "segment")
    cure(world)
    cluster.start()
    ledger.agrees()
    cluster.execute("drop table wide", "erp")
    examine(world, expect=0)


def test_the_whole_cluster_comes_back_with_its_last_row(world: World, ledger: Ledger, chance: random.Random) -> None:
    """Where a person wants that, although a catalog's block alone would do."""
    cluster = world.site.cluster
    path = file_of(cluster, "pg_catalog.pg_description")  # an insert does not need it
    cluster.stop()
    block = damage(path, chance)
    cluster.start()
    assert ledger.write("in no archive yet")
    one = the_one(examine(world))
    assert (one["kind"], one["name"], one["blocks"]) == ("system catalog", "pg_catalog.pg_description", [block])
    plan = world.pgdr("corruption", "cure", "--plan", "--whole-cluster")
    assert "stop the server, archive all its WAL, restore" in plan.stdout
    assert cluster.value("select 1") == 1
    done = cure(world, "--whole-cluster")
    assert "dr-restore.yml" in done["left_to_do"]
    assert "data.before_" in done["done"][0]
    restarted(world, ledger)
    examine(world, expect=0)


def test_without_control_file_and_server_the_cluster_comes_back_killed_or_not(world: World, ledger: Ledger) -> None:
    cluster = world.site.cluster
    assert ledger.write("in no archive either")
    cluster.stop("immediate")
    control = cluster.data / "global" / "pg_control"
    control.write_bytes(bytes(len(control.read_bytes())))
    one = the_one(examine(world))
    assert (one["kind"], one["name"], one["cure"]) == (
        "control file",
        "global/pg_control",
        "whole cluster, WAL to its end",
    )
    process = world.begin("corruption", "cure", "--confirm", world.host.cluster_name)
    state = world.host.state_directory / "recovery" / "state.json"
    until = time.monotonic() + 60
    while not state.exists() or '"stage":"aside"' not in state.read_text().replace(" ", ""):
        assert time.monotonic() < until
        assert process.poll() is None, "".join(process.communicate())
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cure(world)
    restarted(world, ledger)
    examine(world, expect=0)


@pytest.fixture(scope="module")
def contrib(new_cluster: ClusterFactory, postgres_binaries: dict[int, Path]) -> Cluster:
    """A server with amcheck and pg_visibility, which the wheel lacks."""
    versions = sorted(set(postgres_binaries) - {16, 18})
    if not versions:
        pytest.skip("needs PostgreSQL with its extensions from a package of this machine (postgresql-contrib)")
    cluster = new_cluster(versions[-1], settings={"full_page_writes": "on"})
    cluster.create_database("erp")
    cluster.execute(_SCHEMA, "erp")
    cluster.execute("vacuum (freeze, analyze)", "erp")
    return cluster


@pytest.fixture
def alone(contrib: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Alone:
    """pgdr on a host without any backup."""
    host = contrib.host(tmp_path, "erp")
    file = tmp_path / "host.yml"
    file.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    return Alone(contrib, file, capsys)


@dataclass
class Alone:
    """A host of its own, and its pgdr."""

    cluster: Cluster
    config: Path
    capsys: pytest.CaptureFixture[str]

    def pgdr(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Run pgdr in this process and return its document."""
        code = main(["--config", str(self.config), "corruption", *arguments, "--output", "json"])
        out, err = self.capsys.readouterr()
        assert code == expect, f"{out}{err}"
        found: dict[str, Any] = json.loads(out) if out else {}
        return found


def with_sum(page: bytearray, block: int) -> bytes:
    """A page that was changed, with the checksum that fits: no disk would notice."""
    page[8:10] = page_checksum(bytes(page), block).to_bytes(2, "little")
    return bytes(page)


def test_without_extensions_it_says_what_it_could_not_see(alone: Alone) -> None:
    found = alone.pgdr("examine")
    assert found["clean"]
    said = " ".join(found["unseen"])
    assert "extension amcheck is not made there (add --install-extensions)" in said
    assert found["checked"] == 0
    found = alone.pgdr("examine", "--install-extensions", "--heapallindexed")
    assert found["clean"], found["damages"]
    assert found["checked"] > 100
    assert "amcheck" not in " ".join(found["unseen"])


def test_an_index_that_contradicts_itself_is_found_by_amcheck(alone: Alone) -> None:
    """Two entries of a leaf changed places, under a checksum that is right."""
    path = file_of(alone.cluster, f"sales.{_INDEX}")
    alone.cluster.stop()
    content = bytearray(path.read_bytes())
    block = 1
    page = content[block * PAGE : (block + 1) * PAGE]
    page[28:32], page[32:36] = page[32:36], page[28:32]
    content[block * PAGE : (block + 1) * PAGE] = with_sum(page, block)
    path.write_bytes(content)
    alone.cluster.start()
    one = the_one(alone.pgdr("examine", "--install-extensions", expect=ExitCode.NOT_PROVEN))
    assert (one["kind"], one["name"], one["cure"]) == ("index", f"sales.{_INDEX}", "reindex")
    assert "item order invariant violated" in one["detail"]
    done = alone.pgdr("cure", "--confirm", "erp-test", "--heapallindexed")
    assert done["clean"]


def test_a_visibility_map_that_lies_is_found_and_built_anew(alone: Alone) -> None:
    """The map of an hour ago: it calls pages all-visible that have dead rows since."""
    cluster = alone.cluster
    path = file_of(cluster, ODD)
    path = path.with_name(f"{path.name}_vm")
    before = path.read_bytes()
    cluster.execute(f"update {ODD} set note = note || '!' where id % 50 = 0", "erp")
    cluster.stop()
    path.write_bytes(before)
    cluster.start()
    one = the_one(alone.pgdr("examine", "--install-extensions", expect=ExitCode.NOT_PROVEN))
    assert (one["kind"], one["name"], one["cure"]) == ("visibility map", f"of {ODD}", "map rebuilt")
    assert one["blocks"]
    assert alone.pgdr("cure", "--confirm", "erp-test")["clean"]


def test_what_only_a_person_can_decide_is_not_cured(alone: Alone) -> None:
    """An unlogged table is in no backup and in no WAL."""
    cluster = alone.cluster
    cluster.execute("create unlogged table scratch as select g from generate_series(1, 5000) g", "erp")
    path = file_of(cluster, "scratch")
    cluster.stop()
    damage(path, random.Random(1), 3)  # noqa: S311 - a place
    cluster.start()
    found = alone.pgdr("examine", expect=ExitCode.NOT_PROVEN)
    assert (the_one(found)["name"], the_one(found)["cure"]) == ("public.scratch", "by hand")
    alone.pgdr("cure", "--confirm", "erp-test", expect=ExitCode.REFUSED)
    cluster.execute("drop table scratch", "erp")
    assert alone.pgdr("examine")["clean"]


def test_a_cure_that_needs_the_server_says_so_where_it_is_down(alone: Alone, chance: random.Random) -> None:
    path = file_of(alone.cluster, f"sales.{_INDEX}")
    alone.cluster.stop()
    block = damage(path, chance)
    try:
        one = the_one(alone.pgdr("examine", expect=ExitCode.NOT_PROVEN))
        # Nobody can be asked for its name: this host has not seen the catalog yet.
        assert (one["kind"], one["blocks"]) == ("file of nobody", [block])
        alone.pgdr("cure", "--confirm", "erp-test", expect=ExitCode.REFUSED)
        alone.pgdr("cure", "--whole-cluster", "--confirm", "erp-test", expect=ExitCode.REFUSED)
    finally:
        alone.cluster.start()
    alone.pgdr("cure", "--confirm", "erp-test")


def test_evidence_comes_first_and_is_never_overwritten(alone: Alone, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    alone.pgdr("examine", "--evidence", str(folder), "--server-log", str(alone.cluster.folder / "log"))
    assert {"controldata.txt", "findings.json", "global_pg_control", "server-log.txt"} <= {
        item.name for item in folder.iterdir()
    }
    alone.pgdr("examine", "--evidence", str(folder), expect=ExitCode.REFUSED)
    alone.pgdr("examine", "--evidence", str(alone.cluster.data / "x"), expect=ExitCode.REFUSED)
    alone.pgdr("examine", "--database", 'no such "one"', expect=ExitCode.REFUSED)


def play(world: World, folder: Path, **given: object) -> tuple[int, str]:
    """Run the play against this production, and return its exit code and what it said."""
    inventory = world.config.with_name("hosts.ini")
    inventory.write_text("[database]\nproduction ansible_connection=local\n")
    extra = {
        "host_pgdr": world.command,
        "recovery_policy": {"cluster": {"name": world.host.cluster_name}},
        "ansible_become": False,
        "ansible_python_interpreter": python_of_owner(),
        "evidence_root": str(world.host.state_directory / "evidence"),
        "evidence_directory": str(folder),
        **given,
    }
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory)),
            *("playbooks/dr-corruption.yml", "-e", json.dumps(extra)),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_the_play_takes_evidence_asks_and_cures(
    world: World, ledger: Ledger, chance: random.Random, tmp_path: Path
) -> None:
    damage(file_of(world.site.cluster, f"sales.{_INDEX}"), chance)
    code, said = play(world, tmp_path, restore_confirm="erp-prod")
    assert code != 0
    assert "erp-prod is not the name of this cluster; nothing was changed" in said
    assert [file.suffix for file in tmp_path.iterdir()] == [".gz"]
    code, said = play(world, tmp_path, restore_confirm=world.host.cluster_name)
    assert code == 0, said
    assert "examined again, no damage was found" in said
    ledger.agrees()
    code, said = play(world, tmp_path, restore_confirm=world.host.cluster_name)
    assert code == 0, said
