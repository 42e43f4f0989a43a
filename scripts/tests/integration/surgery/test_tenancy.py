"""Untidy ownership: what the catalog cannot say, the policy does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgdr.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from scripts.tests.integration.surgery.conftest import Pair, PairFactory

OFFICE = """
create schema o;
create table o.tenants (code varchar(20) primary key, name text);
create table o.orders (id int primary key, company varchar(20) not null references o.tenants, note text);
create table o.invoices (id int primary key, company varchar(20) not null references o.tenants);
create table o.attachments (
    id int primary key, order_id int references o.orders, invoice_id int references o.invoices, body text);
create table o.pages (attachment_id int not null references o.attachments, no int, body text);
create table o.folders (id int primary key, parent_id int references o.folders, order_id int references o.orders);
create table o.messages (id int primary key, ref text, body text);
create table o.likes (res_model text, res_id bigint, who text);
create table o.orders_history (order_id int, note text);
create table o.tags (id int primary key, company varchar(20), order_id int, name text);
create table o.tree (
    id int primary key, company varchar(20) not null, parent_id int references o.tree, lft int, rgt int);
insert into o.tenants values ('acme', 'Acme'), ('beta', 'Beta');
insert into o.orders select i, case when i % 2 = 0 then 'acme' else 'beta' end, 'n' || i from generate_series(1, 20) i;
insert into o.invoices select i, case when i % 2 = 0 then 'acme' else 'beta' end from generate_series(1, 10) i;
insert into o.attachments
    select i, case when i <= 10 then i end, case when i > 10 then i - 10 end, 'b' from generate_series(1, 20) i;
insert into o.pages select i, n, 'p' from generate_series(1, 20) i, generate_series(1, 2) n;
insert into o.folders select i, null, i from generate_series(1, 4) i;
insert into o.folders select i, i - 4, null from generate_series(5, 12) i;
insert into o.messages select i, 'o.order,' || i, 'm' from generate_series(1, 10) i;
insert into o.messages select i, 'o.invoice,' || i - 10, 'm' from generate_series(11, 20) i;
insert into o.messages values (99, 'o.unknown,4', 'nobody'), (98, null, 'nobody');
insert into o.likes select 'o.order', i, 'w' from generate_series(1, 10) i, generate_series(1, 2);
insert into o.orders_history select i, 'old' from generate_series(1, 10) i, generate_series(1, 2);
insert into o.tags values
    (1, 'acme', null, 'a'), (2, null, 2, 'by parent'), (3, null, 3, 'by parent'), (4, null, null, 's');
insert into o.tree select i, case when i % 2 = 0 then 'acme' else 'beta' end, case when i > 2 then i - 2 end, i, i + 100
    from generate_series(1, 8) i;
"""
POLICY = {
    "column": "company",
    "tables": [{"schema": "o", "table": "tags", "column": "company", "null": "parents"}],
    "references": [
        {"schema": "o", "table": "orders_history", "columns": ["order_id"],
         "to": {"schema": "o", "table": "orders", "columns": ["id"]}},
        {"schema": "o", "table": "tags", "columns": ["order_id"],
         "to": {"schema": "o", "table": "orders", "columns": ["id"]}},
    ],
    "polymorphic": [
        {"schema": "o", "table": "messages", "column": "ref", "models": [
            {"name": "o.order", "schema": "o", "table": "orders"},
            {"name": "o.invoice", "schema": "o", "table": "invoices"}]},
        {"schema": "o", "table": "likes", "column": "res_model", "id_column": "res_id", "models": [
            {"name": "o.order", "schema": "o", "table": "orders"}]},
    ],
}  # fmt: skip


@pytest.fixture
def office(new_pair: PairFactory) -> Pair:
    return new_pair(OFFICE, **POLICY)


def test_the_plan_counts_what_belongs_to_a_tenant_on_every_path(office: Pair) -> None:
    plan = office.plan("acme").plan
    assert {one.table: one.unchanged for one in plan.tables} == {
        "o.tenants": 1,
        "o.orders": 10,
        "o.invoices": 5,
        "o.attachments": 10,
        "o.pages": 20,
        "o.folders": 6,
        "o.messages": 10,
        "o.likes": 10,
        "o.orders_history": 10,
        "o.tags": 2,
        "o.tree": 4,
    }


def test_everything_comes_back_and_nothing_else_moves(office: Pair) -> None:
    office.run(
        "delete from o.likes where res_id % 2 = 0; delete from o.messages where id in (2, 14);"
        "update o.messages set ref = null where id = 4; update o.pages set body = 'x' where attachment_id % 2 = 0;"
        "delete from o.pages where attachment_id = 2; delete from o.folders where id in (6, 10, 2, 8, 12, 4);"
        "update o.attachments set invoice_id = null where id = 12; delete from o.orders_history where order_id = 2;"
        "insert into o.orders_history values (4, 'new'); delete from o.tags where id in (1, 2);"
        "update o.attachments set body = 'theirs' where id = 1; insert into o.likes values ('o.order', 3, 'new')"
    )
    theirs = ["o.attachments", "o.likes"]
    damaged = office.image()
    office.restore("acme")
    after, then = office.image(), office.image(office.past)
    for table in after:
        if table not in theirs:
            assert after[table] == then[table], table
    assert [row for row in damaged["o.likes"] if "new" in row] == [row for row in after["o.likes"] if "new" in row]
    assert office.value("select body from o.attachments where id = 1") == "theirs"


def test_a_row_that_two_tenants_claim_is_shown_until_the_policy_decides(new_pair: PairFactory) -> None:
    pair = new_pair(OFFICE, **POLICY)
    pair.both("update o.attachments set invoice_id = 1 where id = 2")
    pair.run("delete from o.pages")
    with pytest.raises(RefusedError, match=r"o\.attachments: 1 rows of the past are claimed by another tenant.*owners"):
        pair.restore("acme")
    decided = new_pair(OFFICE, **POLICY, owners=[{"schema": "o", "table": "attachments", "by": [["order_id"]]}])
    decided.both("update o.attachments set invoice_id = 1 where id = 2")
    decided.run("delete from o.pages where attachment_id <= 10")
    decided.restore("acme")
    assert decided.value("select count(*) from o.pages where attachment_id = 2") == 2
    assert decided.value("select count(*) from o.pages where attachment_id = 1") == 0


def test_a_history_only_grows(new_pair: PairFactory) -> None:
    pair = new_pair(OFFICE, **POLICY, history=[{"schema": "o", "table": "orders_history"}])
    pair.run("delete from o.orders_history where order_id = 2; insert into o.orders_history values (4, 'after')")
    report = pair.restore("acme")
    (table,) = [one for one in report.plan.tables if one.table == "o.orders_history"]
    assert (table.inserts, table.deletes, table.kept) == (2, 0, 1)
    assert pair.value("select count(*) from o.orders_history where note = 'after'") == 1
    assert pair.value("select count(*) from o.orders_history where order_id = 2") == 2


def test_a_hook_renumbers_a_tree(new_pair: PairFactory) -> None:
    hook = {
        "name": "renumber",
        "sql": "update o.tree set lft = s.n, rgt = s.n + 1 from (select id, 1000 + row_number() over (order by id) as n"
        " from o.tree where company = current_setting('pgdr.tenant')) as s where s.id = tree.id",
        "tables": [{"schema": "o", "table": "tree", "columns": ["lft", "rgt"]}],
    }
    pair = new_pair(OFFICE, **POLICY, hooks=[hook])
    pair.run("delete from o.tree where id = 8")
    pair.restore("acme")
    assert pair.rows("select lft from o.tree where company = 'acme' order by id") == [
        (1001,),
        (1002,),
        (1003,),
        (1004,),
    ]
    assert pair.rows("select lft from o.tree where company = 'beta' order by id") == [(1,), (3,), (5,), (7,)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"shared": [{"schema": "o", "table": "Orders"}]}, "no table 'Orders' in schema 'o'"),
        ({"owners": [{"schema": "o", "table": "pages", "by": [["no"]]}]}, r"o\.pages has no reference by \(no\)"),
        ({"tables": [{"schema": "o", "table": "tags", "column": "x"}]}, r"o\.tags has no column 'x'"),
    ],
)
def test_a_policy_that_names_what_is_not_there_is_refused(
    new_pair: PairFactory, more: dict[str, object], message: str
) -> None:
    pair = new_pair(OFFICE, **{**POLICY, **more})
    with pytest.raises(ConfigError, match=message):
        pair.plan("acme")
