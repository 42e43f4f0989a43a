"""One tenant goes back; nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster
    from scripts.tests.integration.surgery.conftest import Pair, PairFactory


def test_damage_of_every_kind_is_undone_for_one_tenant_only(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    before = pair.image()
    with pair.connect() as live:
        live.execute("delete from shop.lines where order_id in (select id from shop.orders where tenant_id = 1)")
        live.execute("delete from shop.orders where tenant_id = 1 and id % 2 = 0")
        live.execute("update shop.customers set email = email || '.wrong' where tenant_id = 1")
        live.execute("insert into shop.customers (tenant_id, email) values (1, 'new@x')")
        live.execute("delete from shop.events where tenant_id = 1 and ctid in (select ctid from shop.events limit 3)")
        live.execute(
            "insert into shop.orders (tenant_id, customer_id) select 2, id from shop.customers where tenant_id = 2"
        )
    others = pair.image()
    plan = pair.plan("1").plan
    assert plan.ready, plan
    report = pair.restore("1")
    assert report.outcome is not None
    assert report.outcome.changed > 0
    for table, rows in pair.image().items():
        mine, theirs = _split(table, rows, pair)
        was_mine, _ = _split(table, before[table], pair)
        _, was_theirs = _split(table, others[table], pair)
        assert mine == was_mine, table
        assert theirs == was_theirs, table
    assert pair.restore("1").outcome is None


def _split(table: str, rows: list[str], pair: Pair) -> tuple[list[str], list[str]]:
    """Rows of tenant 1, and all others."""
    if table in {"shop.currencies"}:
        return [], rows
    if table == "shop.lines":
        mine = {str(row[0]) for row in pair.rows("select id from shop.orders where tenant_id = 1")}
        return _part(rows, lambda row: row[1:].split(",")[0] in mine)
    place = {"shop.tenants": 0, "shop.events": 0, "shop.audit": 0}.get(table, 1)
    return _part(rows, lambda row: row[1:-1].split(",")[place] == "1")


def _part(rows: list[str], mine: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    return [r for r in rows if mine(r)], [r for r in rows if not mine(r)]


def test_an_unknown_tenant_is_refused(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop)
    with pytest.raises(RefusedError, match="holds no row of tenant '7'"):
        pair.restore("7")
    with pytest.raises(RefusedError, match="is no integer"):
        pair.restore("one")


def test_postgresql_18_with_virtual_columns_and_keys_that_are_not_enforced(
    new_pair: PairFactory, shop: str, pg18: Cluster
) -> None:
    pair = new_pair(
        shop + "alter table shop.orders add double_total numeric generated always as (total * 2) virtual;"
        "alter table shop.orders add loose bigint references shop.customers not enforced;"
        "update shop.orders set loose = 999999 where id = 1",
        cluster=pg18,
    )
    before = pair.image()
    pair.run("delete from shop.lines; delete from shop.orders; update shop.customers set email = 'x' || id")
    for tenant in ("1", "2"):
        assert pair.restore(tenant).outcome is not None
    after = pair.image()
    assert {**after, "shop.audit": []} == {**before, "shop.audit": []}
