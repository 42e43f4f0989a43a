"""Read what the load needs to know of the tenants: some partners, products, users and stock rows of each."""

from __future__ import annotations

from uuid import UUID

from psycopg import sql

from erp.database import Connection
from erp.load.business import Tenant
from pgdr.errors import RefusedError

_TENANTS = 10
_EACH = 50
_HOT_STOCK = 6


def read_tenants(connection: Connection) -> tuple[Tenant, ...]:
    """Read a few tenants, always the same ones of a sample.

    Raises:
        RefusedError: the database holds no finished ERP sample.
    """
    found = connection.execute("SELECT to_regclass('system.erp_sample') IS NOT NULL").fetchone()
    complete = found and found[0] and connection.execute("SELECT complete FROM system.erp_sample").fetchone()
    if not (complete and complete[0]):
        raise RefusedError("the database holds no finished ERP sample", remedy="run `erp create` first")
    return tuple(_read_tenant(connection, tenant_id) for tenant_id in _tenant_ids(connection))


def _tenant_ids(connection: Connection) -> list[UUID]:
    rows = connection.execute("SELECT id FROM core.tenants ORDER BY id LIMIT %s", (_TENANTS,))
    return [tenant_id for (tenant_id,) in rows]


def _read_tenant(connection: Connection, tenant_id: UUID) -> Tenant:
    def some(table: str) -> tuple[object, ...]:
        query = sql.SQL("SELECT id FROM {} WHERE tenant_id = %s ORDER BY id LIMIT %s").format(
            sql.Identifier(*table.split("."))
        )
        return tuple(key for (key,) in connection.execute(query, (tenant_id, _EACH)))

    with connection.transaction():
        connection.execute("SELECT set_config('erp.tenant_id', %s, true)", (str(tenant_id),))
        stock = connection.execute(
            "SELECT warehouse_id, product_id FROM inventory.stock WHERE tenant_id = %s ORDER BY 2, 1 LIMIT %s",
            (tenant_id, _HOT_STOCK),
        ).fetchall()
        return Tenant(
            tenant_id=tenant_id,
            partners=some("core.partners"),  # type: ignore[arg-type]
            products=some("inventory.products"),  # type: ignore[arg-type]
            users=some("auth.users"),  # type: ignore[arg-type]
            hot_stock=tuple((warehouse, product) for warehouse, product in stock),
        )
