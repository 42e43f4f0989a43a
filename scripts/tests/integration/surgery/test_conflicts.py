"""What stands in the way is shown before anything changes, and each choice does what it says."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from pgdr.errors import BusyError, OperationFailedError, RefusedError
from pgdr.surgery.conflicts import Trouble
from pgdr.surgery.diff import Mode
from pgdr.surgery.drift import ColumnMap
from pgdr.surgery.home import OnConflict

if TYPE_CHECKING:
    from scripts.tests.integration.surgery.conftest import Pair, PairFactory

FIRST = "(select min(id) from shop.customers where tenant_id = 1)"


def _wait_for_hook(pair: Pair) -> None:
    """Wait until a restore runs the hook that sleeps: all rows are in place, nothing is committed."""
    until = time.monotonic() + 60
    query = "select count(*) from pg_stat_activity where application_name = 'pgdr surgery' and query like '%pg_sleep%'"
    while not pair.value(query):
        assert time.monotonic() < until
        time.sleep(0.02)


def _refused(pair: Pair, message: str) -> None:
    before = pair.image()
    with pytest.raises(RefusedError, match=message):
        pair.restore("1")
    assert pair.image() == before, "a refusal changed something"


def test_a_value_that_another_tenant_has_taken(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    email = pair.value(f"select email from shop.customers where id = {FIRST}")
    pair.run(f"update shop.customers set email = 'old' where id = {FIRST}")
    pair.run(
        f"update shop.customers set email = '{email}'"
        " where id = (select min(id) from shop.customers where tenant_id = 2)"
    )
    pair.run("delete from shop.events where tenant_id = 1")
    (conflict,) = pair.plan("1").plan.conflicts
    assert (conflict.trouble, conflict.table, conflict.rows) == (Trouble.TAKEN, "shop.customers", 1)
    _refused(pair, r"shop\.customers: 1 values that other rows have taken")
    report = pair.restore("1", on_conflict=OnConflict.SKIP)
    assert len(report.plan.settled) == 1
    assert pair.value(f"select email from shop.customers where id = {FIRST}") == "old"
    assert pair.value("select count(*) from shop.events where tenant_id = 1") == 5


def test_a_skipped_row_takes_its_children_with_it(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    email = pair.value(f"select email from shop.customers where id = {FIRST}")
    pair.run("delete from shop.lines; delete from shop.orders where tenant_id = 1")
    pair.run(f"delete from shop.customers where id = {FIRST}")
    pair.run(f"insert into shop.customers (tenant_id, email) values (2, '{email}')")
    pair.both("select 1")
    report = pair.restore("1", on_conflict=OnConflict.SKIP)
    skipped = {one.table: one.skipped for one in report.plan.tables if one.skipped}
    assert skipped == {"shop.customers": 1, "shop.orders": 3, "shop.lines": 6}
    assert pair.value("select count(*) from shop.orders where tenant_id = 1") == 27


def test_a_shared_row_that_is_gone_is_brought_back_on_request(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.both("insert into shop.currencies values ('XAU'); update shop.orders set currency = 'XAU' where id = 2")
    tenant = str(pair.value("select tenant_id from shop.orders where id = 2"))
    pair.run("delete from shop.lines where order_id = 2; delete from shop.orders where id = 2")
    pair.run("delete from shop.currencies where code = 'XAU'")
    (conflict,) = pair.plan(tenant).plan.conflicts
    assert (conflict.trouble, conflict.other, conflict.shared) == (Trouble.MISSING, "shop.currencies", True)
    with pytest.raises(RefusedError, match="--bring-shared"):
        pair.restore(tenant)
    report = pair.restore(tenant, bring_shared=True)
    assert [one.table for one in report.plan.tables if one.shared] == ["shop.currencies"]
    assert pair.value("select currency from shop.orders where id = 2") == "XAU"


def test_a_row_that_would_go_but_is_referred_to_by_another_tenant(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("insert into shop.customers (tenant_id, email) values (1, 'new')")
    pair.run(
        "update shop.customers set parent_id = (select id from shop.customers where email = 'new') where tenant_id = 2"
    )
    _refused(pair, r"shop\.customers: 1 rows that would go, but rows of shop\.customers refer to them")
    pair.restore("1", on_conflict=OnConflict.SKIP)
    assert pair.value("select count(*) from shop.customers where email = 'new'") == 1
    assert pair.plan("1", mode=Mode.KEEP_NEW).plan.ready


def test_modes(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("insert into shop.customers (tenant_id, email) values (1, 'new')")
    pair.run(f"update shop.customers set email = 'changed' where id = {FIRST}")
    pair.run("delete from shop.events where tenant_id = 1")
    pair.restore("1", mode=Mode.MISSING_ONLY)
    assert pair.value("select count(*) from shop.customers where email in ('new', 'changed')") == 2
    assert pair.value("select count(*) from shop.events where tenant_id = 1") == 5
    pair.restore("1", mode=Mode.KEEP_NEW)
    assert pair.rows("select email from shop.customers where email in ('new', 'changed')") == [("new",)]
    pair.restore("1")
    assert pair.value("select count(*) from shop.customers where email = 'new'") == 0


def test_columns_that_have_changed_are_shown_and_mapped(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run(
        "alter table shop.customers rename email to mail;"
        "alter table shop.customers add vip boolean not null default true;"
        "alter table shop.orders drop placed;"
        "update shop.customers set mail = 'x' || id, vip = false where tenant_id = 1;"
        "alter table shop.events alter what type varchar(10)"
    )
    _refused(
        pair, r"shop\.customers\.mail is new.*customers\.vip is new.*events\.what was text and is character varying"
    )
    table = {"schema": "shop", "table": "customers"}
    columns = ColumnMap.model_validate(
        {
            "columns": [
                {**table, "column": "mail", "from": "email"},
                {**table, "column": "vip"},
                {"schema": "shop", "table": "orders", "drop": "placed"},
                {"schema": "shop", "table": "events", "column": "what", "from": "what"},
            ]
        }
    )
    pair.run(
        "delete from shop.lines; delete from shop.orders where tenant_id = 1;"
        f"delete from shop.customers where id = {FIRST}"
    )
    pair.restore("1", columns=columns)
    assert pair.value("select count(*) from shop.customers where tenant_id = 1 and mail like 'c%@x'") == 10
    assert pair.value(f"select vip from shop.customers where id = {FIRST}") is True
    assert pair.value("select count(*) from shop.customers where tenant_id = 1 and not vip") == 9


def test_a_sequence_is_moved_on_and_never_back(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("delete from shop.lines; delete from shop.orders; select setval('shop.orders_id_seq', 3)")
    pair.run("select setval('shop.customers_id_seq', 5000)")
    pair.restore("1")
    highest = pair.value("select max(id) from shop.orders")
    assert pair.value("select nextval('shop.orders_id_seq')") == highest + 1
    assert pair.value("select nextval('shop.customers_id_seq')") == 5001


def test_a_trigger_that_fires_always_stops_it(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("alter table shop.lines enable always trigger total; delete from shop.lines")
    _refused(pair, r"trigger total fires ALWAYS")


def test_a_role_without_rights_is_told_which(new_pair: PairFactory, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = new_pair(shop)
    pair.run("delete from shop.lines")
    pair.cluster.execute("drop role if exists weak; create role weak login in role pg_read_all_data, pg_write_all_data")
    monkeypatch.setenv("PGUSER", "weak")
    before = pair.image()
    with pytest.raises(RefusedError, match="GRANT SET ON PARAMETER session_replication_role"):
        pair.restore("1")
    assert pair.image() == before
    pair.cluster.execute("grant set on parameter session_replication_role to weak")
    pair.restore("1")
    assert pair.value("select count(*) from shop.lines") == 60
    pair.run("alter table shop.orders enable row level security; delete from shop.lines")
    with pytest.raises(RefusedError, match="BYPASSRLS"):
        pair.restore("1")
    pair.cluster.execute("alter role weak bypassrls")
    pair.restore("1")
    assert pair.value("select count(*) from shop.lines") == 60


def test_a_row_that_somebody_holds_ends_it_after_the_timeout(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("update shop.customers set email = email || '!' where tenant_id = 1")
    before = pair.image()
    with pair.connect() as other, other.transaction():
        other.execute("update shop.customers set parent_id = id where tenant_id = 1")
        with pytest.raises(BusyError, match="somebody else holds rows"):
            pair.restore("1", lock_timeout="300ms")
        other.execute("rollback; begin")
    assert pair.image() == before


def test_new_rows_of_the_tenant_wait_at_the_gate(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("update shop.customers set email = email || '!' where tenant_id = 1")
    done: list[float] = []

    def arrive() -> None:
        with pair.connect() as other:
            _wait_for_hook(pair)
            other.execute("insert into shop.customers (tenant_id, email) values (1, 'late')")
            done.append(time.monotonic())

    # The hook holds the transaction open long enough.
    pair.tenancy = pair.tenancy.__class__.model_validate(
        {"column": "tenant_id", "hooks": [{"name": "slow", "sql": "select pg_sleep(1.5)"}]}
    )
    thread = threading.Thread(target=arrive)
    thread.start()
    report = pair.restore("1")
    ended = time.monotonic()
    thread.join()
    assert report.outcome is not None
    assert done
    assert done[0] >= ended - 0.3, "a new row of the tenant came in the middle"
    assert pair.value("select count(*) from shop.customers where tenant_id = 1") == 11


def test_a_row_that_comes_past_the_gate_is_noticed(new_pair: PairFactory, shop: str) -> None:
    """Events have no reference to the tenants: nothing holds them up, so the end must see them."""
    pair = new_pair(shop)
    pair.run("update shop.customers set email = email || '!' where tenant_id = 1")
    pair.tenancy = pair.tenancy.__class__.model_validate(
        {"column": "tenant_id", "hooks": [{"name": "slow", "sql": "select pg_sleep(1.5)"}]}
    )

    def arrive() -> None:
        _wait_for_hook(pair)
        with pair.connect() as other:
            other.execute("insert into shop.events values (1, 'late', now())")

    thread = threading.Thread(target=arrive)
    thread.start()
    with pytest.raises(BusyError, match=r"shop\.events: 6 rows .* the tenant has written meanwhile"):
        pair.restore("1")
    thread.join()
    assert pair.value("select count(*) from shop.customers where tenant_id = 1 and email like '%!'") == 10


def test_undo_and_undo_of_the_undo(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run(
        "delete from shop.lines; update shop.customers set email = email || '!' where tenant_id = 1;"
        "insert into shop.events values (1, 'new', null), (1, 'new', null)"
    )
    damaged = pair.image()
    report = pair.restore("1")
    restored = pair.image()
    first = pair.undo(report.operation)
    assert pair.image() == damaged
    pair.undo(first)
    assert pair.image() == restored
    pair.run("update shop.lines set amount = 0 where no = 1")
    with pytest.raises(RefusedError, match=r"shop\.lines: 30 rows are not as the operation left them"):
        pair.undo(report.operation)


def test_a_check_that_the_past_breaks_is_named(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run(
        "delete from shop.events where tenant_id = 1;"
        "alter table shop.events add constraint no_same check (what <> 'same' or tenant_id = 2)"
    )
    before = pair.image()
    with pytest.raises(OperationFailedError, match=r"shop\.events: .*no_same.*nothing was changed"):
        pair.restore("1")
    assert pair.image() == before


def test_two_restores_at_once_are_one_too_many(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("delete from shop.lines")
    with pair.connect() as other, other.transaction():
        other.execute("select pg_advisory_xact_lock(hashtextextended('pgdr surgery', 0))")
        with pytest.raises(BusyError, match="other row surgery"):
            pair.restore("1")
    assert pair.value("select count(*) from shop.lines") == 0
