"""Who was erased, looked for in one database: in a live one to remove them again, in the past to leave them out.

What is left out at its source is in no table, no transaction and no before-image at any time, whatever is killed when.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgdr.errors import NotProvenError
from pgdr.policy.tenancy import Tenancy
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery import numbering
from pgdr.surgery.ledger import DONE, INTENDED, Ledger
from pgdr.surgery.model import Schema, Table
from pgdr.surgery.scope import TenantScope, canonical, main_column
from pgdr.surgery.tenancy import Owned, Ownership, resolve

_UNKNOWN = "the ledger has an erasure that was begun and never confirmed, and its subject is here"
_DECIDE = "decide with pgdr erasures settle; do not open the service before"
_ADDRESS = sql.SQL("t.tableoid as tab, t.ctid as tid")


@dataclass(frozen=True)
class Forgotten:
    """Erased tenants that a database still shows.

    Attributes:
        scopes: the rows of each.
    """

    scopes: tuple[TenantScope, ...] = ()

    def left_out(self, table: Table) -> sql.Composed:
        """What a query of a table's rows ``t`` adds to its conditions so that it returns none of theirs."""
        return sql.SQL("").join(
            sql.SQL(
                " and not exists (select from ({rows}) as gone where gone.tab = t.tableoid and gone.tid = t.ctid)"
            ).format(rows=scope.select(table, _ADDRESS))
            for scope in self.scopes
            if table.oid in scope.ownership.owned
        )


def forgotten(
    past: Connection[TupleRow], schema: Schema, tenancy: Tenancy, ledger: Ledger, tables: Collection[Table]
) -> Forgotten:
    """Whom of the erased tenants some tables of the past show.

    Args:
        past: the source.
        schema: its tables.
        tenancy: how rows belong to tenants.
        ledger: who was erased.
        tables: whose rows are wanted; only they and those that say whose they are are read for it.

    Raises:
        NotProvenError: the ledger is damaged, or an erasure's outcome is unknown.
        RefusedError: a tenant column has a type that cannot name one of them.
    """
    ownership = resolve(schema, tenancy)
    deciding = _deciding(ownership, tables)
    ids = {tenant for owned in deciding if owned.column is not None for tenant in values(past, owned)}
    scopes = [TenantScope(ownership, tenant) for tenant in _erased_of(past, ownership, ids, ledger)]
    for scope in scopes:
        scope.check_value(past)
    return Forgotten(tuple(scopes))


def _deciding(ownership: Ownership, tables: Collection[Table]) -> list[Owned]:
    """The tables that say whose the rows of some tables are: they themselves, and what they hang on."""
    found: dict[int, Owned] = {}
    open_ones = [table.oid for table in tables]
    while open_ones:
        oid = open_ones.pop()
        owned = ownership.owned.get(oid)
        if owned is not None and oid not in found:
            found[oid] = owned
            open_ones += [edge.parent for edge in owned.edges]
    return list(found.values())


def erased_in(
    connection: Connection[TupleRow], ownership: Ownership, tenancy: Tenancy, ledger: Ledger
) -> dict[str, int]:
    """Erased tenants that a database shows, and the numbers of their erasures.

    Raises:
        NotProvenError: the ledger is damaged, or an erasure's outcome is unknown.
    """
    ids = {
        tenant for owned in ownership.owned.values() if owned.column is not None for tenant in values(connection, owned)
    }
    return _erased_of(connection, ownership, ids | numbering.tenants_named(connection, tenancy), ledger)


def _erased_of(
    connection: Connection[TupleRow], ownership: Ownership, ids: Collection[str], ledger: Ledger
) -> dict[str, int]:
    """Those of some ids, as the main column writes them, that were erased, and the numbers of their erasures."""
    erasures = ledger.erasures()
    open_ones = {erasure.subject for erasure in erasures if erasure.state == INTENDED}
    done = {erasure.subject: erasure.number for erasure in erasures if erasure.state == DONE}
    found = {}
    for tenant in sorted({_canonical_or_same(connection, ownership, one) for one in ids}):
        subject = ledger.subject(tenant)
        if subject in open_ones and subject not in done:
            raise NotProvenError(_UNKNOWN, remedy=_DECIDE)
        if subject in done:
            found[tenant] = done[subject]
    return found


def sequences_left(
    connection: Connection[TupleRow], ownership: Ownership, tenancy: Tenancy, ledger: Ledger
) -> dict[tuple[str, str], int]:
    """Sequences of erased tenants whose names do not say so, and the numbers of the erasures.

    They come back alone where a restored schema has them and the tenant's rows are in another. A name that a tenant of
    today would have too is that one's.

    Raises:
        NotProvenError: the ledger is damaged, or an erasure's outcome is unknown.
    """
    there = numbering.unnamed(connection, tenancy)
    erasures = ledger.erasures() if there else []
    done = {name: one.number for one in erasures if one.state == DONE for name in one.sequences}
    open_ones = {name for one in erasures if one.state == INTENDED for name in one.sequences}
    found = {place: sealed for place in there if (sealed := ledger.sequence(place)) in done.keys() | open_ones}
    if found:
        living = {
            place for tenant in values(connection, main_column(ownership)) for place in numbering.names(tenancy, tenant)
        }
        found = {place: sealed for place, sealed in found.items() if place not in living}
    if any(sealed not in done for sealed in found.values()):
        raise NotProvenError(_UNKNOWN, remedy=_DECIDE)
    return {place: done[sealed] for place, sealed in found.items()}


def values(connection: Connection[TupleRow], owned: Owned) -> list[str]:
    """All ids that stand in the tenant column of a table."""
    rows = connection.execute(
        sql.SQL("select distinct {column}::text from {rows} where {column} is not null").format(
            column=sql.Identifier(owned.column or ""), rows=owned.table.rows
        )
    )
    return [row[0] for row in rows]


def _canonical_or_same(connection: Connection[TupleRow], ownership: Ownership, tenant: str) -> str:
    try:
        with connection.transaction():
            return canonical(connection, ownership, tenant)
    except psycopg.DataError:  # a value that the main column's type does not know
        return tenant
