"""The transactions of the load: what each kind does, and which rows it touches.

Each kind locks in the same order: number sequence, order, invoice, partner, stock. So two of them rarely wait for
one another crosswise. Triggers add audit entries, totals, time stamps, the paid amount of an invoice and the balance
of a partner: these rows are named here as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from psycopg.types.json import Jsonb

from erp.database import Connection
from erp.load.deltas import Deltas, Rows

_DRAFT_SHARE = 0.35
_MOST_DELETED = 3


@dataclass(frozen=True)
class Tenant:
    """What the load needs to know of a tenant."""

    tenant_id: UUID
    partners: tuple[int, ...]
    products: tuple[int, ...]
    users: tuple[UUID, ...]
    hot_stock: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Order:
    """An order that this worker made, and the invoice that it made for it."""

    order_id: int
    tenant: Tenant
    partner_id: int
    invoice_id: int | None = None


@dataclass
class Memory:
    """What a worker knows to be committed. Only it touches these orders."""

    drafts: list[Order] = field(default_factory=list)
    confirmed: list[Order] = field(default_factory=list)
    invoiced: list[Order] = field(default_factory=list)


@dataclass(frozen=True)
class Done:
    """What a transaction did, before it is committed.

    Attributes:
        orders: sales orders that it is about.
        remember: to be called when it is committed.
    """

    orders: tuple[int, ...]
    remember: Callable[[], None]


@dataclass(frozen=True)
class Work:
    """All that a transaction works with."""

    connection: Connection
    deltas: Deltas
    choose: random.Random
    tenants: tuple[Tenant, ...]
    memory: Memory

    def enter(self, tenant: Tenant) -> None:
        """Act for one tenant until the end of the transaction; row-level security goes by it."""
        self.connection.execute("SELECT set_config('erp.tenant_id', %s, true)", (str(tenant.tenant_id),))


def _nothing() -> None:
    """A transaction that leaves nothing to remember."""


def _orders(*order_ids: int) -> Rows:
    return Rows("sales", "orders", "t.id = ANY(%s)", (list(order_ids),))


def _lines(*order_ids: int) -> Rows:
    return Rows("sales", "order_lines", "t.order_id = ANY(%s)", (list(order_ids),))


def new_order(work: Work) -> Done:
    """Enter an order with its lines; a part of them stay drafts."""
    choose = work.choose
    tenant = choose.choice(work.tenants)
    work.enter(tenant)
    partner = choose.choice(tenant.partners)
    draft = choose.random() < _DRAFT_SHARE
    row = work.connection.execute(
        "INSERT INTO sales.orders"
        ' (tenant_id, partner_id, price_list_id, created_by, status, shipping, "Kundenreferenz", notes)'
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        (
            tenant.tenant_id,
            partner,
            choose.randint(1, 3),
            choose.choice(tenant.users),
            "draft" if draft else "confirmed",
            Jsonb({"method": choose.choice(["parcel", "freight"]), "weight": choose.randint(1, 9000) / 100}),
            f"Bestellung Nº {choose.getrandbits(32):x}",
            "load " * choose.randint(0, 12) or None,
        ),
    ).fetchone()
    order_id = _id(row)
    products = choose.sample(tenant.products, k=min(choose.randint(1, 6), len(tenant.products)))
    work.connection.execute(
        "INSERT INTO sales.order_lines (order_id, line_no, product_id, quantity, unit_price, discount)"
        " SELECT %s, n, p, q, c / 100.0, d"
        " FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::integer[])"
        " WITH ORDINALITY AS lines (p, q, c, d, n)",
        (
            order_id,
            products,
            [choose.randint(1, 20) for _ in products],
            [choose.randint(100, 99_999) for _ in products],
            [choose.choice([0, 5, 10]) for _ in products],
        ),
    )
    work.deltas.add(_orders(order_id))
    work.deltas.add(_lines(order_id))
    order = Order(order_id, tenant, partner)
    return Done((order_id,), lambda: (work.memory.drafts if draft else work.memory.confirmed).append(order))


def invoice_order(work: Work) -> Done:
    """Invoice one of this worker's confirmed orders, with a number from a sequence without gaps."""
    order = work.choose.choice(work.memory.confirmed)
    tenant = order.tenant
    work.enter(tenant)
    work.deltas.lock(
        Rows("system", "number_sequences", "t.tenant_id = %s AND t.document = 'invoice'", (tenant.tenant_id,))
    )
    work.deltas.lock(_orders(order.order_id))
    row = work.connection.execute(
        "INSERT INTO financial.invoices (tenant_id, order_id, partner_id, number, amount)"
        " SELECT o.tenant_id, o.id, o.partner_id, system.next_number(o.tenant_id, 'invoice'), o.gross_amount"
        " FROM sales.orders o WHERE o.id = %s RETURNING id",
        (order.order_id,),
    ).fetchone()
    invoice_id = _id(row)
    work.connection.execute("UPDATE sales.orders SET status = 'invoiced' WHERE id = %s", (order.order_id,))
    work.deltas.add(Rows("financial", "invoices", "t.id = %s", (invoice_id,)))

    def remember() -> None:
        work.memory.confirmed.remove(order)
        work.memory.invoiced.append(Order(order.order_id, tenant, order.partner_id, invoice_id))

    return Done((order.order_id,), remember)


def pay_invoice(work: Work) -> Done:
    """Pay one of this worker's invoices; a trigger moves the invoice and the partner's balance."""
    order = work.choose.choice(work.memory.invoiced)
    work.enter(order.tenant)
    work.deltas.lock(Rows("financial", "invoices", "t.id = %s", (order.invoice_id,)))
    work.deltas.lock(Rows("core", "partners", "t.id = %s", (order.partner_id,)))
    row = work.connection.execute(
        "INSERT INTO financial.payments (tenant_id, invoice_id, amount, method, gateway_response)"
        " SELECT i.tenant_id, i.id, i.open_amount, %s, %s FROM financial.invoices i WHERE i.id = %s RETURNING id",
        (
            work.choose.choice(["transfer", "card", "debit"]),
            Jsonb({"trace": f"{work.choose.getrandbits(64):x}"}),
            order.invoice_id,
        ),
    ).fetchone()
    work.deltas.add(Rows("financial", "payments", "t.id = %s", (_id(row),)))
    return Done((order.order_id,), lambda: work.memory.invoiced.remove(order))


def move_stock(work: Work) -> Done:
    """Change a few stock rows that all workers fight for."""
    tenant = work.choose.choice(work.tenants)
    work.enter(tenant)
    places = work.choose.sample(tenant.hot_stock, k=min(work.choose.randint(1, 3), len(tenant.hot_stock)))
    warehouses, products = [place[0] for place in places], [place[1] for place in places]
    work.deltas.lock(
        Rows(
            "inventory",
            "stock",
            "(t.warehouse_id, t.product_id) IN (SELECT * FROM unnest(%s::integer[], %s::bigint[]))"
            " ORDER BY t.warehouse_id, t.product_id",
            (warehouses, products),
        )
    )
    quantity = work.choose.randint(-5, 5) or 1
    work.connection.execute(
        "UPDATE inventory.stock SET on_hand = on_hand + %s"
        " WHERE (warehouse_id, product_id) IN (SELECT * FROM unnest(%s::integer[], %s::bigint[]))",
        (quantity, warehouses, products),
    )
    moves = work.connection.execute(
        "INSERT INTO inventory.stock_moves (tenant_id, warehouse_id, product_id, quantity, reason)"
        " SELECT %s, w, p, %s, 'count' FROM unnest(%s::integer[], %s::bigint[]) AS places (w, p) RETURNING id",
        (tenant.tenant_id, quantity, warehouses, products),
    ).fetchall()
    work.deltas.add(Rows("inventory", "stock_moves", "t.id = ANY(%s)", ([move_id for (move_id,) in moves],)))
    return Done((), _nothing)


def delete_drafts(work: Work) -> Done:
    """Delete a few of this worker's own drafts; their lines go with them."""
    tenant = work.choose.choice(work.memory.drafts).tenant
    drafts = [order for order in work.memory.drafts if order.tenant is tenant][:_MOST_DELETED]
    order_ids = tuple(order.order_id for order in drafts)
    work.enter(tenant)
    work.deltas.lock(_orders(*order_ids), "FOR UPDATE")
    work.deltas.lock(_lines(*order_ids), "FOR UPDATE")
    work.connection.execute("DELETE FROM sales.orders WHERE id = ANY(%s)", (list(order_ids),))

    def remember() -> None:
        for order in drafts:
            work.memory.drafts.remove(order)

    return Done(order_ids, remember)


@dataclass(frozen=True)
class Kind:
    """One kind of transaction.

    Attributes:
        name: as in the ledger.
        weight: how often it is chosen.
        run: does it.
        possible: whether the worker has what it needs.
    """

    name: str
    weight: int
    run: Callable[[Work], Done]
    possible: Callable[[Memory], bool] = lambda _memory: True


KINDS: tuple[Kind, ...] = (
    Kind("order", 45, new_order),
    Kind("invoice", 15, invoice_order, lambda memory: bool(memory.confirmed)),
    Kind("payment", 12, pay_invoice, lambda memory: bool(memory.invoiced)),
    Kind("stock", 20, move_stock),
    Kind("delete", 8, delete_drafts, lambda memory: bool(memory.drafts)),
)


def audit_rows() -> Rows:
    """The audit entries that triggers wrote in this transaction."""
    return Rows("system", "audit_logs", "t.created_at = now() AND t.txid = pg_current_xact_id()::text::bigint")


def _id(row: tuple[int, ...] | None) -> int:
    if row is None:
        raise LookupError("an INSERT returned no row: the row it is made from is gone")
    return row[0]
