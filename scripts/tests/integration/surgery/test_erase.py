"""A tenant goes for good, and no restore brings it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgdr.errors import NotProvenError, RefusedError
from pgdr.surgery import erase
from pgdr.surgery.ledger import Ledger

if TYPE_CHECKING:
    from scripts.tests.integration.surgery.conftest import Pair, PairFactory


def _request(pair: Pair, database: str | None = None) -> erase.Request:
    return erase.Request(pair.host, pair.tenancy, database or pair.live)


def test_all_rows_of_the_tenant_go_and_no_other(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    ledger = Ledger(pair.host)
    plan, outcome = erase.erase_tenant(_request(pair), "1", ledger, plan_only=True)
    assert outcome is None
    assert plan.ready
    assert pair.image() == pair.image(pair.past), "a plan changed something"
    _, outcome = erase.erase_tenant(_request(pair), "1", ledger, plan_only=False)
    assert outcome is not None
    assert outcome.changed == plan.changes > 50
    after, before = pair.image(), pair.image(pair.past)
    mine = {str(row[0]) for row in pair.rows("select id from shop.orders where tenant_id = 1", pair.past)}
    assert mine
    assert after.pop("shop.currencies") == before.pop("shop.currencies")
    for table, rows in before.items():
        place = 0 if table in {"shop.tenants", "shop.events", "shop.audit"} else 1
        theirs = [row for row in rows if row[1:-1].split(",")[place] != "1"]
        if table == "shop.lines":
            theirs = [row for row in rows if row[1:].split(",")[0] not in mine]
        assert after[table] == theirs, table


def test_the_ledger_names_nobody_and_a_restored_database_is_cleaned_again(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.both("update shop.tenants set name = 'Mrs Secret' where id = 1")
    ledger = Ledger(pair.host)
    erase.erase_tenant(_request(pair), "1", ledger, plan_only=False)
    assert "Secret" not in ledger.path.read_text()
    assert [one.state for one in ledger.erasures()] == ["done"]
    assert ledger.erasures()[0].subject != ledger.subject("2")
    # The past is what a restore would bring.
    found = erase.replay(_request(pair, pair.past), Ledger(pair.host))
    assert found.removed == {1: 166}
    assert pair.value("select count(*) from shop.orders where tenant_id = 1", pair.past) == 0
    assert pair.value("select count(*) from shop.orders where tenant_id = 2", pair.past) == 30
    assert erase.replay(_request(pair, pair.past), ledger).removed == {}


def test_a_replay_that_cannot_finish_fails(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    ledger = Ledger(pair.host)
    erase.erase_tenant(_request(pair), "1", ledger, plan_only=False)
    pair.cluster.execute(
        "create table shop.blocks (id int primary key references shop.tenants);"
        "insert into shop.blocks values (1); create table shop.foreign (c bigint references shop.customers);"
        "insert into shop.foreign select id from shop.customers where tenant_id = 1 limit 1;"
        "alter table shop.foreign add tenant_id int; update shop.foreign set tenant_id = 2",
        pair.past,
    )
    with pytest.raises(RefusedError, match="refer to them"):
        erase.replay(_request(pair, pair.past), ledger)
    assert pair.value("select count(*) from shop.orders where tenant_id = 1", pair.past) == 30


def test_a_ledger_that_was_changed_or_lost_its_key_is_not_believed(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    ledger = Ledger(pair.host)
    erase.erase_tenant(_request(pair), "1", ledger, plan_only=False)
    whole = ledger.path.read_text()
    ledger.path.write_text(whole.replace('"rows":166', '"rows":165'))
    with pytest.raises(NotProvenError, match="was edited"):
        erase.replay(_request(pair, pair.past), ledger)
    ledger.path.write_text(whole)
    (pair.host.state_directory / "erasures.key").unlink()
    with pytest.raises(NotProvenError, match="key"):
        erase.replay(_request(pair, pair.past), Ledger(pair.host))


def test_rows_of_others_that_refer_to_the_tenant_stop_an_erasure(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    pair.run("update shop.customers set parent_id = 1 where id = 2 and 1 in (select id from shop.customers)")
    tenant = str(pair.value("select tenant_id from shop.customers where id = 1"))
    before = pair.image()
    with pytest.raises(RefusedError, match=r"shop\.customers: 1 rows that would go, but rows of shop\.customers"):
        erase.erase_tenant(_request(pair), tenant, Ledger(pair.host), plan_only=False)
    assert pair.image() == before
    assert Ledger(pair.host).erasures() == []
