"""The ERP sample: one tenant loses most of its data and gets it back while all others keep writing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from erp.create import Wanted, create
from pgdr.policy.load import load_policy
from pgdr.surgery import restore
from pgdr.surgery.home import Choices
from pgdr.surgery.restore import Request
from pgdr.surgery.source import LocalDatabase

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster

ROOT = Path(__file__).parents[4]
LIVE, PAST, TEMPLATE = "erp_live", "erp_past", "erp_template"


@pytest.fixture(scope="module")
def erp(pg16: Cluster) -> Iterator[Cluster]:
    """The sample, made once."""
    pg16.create_database(TEMPLATE)
    create(
        Wanted(f"host={pg16.folder} port={pg16.port} user=postgres dbname={TEMPLATE}", 20, 6, extensions=False),
        lambda _phase, _done, _total: None,
    )
    yield pg16
    for name in (LIVE, PAST, TEMPLATE):
        pg16.execute(f"drop database if exists {name} with (force)")


@pytest.fixture
def both(erp: Cluster) -> Cluster:
    """Today and the past, equal."""
    for name in (LIVE, PAST):
        erp.execute(f"drop database if exists {name} with (force)")
        erp.create_database(name, TEMPLATE)
    return erp


@dataclass
class Writer:
    """Another tenant's honest work, as fast as it can: triggers, generated columns, sequences, references.

    Attributes:
        committed: how many partners it has made.
        errors: what went wrong.
        slowest: seconds of its longest transaction.
    """

    cluster: Any
    tenants: list[str]
    committed: int = 0
    slowest: float = 0.0
    errors: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Work until told to stop."""
        with self.cluster.connect(LIVE) as connection:
            while not self.stop.is_set():
                tenant = self.tenants[self.committed % len(self.tenants)]
                try:
                    with connection.transaction():
                        self._work(connection, tenant)
                except psycopg.Error as error:
                    self.errors.append(str(error))
                    return
                self.committed += 1

    def _work(self, connection: psycopg.Connection[Any], tenant: str) -> None:
        connection.execute(
            "insert into core.partners (tenant_id, code, name, country_code)"
            " select %s, 'W' || %s, 'writer', code from core.countries limit 1",
            (tenant, self.committed),
        )
        connection.execute(
            "insert into sales.order_lines (order_id, line_no, product_id, quantity, unit_price)"
            " select o.id, 1000 + %s, p.id, 1, 9.99 from sales.orders o, inventory.products p"
            " where o.tenant_id = %s and p.tenant_id = %s order by o.id, p.id limit 1",
            (self.committed, tenant, tenant),
        )
        connection.execute(
            "update inventory.stock set on_hand = on_hand + 1 where (warehouse_id, product_id) ="
            " (select warehouse_id, product_id from inventory.stock where tenant_id = %s limit 1)",
            (tenant,),
        )


_TENANT_TABLES = """
select c.oid::regclass::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace::regnamespace::text !~ '^pg_' order by 1
"""
_CHILDREN = {
    "sales.order_lines": "(select tenant_id from sales.orders o where o.id = x.order_id)",
    "financial.journal_lines": "(select tenant_id from financial.journal_entries e where e.id = x.entry_id)",
    "core.addresses": "(select tenant_id from core.partners p where p.id = x.partner_id)",
    "core.partner_contacts": "(select tenant_id from core.partners p where p.id = x.partner_id)",
    "projects.tasks": "(select tenant_id from projects.projects p where p.id = x.project_id)",
    "auth.sessions": "(select tenant_id from auth.users u where u.id = x.user_id)",
    "inventory.lots": "(select tenant_id from inventory.products p where p.id = x.product_id)",
}


def _digests(cluster: Cluster, database: str, tenant: str, *, others: bool) -> dict[str, tuple[int, str]]:
    """Rows and content of each table, of one tenant or of all others."""
    found = {}
    with cluster.connect(database) as connection:
        tables = [row[0] for row in connection.execute(_TENANT_TABLES.encode()).fetchall()]
        owners = {**dict.fromkeys(tables, "x.tenant_id"), **_CHILDREN, "core.tenants": "x.id"}
        for table, owner in owners.items():
            sign = "is distinct from" if others else "="
            row = connection.execute(
                f"select count(*), coalesce(md5(string_agg(x::text, '|' order by x::text)), '')"
                f" from {table} x where {owner} {sign} '{tenant}'::uuid".encode()
            ).fetchone()
            assert row is not None
            found[table] = (row[0], row[1])
    return found


def _accident(cluster: Cluster, tenant: str) -> None:
    """A script that was meant for the test system: triggers and cascades fire, the audit trail tells of it."""
    with cluster.connect(LIVE) as connection, connection.transaction():
        for statement in (
            "delete from sales.shipments where order_id in (select id from sales.orders where tenant_id = %(t)s)",
            "delete from financial.payments where tenant_id = %(t)s",
            "delete from financial.invoices where tenant_id = %(t)s",
            "update inventory.stock_moves set order_id = null where tenant_id = %(t)s",
            "delete from sales.orders where tenant_id = %(t)s",
            "update core.partners set name = 'X', tags = '{}' where tenant_id = %(t)s",
            "update core.employees set manager_id = null where tenant_id = %(t)s",
            "update financial.accounts set parent_id = null, name = name || '!' where tenant_id = %(t)s",
            "delete from projects.timesheets where tenant_id = %(t)s",
            "update projects.tasks set parent_task_no = null where project_id in"
            " (select id from projects.projects where tenant_id = %(t)s)",
            "delete from projects.projects where tenant_id = %(t)s",
            "delete from analytics.events_raw where tenant_id = %(t)s and value > 0",
            "insert into core.tags (tenant_id, name) values (%(t)s, 'after')",
            "delete from auth.api_keys where tenant_id = %(t)s",
            'delete from inventory."Größentabelle" where tenant_id = %(t)s',
        ):
            connection.execute(statement.encode(), {"t": tenant})


def test_a_tenant_comes_back_while_all_others_keep_writing(both: Cluster, tmp_path: Path) -> None:
    policy = load_policy(ROOT / "inventories/lab/group_vars/all/policy.yml")
    assert policy.tenancy is not None
    with both.connect(LIVE) as connection:
        tenants = [str(row[0]) for row in connection.execute("select id from core.tenants order by code").fetchall()]
    mine, others = tenants[0], tenants[1:]
    _accident(both, mine)
    damaged = _digests(both, LIVE, mine, others=True)
    audit = damaged.pop("system.audit_logs")
    writer = Writer(both, others)
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        host = both.host(tmp_path, LIVE)
        request = Request(host, policy.tenancy, LocalDatabase(host, PAST), mine, LIVE)
        report = restore.restore_tenant(request, Choices(), plan_only=False)
    finally:
        writer.stop.set()
        thread.join()
    assert writer.errors == []
    assert writer.committed > 3, "the others could not work"
    assert report.outcome is not None
    now, then = _digests(both, LIVE, mine, others=False), _digests(both, PAST, mine, others=False)
    # The audit trail keeps what it has been told: it is a history by the policy.
    assert now.pop("system.audit_logs")[0] > then.pop("system.audit_logs")[0]
    assert now == then
    theirs = _digests(both, LIVE, mine, others=True)
    touched = {"core.partners", "sales.order_lines", "sales.orders", "inventory.stock", "system.audit_logs"}
    assert theirs.pop("system.audit_logs")[0] > audit[0]
    for table in damaged.keys() - touched:
        assert theirs[table] == damaged[table], table
    assert theirs["core.partners"][0] == damaged["core.partners"][0] + writer.committed
    assert theirs["sales.order_lines"][0] == damaged["sales.order_lines"][0] + writer.committed
    again = restore.restore_tenant(request, Choices(), plan_only=True)
    assert again.plan.changes == 0
