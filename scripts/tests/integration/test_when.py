"""`pgdr when` against real WAL in a real repository: what was done is found, named and dated, and nothing else is."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pgdr import relationmap
from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Site, SiteFactory

_SCHEMA = """
create schema sales;
create table sales.orders (id int primary key, tenant int, note text);
create table sales.lines (id int primary key, order_id int not null references sales.orders on delete cascade);
create index on sales.lines (order_id);
create table sales.parts (id int, region int, note text) partition by range (id);
create table sales.parts_1 partition of sales.parts for values from (0) to (100);
create table sales.parts_2 partition of sales.parts for values from (100) to (200);
create table sales.gone (id int primary key, note text);
create table sales.shrunk (id int primary key, note text);
create table sales.moved (id int primary key, note text);
create table sales.wide (id int primary key, note text);
alter table sales.wide alter note set storage plain;
create table sales.altered (id int primary key, note text, price numeric, old text) with (fillfactor = 90);
create table public.noise (id int primary key, n int);
insert into sales.orders select g, g % 7, repeat(md5(g::text), 3) from generate_series(1, 1000) g;
insert into sales.lines select g, (g % 1000) + 1 from generate_series(1, 5000) g;
insert into sales.parts select g, 1, 'x' from generate_series(0, 199) g;
insert into sales.gone select g, 'x' from generate_series(1, 10) g;
insert into sales.shrunk select g, 'x' from generate_series(1, 10) g;
insert into sales.moved select g, 'x' from generate_series(1, 10) g;
insert into sales.altered select g, 'x', g, 'y' from generate_series(1, 10) g;
insert into sales.wide select g, repeat('x', 5000) from generate_series(1, 20) g;
insert into public.noise select g, 0 from generate_series(1, 100) g;
create procedure noise(rounds int) language plpgsql as $$
begin for i in 1..rounds loop update public.noise set n = n + 1 where id = 1 + i % 100; commit; end loop; end $$;
"""


# What takes no column's content away; each makes others look at a table of ours anew.
_HARMLESS = (
    "create index on sales.altered (note)",
    "alter table sales.altered add column more text",
    "alter table sales.altered add check (id > 0)",
    "analyze sales.altered",
    "grant select on sales.altered to public",
)


@dataclass
class Past:
    """A cluster to which things were done, each step with the moment before and after it."""

    site: Site
    host: HostConfig
    folder: Path
    moments: dict[str, datetime]
    xids: dict[str, int]

    @property
    def config(self) -> str:
        path = self.folder / "host.yml"
        path.write_text(yaml.safe_dump(self.host.model_dump(mode="json")))
        return str(path)

    def step(self, name: str, *statements: str, database: str = "erp", settle: float = 0.02) -> None:
        with self.site.cluster.connect(database) as connection:
            row = connection.execute("select clock_timestamp()").fetchone()
            assert row is not None
            self.moments[name] = row[0].astimezone(UTC)
            connection.autocommit = False
            for statement in statements:
                connection.execute(statement.encode())
            xid = connection.execute("select pg_current_xact_id_if_assigned()::text").fetchone()
            self.xids[name] = int(xid[0]) if xid and xid[0] else 0
            connection.commit()
        time.sleep(settle)

    def archive(self) -> None:
        """Close the segment and wait until it is in the repository."""
        closed = self.site.cluster.value("select pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + 60
        while self.site.cluster.value("select coalesce(last_archived_wal, '') from pg_stat_archiver") < closed:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _noise(past: Past, rounds: int) -> None:
    past.site.cluster.execute(f"call noise({rounds})", "erp")


def _alter(past: Past) -> None:
    past.step("drop column", "alter table sales.altered drop column old")
    past.step("drop column of all parts", "alter table sales.parts drop column region")
    past.step("retype", "alter table sales.altered alter price type text")
    past.step("no change of columns", *_HARMLESS)
    past.step("new table", "create table sales.fresh (id serial primary key, altered int references sales.altered)")
    past.step("aborted alter", "alter table sales.altered drop column note", "rollback")
    past.site.cluster.execute("vacuum full pg_attribute", "erp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGUSER", "postgres")
        relationmap.refresh(past.host)
    past.step("rename behind a rewrite", "alter table sales.altered rename note to remark")


@pytest.fixture(scope="module", params=[16, 18])
def past(request: pytest.FixtureRequest, new_site: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """What happened: noise, and in it one of each kind of mistake."""
    settings = {"max_prepared_transactions": "5", "full_page_writes": "on", "lock_timeout": "20s"}
    site = new_site(request.param, compress="zst", settings=settings)
    site.cluster.create_database("erp")
    site.cluster.create_database("other")
    site.cluster.execute(_SCHEMA, "erp")
    site.cluster.execute("create schema sales; create table sales.orders (id int primary key, note text)", "other")
    site.cluster.execute("insert into sales.orders select g, '' from generate_series(1, 50) g", "other")
    folder = tmp_path_factory.mktemp(f"past{request.param}")
    past = Past(site, site.host(folder, "erp"), folder, {}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGUSER", "postgres")
        relationmap.refresh(past.host)
    past.archive()
    _noise(past, 500)
    past.step("begin", "select 1")
    past.step("delete", "delete from sales.orders where tenant = 3")
    _noise(past, 500)
    past.step(
        "savepoints",
        "delete from sales.orders where id = 1",
        "savepoint a",
        "delete from sales.orders where tenant = 2",
        "rollback to a",
        "savepoint b",
        "update sales.orders set note = 'changed' where tenant = 1",
        "release b",
    )
    past.archive()
    past.step("other database", "delete from sales.orders", database="other")
    past.step("prepared", "delete from sales.orders where id = 8", "prepare transaction 'gid 8'")
    past.step("commit prepared", "select 1")
    site.cluster.execute("commit prepared 'gid 8'", "erp")
    past.step("left prepared", "delete from sales.orders where id = 9", "prepare transaction 'left alone'")
    past.step("partitions", "delete from sales.parts where id between 90 and 109")
    past.archive()
    past.step("move", "update sales.parts set id = id + 100 where id between 10 and 14")
    past.step("fill pages", "update sales.wide set note = repeat('y', 5000)")
    past.step("truncate", "truncate sales.shrunk")
    past.step("reload", "truncate sales.parts_2", "insert into sales.parts values (150, 1, 'new')")
    past.step("rewrite", "alter table sales.moved alter id type bigint")
    past.step("delete moved", "delete from sales.moved where id < 4")
    _alter(past)
    past.archive()
    past.step("drop", "drop table sales.gone")
    past.step("drop database", "select 1")
    site.cluster.execute("drop database other")
    _noise(past, 500)
    past.step("aborted", "select 1")
    with site.cluster.connect("erp") as connection:
        connection.autocommit = False
        connection.execute("delete from sales.orders where id > 9")
        connection.rollback()
    past.step("end", "select 1")
    past.archive()
    return past


def _ask(past: Past, capfd: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> dict[str, Any]:
    capfd.readouterr()
    begin = past.moments["begin"].isoformat()
    argv = ["--config", past.config, "when", *arguments, "--from", begin, "--output", "json"]
    code = main(argv)
    out, err = capfd.readouterr()
    assert code == expect, err
    document: dict[str, Any] = json.loads(out) if out else {"error": err}
    return document


def _named(found: dict[str, Any]) -> dict[int, dict[str, dict[str, Any]]]:
    return {item["xid"]: {change["table"]: change for change in item["tables"]} for item in found["candidates"]}


def test_a_delete_is_found_with_its_children(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    found = _ask(past, capfd, "sales.orders", "--kind", "delete")
    assert found["complete"]
    first = found["candidates"][0]
    assert first["xid"] == past.xids["delete"] % 2**32
    assert first["status"] == "committed"
    at = datetime.fromisoformat(first["at"])
    assert past.moments["delete"] < at < past.moments["savepoints"]
    tables = _named(found)[first["xid"]]
    assert tables["sales.orders"]["deleted"] == 143
    # The children that went with it: order_id runs over 1..1000, five lines each.
    assert tables["sales.lines"]["deleted"] == 5 * 143
    assert found["transactions"] > 1000  # and that many others were looked at


def test_subtransactions_are_their_parents_and_what_was_rolled_back_is_apart(
    past: Past, capfd: pytest.CaptureFixture[str]
) -> None:
    found = _ask(past, capfd, "sales.orders", "--kind", "delete", "--kind", "update")
    tables = _named(found)[past.xids["savepoints"] % 2**32]["sales.orders"]
    assert (tables["deleted"], tables["updated"]) == (1, 142)  # one of tenant 1 is the deleted one
    aborted = [item for item in found["candidates"] if item["status"] == "aborted"]
    # The whole rolled back transaction, and the savepoint that was rolled back in one that was committed.
    assert len(aborted) == 2
    assert all(item["before"] is None for item in aborted)


def test_two_phase_commit_and_what_is_left_prepared(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    found = _ask(past, capfd, "sales.orders", "--kind", "delete")
    prepared = {item["gid"]: item for item in found["candidates"] if item["gid"]}
    assert prepared["gid 8"]["status"] == "committed"
    assert datetime.fromisoformat(prepared["gid 8"]["at"]) > past.moments["commit prepared"]
    assert prepared["left alone"]["status"] == "prepared"
    assert prepared["left alone"]["before"] is None


def test_partitions_count_for_their_table_and_a_move_is_an_update(
    past: Past, capfd: pytest.CaptureFixture[str]
) -> None:
    found = _named(_ask(past, capfd, "sales.parts", "--kind", "delete", "--kind", "update"))
    assert found[past.xids["partitions"]]["sales.parts"]["deleted"] == 20
    moved = found[past.xids["move"]]["sales.parts"]
    assert (moved["deleted"], moved["updated"]) == (0, 5)
    one = _named(_ask(past, capfd, "sales.parts_1", "--kind", "delete"))
    assert list(one) == [past.xids["partitions"]]


def test_rows_that_begin_a_page_of_their_own_are_counted(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    """PostgreSQL writes such an update down as a record of another name."""
    found = _named(_ask(past, capfd, "sales.wide", "--kind", "update"))
    assert found[past.xids["fill pages"]]["sales.wide"]["updated"] == 20


def test_truncate_is_told_from_a_rewrite(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    found = _named(_ask(past, capfd, "--kind", "truncate"))
    assert set(found) == {past.xids["truncate"], past.xids["reload"]}
    assert found[past.xids["truncate"]]["sales.shrunk"]["truncated"]
    assert found[past.xids["reload"]]["sales.parts"]["parts"] == ["sales.parts_2"]


def test_columns_that_were_dropped_or_retyped_are_found_and_nothing_else(
    past: Past, capfd: pytest.CaptureFixture[str]
) -> None:
    found = _ask(past, capfd, "sales.altered", "--kind", "alter")
    named = _named(found)
    # Certain ones first; of the last nobody can tell that the defaults were those of the new table.
    assert [item["xid"] for item in found["candidates"]] == [
        past.xids[step] for step in ("rename behind a rewrite", "retype", "drop column", "new table")
    ]
    assert [tables["sales.altered"]["doubtful"] for tables in named.values()] == [False, False, False, True]
    retyped = named[past.xids["retype"]]["sales.altered"]
    assert (retyped["altered"], retyped["rewritten"]) == (True, True)
    everywhere = _named(_ask(past, capfd, "--kind", "alter"))
    parts = everywhere[past.xids["drop column of all parts"]]["sales.parts"]
    assert parts["altered"]
    assert sorted(parts["parts"]) == ["sales.parts_1", "sales.parts_2"]
    assert past.xids["rewrite"] in everywhere
    assert past.xids["no change of columns"] not in everywhere
    assert "sales.fresh" not in {table for tables in everywhere.values() for table in tables}


def test_the_moment_before_a_column_was_dropped_is_a_target(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    found = _ask(past, capfd, "sales.altered")
    dropped = next(item for item in found["candidates"] if item["xid"] == past.xids["drop column"])
    at = datetime.fromisoformat(dropped["at"])
    assert past.moments["drop column"] < at < past.moments["drop column of all parts"]
    assert f"--target-lsn={dropped['commit_lsn']}" in dropped["before"]["side"]


def test_a_table_is_followed_through_its_rewrite(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the catalog nor the memory knows both files when only the first and the last look are there."""
    found = _named(_ask(past, capfd, "sales.moved", "--kind", "delete"))
    assert found[past.xids["delete moved"]]["sales.moved"]["deleted"] == 3
    assert past.xids["rewrite"] not in found


def test_what_was_dropped_is_named_though_the_catalog_has_forgotten_it(
    past: Past, capfd: pytest.CaptureFixture[str]
) -> None:
    found = _ask(past, capfd, "--kind", "drop")
    named = _named(found)
    assert named[past.xids["drop"]]["sales.gone"]["dropped"]
    assert [change for tables in named.values() for change in tables if "whole database other" in change]
    one = _ask(past, capfd, "sales.gone")
    assert [item["xid"] for item in one["candidates"]] == [past.xids["drop"]]


def test_another_database_with_a_table_of_that_name_is_another_table(
    past: Past, capfd: pytest.CaptureFixture[str]
) -> None:
    found = _ask(past, capfd, "sales.orders", "--kind", "delete")
    assert past.xids["other database"] not in _named(found)
    everywhere = _named(_ask(past, capfd, "--kind", "delete", "--limit", "0"))
    assert everywhere[past.xids["other database"]]["sales.orders"]["database"] == "other"
    assert everywhere[past.xids["other database"]]["sales.orders"]["deleted"] == 50


def test_the_time_range_limits(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    until = past.moments["savepoints"].isoformat()
    found = _ask(past, capfd, "sales.orders", "--kind", "delete", "--to", until)
    assert [item["xid"] for item in found["candidates"]] == [past.xids["delete"]]
    long_ago = (past.moments["begin"] - timedelta(days=3)).isoformat()
    capfd.readouterr()
    argv = [
        "--config",
        past.config,
        "when",
        "--from",
        long_ago,
        "--to",
        (datetime.now(UTC) - timedelta(days=2)).isoformat(),
    ]
    assert main(argv) == ExitCode.REFUSED
    assert "holds nothing between" in capfd.readouterr().err


def test_before_prints_a_target_just_before_the_commit(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    begin, until = past.moments["begin"].isoformat(), past.moments["savepoints"].isoformat()
    capfd.readouterr()
    argv = ["--config", past.config, "when", "sales.orders", "--from", begin, "--to", until, "--before", "1"]
    assert main(argv) == 0
    lines = capfd.readouterr().out.splitlines()
    command = shlex.split(lines[1])
    assert command[:4] == ["pgdr", "side", "start", "--repo=1"]
    assert "--exclusive" in command
    lsn = next(word.partition("=")[2] for word in command if word.startswith("--target-lsn="))
    assert f"target_lsn={lsn}" in lines[3]
    # The position is that of the commit record itself.
    record = past.site.cluster.value(
        f"select '{lsn}'::pg_lsn > pg_lsn '0/0' and pg_walfile_name('{lsn}'::pg_lsn) is not null"
    )
    assert record
    capfd.readouterr()
    assert main([*argv[:-1], "9"]) == ExitCode.REFUSED
    assert "there is no number 9" in capfd.readouterr().err


def test_an_unknown_table_is_refused_with_what_is_near(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    error = _ask(past, capfd, "sales.order", expect=ExitCode.REFUSED)["error"]
    assert "no table 'sales.order' is known" in error
    assert "sales.orders" in error


def test_a_missing_segment_is_named_and_the_rest_is_read(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    archive = sorted((past.site.folder / "repo1" / "archive" / "erp").glob("*/*/0000*.zst"))
    gap = archive[-2]
    aside = gap.with_name("aside")
    gap.rename(aside)
    try:
        capfd.readouterr()
        argv = ["--config", past.config, "when", "sales.orders", "--kind", "delete"]
        argv += ["--from", past.moments["begin"].isoformat(), "--output", "json"]
        code = main(argv)
        out, err = capfd.readouterr()
    finally:
        aside.rename(gap)
    found = json.loads(out)
    assert code == ExitCode.NOT_PROVEN
    assert found["missing"] == [gap.name[:24]]
    assert f"WAL segment {gap.name[:24]} is not archived: changes in it are not seen" in err
    xids = [item["xid"] for item in found["candidates"]]
    assert past.xids["delete"] in xids


def test_without_production_names_come_from_memory(
    past: Past, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    nobody_home = past.host.model_copy(update={"port": 1})
    alone = Past(past.site, nobody_home, tmp_path, past.moments, past.xids)
    found = _ask(alone, capfd, "sales.orders", "--kind", "delete")
    assert found["candidates"][0]["xid"] == past.xids["delete"]
    assert any("the server does not answer" in note for note in found["notes"])


def test_the_table_for_people_and_the_journal(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    begin = past.moments["begin"].isoformat()
    assert main(["--config", past.config, "when", "sales.orders", "--from", begin, "--kind", "delete"]) == 0
    out = capfd.readouterr().out
    assert "sales.orders: 143 deleted" in out
    assert "aborted" in out
    assert list(Journal(past.host.journal_path).entries())[-1].operation == "when"
    assert not list(past.host.state_directory.glob("pgdr-wal-*"))


def test_nothing_found_says_what_was_not_looked_for(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    """Somebody who looks for an UPDATE must not take silence for innocence."""
    capfd.readouterr()
    begin = past.moments["begin"].isoformat()
    assert main(["--config", past.config, "when", "sales.wide", "--from", begin]) == 0
    out, err = capfd.readouterr()
    assert "0 found" in out
    assert "--kind update was not asked for" in err


def test_the_audit_table_says_who(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    with past.site.cluster.connect("erp") as connection:
        connection.execute("create schema if not exists system")
        connection.execute(
            'create table system.audit_log (at timestamptz, "table name" text, op text, tx xid8, who text)'
        )
        row = (past.moments["delete"], past.xids["delete"] + 2**32)
        connection.execute("insert into system.audit_log values (%s, 'orders', 'DELETE', (%s)::text::xid8, 'kim')", row)
    source = yaml.safe_load(Path("inventories/lab/group_vars/all/policy.yml").read_text())
    source["recovery_policy"]["audit"] = {
        **{"schema": "system", "table": "audit_log", "at_column": "at", "table_column": "table name"},
        **{"action_column": "op", "xid_column": "tx", "actor_column": "who"},
    }
    policy = past.folder / "policy.yml"
    policy.write_text(yaml.safe_dump(source))
    told = Past(past.site, past.host.model_copy(update={"policy_path": policy}), past.folder, past.moments, past.xids)
    found = _ask(told, capfd, "sales.orders", "--kind", "delete")
    assert found["candidates"][0]["who"] == "kim"
    assert [(entry["action"], entry["actor"]) for entry in found["audit"]] == [("DELETE", "kim")]


def test_a_damaged_archive_is_no_empty_answer(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    archive = sorted((past.site.folder / "repo1" / "archive" / "erp").glob("*/*/0000*.zst"))
    kept = archive[-1].read_bytes()
    archive[-1].write_bytes(kept[:1000])
    try:
        error = _ask(past, capfd, "sales.orders", expect=ExitCode.REFUSED)["error"]
    finally:
        archive[-1].write_bytes(kept)
    assert f"fetch of WAL segment {archive[-1].name[:24]}" in error


def test_a_segment_that_is_not_what_was_archived_proves_nothing(past: Past, capfd: pytest.CaptureFixture[str]) -> None:
    """It decrypts and unpacks, and holds the wrong WAL."""
    archive = sorted((past.site.folder / "repo1" / "archive" / "erp").glob("*/*/0000*.zst"))
    kept = archive[-1].read_bytes()
    archive[-1].write_bytes(archive[-2].read_bytes())
    try:
        error = _ask(past, capfd, "sales.orders", expect=ExitCode.NOT_PROVEN)["error"]
    finally:
        archive[-1].write_bytes(kept)
    assert f"archived segment {archive[-1].name[:24]} of repository 1 is damaged" in error
