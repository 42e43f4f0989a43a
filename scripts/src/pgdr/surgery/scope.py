"""Which rows of a database an operation is about, as SQL that works on any server, a read-only one included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import psycopg
from psycopg import sql

from pgdr.errors import RefusedError
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.model import Schema, Table, server_text
from pgdr.surgery.tenancy import Edge, Owned, Ownership

ALIAS = "t"


class Scope(Protocol):
    """The rows that an operation is about, in one database."""

    @property
    def schema(self) -> Schema:
        """The database."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """Tables with such rows, parents before children as far as there is no cycle."""
        ...

    def grows_only(self, table: Table) -> bool:
        """Whether rows of this table may be added, but never removed or changed."""
        ...

    def select(self, table: Table, what: sql.Composable) -> sql.Composed:
        """The query of a table's rows in this scope; ``what`` is the list of results over the alias ``t``."""
        ...


class WholeTables:
    """All rows of some tables.

    Args:
        schema: the database.
        tables: the tables.
        but: further conditions on a table's rows ``t``, each with its ``and``.
    """

    def __init__(
        self, schema: Schema, tables: Sequence[Table], but: Callable[[Table], sql.Composable] = lambda _: sql.SQL("")
    ) -> None:
        self.schema = schema
        self.tables = tables
        self._but = but

    def grows_only(self, table: Table) -> bool:  # noqa: ARG002 - the protocol's signature
        """No table of this scope is a history."""
        return False

    def select(self, table: Table, what: sql.Composable) -> sql.Composed:
        """All rows."""
        return sql.SQL("select {what} from {rows} as t where true{but}").format(
            what=what, rows=table.rows, but=self._but(table)
        )


class TenantScope:
    """The rows of one tenant.

    Args:
        ownership: how rows belong to tenants.
        tenant: the tenant, as the tenant columns' types read it.
        everybody: the rows of all tenants instead: those that have an owner at all.
    """

    def __init__(self, ownership: Ownership, tenant: str, *, everybody: bool = False) -> None:
        self._everybody = everybody
        self.ownership = ownership
        self.tenant = tenant
        self.tables: Sequence[Table] = [one.table for one in ownership.owned.values()]
        self._needed = _needed_columns(ownership)

    @property
    def schema(self) -> Schema:
        """The database."""
        return self.ownership.schema

    def grows_only(self, table: Table) -> bool:
        """Whether the policy calls this table a history."""
        return self.ownership.owned[table.oid].history

    def is_tenant(self, one: Owned, alias: str) -> sql.Composed:
        """The condition that a row's tenant column names this tenant."""
        column = one.table.column(one.column or "")
        if column is None:
            raise AssertionError(f"{one.table.label} has no tenant column")
        if self._everybody:
            return sql.SQL("{} is not null").format(sql.Identifier(alias, column.name))
        value = sql.SQL("{}::{}").format(sql.Literal(self.tenant), server_text(column.type))
        return column.equality.apply(sql.Identifier(alias, column.name), value)

    def check_value(self, connection: Connection[TupleRow]) -> None:
        """Make sure that the tenant can be one at all.

        Raises:
            RefusedError: its type forbids it.
        """
        for one in self.ownership.owned.values():
            column = one.table.column(one.column) if one.column else None
            if column is None:
                continue
            try:
                with connection.transaction():
                    connection.execute(
                        sql.SQL("select {}::{}").format(sql.Literal(self.tenant), server_text(column.type))
                    )
            except psycopg.DataError as error:
                raise RefusedError(
                    f"tenant {self.tenant!r} is no {column.type}, as {one.table.label}.{column.name} wants it",
                    remedy="nothing was changed",
                ) from error

    def select(self, table: Table, what: sql.Composable) -> sql.Composed:
        """The tenant's rows of a table."""
        one = self.ownership.owned[table.oid]
        names: dict[int, str] = {}
        parts: list[sql.Composed] = []
        group = next(group for group in self.ownership.groups if table.oid in group)
        self._require(group, names, parts, skip_last=True)
        condition = self._condition(one, group, names)
        clause = sql.SQL("with recursive {} ").format(sql.SQL(", ").join(parts)) if parts else sql.SQL("")
        return sql.SQL("{clause}select {what} from {rows} as t where {condition}").format(
            clause=clause, what=what, rows=table.rows, condition=condition
        )

    def _require(
        self, group: tuple[int, ...], names: dict[int, str], parts: list[sql.Composed], *, skip_last: bool = False
    ) -> None:
        """Add the common table expressions of a group and of all groups that it rests on."""
        for oid in group:
            for edge in self.ownership.owned[oid].edges:
                if edge.parent not in group and edge.parent not in names:
                    parent = next(one for one in self.ownership.groups if edge.parent in one)
                    self._require(parent, names, parts)
        if self._cyclic(group):
            parts.extend(self._cycle(group, names))
        if skip_last:
            return
        for oid in group:
            one = self.ownership.owned[oid]
            columns = sql.SQL(", ").join(sql.Identifier(ALIAS, name) for name in self._needed[oid])
            body = sql.SQL("select {columns} from {rows} as t where {condition}").format(
                columns=columns, rows=one.table.rows, condition=self._condition(one, group, names)
            )
            names[oid] = f"own_{oid}"
            parts.append(sql.SQL("{} as ({})").format(sql.Identifier(names[oid]), body))

    def _cyclic(self, group: tuple[int, ...]) -> bool:
        return any(edge.parent in group for oid in group for edge in self.ownership.owned[oid].edges)

    def _condition(self, one: Owned, group: tuple[int, ...], names: Mapping[int, str]) -> sql.Composed:
        if self._cyclic(group):
            return sql.SQL("(t.tableoid, t.ctid) in (select tab, tid from {cycle} where tag = {tag})").format(
                cycle=sql.Identifier(f"cycle_{group[0]}"), tag=sql.Literal(one.table.oid)
            )
        if one.column is not None and not one.edges:
            return self.is_tenant(one, ALIAS)
        if one.column is None and len(one.edges) == 1:
            edge = one.edges[0]
            return sql.SQL("exists (select from {own} as p where {holds})").format(
                own=sql.Identifier(names[edge.parent]), holds=edge.holds("p", ALIAS)
            )
        return sql.SQL("(t.tableoid, t.ctid) in ({})").format(self._seeds(one, group, names, tagged=False))

    def _seeds(self, one: Owned, group: tuple[int, ...], names: Mapping[int, str], *, tagged: bool) -> sql.Composed:
        """Addresses of rows that belong to the tenant without following the group's own circle."""
        tag = sql.SQL("{}::bigint as tag, ").format(sql.Literal(one.table.oid)) if tagged else sql.SQL("")
        branches = []
        if one.column is not None:
            branches.append(
                sql.SQL("select {tag}c.tableoid as tab, c.ctid as tid from {rows} as c where {holds}").format(
                    tag=tag, rows=one.table.rows, holds=self.is_tenant(one, "c")
                )
            )
        branches += [
            sql.SQL(
                "select {tag}c.tableoid as tab, c.ctid as tid from {rows} as c join {own} as p on {holds}{null}"
            ).format(
                tag=tag,
                rows=one.table.rows,
                own=sql.Identifier(names[edge.parent]),
                holds=edge.holds("p", "c"),
                null=_only_null(one),
            )
            for edge in one.edges
            if edge.parent not in group
        ]
        return sql.SQL(" union all ").join(branches)

    def _cycle(self, group: tuple[int, ...], names: Mapping[int, str]) -> list[sql.Composed]:
        owned = [self.ownership.owned[oid] for oid in group]
        seeds = [self._seeds(one, group, names, tagged=True) for one in owned]
        inner = [self._inner_edge(one, edge) for one in owned for edge in one.edges if edge.parent in group]
        found = [seed for seed in seeds if seed.as_string()]
        start = (
            sql.SQL(" union all ").join(found)
            if found  # a circle that nothing leads into: nobody's rows
            else sql.SQL("select 0::bigint, 0::oid, '(0,0)'::tid where false")
        )
        edges, cycle = sql.Identifier(f"edges_{group[0]}"), sql.Identifier(f"cycle_{group[0]}")
        return [
            sql.SQL("{} as materialized ({})").format(edges, sql.SQL(" union all ").join(inner)),
            sql.SQL(
                "{cycle} (tag, tab, tid) as (({start}) union select e.ctag, e.ctab, e.cid from {cycle} as o"
                " join {edges} as e on e.ptag = o.tag and e.ptab = o.tab and e.pid = o.tid)"
            ).format(cycle=cycle, start=start, edges=edges),
        ]

    def _inner_edge(self, one: Owned, edge: Edge) -> sql.Composed:
        return sql.SQL(
            "select {ctag}::bigint as ctag, c.tableoid as ctab, c.ctid as cid,"
            " {ptag}::bigint as ptag, p.tableoid as ptab, p.ctid as pid"
            " from {rows} as c join {parents} as p on {holds}{null}"
        ).format(
            ctag=sql.Literal(edge.child),
            ptag=sql.Literal(edge.parent),
            rows=one.table.rows,
            parents=self.schema.tables[edge.parent].rows,
            holds=edge.holds("p", "c"),
            null=_only_null(one),
        )


def _only_null(one: Owned) -> sql.Composable:
    """A tenant column with a value decides alone."""
    if one.column is None:
        return sql.SQL("")
    return sql.SQL(" and {} is null").format(sql.Identifier("c", one.column))


def _needed_columns(ownership: Ownership) -> dict[int, tuple[str, ...]]:
    """The columns of each table that its children's references compare with."""
    needed: dict[int, dict[str, None]] = {oid: {} for oid in ownership.owned}
    for one in ownership.owned.values():
        for edge in one.edges:
            needed[edge.parent].update(dict.fromkeys(edge.parent_columns))
    return {oid: tuple(columns) for oid, columns in needed.items()}


def main_column(ownership: Ownership) -> Owned:
    """The table whose tenant column decides how an id is written: the register, else the first."""
    with_column = [one for one in ownership.owned.values() if one.column is not None]
    if not with_column:
        raise RefusedError("no table has a tenant column", remedy="name it in the policy under tenancy")
    return next((one for one in with_column if one.register), with_column[0])


def canonical(live: Connection[TupleRow], ownership: Ownership, tenant: str) -> str:
    """A tenant's id as the database writes it: one id has one hash."""
    main = main_column(ownership)
    column = main.table.column(main.column or "")
    if column is None:
        raise AssertionError("a tenant column that does not exist")
    row = live.execute(
        sql.SQL("select ({}::{})::text").format(sql.Literal(tenant), server_text(column.type))
    ).fetchone()
    return str(row[0]) if row else tenant
