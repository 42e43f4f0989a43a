"""Two databases of one server: today, and the past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from pgdr import rowhash
from pgdr.hostconfig import HostConfig
from pgdr.policy.tenancy import Tenancy
from pgdr.surgery import restore, undo
from pgdr.surgery.home import Choices, Report
from pgdr.surgery.restore import Request
from pgdr.surgery.source import LocalDatabase

_numbers = count(1)
SHOP = """
create schema shop;
create table shop.tenants (id int primary key, name text not null unique);
create table shop.currencies (code text primary key);
create table shop.customers (
    id bigint generated always as identity primary key, tenant_id int not null references shop.tenants,
    email text unique, parent_id bigint references shop.customers);
create table shop.orders (
    id bigserial primary key, tenant_id int not null references shop.tenants,
    customer_id bigint not null references shop.customers, currency text references shop.currencies,
    placed date not null default '2026-01-01', total numeric not null default 0);
create table shop.lines (
    order_id bigint not null references shop.orders on delete cascade, no int not null, amount numeric not null,
    primary key (order_id, no));
create table shop.events (tenant_id int, what text, at timestamptz);
create table shop.audit (tenant_id int, what text);
create function shop.total() returns trigger language plpgsql as $$
begin
    update shop.orders set total = total + new.amount where id = new.order_id;
    insert into shop.audit values ((select tenant_id from shop.orders where id = new.order_id), 'line');
    return new;
end $$;
create trigger total after insert on shop.lines for each row execute function shop.total();
insert into shop.tenants values (1, 'one'), (2, 'two');
insert into shop.currencies values ('EUR'), ('USD');
insert into shop.customers (tenant_id, email) select 1 + i % 2, 'c' || i || '@x' from generate_series(1, 20) i;
insert into shop.orders (tenant_id, customer_id, currency)
    select c.tenant_id, c.id, 'EUR' from shop.customers c, generate_series(1, 3);
insert into shop.lines select o.id, n, n * 1.50 from shop.orders o, generate_series(1, 2) n;
insert into shop.events select 1 + i % 2, 'same', '2026-01-01' from generate_series(1, 10) i;
"""


@dataclass
class Pair:
    """A live database and one that holds its past.

    Attributes:
        cluster: the server.
        live: name of the live one.
        past: name of the other.
        host: what pgdr is told of this host.
        tenancy: how rows belong to tenants.
    """

    cluster: Any
    live: str
    past: str
    host: HostConfig
    tenancy: Tenancy

    def both(self, statements: str) -> None:
        """Run statements in both databases."""
        self.cluster.execute(statements, self.live)
        self.cluster.execute(statements, self.past)

    def connect(self) -> psycopg.Connection[TupleRow]:
        """Connect to the live database."""
        connection: psycopg.Connection[TupleRow] = self.cluster.connect(self.live)
        return connection

    def run(self, statements: str) -> None:
        """Run statements in the live database."""
        self.cluster.execute(statements, self.live)

    def value(self, statement: str, database: str | None = None) -> Any:
        """The first column of the first row, of the live database unless another is named."""
        return self.cluster.value(statement, database or self.live)

    def rows(self, statement: str, database: str | None = None) -> list[TupleRow]:
        """All rows of a query, of the live database unless another is named."""
        with self.cluster.connect(database or self.live) as connection:
            return list(connection.execute(statement.encode()).fetchall())

    def request(self, tenant: str, **more: Any) -> Request:
        """What pgdr is asked for."""
        return Request(self.host, self.tenancy, LocalDatabase(self.host, self.past), tenant, self.live, **more)

    def image(self, database: str | None = None) -> dict[str, list[str]]:
        """All rows of all tables as text, of the live database unless another is named."""
        with self.cluster.connect(database or self.live) as connection:
            return image(connection)

    def plan(self, tenant: str, **choices: Any) -> Report:
        """Plan a restore."""
        return restore.restore_tenant(self.request(tenant), Choices(**choices), plan_only=True)

    def restore(self, tenant: str, **choices: Any) -> Report:
        """Restore."""
        return restore.restore_tenant(self.request(tenant), Choices(**choices), plan_only=False)

    def undo(self, operation: str) -> str:
        """Take an operation back, and return the new one's id."""
        return undo.undo(self.host, operation)[2]


def image(connection: psycopg.Connection[TupleRow], schemas: list[str] | None = None) -> dict[str, list[str]]:
    """All rows of all tables as text, by table: read in the plainest way, with nothing of the product's."""
    with connection.transaction():
        for name, value in rowhash.SESSION_SETTINGS:
            connection.execute("select set_config(%s, %s, true)", (name, value))
        tables = connection.execute(
            "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgdr')"
            " and (%(s)s::text[] is null or n.nspname = any (%(s)s))",
            {"s": schemas},
        ).fetchall()
        return {
            f"{schema}.{name}": sorted(
                row[0]
                for row in connection.execute(
                    sql.SQL("select row_of_table::text from only {} as row_of_table").format(
                        sql.Identifier(schema, name)
                    )
                )
            )
            for schema, name in tables
        }


PairFactory = Callable[..., Pair]


@pytest.fixture
def new_pair(pg16: Any, tmp_path: Path) -> Iterator[PairFactory]:
    """Make pairs: both databases get the same statements."""
    made: list[tuple[Any, str]] = []

    def make(statements: str = "", *, cluster: Any = None, **tenancy: Any) -> Pair:
        server = cluster or pg16
        number = next(_numbers)
        live, past = (server.create_database(f"surgery_{number}_{name}") for name in ("live", "past"))
        made.extend(((server, live), (server, past)))
        pair = Pair(
            server,
            live,
            past,
            server.host(tmp_path, live),
            Tenancy.model_validate({"column": "tenant_id", **tenancy}),
        )
        if statements:
            pair.both(statements)
        return pair

    yield make
    for server, name in made:
        server.execute(f'drop database if exists "{name}" with (force)')


@pytest.fixture(scope="session")
def images() -> Callable[..., dict[str, list[str]]]:
    """The content of a database of a cluster."""

    def read(cluster: Any, database: str, schemas: list[str] | None = None) -> dict[str, list[str]]:
        with cluster.connect(database) as connection:
            return image(connection, None if schemas is None else list(schemas))

    return read


@pytest.fixture(scope="session")
def shop() -> str:
    """A small shop with two tenants."""
    return SHOP
