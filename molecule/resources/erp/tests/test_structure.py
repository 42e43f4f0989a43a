"""The sample has what makes an ERP hard to back up and to take apart: asked of the catalogs."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from erp.create import SCHEMAS
from erp.database import Connection
from erp.tests.cluster import Cluster
from erp.tests.conftest import TENANTS, Sample

# Tables that the requirement names.
NAMED = {"auth.users", "core.partners", "sales.orders", "system.audit_logs", "financial.accounts"}


@pytest.fixture
def catalog(cluster: Cluster, sample: Sample) -> Iterator[Connection]:
    """A superuser's connection to the sample, read only."""
    with psycopg.connect(cluster.dsn(sample.database)) as connection:
        connection.read_only = True
        yield connection


def _names(catalog: Connection, query: str) -> set[str]:
    """Names of relations for which a condition on ``c`` (pg_class) holds."""
    rows = catalog.execute(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"  # noqa: S608
        f" WHERE n.nspname = ANY(%s) AND ({query})".encode(),
        (list(SCHEMAS),),
    )
    return {name for (name,) in rows}


def test_nine_schemas_with_tables(catalog: Connection) -> None:
    tables = _names(catalog, "c.relkind IN ('r', 'p') AND NOT c.relispartition")

    assert {table.split(".")[0] for table in tables} == set(SCHEMAS)
    assert len(tables) >= 50
    assert tables >= NAMED


def test_tenants_everywhere_but_in_children_and_shared_tables(catalog: Connection) -> None:
    tables = _names(catalog, "c.relkind IN ('r', 'p') AND NOT c.relispartition")
    with_tenant = _names(
        catalog,
        "c.relkind IN ('r', 'p') AND NOT c.relispartition AND EXISTS (SELECT FROM pg_attribute a"
        " WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.atttypid = 'uuid'::regtype)",
    )
    assert len(with_tenant) > len(tables) / 2
    assert {"sales.order_lines", "financial.journal_lines", "core.addresses", "core.currencies"}.isdisjoint(with_tenant)


@pytest.mark.parametrize(
    "table",
    ["auth.roles", "core.documents", "core.tags", "financial.accounts", "financial.tax_rates", "sales.price_lists",
     "system.settings", "analytics.dashboards", "system.job_queue"],
)  # fmt: skip
def test_shared_rows_have_no_tenant(catalog: Connection, table: str) -> None:
    query = f"SELECT count(*) FILTER (WHERE tenant_id IS NULL), count(*) FROM {table}"  # noqa: S608 - see above

    row = catalog.execute(query.encode()).fetchone()

    assert row is not None
    assert 0 < row[0] < row[1]


def test_references_cross_schemas_and_close_a_cycle(catalog: Connection) -> None:
    pairs = catalog.execute(
        "SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, k.condeferred, cardinality(k.conkey)"
        " FROM pg_constraint k WHERE k.contype = 'f'"
    ).fetchall()
    crossing = {(a.split(".")[0], b.split(".")[0]) for a, b, _, _ in pairs if a.split(".")[0] != b.split(".")[0]}
    assert len(crossing) >= 15
    assert {a for a, b, _, _ in pairs if a == b} >= {"financial.accounts", "core.employees", "projects.tasks"}
    deferred = {(a, b) for a, b, is_deferred, _ in pairs if is_deferred}
    assert {("core.departments", "core.employees"), ("core.employees", "core.departments")} <= deferred
    assert any(columns == 2 for *_, columns in pairs)


def test_kinds_of_relations_and_columns(catalog: Connection) -> None:
    assert _names(catalog, "c.relkind = 'p'") == {"system.audit_logs"}
    assert len(_names(catalog, "c.relispartition AND c.relkind = 'r'")) == 25
    assert _names(catalog, "c.relkind = 'm'") == {"analytics.daily_sales"}
    assert len(_names(catalog, "c.relkind = 'v'")) >= 4
    assert len(_names(catalog, "c.relkind = 'S'")) >= 20
    attribute = "EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND c.relkind = 'r' AND {})"
    assert len(_names(catalog, attribute.format("a.attidentity = 'a'"))) >= 5
    assert len(_names(catalog, attribute.format("a.attidentity = 'd'"))) >= 10
    assert len(_names(catalog, attribute.format("a.attgenerated = 's'"))) >= 7
    for kind in ("jsonb", "json", "bytea", "text[]", "numeric[]", "inet", "point", "interval", "tstzrange", "daterange",
                 "float8", "financial.money_range", "core.percentage", "sales.order_status"):  # fmt: skip
        assert _names(catalog, attribute.format(f"a.atttypid = '{kind}'::regtype")), kind
    without_key = "c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
    assert "analytics.events_raw" in _names(catalog, without_key)
    assert _names(catalog, "c.relname ~ '[^a-z0-9_]' AND c.relkind = 'r'") == {"inventory.Größentabelle"}
    assert _names(catalog, attribute.format("a.attname = 'Kundenreferenz'")) == {"sales.orders"}
    methods = catalog.execute(
        "SELECT array_agg(DISTINCT m.amname::text) FROM pg_class c JOIN pg_am m ON m.oid = c.relam"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'i' AND n.nspname = ANY(%s)",
        (list(SCHEMAS),),
    ).fetchone()
    assert methods is not None
    assert set(methods[0]) == {"btree", "brin", "gin", "gist", "hash"}


def test_long_values_live_in_toast(catalog: Connection) -> None:
    row = catalog.execute(
        "SELECT pg_relation_size(reltoastrelid), pg_relation_size(oid) FROM pg_class"
        " WHERE oid = 'core.documents'::regclass"
    ).fetchone()
    assert row is not None
    assert row[0] > row[1] > 0


def test_audit_entries_are_in_partitions_and_in_the_default_one(catalog: Connection) -> None:
    parts: list[tuple[str, int]] = catalog.execute(
        "SELECT tableoid::regclass::text, count(*) FROM system.audit_logs GROUP BY 1"
    ).fetchall()

    assert len(parts) > 20
    assert dict(parts)["system.audit_logs_default"] > 0


def test_data_keeps_its_own_rules(catalog: Connection) -> None:
    """What no constraint says, but an accountant would."""
    for what, query in {
        "orders cost what their lines cost": "SELECT count(*) FROM sales.orders o WHERE net_amount <>"
        " (SELECT sum(amount) FROM sales.order_lines l WHERE l.order_id = o.id)",
        "journals balance": "SELECT count(*) FROM (SELECT FROM financial.journal_lines GROUP BY entry_id"
        " HAVING sum(debit) <> sum(credit)) x",
        "invoices are of their orders": "SELECT count(*) FROM financial.invoices i JOIN sales.orders o"
        " ON o.id = i.order_id WHERE o.gross_amount <> i.amount OR o.status <> 'invoiced'",
        "payments are as paid": "SELECT count(*) FROM financial.invoices i WHERE paid_amount <>"
        " (SELECT coalesce(sum(amount), 0) FROM financial.payments p WHERE p.invoice_id = i.id)",
        "lines stay with their tenant": "SELECT count(*) FROM sales.order_lines l"
        " JOIN sales.orders o ON o.id = l.order_id JOIN inventory.products p ON p.id = l.product_id"
        " WHERE p.tenant_id <> o.tenant_id",
        "accounts stay with their tenant": "SELECT count(*) FROM financial.journal_lines l"
        " JOIN financial.journal_entries e ON e.id = l.entry_id JOIN financial.accounts a ON a.id = l.account_id"
        " WHERE a.tenant_id IS DISTINCT FROM e.tenant_id",
    }.items():
        assert catalog.execute(query.encode()).fetchone() == (0,), what


def test_a_tenant_sees_its_own_rows_and_the_shared_ones(cluster: Cluster, sample: Sample, catalog: Connection) -> None:
    wanted = catalog.execute(
        "SELECT t.id, (SELECT count(*) FROM sales.orders o WHERE o.tenant_id = t.id),"
        " (SELECT count(*) FROM financial.accounts a WHERE a.tenant_id = t.id OR a.tenant_id IS NULL)"
        " FROM core.tenants t ORDER BY t.id LIMIT 1"
    ).fetchone()
    assert wanted is not None
    policies = catalog.execute("SELECT count(*) FROM pg_policy").fetchone()
    assert policies is not None
    assert policies[0] >= 35

    with psycopg.connect(cluster.dsn(sample.database, "erp_user")) as application:
        assert application.execute("SELECT count(*) FROM sales.orders").fetchone() == (0,)
        application.execute("SELECT set_config('erp.tenant_id', %s, true)", (str(wanted[0]),))
        assert application.execute("SELECT count(*) FROM sales.orders").fetchone() == (wanted[1],)
        assert application.execute("SELECT count(*) FROM financial.accounts").fetchone() == (wanted[2],)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("DELETE FROM system.audit_logs")


def test_most_orders_belong_to_few_tenants(catalog: Connection) -> None:
    shares = catalog.execute("SELECT count(*) FROM sales.orders GROUP BY tenant_id ORDER BY 1 DESC").fetchall()

    assert len(shares) == TENANTS
    assert shares[0][0] > 3 * shares[-1][0]


def test_sequences_go_on_after_the_data(cluster: Cluster, database: str) -> None:
    with psycopg.connect(cluster.dsn(database, "erp_owner")) as owner:
        row = owner.execute(
            "INSERT INTO core.partners (tenant_id, code, name, country_code)"
            " SELECT id, 'new', 'New Partner', 'DE' FROM core.tenants LIMIT 1"
            " RETURNING id, (SELECT max(id) FROM core.partners), name_key"
        ).fetchone()
        assert row is not None
        assert row[0] == row[1] + 1
        assert row[2] == "new partner"
