"""A tenant's rows go by accident; plays bring them back, take that back, and bring a table back, under load.

The proof is arithmetic: reference before the load + what the load's own ledger says = what is there, for every table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from drill.client import ErpClient
from drill.host import Host
from drill.running import until

MAP = "/var/lib/postgresql/map.yml"
ORDERS = "SELECT count(*) FROM sales.orders WHERE tenant_id = '{0}'"
LINES = "SELECT count(*) FROM sales.order_lines l JOIN sales.orders o ON o.id = l.order_id WHERE o.tenant_id = '{0}'"
RENAMED = "SELECT count(*) FROM core.partners WHERE tenant_id = '{0}' AND name LIKE '% (gone)'"
# As a script that somebody wrote in a hurry does it: no trigger of the ERP sees it, so that nothing else is changed.
ACCIDENT = """
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM sales.order_lines l USING sales.orders o WHERE o.id = l.order_id AND o.tenant_id = '{0}';
UPDATE core.partners SET name = name || ' (gone)' WHERE tenant_id = '{0}';
COMMIT;
"""


def _goes_on(erp: ErpClient) -> None:
    """The load commits more transactions after this moment."""
    assert erp.writes, "the load has ended"
    before = erp.committed()
    until("the load goes on", lambda: erp.committed() > before + 5, 30)


def _settled(erp: ErpClient, db1: Host) -> list[str]:
    """Pause the load, and compare every table with reference and ledger; what differs."""
    erp.pause()
    try:
        return erp.prove("db1", db1.sql("SELECT pg_current_wal_lsn()")).faults
    finally:
        erp.resume()


@pytest.fixture(scope="module")
def damaged(erp: ErpClient, db1: Host, victim: str) -> int:
    """The accident; how many lines the tenant had."""
    until("the load works", lambda: erp.committed() > 20, 60)
    lines = int(db1.sql(LINES.format(victim)))
    assert lines > 100
    db1.sql(ACCIDENT.format(victim))
    assert db1.sql(LINES.format(victim)) == "0"
    return lines


@pytest.mark.step
def test_the_plan_shows_what_would_come_back_and_changes_nothing(
    plays: Any, db1: Host, erp: ErpClient, victim: str, damaged: int
) -> None:
    said = plays.succeed("restore-tenant.yml", tenant=victim, plan_only=True, restore_confirm="")
    assert re.search(rf"sales\.order_lines +{damaged} +0 +0 ", said), said
    assert "core.partners" in said
    assert db1.sql(LINES.format(victim)) == "0"


def test_without_consent_or_with_a_name_that_is_none_nothing_is_changed(
    plays: Any, db1: Host, victim: str, damaged: int
) -> None:
    assert "is not the name of this cluster" in plays.error("restore-tenant.yml", tenant=victim, restore_confirm="erp")
    assert "Say which tenant" in plays.error("restore-tenant.yml", restore_confirm="erp-lab")
    hostile = "x'; drop table sales.orders; --"
    assert "uuid" in plays.error("restore-tenant.yml", tenant=hostile, restore_confirm="erp-lab")
    assert db1.sql(LINES.format(victim)) == "0"


@pytest.mark.step
def test_the_tenant_comes_back_while_all_others_write(
    plays: Any, db1: Host, erp: ErpClient, victim: str, damaged: int
) -> None:
    before = erp.committed()
    said = plays.succeed("restore-tenant.yml", tenant=victim)
    assert "to take it back" in said
    assert int(db1.sql(LINES.format(victim))) == damaged
    assert erp.committed() > before, "nobody wrote meanwhile"
    _goes_on(erp)
    assert _settled(erp, db1) == []


@pytest.mark.step
def test_it_is_taken_back_and_done_again(plays: Any, db1: Host, erp: ErpClient, victim: str, damaged: int) -> None:
    operations = db1.pgdr("tenant", "operations").stdout
    operation = re.findall(r"\d{8}T\d{6}-[0-9a-f]{6}", operations)[-1]
    plays.succeed("restore-tenant.yml", undo=operation)
    assert db1.sql(LINES.format(victim)) == "0"
    assert sorted(_settled(erp, db1)) == ["table differs: core.partners", "table differs: sales.order_lines"]
    _goes_on(erp)


@pytest.mark.step
def test_a_table_comes_back_and_its_neighbours_stay(
    plays: Any, db1: Host, erp: ErpClient, victim: str, damaged: int
) -> None:
    """Only what is gone: the names of the partners stay as the accident left them."""
    plays.succeed("restore-table.yml", tables="sales.order_lines", mode="missing-only")
    assert int(db1.sql(LINES.format(victim))) == damaged
    assert int(db1.sql(RENAMED.format(victim))) > 0
    plays.succeed("restore-tenant.yml", tenant=victim)
    assert db1.sql(RENAMED.format(victim)) == "0"
    _goes_on(erp)
    assert _settled(erp, db1) == []


@pytest.fixture(scope="module")
def past(db1: Host, erp: ErpClient) -> Iterator[str]:
    """A side instance of this moment."""
    position = db1.sql("SELECT pg_current_wal_lsn()")
    closed = db1.sql("SELECT pg_walfile_name(pg_switch_wal())")
    archived = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    until("the segment is archived", lambda: db1.sql(archived) >= closed, 60)
    db1.pgdr("side", "start", "--name", "tuesday", "--repo", "1", "--target-lsn", position)
    yield "tuesday"
    db1.pgdr("side", "stop", "tuesday")


@pytest.mark.parametrize(
    ("play", "what"),
    [
        ("restore-schema.yml", {"schema": "sales"}),
        ("restore-database.yml", {}),
        ("restore-table.yml", {"tables": "sales.order_lines", "mode": "missing-only"}),
    ],
)
def test_the_other_plays_plan_from_a_point_in_time_without_a_change(
    plays: Any, erp: ErpClient, past: str, play: str, what: dict[str, str]
) -> None:
    said = plays.succeed(play, plan_only=True, restore_confirm="", side_name=past, **what)
    assert "nothing was changed" in said
    assert erp.writes


def test_a_map_says_what_becomes_of_columns(plays: Any, db1: Host, erp: ErpClient) -> None:
    what = {"tables": "purchase.order_lines", "mode": "missing-only", "plan_only": True, "column_map": MAP}
    # A table that the load does not write to: its ledger knows rows by all their columns.
    db1.sql("ALTER TABLE purchase.order_lines ADD COLUMN channel text")
    try:
        for column, fits in (("no_such", False), ("channel", True)):
            db1.postgres("tee", MAP, input=f"columns: [{{schema: purchase, table: order_lines, column: {column}}}]\n")
            if fits:
                assert "nothing was changed" in plays.succeed("restore-table.yml", **{**what, "restore_confirm": ""})
            else:
                assert column in plays.error("restore-table.yml", **what)
    finally:
        db1.sql("ALTER TABLE purchase.order_lines DROP COLUMN channel")
    assert erp.writes
