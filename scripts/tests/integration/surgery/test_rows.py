"""Rows that somebody deleted come home with their children, and nobody who writes meanwhile notices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psycopg
import pytest
import yaml
import zstandard
from scripts.tests.integration.bucket import BUCKET

from pgdr.cli.main import main
from pgdr.errors import BusyError, ExitCode, NotProvenError, RefusedError
from pgdr.journal import Journal
from pgdr.restoring.part import parse_name
from pgdr.surgery import apply, erase, images, rows
from pgdr.surgery.conflicts import Ground
from pgdr.surgery.diff import Mode
from pgdr.surgery.handover import Form, hand_over
from pgdr.surgery.home import Choices, OnConflict, Report
from pgdr.surgery.ledger import Ledger
from pgdr.surgery.source import LocalDatabase

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster
    from scripts.tests.integration.surgery.conftest import Pair, PairFactory

ROOT = Path(__file__).parents[4]


def _request(pair: Pair, *tables: str, **more: Any) -> rows.Request:
    names = [parse_name(name) for name in tables]
    return rows.Request(pair.host, LocalDatabase(pair.host, pair.past), names, pair.live, **more)


def _recover(pair: Pair, *tables: str, plan: bool = False, tenant: str | None = None, **choices: Any) -> Report:
    more = {} if tenant is None else {"tenant": tenant, "tenancy": pair.tenancy}
    decided = Choices(**{"mode": Mode.MISSING_ONLY, **choices})
    return rows.recover_rows(_request(pair, *tables, **more), decided, plan_only=plan)


def _counts(report: Report) -> dict[str, tuple[int, int]]:
    """Gone and kept rows of each table."""
    return {one.table: (one.inserts, one.kept) for one in report.plan.tables if one.inserts or one.kept}


@dataclass
class Shop:
    """Honest work while rows come home: orders with lines, as fast as it can.

    Attributes:
        orders: numbers that the server gave them.
        errors: what went wrong.
    """

    pair: Pair
    orders: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Work until told to stop."""
        with self.pair.connect() as connection:
            while not self.stop.is_set():
                try:
                    with connection.transaction():
                        row = connection.execute(
                            "insert into shop.orders (tenant_id, customer_id) select tenant_id, id from shop.customers"
                            " order by id offset %s limit 1 returning id",
                            (len(self.orders) % 20,),
                        ).fetchone()
                        assert row is not None
                        connection.execute("insert into shop.lines values (%s, 1, 9), (%s, 2, 1)", (row[0], row[0]))
                except psycopg.Error as error:
                    self.errors.append(str(error))
                    return
                self.orders.append(row[0])

    def wait(self, more: int) -> None:
        """Wait until so many more orders are there."""
        wanted, until = len(self.orders) + more, time.monotonic() + 30
        while len(self.orders) < wanted and not self.errors:
            assert time.monotonic() < until
            time.sleep(0.005)


def test_a_delete_without_a_condition_while_orders_keep_coming(new_pair: PairFactory, shop: str) -> None:
    many = (
        "insert into shop.orders (tenant_id, customer_id) select tenant_id, id from shop.customers,"
        " generate_series(1, 500); insert into shop.lines select id, n, n from shop.orders, generate_series(3, 5) n;"
    )
    pair = new_pair(shop + many)
    before = pair.image()
    work = Shop(pair)
    thread = threading.Thread(target=work.run)
    thread.start()
    try:
        work.wait(20)
        pair.run("delete from shop.orders where id <= 10060")  # every order of the past; the shop's own come behind it
        work.wait(20)
        began = len(work.orders)
        report = _recover(pair, "shop.orders")
        meanwhile = len(work.orders) - began
        work.wait(20)
    finally:
        work.stop.set()
        thread.join()
    assert work.errors == []
    assert meanwhile > 3, "production stood still"
    assert report.outcome is not None
    now = pair.image()
    # Each row of the past is back exactly as it was, and beside them stand those of the shop, none lost or doubled.
    for table in ("shop.orders", "shop.lines"):
        assert set(before[table]) <= set(now[table]), table
    assert len(now["shop.orders"]) == len(before["shop.orders"]) + len(work.orders)
    assert len(now["shop.lines"]) == len(before["shop.lines"]) + 2 * len(work.orders)
    assert {row[0] for row in pair.rows("select id from shop.orders")} >= set(work.orders)
    assert pair.value("select count(*) from shop.orders where total <> 10 and id > 10060") == 0
    assert now["shop.customers"] == before["shop.customers"]
    assert (
        pair.value("select count(*) from shop.lines l left join shop.orders o on o.id = l.order_id where o.id is null")
        == 0
    )
    assert pair.value("insert into shop.orders (tenant_id, customer_id) values (1, 2) returning id") > max(work.orders)
    # And back again, to the state with the hole in it.
    pair.undo(report.operation)
    undone = pair.image()
    for table in ("shop.orders", "shop.lines"):
        assert not set(before[table]) & set(undone[table]), table
    assert len(undone["shop.orders"]) == len(work.orders) + 1


def test_many_rows_are_not_compared_each_with_each(new_pair: PairFactory, shop: str) -> None:
    """The planner takes the emptied tables for small: what looks at all rows for each row would take minutes here."""
    many = (
        "alter table shop.lines disable trigger total;"
        "insert into shop.orders (tenant_id, customer_id) select tenant_id, id from shop.customers,"
        " generate_series(1, 1500); insert into shop.lines select id, n, n from shop.orders, generate_series(3, 5) n;"
    )
    pair = new_pair(shop + many)
    pair.run("delete from shop.orders; analyze")
    began = time.monotonic()
    report = _recover(pair, "shop.orders")
    assert report.outcome is not None
    assert report.outcome.changed > 100_000
    assert time.monotonic() - began < 30
    assert pair.image() == pair.image(pair.past)


def test_what_was_changed_since_stays_until_somebody_says_otherwise(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run(
        "update shop.orders set total = 99 where id <= 5; delete from shop.orders where id between 6 and 8;"
        "insert into shop.orders (tenant_id, customer_id, total) values (1, 2, 5)"
    )
    plan = _recover(pair, "shop.orders", plan=True)
    assert _counts(plan) == {"shop.orders": (3, 5), "shop.lines": (6, 0)}
    assert any("5 rows were changed since and stay" in note for note in plan.plan.notes)
    assert _recover(pair, "shop.orders").outcome is not None
    assert pair.value("select count(*) from shop.orders where total = 99") == 5
    report = _recover(pair, "shop.orders", mode=Mode.KEEP_NEW)
    assert report.outcome is not None
    assert report.outcome.changed == 5
    assert pair.value("select count(*) from shop.orders where total = 5") == 1
    pair.run("delete from shop.orders where total = 5")
    assert pair.image()["shop.orders"] == pair.image(pair.past)["shop.orders"]
    assert _recover(pair, "shop.orders").outcome is None


def test_only_children_of_returning_rows_return(new_pair: PairFactory, shop: str) -> None:
    """A line that a clerk removed from an order that is still there has nothing to do with the accident."""
    pair = new_pair(shop)
    pair.run("delete from shop.lines where order_id = 20; delete from shop.orders where id = 30")
    assert _counts(_recover(pair, "shop.orders")) == {"shop.orders": (1, 0), "shop.lines": (2, 0)}
    assert pair.value("select count(*) from shop.lines where order_id = 20") == 0
    assert _counts(_recover(pair, "shop.lines")) == {"shop.lines": (2, 0)}


def test_without_children_only_the_rows_themselves(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("delete from shop.orders where id = 30")
    report = rows.recover_rows(
        _request(pair, "shop.orders", children=False), Choices(mode=Mode.MISSING_ONLY), plan_only=False
    )
    assert _counts(report) == {"shop.orders": (1, 0)}


_FAMILY = """
create schema "Odd ""one";
create table "Odd ""one"."a.b%s" (id int primary key, up int references "Odd ""one"."a.b%s" on delete cascade, x text);
create table "Odd ""one".leaf (id int primary key, up int references "Odd ""one"."a.b%s" on delete set null);
create table "Odd ""one".ring_a (id int primary key, b int);
create table "Odd ""one".ring_b (id int primary key, a int references "Odd ""one".ring_a on delete cascade);
alter table "Odd ""one".ring_a add foreign key (b) references "Odd ""one".ring_b on delete cascade;
insert into "Odd ""one"."a.b%s" select g, nullif(g / 2, 0), 'x' || g from generate_series(1, 15) g;
insert into "Odd ""one".leaf select g, g from generate_series(1, 15) g;
insert into "Odd ""one".ring_a select g from generate_series(1, 9) g;
insert into "Odd ""one".ring_b select g, g from generate_series(1, 9) g;
update "Odd ""one".ring_a set b = id - 1 where id > 1;
"""


def test_trees_circles_lost_references_and_odd_names(new_pair: PairFactory) -> None:
    pair = new_pair(_FAMILY)
    before = pair.image()
    pair.run('delete from "Odd ""one"."a.b%s" where id = 2; delete from "Odd ""one".ring_a where id = 4')
    damaged = pair.image()
    assert len(damaged['Odd "one.a.b%s']) < len(before['Odd "one.a.b%s'])
    names = [('Odd "one', "a.b%s"), ('Odd "one', "ring_a")]
    request = rows.Request(pair.host, LocalDatabase(pair.host, pair.past), names, pair.live)
    report = rows.recover_rows(request, Choices(mode=Mode.MISSING_ONLY), plan_only=False)
    assert report.outcome is not None
    now = pair.image()
    assert {**now, 'Odd "one.leaf': []} == {**before, 'Odd "one.leaf': []}
    assert now['Odd "one.leaf'] == damaged['Odd "one.leaf']  # they lost their reference: changed, not gone
    assert any("leaf: 7 rows were changed since" in note for note in report.plan.notes)
    pair.undo(report.operation)
    assert pair.image() == damaged
    rows.recover_rows(request, Choices(mode=Mode.KEEP_NEW), plan_only=False)
    assert pair.image() == before


def test_a_parent_that_is_gone_too(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    before = pair.image()
    pair.run("delete from shop.orders; delete from shop.customers where id in (3, 4); delete from shop.currencies")
    damaged = pair.image()
    with pytest.raises(RefusedError, match=r"gone.*--bring-parents brings them back"):
        _recover(pair, "shop.orders")
    assert pair.image() == damaged
    skipped = _recover(pair, "shop.orders", on_conflict=OnConflict.SKIP)
    assert skipped.outcome is None
    report = _recover(pair, "shop.orders", bring_shared=True)
    assert report.outcome is not None
    assert pair.image() == {**before, "shop.currencies": [r for r in before["shop.currencies"] if "EUR" in r]}
    pair.undo(report.operation)
    assert pair.image() == damaged


def test_a_value_that_somebody_has_taken_since(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run(
        "delete from shop.orders; delete from shop.customers where id in (7, 8);"
        "insert into shop.customers (tenant_id, email) values (1, 'c7@x')"
    )
    with pytest.raises(RefusedError, match="values that other rows have taken"):
        _recover(pair, "shop.customers")
    report = _recover(pair, "shop.customers", on_conflict=OnConflict.SKIP)
    assert report.outcome is not None
    assert pair.value("select count(*) from shop.customers where id = 7") == 0
    assert pair.value("select count(*) from shop.orders where customer_id = 8") == 3
    assert pair.value("select count(*) from shop.orders where customer_id = 7") == 0


def test_one_tenant_of_a_table(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("delete from shop.orders")
    report = _recover(pair, "shop.orders", tenant="1")
    assert report.outcome is not None
    assert pair.rows("select distinct tenant_id from shop.orders") == [(1,)]
    assert pair.value("select count(*) from shop.lines") == 60
    with pytest.raises(RefusedError, match=r"shop\.currencies holds no rows of tenants"):
        _recover(pair, "shop.currencies", tenant="1")
    with pytest.raises(RefusedError, match="is no integer"):
        _recover(pair, "shop.orders", tenant="one")


def test_partitions_identities_and_tables_without_a_key(new_pair: PairFactory) -> None:
    pair = new_pair(
        "create table p (id int generated always as identity, at date not null,"
        " twice int generated always as (1) stored, primary key (id, at)) partition by range (at);"
        "create table p1 partition of p for values from ('2026-01-01') to ('2026-02-01');"
        "create table p2 partition of p for values from ('2026-02-01') to ('2026-03-01');"
        "insert into p (at) select '2026-01-10'::date + g from generate_series(1, 40) g;"
        "create table loose (what text); insert into loose select 'same' from generate_series(1, 6);"
    )
    before = pair.image()
    pair.run(
        "truncate p; delete from loose where ctid in (select ctid from loose limit 4); insert into loose values ('new')"
    )
    report = _recover(pair, "public.p", "public.loose")
    assert report.outcome is not None
    assert report.outcome.changed == 44
    assert any("has no key" in note for note in report.plan.notes)
    pair.run("delete from loose where what = 'new'")
    assert pair.image() == before
    assert pair.value("insert into p (at) values ('2026-01-20') returning id") == 41


def test_a_row_that_comes_back_by_another_way_meanwhile(new_pair: PairFactory, shop: str) -> None:
    """Somebody types a lost row in again while it comes home: one of the two gives way, and nothing is half done."""
    pair = new_pair(shop)
    pair.run("delete from shop.orders")
    damaged = pair.image()
    with pair.connect() as other:
        other.execute("begin")
        other.execute("insert into shop.orders (id, tenant_id, customer_id) values (1, 1, 2)")
        with pytest.raises(BusyError, match="somebody else holds rows"):
            _recover(pair, "shop.orders", lock_timeout="200ms")
        other.execute("rollback")
    assert pair.image() == damaged


def test_a_row_that_is_not_what_was_planned_takes_all_back(
    new_pair: PairFactory, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changes a returning row on its way: the rows are read again before the commit."""
    pair = new_pair(shop)
    pair.run("delete from shop.orders")
    damaged = pair.image()

    def meddle(connection: psycopg.Connection[Any], ground: Ground) -> None:
        connection.execute("update shop.orders set total = total + 1 where id = 1")
        hold_parents(connection, ground)

    hold_parents = apply.hold_parents
    monkeypatch.setattr(apply, "hold_parents", meddle)
    with pytest.raises(NotProvenError, match=r"shop\.orders: 60 rows .* stand where 60 "):
        _recover(pair, "shop.orders")
    assert pair.image() == damaged


def test_what_cannot_be_meant_is_refused(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("create table shop.later (id int); drop table shop.lines")
    for table, said in (
        ("shop.order", r"no table shop\.order.*did you mean shop\.orders"),
        ("shop.lines", r"table shop\.lines is gone itself.*--export dump"),
        ("shop.later", r"database \w+ has no table shop\.later"),
    ):
        with pytest.raises(RefusedError, match=said):
            _recover(pair, table, plan=True)
    pair.cluster.execute("delete from shop.events", pair.past)
    with pytest.raises(RefusedError, match=r"holds none of the rows of shop\.events"):
        _recover(pair, "shop.events")


def test_as_files(new_pair: PairFactory, shop: str, tmp_path: Path) -> None:
    pair = new_pair(shop + "update shop.customers set email = E'a\\\\b''c\n' || id;")
    before = pair.image()
    pair.run("delete from shop.orders; delete from shop.customers where id <= 5")
    damaged = pair.image()
    made = hand_over(
        _request(pair, "shop.orders", "shop.customers"), Choices(mode=Mode.MISSING_ONLY), Form.CSV, tmp_path / "csv"
    )
    assert {one.tables: one.rows for one in made.files} == {
        ("shop.customers",): 5, ("shop.orders",): 60, ("shop.lines",): 120,
    }  # fmt: skip
    (file,) = (tmp_path / "csv").glob("*shop.orders.csv")
    assert file.read_text().splitlines()[0] == "id,tenant_id,customer_id,currency,placed,total"
    assert (file.stat().st_mode & 0o777) == 0o600
    with pytest.raises(RefusedError, match="is not empty"):
        hand_over(_request(pair, "shop.orders"), Choices(mode=Mode.MISSING_ONLY), Form.CSV, tmp_path / "csv")
    hand_over(
        _request(pair, "shop.orders", "shop.customers"), Choices(mode=Mode.MISSING_ONLY), Form.SQL, tmp_path / "sql"
    )
    assert pair.image() == damaged  # nothing was changed so far
    script = (tmp_path / "sql" / "rows.sql").read_text()
    pair.run("alter table shop.lines disable trigger total;" + script)
    assert pair.image() == before


def test_a_dropped_table_as_a_dump(new_pair: PairFactory, shop: str, tmp_path: Path) -> None:
    pair = new_pair(shop)
    before = pair.image()
    pair.run("drop table shop.orders cascade; drop table shop.lines")
    folder = tmp_path / "dump"
    hand_over(_request(pair, "shop.orders"), Choices(mode=Mode.MISSING_ONLY), Form.DUMP, folder)
    # The programs of PostgreSQL run as another user here.
    content = (folder / "tables.dump").read_bytes()
    copy = pair.cluster.folder / "tables.dump"
    copy.write_bytes(content)
    copy.chmod(0o644)
    pair.cluster.client("pg_restore", "--exit-on-error", f"--dbname={pair.live}", str(copy))
    assert pair.image() == before
    with pytest.raises(RefusedError, match="whole tables, of all tenants"):
        hand_over(
            _request(pair, "shop.orders", tenant="1", tenancy=pair.tenancy), Choices(), Form.DUMP, tmp_path / "other"
        )


class Host:
    """A host with its two files, and the command."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair = pair
        self.config = folder / "host.yml"
        self.config.write_text(yaml.safe_dump(pair.host.model_dump(mode="json")))
        policy = yaml.safe_load((ROOT / "inventories/production/group_vars/all/policy.yml").read_text())
        policy["recovery_policy"]["tenancy"] = {"column": "tenant_id"}
        self.policy = folder / "policy.yml"
        self.policy.write_text(yaml.safe_dump(policy))

    def argv(self, *arguments: str) -> list[str]:
        """The arguments of ``pgdr``."""
        source = ["--source-database", self.pair.past] if "--undo" not in arguments else []
        return ["--config", str(self.config), "restore", "rows", *arguments, *source, "--policy", str(self.policy)]


def test_the_command_plans_asks_and_takes_back(
    new_pair: PairFactory, shop: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = new_pair(shop)
    host = Host(pair, tmp_path)
    before = pair.image()
    pair.run("delete from shop.orders")
    damaged = pair.image()
    assert main(host.argv("shop.orders", "--plan", "--output", "json")) == 0
    assert json.loads(capfd.readouterr().out)["changes"] == 180
    assert main(host.argv("shop.orders")) == ExitCode.REFUSED
    assert main(host.argv("shop.orders", "--confirm", "shop.orders")) == ExitCode.REFUSED
    assert "type --confirm erp-test" in capfd.readouterr().err
    assert main(host.argv("shop.nothing", "--plan")) == ExitCode.REFUSED
    assert main(host.argv("shop", "--plan")) == ExitCode.REFUSED
    assert main(host.argv("shop.orders", "--mode", "exact")) == ExitCode.USAGE
    assert main(host.argv("shop.orders", "--export", "csv")) == ExitCode.USAGE
    assert main(host.argv("shop.orders", "--export", "tape", "--to", str(tmp_path / "t"))) == ExitCode.USAGE
    assert main(host.argv()) == ExitCode.USAGE
    assert pair.image() == damaged
    capfd.readouterr()
    assert main(host.argv("shop.orders", "--confirm", "erp-test")) == 0
    shown = capfd.readouterr().out
    assert "180 rows changed" in shown
    assert pair.image() == before
    operation = shown.rsplit(" ", 1)[-1].strip()
    assert f"pgdr restore rows --undo {operation}" in shown
    assert main(host.argv("shop.orders", "--confirm", "erp-test")) == 0  # run again: nothing is left to do
    assert "nothing to do" in capfd.readouterr().out
    assert main(host.argv("--undo", operation, "--confirm", operation)) == 0
    assert pair.image() == damaged
    assert main(host.argv("shop.orders", "--export", "csv", "--to", str(tmp_path / "files"))) == 0
    results = [(entry.operation, entry.result) for entry in Journal(pair.host.journal_path).entries()]
    assert results == [
        ("restore rows", "ok"), ("restore rows", "ok"), ("restore rows undo", "ok"), ("rows export", "ok"),
    ]  # fmt: skip


def test_who_was_erased_does_not_come_home_with_a_table(
    new_pair: PairFactory, shop: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], aws: None
) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    pair = new_pair(shop)
    host = Host(pair, tmp_path)
    pair.run("delete from shop.orders where id = 1")
    assert main(host.argv("shop.orders", "--confirm", "erp-test")) == 0
    assert list(images.folder_of(pair.host).iterdir())
    assert (
        main(["--config", str(host.config), "tenant", "erase", "1", "--confirm", "1", "--policy", str(host.policy)])
        == 0
    )
    # The before-image of the table held rows of everybody.
    assert not list(images.folder_of(pair.host).iterdir())
    pair.run("delete from shop.orders")
    assert main(host.argv("shop.orders", "--bring-parents", "--confirm", "erp-test")) == 0
    assert pair.rows("select distinct tenant_id from shop.orders") == [(2,)]
    said = capfd.readouterr()
    assert "note: rows of 1 subjects that were erased since stay away" in said.out
    assert "were removed again" not in said.err
    [done] = [folder.name for folder in images.folder_of(pair.host).iterdir()]
    assert main(host.argv("--undo", done, "--confirm", done)) == 0
    assert main(host.argv("shop.orders", "--tenant", "1", "--confirm", "erp-test")) == ExitCode.REFUSED
    assert main(host.argv("shop.orders", "--export", "csv", "--to", str(tmp_path / "f"))) == ExitCode.REFUSED


@pytest.mark.usefixtures("aws")
def test_nobody_ever_sees_an_erased_parent_of_a_row_that_comes_home(
    new_pair: PairFactory,
    shop: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An order of tenant 2 was made for a customer of tenant 1, and deleted before tenant 1 was erased."""
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    pair = new_pair(shop)
    host = Host(pair, tmp_path)
    pair.both(
        "update shop.tenants set name = 'Mrs Secret' where id = 1;"
        "insert into shop.orders (id, tenant_id, customer_id)"
        " select 1000, 2, min(id) from shop.customers where tenant_id = 1"
    )
    pair.run("delete from shop.orders where id = 1000")
    erase_one = ["tenant", "erase", "1", "--confirm", "1", "--policy", str(host.policy)]
    assert main(["--config", str(host.config), *erase_one]) == 0
    pair.run("delete from shop.orders")
    damaged = pair.image()
    wanted = host.argv("shop.orders", "--bring-parents", "--confirm", "erp-test")
    capfd.readouterr()
    assert main(wanted) == ExitCode.REFUSED
    said = capfd.readouterr().err
    assert "shop.customers" in said
    assert "--on-conflict skip leaves such rows as they are" in said
    assert pair.image() == damaged

    def killed(*_: object, **__: object) -> None:
        """What another session sees between the commit and what comes after it."""
        assert pair.value("select count(*) from shop.orders") == 30
        assert pair.value("select count(*) from shop.tenants where id = 1") == 0
        assert pair.value("select count(*) from shop.customers where tenant_id = 1") == 0
        raise NotProvenError("killed")

    monkeypatch.setattr(erase, "replay", killed)
    assert main([*wanted, "--on-conflict", "skip"]) == ExitCode.NOT_PROVEN
    # Nor does the image for --undo hold anything of theirs.
    kept = list(images.folder_of(pair.host).rglob("*.zst"))
    assert kept
    for file in kept:
        with file.open("rb") as packed:
            assert b"Secret" not in zstandard.ZstdDecompressor().stream_reader(packed).read()


def test_an_erasure_that_nobody_has_confirmed_lets_nothing_home(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    ledger = Ledger(pair.host)
    ledger.intend(ledger.subject("1"), "shop.tenants.id", ("1", "a cluster that is no more"), 1)
    pair.run("delete from shop.orders")
    with pytest.raises(NotProvenError, match="begun and never confirmed"):
        rows.recover_rows(
            _request(pair, "shop.orders", tenancy=pair.tenancy, ledger=ledger),
            Choices(mode=Mode.MISSING_ONLY),
            plan_only=False,
        )
    assert pair.value("select count(*) from shop.orders") == 0


@pytest.mark.parametrize("moment", ["query ilike 'copy%'", "query ilike 'insert into \"shop\"%'"])
def test_a_kill_leaves_live_data_as_before(
    new_pair: PairFactory, shop: str, tmp_path: Path, moment: str, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = (
        "create function shop.slow(int) returns boolean language sql immutable as 'select true';"
        "alter table shop.orders add check (shop.slow(id::int));"
    )
    pair = new_pair(shop + slow)
    # A check of the table makes each row take its time: the kill hits the middle of the work.
    pair.run(
        "create or replace function shop.slow(int) returns boolean language plpgsql as"
        " $$ begin perform pg_sleep(0.05); return true; end $$"
    )
    pair.run("delete from shop.orders")
    host = Host(pair, tmp_path)
    damaged = pair.image()
    process = subprocess.Popen(
        [sys.executable, "-m", "pgdr.cli.main", *host.argv("shop.orders", "--confirm", "erp-test")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts/src")},
    )
    ours = "select count(*) from pg_stat_activity where application_name = 'pgdr surgery'"
    until = time.monotonic() + 30
    while not pair.value(f"{ours} and {moment}"):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while pair.value(ours):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert pair.image() == damaged
    pair.run("create or replace function shop.slow(int) returns boolean language sql immutable as 'select true'")
    assert main(host.argv("shop.orders", "--confirm", "erp-test")) == 0
    assert pair.image() == pair.image(pair.past)
    capfd.readouterr()


def test_postgresql_18(new_pair: PairFactory, shop: str, pg18: Cluster) -> None:
    pair = new_pair(
        shop + "alter table shop.orders add double_total numeric generated always as (total * 2) virtual", cluster=pg18
    )
    before = pair.image()
    pair.run("truncate shop.orders cascade")
    assert _recover(pair, "shop.orders").outcome is not None
    assert pair.image() == before
