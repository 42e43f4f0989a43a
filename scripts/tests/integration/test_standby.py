"""A standby takes its primary's place: examined, not beside a primary that lives, and no committed row is lost."""

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
from scripts.tests.integration.chain import World, python_of_owner, world_of
from scripts.tests.integration.pair import Pair, pair_of, wait_until

from pgdr.errors import ExitCode
from pgdr.journal import Journal
from pgdr.recovery.lsn import format_lsn, parse_lsn

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, ClusterFactory, SiteFactory

PAGE = 8192
NAME = "erp-test"
SCHEMA = """
create table ledger (id bigint generated always as identity primary key, note text not null);
create table still (id int primary key, note text);
insert into still select g, repeat(md5(g::text), 20) from generate_series(1, 3000) g;
"""


@dataclass
class Ledger:
    """What a client was told is committed, wherever the service was at that time."""

    world: World
    rows: set[int] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def write(self) -> None:
        with self.world.site.cluster.connect("erp") as connection:
            row = connection.execute("insert into ledger (note) values ('x') returning id").fetchone()
        assert row is not None
        self.rows.add(row[0])

    def load(self) -> None:
        while not self.stop.is_set():
            try:
                self.write()
            except psycopg.Error:
                time.sleep(0.02)

    def start(self) -> None:
        self.stop.clear()
        self.thread = threading.Thread(target=self.load)
        self.thread.start()
        before = len(self.rows)
        wait_until(lambda: len(self.rows) > before + 20)

    def end(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join()

    def missing(self) -> set[int]:
        """Confirmed rows that are not there; at most one row may be there whose confirmation did not arrive."""
        with self.world.site.cluster.connect("erp") as connection:
            there = {row[0] for row in connection.execute("select id from ledger").fetchall()}
        assert len(there - self.rows) <= 1
        return self.rows - there


@pytest.fixture(scope="module")
def first(new_site: SiteFactory, new_cluster: ClusterFactory) -> Pair:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "20"})
    site.cluster.create_database("erp")
    site.cluster.execute(SCHEMA, "erp")
    world = world_of(site, "erp")
    world.pgdr("heartbeat", "--init")
    world.pgdr("backup", "full", "--repo", "1")
    return pair_of(world, new_cluster(16, start=False))


@pytest.fixture(scope="module")
def ledger(first: Pair) -> Iterator[Ledger]:
    made = Ledger(first.primary)
    yield made
    made.end()


@pytest.fixture
def handover(first: Pair) -> Iterator[Path]:
    """A file for what crosses from host to host, that the cluster's owner can read."""
    path = first.primary.site.folder / "handover.json"
    yield path
    path.unlink(missing_ok=True)


def given(pair: Pair, handover: Path, **changes: object) -> str:
    """What the primary's host says, handed over; the plan's word, unless it was fenced."""
    end = json.loads(pair.primary.pgdr("standby", "fence", "--plan", "--output", "json").stdout)
    handover.write_text(json.dumps({**end, **changes}))
    return str(handover)


def fence(pair: Pair, handover: Path) -> dict[str, Any]:
    done = pair.primary.pgdr("standby", "fence", "--confirm", NAME, "--output", "json")
    handover.write_text(done.stdout)
    pair.primary.site.cluster.running = False
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def promote(pair: Pair, handover: Path, *more: str, expect: int = 0) -> str:
    done = pair.standby.pgdr(
        *("standby", "promote", "--handover", str(handover), "--confirm", NAME, "--output", "json", *more),
        expect=expect,
    )
    return done.stdout if expect == 0 else done.stderr


def entry(world: World, operation: str) -> Any:
    return [one for one in Journal(world.host.journal_path).entries() if one.operation == operation][-1]


def is_standby(pair: Pair) -> bool:
    return bool(pair.standby.site.cluster.value("select pg_is_in_recovery()"))


def page_of(cluster: Cluster, relation: str) -> tuple[Path, int]:
    path = cluster.data / str(cluster.value(f"select pg_relation_filepath('{relation}')", "erp"))
    return path, random.randrange(path.stat().st_size // PAGE)  # noqa: S311 - a place, no secret


def overwrite(path: Path, block: int, content: bytes) -> bytes:
    """Put other bytes into the middle of a page, and return those that were there."""
    with path.open("r+b") as file:
        file.seek(block * PAGE + 4000)
        before = file.read(len(content))
        file.seek(block * PAGE + 4000)
        file.write(content)
    return before


def test_each_host_refuses_what_is_the_other_ones(first: Pair, handover: Path) -> None:
    """Nothing is changed by any of it."""
    primary, standby = first.primary, first.standby
    assert "is no standby" in primary.pgdr("standby", "examine", expect=ExitCode.REFUSED).stderr
    assert "is a standby" in standby.pgdr("standby", "fence", "--confirm", NAME, expect=ExitCode.REFUSED).stderr
    said = primary.pgdr("standby", "fence", "--confirm", 'it\'s "prod"; drop', expect=ExitCode.REFUSED).stderr
    assert "is not the name of this cluster" in said
    assert "nobody has confirmed it" in primary.pgdr("standby", "fence", expect=ExitCode.REFUSED).stderr
    assert "is not fenced" in primary.pgdr("standby", "unfence", "--confirm", NAME, expect=ExitCode.REFUSED).stderr
    handover.write_text('{"cluster": "erp-test"}')
    assert "is not what pgdr standby fence" in promote(first, handover, expect=ExitCode.REFUSED)
    handover.unlink()
    assert "No such file" in promote(first, handover, expect=ExitCode.REFUSED)
    # A plan's word is no fence.
    given(first, handover)
    standby.pgdr("standby", "examine")
    assert "looked at and not fenced" in promote(first, handover, expect=ExitCode.REFUSED)
    given(first, handover, system_identifier="7000000000000000001")
    assert "is of another cluster" in promote(first, handover, expect=ExitCode.REFUSED)
    given(first, handover, timeline=9)
    assert "their histories differ" in promote(first, handover, expect=ExitCode.REFUSED)
    # It lives, whatever a person says.
    said = standby.pgdr("standby", "promote", "--unfenced", NAME, "--confirm", NAME, expect=ExitCode.REFUSED).stderr
    assert "streams to this standby at this moment" in said
    assert is_standby(first)
    assert first.primary.site.cluster.value("select not pg_is_in_recovery()")


def test_a_standby_that_is_damaged_too_is_not_promoted(first: Pair, handover: Path) -> None:
    cluster = first.standby.site.cluster
    cluster.execute("checkpoint")
    path, block = page_of(cluster, "still")
    before = overwrite(path, block, b"\xff" * 64)
    found = json.loads(first.standby.pgdr("standby", "examine", "--output", "json", expect=ExitCode.NOT_PROVEN).stdout)
    assert [(one["name"], one["blocks"]) for one in found["damages"]] == [("public.still", [block])]
    given(first, handover)
    plan = first.standby.pgdr("standby", "promote", "--plan", "--handover", str(handover), expect=ExitCode.REFUSED)
    assert "it is damaged too: table public.still" in plan.stderr
    overwrite(path, block, before)
    assert "no damage was found" in first.standby.pgdr("standby", "examine").stdout
    first.standby.pgdr("standby", "promote", "--plan", "--handover", str(handover))


def test_a_standby_that_is_far_behind_is_told_with_figures(first: Pair, handover: Path) -> None:
    cluster = first.standby.site.cluster
    first.standby.pgdr("standby", "examine")
    cluster.execute("select pg_wal_replay_pause()")
    first.primary.site.cluster.execute("create table wide as select repeat('x', 1000) from generate_series(1, 2000)")
    given(first, handover)
    arguments = ("standby", "promote", "--plan", "--handover", str(handover), "--most-behind", "1048576")
    said = first.standby.pgdr(*arguments, expect=ExitCode.REFUSED)
    assert "MiB of WAL behind" in said.stderr
    assert "its replay is paused" in said.stdout
    cluster.execute("select pg_wal_replay_resume()")
    first.caught_up()
    first.standby.pgdr(*arguments)


@pytest.fixture(scope="module")
def second(first: Pair, new_cluster: ClusterFactory) -> Pair:
    """The standby has a standby, which follows it when it is promoted."""
    return pair_of(first.standby, new_cluster(16, start=False))


def test_the_standby_takes_over_from_a_primary_whose_disk_lies(
    first: Pair, second: Pair, ledger: Ledger, handover: Path
) -> None:
    """Under load, both commands killed half-way and typed again; the standby was paused by somebody."""
    primary, standby = first.primary, first.standby
    path, block = page_of(primary.site.cluster, "still")
    primary.site.cluster.stop()
    overwrite(path, block, b"\xff" * 64)
    primary.site.cluster.start()
    assert f"{block}" in primary.pgdr("corruption", "examine", expect=ExitCode.NOT_PROVEN).stdout
    standby.pgdr("standby", "examine")
    standby.site.cluster.execute("select pg_wal_replay_pause()")
    ledger.start()
    killed = primary.begin("standby", "fence", "--confirm", NAME)
    auto = primary.site.cluster.data / "postgresql.auto.conf"
    wait_until(lambda: "fenced-because" in auto.read_text() or killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    end = fence(first, handover)
    ledger.end()
    assert (end["clean"], end["fenced"], end["not_archived"]) == (True, True, "")
    # A reboot's start and a person's: the log says why not.
    with pytest.raises(RuntimeError, match="could not start server"):
        primary.site.cluster.start()
    assert "fenced-because-a-standby-takes-its-place" in (primary.site.cluster.folder / "log").read_text()
    again = fence(first, handover)
    assert (again["lsn"], again["began"]) == (end["lsn"], end["began"])
    killed = standby.begin("standby", "promote", "--handover", str(handover), "--confirm", NAME)
    wait_until(lambda: not is_standby(first) or killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = json.loads(promote(first, handover))
    assert (done["proven"], done["rpo_seconds"], done["timeline"]) == (True, 0.0, 2)
    assert 0 < done["rto_seconds"] < 120
    assert len(done["archiving"]) == 2
    ledger.world = standby
    assert ledger.missing() == set()
    ledger.write()
    assert standby.site.cluster.value("select count(note) from still", "erp") == 3000
    assert entry(primary, "standby fence").result == "ok"
    kept = entry(standby, "standby promote")
    assert (kept.result, kept.times["rto"]) == ("ok", pytest.approx(done["rto_seconds"], abs=0.01))
    # A repository that cannot be asked is not one that knows of no promotion.
    primary.site.configure(secrets=("not this", "nor that"))
    said = primary.pgdr("standby", "unfence", "--confirm", NAME, expect=ExitCode.REFUSED).stderr
    assert "cipher passphrase" in said
    primary.site.configure()
    said = primary.pgdr("standby", "unfence", "--confirm", NAME, expect=ExitCode.REFUSED).stderr
    assert "a standby was promoted" in said
    standby.pgdr("backup", "full", "--repo", "1")
    standby.pgdr("corruption", "examine")


def test_what_a_crashed_primary_did_not_send_comes_from_the_archive(
    second: Pair, ledger: Ledger, handover: Path
) -> None:
    """Its network was cut before its host died: only its own pg_wal has the last rows."""
    primary, standby = second.primary, second.standby
    standby.pgdr("standby", "examine")
    second.caught_up()
    conninfo = standby.site.cluster.value("show primary_conninfo")
    standby.site.cluster.execute("alter system set primary_conninfo = ''")
    standby.site.cluster.execute("select pg_reload_conf()")
    wait_until(lambda: standby.site.cluster.value("select count(*) from pg_stat_wal_receiver") == 0)
    for _ in range(20):
        ledger.write()
    assert conninfo
    primary.site.cluster.stop("immediate")
    end = fence(second, handover)
    assert (end["clean"], end["stopped"], end["not_archived"]) == (False, True, "")
    # More than there is: it stays a standby, and says how much is missing.
    beyond = format_lsn(parse_lsn(end["lsn"]) + 2**21)
    handover.write_text(json.dumps({**end, "lsn": beyond}))
    said = promote(second, handover, "--patience", "2", expect=ExitCode.NOT_PROVEN)
    assert "2.0 MiB of WAL behind" in said
    assert is_standby(second)
    assert entry(standby, "standby promote").result == "failed"
    handover.write_text(json.dumps(end))
    done = json.loads(promote(second, handover))
    assert (done["proven"], done["lost"], done["timeline"]) == (True, "", 3)
    ledger.world = standby
    assert ledger.missing() == set()
    assert standby.site.cluster.value("show restore_command") == ""


@pytest.fixture(scope="module")
def third(second: Pair, new_cluster: ClusterFactory) -> Pair:
    """And so on."""
    return pair_of(second.standby, new_cluster(16, start=False))


def test_without_its_primarys_host_it_says_what_may_be_lost(third: Pair, ledger: Ledger) -> None:
    primary, standby = third.primary, third.standby
    standby.pgdr("standby", "examine")
    third.caught_up()
    standby.site.cluster.execute("alter system set primary_conninfo = ''")
    standby.site.cluster.execute("select pg_reload_conf()")
    wait_until(lambda: standby.site.cluster.value("select count(*) from pg_stat_wal_receiver") == 0)
    ledger.write()
    primary.archive()
    kept = set(ledger.rows)
    ledger.write()
    primary.site.cluster.stop("immediate")
    nobody = standby.pgdr("standby", "promote", "--confirm", NAME, expect=ExitCode.REFUSED)
    assert "nobody says that the old primary was fenced" in nobody.stderr
    plan = standby.pgdr("standby", "promote", "--plan", "--unfenced", NAME).stdout
    assert "the archive ends at" in plan
    assert "two servers would take orders" in plan
    done = standby.pgdr("standby", "promote", "--unfenced", NAME, "--confirm", NAME).stdout
    assert "did not send is lost" in done
    again = standby.pgdr("standby", "promote", "--unfenced", NAME, "--confirm", NAME).stdout
    assert "promoted already" in again
    assert "is lost" in again
    ledger.world = standby
    assert ledger.missing() == ledger.rows - kept


@pytest.fixture(scope="module")
def fourth(third: Pair, new_cluster: ClusterFactory) -> Pair:
    """And so on."""
    return pair_of(third.standby, new_cluster(16, start=False))


def play(pair: Pair, folder: Path, name: str = "promote-standby.yml", **given: object) -> tuple[int, str]:
    """Run a play on both hosts, and return its exit code and what it said."""
    lines = [
        f"{host} ansible_connection=local host_pgdr='{json.dumps(world.command)}'"
        f" evidence_root={world.host.state_directory / 'evidence'}"
        for host, world in (("db1", pair.primary), ("db2", pair.standby))
    ]
    inventory = folder / "hosts.ini"
    inventory.write_text("[database]\n" + "\n".join(lines) + "\n")
    extra = {
        "recovery_policy": {"cluster": {"name": NAME}},
        "ansible_become": False,
        "ansible_python_interpreter": python_of_owner(),
        "evidence_directory": str(folder / "evidence"),
        **given,
    }
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory)),
            *(f"playbooks/{name}", "--skip-tags=prepare,arm", "-e", json.dumps(extra)),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_the_play_asks_fences_and_promotes(fourth: Pair, ledger: Ledger, tmp_path: Path) -> None:
    """Damaged data, and a person who decides for the standby."""
    path, block = page_of(fourth.primary.site.cluster, "still")
    fourth.primary.site.cluster.stop()
    overwrite(path, block, b"\xff" * 64)
    fourth.primary.site.cluster.start()
    code, said = play(fourth, tmp_path, standby="db3", restore_confirm=NAME)
    assert code != 0
    assert "is no host of this inventory" in said
    code, said = play(fourth, tmp_path, standby="db2", restore_confirm="erp-prod")
    assert code != 0
    assert "erp-prod is not the name of this cluster; nothing was changed" in said
    assert is_standby(fourth)
    assert fourth.primary.site.cluster.value("select not pg_is_in_recovery()")
    code, said = play(fourth, tmp_path, "dr-corruption.yml", standby="db2", restore_confirm=NAME)
    fourth.primary.site.cluster.running = False
    assert code == 0, said
    assert "no committed row is lost" in said
    assert list((tmp_path / "evidence").iterdir())
    ledger.world = fourth.standby
    before = set(ledger.rows)
    ledger.write()
    assert len(ledger.rows) == len(before) + 1
    with pytest.raises(RuntimeError, match="could not start server"):
        fourth.primary.site.cluster.start()
    # Typed again, it goes on where it was.
    code, said = play(fourth, tmp_path, standby="db2", restore_confirm=NAME)
    assert code == 0, said
    assert "promoted already" in said
