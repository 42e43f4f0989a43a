"""What ties a live schema to the others: what can be taken off and put back, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from pgdr.archive.dependencies import FOREIGN_KEY, VIEW, Edge, read_edges
from pgdr.archive.model import ForeignKeyEntry
from pgdr.postgres.connection import Connection, TupleRow

_ACTIONS = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}
_CONSTRAINT = """
select n.nspname, c.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid), k.conparentid <> 0
from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace where k.oid = %s
"""
_VIEW = """
select n.nspname, c.relname, pg_catalog.pg_get_viewdef(c.oid), c.relkind::text, coalesce(c.reloptions, '{}')::text[],
       r.rulename = '_RETURN'
from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
join pg_catalog.pg_namespace n on n.oid = c.relnamespace where r.oid = %s
"""
_PUBLISHED = """
select format('publication %%s publishes %%I.%%I', p.pubname, n.nspname, c.relname)
from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
join pg_catalog.pg_class c on c.oid = r.prrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s
union all
select format('publication %%s publishes schema %%I', p.pubname, n.nspname)
from pg_catalog.pg_publication_namespace r join pg_catalog.pg_publication p on p.oid = r.pnpubid
join pg_catalog.pg_namespace n on n.oid = r.pnnspid where n.nspname = %s
"""


@dataclass(frozen=True)
class Constraint:
    """A foreign key of another schema's table into this one, as the live catalog writes it."""

    schema: str
    table: str
    name: str
    definition: str

    def __str__(self) -> str:
        return f"foreign key {self.name} of {self.schema}.{self.table}"


@dataclass(frozen=True)
class View:
    """A view of another schema that reads from this one."""

    schema: str
    name: str
    definition: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"view {self.schema}.{self.name}"


@dataclass(frozen=True)
class Links:
    """What ties a schema to others.

    Attributes:
        inward: everything elsewhere that needs something here, one line each.
        outward: everything here that needs something elsewhere.
        constraints: foreign keys into this schema; taken off and put back.
        views: views elsewhere that are made anew on the restored tables.
        own: foreign keys of this schema's live tables to others: schema, table and name.
        blocking: what cannot be put back, one line each.
    """

    inward: tuple[str, ...] = ()
    outward: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    views: tuple[View, ...] = ()
    own: tuple[tuple[str, str, str], ...] = ()
    blocking: tuple[str, ...] = ()


def find(connection: Connection[TupleRow], schema: str) -> Links:
    """Look up what ties a live schema to others; ``search_path`` must be empty."""
    edges = read_edges(connection)
    inward = [e for e in edges if e.needs_schema == schema and e.schema != schema and e.extension is None]
    outward = [e for e in edges if e.schema == schema and e.needs_schema != schema and e.extension is None]
    constraints: list[Constraint] = []
    views: list[View] = []
    blocking = [str(edge) for edge in outward if edge.kind == "partition"]
    for edge in inward:
        if edge.kind == FOREIGN_KEY:
            constraints += [c for c in [_constraint(connection, edge)] if c is not None and c not in constraints]
        elif edge.kind == VIEW and (view := _view(connection, edge)) is not None:
            views += [view] if view not in views else []
        else:
            blocking.append(str(edge))
    own = []
    for edge in outward:
        if edge.kind == FOREIGN_KEY and (found := _constraint(connection, edge)) is not None:
            own.append((found.schema, found.table, found.name))
    blocking += [row[0] for row in connection.execute(_PUBLISHED, (schema, schema)).fetchall()]
    return Links(
        inward=_lines(inward),
        outward=_lines(outward),
        constraints=tuple(constraints),
        views=tuple(views),
        own=tuple(dict.fromkeys(own)),
        blocking=tuple(blocking),
    )


def _lines(edges: Iterable[Edge]) -> tuple[str, ...]:
    # A foreign key also needs its parent's index, which says nothing more.
    return tuple(str(edge) for edge in edges if not (edge.kind == FOREIGN_KEY and edge.needs_kind == "index"))


def _constraint(connection: Connection[TupleRow], edge: Edge) -> Constraint | None:
    row = connection.execute(_CONSTRAINT, (edge.objid,)).fetchone()
    # A partition's copy of its parent's key goes and comes with the parent's.
    return None if row is None or row[4] else Constraint(row[0], row[1], row[2], row[3])


def _view(connection: Connection[TupleRow], edge: Edge) -> View | None:
    row = connection.execute(_VIEW, (edge.objid,)).fetchone()
    if row is None or row[3] != "v" or not row[5]:
        return None
    return View(row[0], row[1], row[2].rstrip().rstrip(";"), tuple(row[4]))


def detach(connection: Connection[TupleRow], links: Links) -> None:
    """Take the foreign keys off: those of others into this schema, and those of the schema that is set aside."""
    every = [(c.schema, c.table, c.name) for c in links.constraints] + list(links.own)
    for schema, table, name in every:
        connection.execute(
            sql.SQL("alter table {} drop constraint {}").format(sql.Identifier(schema, table), sql.Identifier(name))
        )


def attach(connection: Connection[TupleRow], links: Links, keys: Iterable[ForeignKeyEntry]) -> None:
    """Put the foreign keys of others back, make those of the restored schema, validate all, and renew the views.

    Args:
        connection: in the transaction of the swap.
        links: what was taken off.
        keys: foreign keys of the restored schema to others.
    """
    for constraint in links.constraints:
        # The definition is the live catalog's own text.
        connection.execute(
            sql.SQL("alter table {} add constraint {} ").format(
                sql.Identifier(constraint.schema, constraint.table), sql.Identifier(constraint.name)
            )
            + sql.SQL(constraint.definition)
        )
    for key in keys:
        connection.execute(_foreign_key(key))
    for view in links.views:
        name = sql.Identifier(view.schema, view.name)
        connection.execute(sql.SQL("create or replace view {} as ").format(name) + sql.SQL(view.definition))
        for option in view.options:
            word, _, value = option.partition("=")
            connection.execute(
                sql.SQL("alter view {} set ({} = {})").format(name, sql.Identifier(word), sql.Literal(value))
            )


def _foreign_key(key: ForeignKeyEntry) -> sql.Composed:
    def columns(names: Iterable[str]) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(name) for name in names)

    timing = "not deferrable"
    if key.deferrable:
        timing = "deferrable initially deferred" if key.deferred else "deferrable initially immediate"
    return sql.SQL(
        "alter table {table} add constraint {name} foreign key ({columns}) references {parent} ({parent_columns})"
        " match {match} on update {on_update} on delete {on_delete} {timing}"
    ).format(
        table=sql.Identifier(key.schema_, key.table),
        name=sql.Identifier(key.name),
        columns=columns(key.columns),
        parent=sql.Identifier(key.parent_schema, key.parent_table),
        parent_columns=columns(key.parent_columns),
        match=sql.SQL("full" if key.match == "f" else "simple"),
        on_update=sql.SQL(_ACTIONS[key.on_update]),
        on_delete=sql.SQL(_ACTIONS[key.on_delete]),
        timing=sql.SQL(timing),
    )
