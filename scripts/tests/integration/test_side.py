"""Side instances: exactly the past, beside a production that does not notice, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml
from scripts.tests.integration.chain import World, owned, policy_in, world_of

from pgdr.errors import ExitCode
from pgdr.journal import Journal
from pgdr.side import store

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import SiteFactory

# A name that a restore point may bear has to be one that a recovery finds.
_POINT = 'it\'s 42 % \\new "done" ü'


@pytest.fixture(scope="module")
def world(new_site: SiteFactory) -> Iterator[World]:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "20"})
    site.cluster.create_database("erp")
    site.cluster.create_database("other")
    site.cluster.execute(
        "create table marks (id int generated always as identity primary key, what text,"
        " tenant_id int not null default 1)",
        "erp",
    )
    site.cluster.execute("create table t as select g from generate_series(1, 1000) g; checkpoint", "other")
    space = owned(site, "space")
    site.cluster.execute(f"create tablespace space location '{space}'")
    site.cluster.execute("create table spaced tablespace space as select g from generate_series(1, 100) g", "erp")
    world = world_of(site, "erp", shared=[{"schema": "public", "table": "spaced"}])
    host = world.host
    world.pgdr("backup", "full", "--repo", "1")
    world.mark("first")
    _make_past(world)
    yield world
    for name in store.names(host):
        world.begin("side", "stop", name).communicate(timeout=60)


def _make_past(world: World) -> None:
    cluster = world.site.cluster
    world.mark("before time")
    time.sleep(0.2)
    moment = cluster.value("select clock_timestamp()").isoformat()
    time.sleep(0.2)
    world.mark("after time")
    world.targets["time"] = ["--target-time", moment]
    world.mark("before lsn")
    lsn = cluster.value("select pg_current_wal_insert_lsn()::text")
    world.mark("after lsn")
    world.targets["lsn"] = ["--target-lsn", lsn]
    world.mark("before name")
    world.pgdr("restore-point", _POINT)
    world.mark("after name")
    world.targets["name"] = ["--target-name", _POINT]
    world.mark("before xid")
    xid = world.mark("at xid")
    world.mark("after xid")
    world.targets["xid"] = ["--target-xid", str(xid)]
    world.targets["xid exclusive"] = ["--target-xid", str(xid), "--exclusive"]
    world.mark("before delete")
    cluster.execute("delete from marks", "erp")
    world.mark("after delete")
    world.site.archived()
    # A new timeline, as a promotion makes it.
    cluster.stop()
    (cluster.data / "standby.signal").touch()
    cluster.start()
    cluster.execute("select pg_promote()")
    world.mark("before lsn on 2")
    lsn = cluster.value("select pg_current_wal_insert_lsn()::text")
    world.mark("after lsn on 2")
    world.targets["lsn on timeline 2"] = ["--target-lsn", lsn]
    world.site.archived()
    world.mark("end")
    world.site.archived()


@pytest.mark.parametrize(
    ("target", "there", "not_there"),
    [
        ("time", "before time", "after time"),
        ("lsn", "before lsn", "after lsn"),
        ("name", "before name", "after name"),
        ("xid", "at xid", "after xid"),
        ("xid exclusive", "before xid", "at xid"),
        ("lsn on timeline 2", "before lsn on 2", "after lsn on 2"),
    ],
)
def test_the_moment_is_exact(world: World, target: str, there: str, not_there: str) -> None:
    world.pgdr("side", "start", "--uncapped", *world.targets[target])
    try:
        rows = world.rows("past")
        assert there in rows
        assert not_there not in rows
        if "timeline" not in target:
            assert {what for what, number in world.marks.items() if number <= world.marks[there]} == rows
    finally:
        world.pgdr("side", "stop", "past")


def test_from_when_to_the_rows_that_were_deleted(world: World) -> None:
    """The three commands of a night: find it, stand just before it, see what would come home."""
    found = json.loads(world.pgdr("when", "public.marks", "--kind", "delete", "--output", "json").stdout)
    command = found["candidates"][0]["before"]["side"]
    assert found["candidates"][0]["tables"][0]["deleted"] == len(world.marks) - 4
    world.pgdr(*command[1:], "--uncapped", "--name", "undelete")
    try:
        rows = world.rows("undelete")
        assert "before delete" in rows
        assert "first" in rows
        assert "after delete" not in rows
        tenant = ["restore", "tenant", "1", "--side", "undelete", "--policy", str(world.host.policy_path)]
        plan = json.loads(world.pgdr(*tenant, "--mode", "keep-new", "--plan", "--output", "json").stdout)
        assert plan["changes"] == len(rows)
    finally:
        world.pgdr("side", "stop", "undelete")


def test_it_can_only_be_read_never_archives_and_production_stays(world: World) -> None:
    before = world.site.cluster.value("select count(*) from pg_stat_activity")
    shown = world.pgdr("side", "start", "--uncapped", "--name", "closed", "--output", "json", *world.targets["lsn"])
    state = json.loads(shown.stdout)
    try:
        with world.connect("closed") as connection:
            for statement in (
                "insert into marks (what) values ('x')",
                "create role intruder",
                "set transaction_read_only = off; delete from marks",
                "begin read write; delete from marks",
            ):
                with pytest.raises(psycopg.Error, match=r"read-only|during recovery"):
                    connection.execute(statement)
                connection.execute("rollback")
            settings = dict(
                connection.execute(
                    "select name, setting from pg_settings where name in ('archive_mode', 'listen_addresses')"
                ).fetchall()
            )
            assert settings == {"archive_mode": "off", "listen_addresses": ""}
            place = connection.execute(
                "select pg_tablespace_location(oid), (select count(*) from spaced) from pg_tablespace"
                " where spcname = 'space'"
            ).fetchone()
            assert place == (f"{world.host.state_directory}/side/closed/tablespaces/1", 100)
        assert Path(state["socket_directory"]).stat().st_mode & 0o077 == 0
        assert world.site.cluster.value("select not pg_is_in_recovery()")
        assert world.site.cluster.value("select count(*) from pg_stat_activity") <= before + 1
        listed = json.loads(world.pgdr("side", "list", "--output", "json").stdout)
        assert [(item["name"], item["condition"]) for item in listed] == [("closed", "ready")]
        conninfo = world.pgdr("side", "connect", "closed").stdout.strip()
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("select count(*) from marks").fetchone() is not None
        # The same command again finds it; another target is refused.
        world.pgdr("side", "start", "--uncapped", "--name", "closed", *world.targets["lsn"])
        refused = world.pgdr(
            "side", "start", "--uncapped", "--name", "closed", *world.targets["time"], expect=ExitCode.REFUSED
        )
        assert "exists and stands for" in refused.stderr
        taken = world.pgdr(
            *("side", "start", "--uncapped", "--name", "two", "--port", str(state["port"]), *world.targets["lsn"]),
            expect=ExitCode.REFUSED,
        )
        assert f"port {state['port']} is that of closed" in taken.stderr
    finally:
        world.pgdr("side", "stop", "closed")
    assert not (world.host.state_directory / "side" / "closed").exists()
    operations = [entry.operation for entry in Journal(world.host.journal_path).entries()]
    assert operations[-2:] == ["side run", "side stop"]


def test_killed_while_it_replays_it_is_shown_goes_on_and_is_cleaned(world: World) -> None:
    world.pgdr("side", "start", "--uncapped", "--no-wait", "--name", "killed", *world.targets["lsn on timeline 2"])
    state = store.required(world.host, "killed")
    assert state.running_pid is not None
    os.kill(state.running_pid, signal.SIGKILL)
    listed = json.loads(world.pgdr("side", "list", "--output", "json").stdout)
    assert [(item["name"], item["condition"]) for item in listed] == [("killed", "killed")]
    world.pgdr("side", "start", "--uncapped", "--name", "killed", *world.targets["lsn on timeline 2"])
    assert "before lsn on 2" in world.rows("killed")
    state = store.required(world.host, "killed")
    assert state.running_pid is not None
    os.kill(state.running_pid, signal.SIGKILL)  # its server lives on
    world.pgdr("side", "stop", "killed")
    assert _servers("pgdr-side-killed") == []
    assert store.names(world.host) == []
    assert world.site.cluster.value("select count(*) > 0 from marks", "erp")


def test_removed_when_its_time_is_over(world: World) -> None:
    """By itself, and by the minute's job where its process was killed."""
    world.pgdr("side", "start", "--uncapped", "--name", "brief", "--hours", "0.004", *world.targets["lsn"])
    deadline = time.monotonic() + 60
    while store.names(world.host) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert store.names(world.host) == []
    world.pgdr("side", "start", "--uncapped", "--no-wait", "--name", "late", "--hours", "0.0001", *world.targets["lsn"])
    pid = store.required(world.host, "late").running_pid
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    done = world.pgdr("heartbeat", "--init")
    assert "side instance late was removed" in done.stderr
    assert store.names(world.host) == []


def _servers(label: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if label in line and "postgres" in line:
            found.append(line)
    return found


def test_one_database_alone(world: World) -> None:
    world.pgdr("side", "start", "--uncapped", "--name", "one", "--database", "erp", *world.targets["lsn"])
    try:
        assert "before lsn" in world.rows("one")
        refused = world.pgdr("side", "connect", "one", "--database", "other", expect=ExitCode.REFUSED)
        assert "holds only erp" in refused.stderr
        more = ["side", "start", "--uncapped", "--name", "one", *world.targets["lsn"]]
        same = world.pgdr(
            "side", "start", "--uncapped", "--name", "one", "--database", "erp", *more[5:], "--hours", "2"
        )
        assert "one is there already, on port" in same.stderr
        for asked in ([], ["--database", "other"]):
            said = world.pgdr(*more, *asked, expect=ExitCode.REFUSED).stderr
            assert "database erp alone" in said
            assert "pgdr side stop one" in said
    finally:
        world.pgdr("side", "stop", "one")


def test_tables_and_schemas_are_restored_from_a_point_in_time(world: World) -> None:
    """A side instance is in recovery: rows of unlogged tables, which no WAL brings back, are left out of it."""
    world.site.cluster.execute("create unlogged table if not exists fleeting as select 1 as one", "erp")
    world.archive()
    lsn = world.site.cluster.value("select pg_current_wal_insert_lsn()::text")
    world.mark("after the copy")
    world.archive()
    world.pgdr("side", "start", "--uncapped", "--name", "past", "--target-lsn", lsn)
    try:
        consent = ["--confirm", world.host.cluster_name, "--policy", str(world.host.policy_path)]
        world.pgdr("restore", "table", "public.marks", "--into", "marks_then", "--side", "past", *consent)
        then = world.site.cluster.value("select string_agg(what, '|' order by what) from marks_then", "erp")
        assert set(then.split("|")) == world.rows("past")
        assert "after the copy" not in then
        assert "after the copy" in world.site.cluster.value("select string_agg(what, '|') from marks", "erp")
        both = ["--side", "past", "--archive", "2026-01-01", "--policy", str(world.host.policy_path)]
        refused = world.pgdr("restore", "table", "public.marks", "--missing-only", *both, expect=ExitCode.USAGE)
        assert "one source of the past" in refused.stderr
        # Nothing is left of the archive that was made for it.
        assert list((world.host.policy_path.parent / "archives").iterdir()) == []
    finally:
        world.pgdr("side", "stop", "past")
        world.site.cluster.execute("drop table if exists marks_then", "erp")


def test_refusals_say_what_can_be_had(world: World) -> None:
    def refused(*arguments: str, config: Path | None = None) -> str:
        here = World(world.site, world.host, config or world.config)
        done = here.pgdr("side", "start", "--uncapped", *arguments, expect=ExitCode.REFUSED)
        assert done.stderr.count("\n") == 1
        assert store.names(world.host) == []
        return done.stderr

    early = refused("--target-time", "2020-01-01 00:00:00Z")
    assert "is before the first backup" in early
    assert "reachable is" in early
    assert "the nearest is" in early
    late = refused("--target-lsn", "FF/0")
    assert "is after the last archived WAL record" in late
    assert "reachable is" in late
    # All WAL would be replayed in search of them.
    given = int(world.site.cluster.value("select pg_current_xact_id()::text"))
    never = refused("--target-xid", str(given + 1000))
    assert "is no transaction of the archived WAL" in never
    assert "the next one is" in never
    assert "is no transaction of the archived WAL" in refused("--target-xid", str(given))  # not archived yet
    long_ago = refused("--target-xid", "5")
    assert "ended before the first backup of repository 1" in long_ago
    assert "reachable is" in long_ago
    assert "needs a target" in refused()
    assert "is production's" in refused("--port", str(world.host.port), *world.targets["lsn"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is in use" in refused("--port", str(port), *world.targets["lsn"])
    unknown = refused("--database", "no 'such", *world.targets["lsn"])
    assert "holds no database no 'such" in unknown
    assert "it holds erp, " in unknown
    assert "cannot name a side instance" in refused("--name", "../x", *world.targets["lsn"])
    small = world.host.model_copy(update={"policy_path": policy_in(world.config.parent, "900TiB")})
    config = world.config.with_name("small.yml")
    config.write_text(yaml.safe_dump(small.model_dump(mode="json")))
    assert "not enough disk" in refused(*world.targets["lsn"], config=config)


def test_a_gap_in_the_wal_is_named(world: World) -> None:
    archive = sorted((world.site.folder / "repo1" / "archive" / "erp").glob("*/00000002*/0000*.zst"))
    gap = archive[0]
    aside = gap.with_name("aside")
    gap.rename(aside)
    try:
        done = world.pgdr(
            "side", "start", "--uncapped", "--target-lsn", "FF/0", "--name", "gap", expect=ExitCode.REFUSED
        )
    finally:
        aside.rename(gap)
    assert f"WAL segment {gap.name[:24]} is missing" in done.stderr


def test_without_a_cap_only_when_told_so(world: World) -> None:
    done = world.pgdr("side", "start", *world.targets["lsn"], expect=ExitCode.REFUSED)
    assert "no unit that caps" in done.stderr


def test_info_lists_the_restore_points(world: World) -> None:
    out = world.pgdr("info", "--repo", "1").stdout
    assert _POINT in out
    document = json.loads(world.pgdr("info", "--repo", "1", "--output", "json").stdout)
    assert [(point["name"], point["timeline"]) for point in document["restore_points"]] == [(_POINT, 1)]


def test_a_transaction_before_the_newest_backup_is_reached_from_an_older_one(world: World) -> None:
    def newest_set() -> str:
        found = json.loads(world.pgdr("info", "--repo", "1", "--output", "json").stdout)
        return str(found["repositories"][0]["backups"][-1]["label"])

    with world.site.cluster.connect("erp") as somebody:
        somebody.autocommit = False
        still_running = somebody.execute("select pg_current_xact_id()::text").fetchone()
        assert still_running is not None
        somebody.execute("insert into marks (what) values ('runs through the backup')")
        first = newest_set()
        world.pgdr("backup", "full", "--repo", "1")
        somebody.commit()
    world.mark("behind the second backup")
    world.site.archived()
    newest = newest_set()
    assert newest != first
    old = world.targets["xid"]
    said = world.pgdr("side", "start", "--uncapped", *old, "--set", newest, expect=ExitCode.REFUSED).stderr
    assert f"ended before backup {newest}" in said
    for target, label, there in (
        (old, first, "at xid"),
        (["--target-xid", still_running[0]], newest, "runs through the backup"),
    ):
        shown = world.pgdr("side", "start", "--uncapped", "--output", "json", *target)
        try:
            assert json.loads(shown.stdout)["plan"]["backup_label"] == label
            rows = world.rows("past")
            assert there in rows
            assert "behind the second backup" not in rows
        finally:
            world.pgdr("side", "stop", "past")


def test_a_tablespace_that_the_backup_does_not_know_is_not_written_to(world: World) -> None:
    """Replaying its creation would use production's own folder."""
    folder = owned(world.site, "late")
    world.site.cluster.execute(f"create tablespace late location '{folder}'")
    done = world.pgdr("side", "start", "--uncapped", *world.targets["lsn"], expect=ExitCode.REFUSED)
    assert f"does not know tablespace late ({folder})" in done.stderr
    # Dropped again, its creation is in the WAL all the same, and this host remembers it.
    world.pgdr("restore-point", "late")
    world.site.cluster.execute("drop tablespace late")
    done = world.pgdr("side", "start", "--uncapped", *world.targets["lsn"], expect=ExitCode.REFUSED)
    assert "does not know tablespace late" in done.stderr
