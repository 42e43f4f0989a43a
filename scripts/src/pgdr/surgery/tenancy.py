"""Which tables hold rows of tenants, and on which paths a row is known to be a tenant's.

Rules, in this order, for each table:

1. The policy calls it shared: its rows are nobody's.
2. It has a tenant column (the policy's name for it, or the default one): the column says it. Where NULL means
   "parents", rows with NULL follow rule 4.
3. A tenant column of another table refers to one of its columns by a foreign key: it is the register of tenants, and
   that column is its tenant column.
4. Its rows belong to whom their parents belong. Parents are found from foreign keys, from references that the policy
   declares, and from polymorphic ones. Which of them count:

   * those that the policy names (``tenancy.owners``);
   * else one *anchor*, if there is one: a reference that can never be NULL to a table all of whose rows have an owner.
     Of several, the one whose child is deleted with its parent, then the one that is part of the child's key;
   * else all of them: a row belongs to a tenant as soon as one of its parents does. Cycles and references of a table to
     itself are followed to their end.

A table that no rule reaches holds rows of nobody: shared, and listed as such in the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from psycopg import sql

from pgdr.errors import ConfigError
from pgdr.policy.tenancy import PolymorphicReference, Reference, Tenancy
from pgdr.policy.tenancy import Table as PolicyTable
from pgdr.surgery.components import components
from pgdr.surgery.model import EQUALS, ForeignKey, Operator, Schema, Table, server_text

Expression = Callable[[str], sql.Composable]


@dataclass(frozen=True)
class Link:
    """The condition under which a row is a child of another.

    Attributes:
        parent: expression over the parent's alias.
        child: expression over the child's alias.
        operator: parent OPERATOR child.
    """

    parent: Expression
    child: Expression
    operator: Operator


@dataclass(frozen=True)
class Edge:
    """A way from a child to a possible owner.

    Attributes:
        name: for people: name of the constraint, or what the policy declares.
        child: oid of the child.
        parent: oid of the parent.
        links: all must hold.
        child_columns: columns of the child that refer.
        parent_columns: columns of the parent that are referred to.
        condition: the child's rows that this edge is about; ``None`` for all.
        certain: each row of the child has a parent on this edge.
        cascades: the child is deleted with its parent.
    """

    name: str
    child: int
    parent: int
    links: tuple[Link, ...]
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    condition: Expression | None = None
    certain: bool = False
    cascades: bool = False

    def holds(self, parent: str, child: str) -> sql.Composed:
        """The condition that joins a parent's alias with a child's."""
        terms = [link.operator.apply(link.parent(parent), link.child(child)) for link in self.links]
        if self.condition is not None:
            terms.append(sql.SQL("({})").format(self.condition(child)))
        return sql.SQL(" and ").join(terms)


@dataclass(frozen=True)
class Owned:
    """How the rows of one table belong to tenants.

    Attributes:
        table: the table.
        column: its tenant column, if it has one.
        nulls_follow: rows with NULL in it belong to whom their parents belong.
        edges: the ways to owners that count; for rows without a value in ``column`` only.
        others: ways to possible owners that do not count: they must not contradict.
        history: rows only grow.
        register: it is the register of tenants.
        anchored: its one edge is an anchor.
    """

    table: Table
    column: str | None
    nulls_follow: bool
    edges: tuple[Edge, ...]
    others: tuple[Edge, ...] = ()
    history: bool = False
    register: bool = False
    anchored: bool = False

    @property
    def always(self) -> bool:
        """Whether every row surely has an owner."""
        if self.column is not None:
            column = self.table.column(self.column)
            return column is not None and column.not_null
        return self.anchored


@dataclass(frozen=True)
class Ownership:
    """How the rows of a database belong to tenants.

    Attributes:
        schema: the database.
        owned: tables with rows of tenants, parents before children where there is no cycle.
        groups: the same, cycles together.
        shared: tables whose rows belong to nobody, the policy says so.
        unreached: tables whose rows belong to nobody because no rule reaches them.
    """

    schema: Schema
    owned: dict[int, Owned]
    groups: tuple[tuple[int, ...], ...]
    shared: tuple[Table, ...]
    unreached: tuple[Table, ...]


def resolve(schema: Schema, tenancy: Tenancy) -> Ownership:
    """Apply the rules of this module to a database.

    Raises:
        ConfigError: the policy names a table, column or reference that does not exist.
    """
    shared = {_find(schema, named, "shared").oid for named in tenancy.shared}
    history = {_find(schema, named, "history").oid for named in tenancy.history}
    for hook in tenancy.hooks:
        for named in hook.tables:
            _check_columns(_find(schema, named, f"hook {hook.name}"), named.columns)
    direct = _direct(schema, tenancy, shared)
    edges = [edge for edge in _edges(schema, tenancy) if edge.child not in shared and edge.parent not in shared]
    reached = _reached(direct, edges)
    named_owners = {_find(schema, one, "owners").oid: one.by for one in tenancy.owners}
    owned = {oid: _owned(schema, oid, direct, edges, reached, named_owners) for oid in reached}
    owned = _anchored(owned, named_owners)
    owned = {oid: replace(one, history=oid in history) for oid, one in owned.items()}
    followed = {oid: [edge.parent for edge in one.edges] for oid, one in owned.items()}
    groups = tuple(components(followed))
    order = {oid: owned[oid] for group in groups for oid in group}
    rest = [table for table in schema.tables.values() if table.oid not in owned]
    return Ownership(
        schema=schema,
        owned=order,
        groups=groups,
        shared=tuple(table for table in rest if table.oid in shared),
        unreached=tuple(table for table in rest if table.oid not in shared),
    )


def _find(schema: Schema, named: PolicyTable, where: str) -> Table:
    table = schema.find(named.schema_, named.table)
    if table is None:
        raise ConfigError(
            f"tenancy.{where}: the database has no table {named.table!r} in schema {named.schema_!r}",
            remedy="names are exact, case included; correct the policy",
        )
    return table


def _check_columns(table: Table, names: tuple[str, ...]) -> None:
    for name in names:
        if table.column(name) is None:
            raise ConfigError(f"tenancy: {table.label} has no column {name!r}", remedy="correct the policy")


@dataclass(frozen=True)
class _Direct:
    column: str
    nulls_follow: bool
    register: bool = False


def _direct(schema: Schema, tenancy: Tenancy, shared: set[int]) -> dict[int, _Direct]:
    found: dict[int, _Direct] = {}
    for one in tenancy.tables:
        table = _find(schema, one, "tables")
        _check_columns(table, (one.column,))
        found[table.oid] = _Direct(one.column, (one.null or tenancy.null) == "parents")
    for table in schema.tables.values():
        if table.oid not in shared and table.column(tenancy.column) is not None:
            found.setdefault(table.oid, _Direct(tenancy.column, tenancy.null == "parents"))
    for key in schema.foreign_keys:
        tenant = found.get(key.child)
        if tenant is None or len(key.child_columns) != 1 or key.child_columns[0] != tenant.column:
            continue
        if key.parent not in shared:
            found.setdefault(key.parent, _Direct(key.parent_columns[0], nulls_follow=False, register=True))
            if found[key.parent].column == key.parent_columns[0]:
                found[key.parent] = replace(found[key.parent], register=True)
    return found


def _edges(schema: Schema, tenancy: Tenancy) -> Iterator[Edge]:
    for key in schema.foreign_keys:
        yield foreign_key_edge(schema, key)
    for reference in tenancy.references:
        yield _declared(schema, reference)
    for polymorphic in tenancy.polymorphic:
        yield from _polymorphic(schema, polymorphic)


def _column(name: str) -> Expression:
    return lambda alias: sql.Identifier(alias, name)


def foreign_key_edge(schema: Schema, key: ForeignKey) -> Edge:
    """A foreign key as a way from child to parent."""
    child = schema.tables[key.child]
    columns = [child.column(name) for name in key.child_columns]
    condition = None
    if key.child_condition is not None:
        condition = _partition_condition(child, key.child_condition)
    return Edge(
        name=key.name,
        child=key.child,
        parent=key.parent,
        links=tuple(
            Link(_column(parent), _column(name), operator)
            for parent, name, operator in zip(key.parent_columns, key.child_columns, key.operators, strict=True)
        ),
        child_columns=key.child_columns,
        parent_columns=key.parent_columns,
        condition=condition,
        certain=condition is None and key.enforced and all(c is not None and c.not_null for c in columns),
        cascades=key.cascades,
    )


def _partition_condition(table: Table, text: str) -> Expression:
    # The server's text names columns without a table: give it a row of its own to look at.
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)

    def condition(alias: str) -> sql.Composable:
        values = sql.SQL(", ").join(sql.Identifier(alias, column.name) for column in table.columns)
        return sql.SQL("(select {text} from (values ({values})) as one_row ({names}))").format(
            text=server_text(text), values=values, names=names
        )

    return condition


def _declared(schema: Schema, reference: Reference) -> Edge:
    child = _find(schema, reference, "references")
    parent = _find(schema, reference.to, "references")
    _check_columns(child, reference.columns)
    _check_columns(parent, reference.to.columns)
    return Edge(
        name=f"declared reference ({', '.join(reference.columns)})",
        child=child.oid,
        parent=parent.oid,
        links=tuple(
            _loose(_column(to), parent, to, _column(name), child, name)
            for to, name in zip(reference.to.columns, reference.columns, strict=True)
        ),
        child_columns=reference.columns,
        parent_columns=reference.to.columns,
    )


def _loose(
    parent: Expression, parent_table: Table, parent_name: str, child: Expression, child_table: Table, child_name: str
) -> Link:
    """Compare two columns: as they are where their types are the same, else as text."""
    left, right = parent_table.column(parent_name), child_table.column(child_name)
    if left is not None and right is not None and left.type == right.type and left.type in _PLAIN_TYPES:
        return Link(parent, child, EQUALS)
    return Link(_text(parent), _text(child), EQUALS)


_PLAIN_TYPES = frozenset({"bigint", "integer", "smallint", "uuid", "text", "numeric", "date"})


def _text(expression: Expression) -> Expression:
    return lambda alias: sql.SQL("({}::text)").format(expression(alias))


def _polymorphic(schema: Schema, reference: PolymorphicReference) -> Iterator[Edge]:
    child = _find(schema, reference, "polymorphic")
    columns = (reference.column, *([reference.id_column] if reference.id_column else []))
    _check_columns(child, columns)
    for model in reference.models:
        parent = _find(schema, model, "polymorphic")
        _check_columns(parent, (model.column,))
        yield Edge(
            name=f"polymorphic reference ({', '.join(columns)}) to {model.name!r}",
            child=child.oid,
            parent=parent.oid,
            links=(_polymorphic_link(reference, model.name, model.column),),
            child_columns=columns,
            parent_columns=(model.column,),
            condition=_is_model(reference.column, model.name) if reference.id_column else None,
        )


def _polymorphic_link(reference: PolymorphicReference, model: str, column: str) -> Link:
    if reference.id_column is not None:
        return Link(_text(_column(column)), _text(_column(reference.id_column)), EQUALS)
    prefix = sql.Literal(model + reference.separator)

    def parent(alias: str) -> sql.Composable:
        return sql.SQL("({} || {}::text)").format(prefix, sql.Identifier(alias, column))

    return Link(parent, _text(_column(reference.column)), EQUALS)


def _is_model(column: str, model: str) -> Expression:
    return lambda alias: sql.SQL("{}::text = {}").format(sql.Identifier(alias, column), sql.Literal(model))


def _reached(direct: dict[int, _Direct], edges: list[Edge]) -> list[int]:
    """Tables that may hold rows of tenants: those with a tenant column, and all that hang on them."""
    found = dict.fromkeys(direct)
    grew = True
    while grew:
        grew = False
        for edge in edges:
            if edge.parent in found and edge.child not in found:
                found[edge.child] = None
                grew = True
    return list(found)


def _owned(
    schema: Schema,
    oid: int,
    direct: dict[int, _Direct],
    edges: list[Edge],
    reached: list[int],
    named: dict[int, tuple[tuple[str, ...], ...]],
) -> Owned:
    table = schema.tables[oid]
    tenant = direct.get(oid)
    mine = [edge for edge in edges if edge.child == oid and edge.parent in reached]
    if tenant is not None and not tenant.nulls_follow:
        return Owned(table, tenant.column, nulls_follow=False, edges=(), register=tenant.register)
    if oid in named:
        chosen = [edge for edge in mine if edge.child_columns in named[oid]]
        missing = [columns for columns in named[oid] if columns not in {edge.child_columns for edge in mine}]
        if missing:
            raise ConfigError(
                f"tenancy.owners: {table.label} has no reference by ({', '.join(missing[0])}) to a table with tenants",
                remedy="name columns of a foreign key, or declare it under tenancy.references",
            )
        return Owned(table, tenant.column if tenant else None, tenant is not None, tuple(chosen))
    return Owned(table, tenant.column if tenant else None, tenant is not None, tuple(mine))


def _anchored(owned: dict[int, Owned], named: dict[int, tuple[tuple[str, ...], ...]]) -> dict[int, Owned]:
    """Leave each table that has an anchor with that one, until nothing changes: anchors rest on anchors."""
    result = dict(owned)
    grew = True
    while grew:
        grew = False
        for oid, one in result.items():
            if one.column is not None or oid in named or one.always:
                continue
            anchors = [e for e in one.edges if e.certain and e.parent != oid and result[e.parent].always]
            if anchors:
                best = min(anchors, key=lambda edge: _rank(one.table, edge))
                others = tuple(edge for edge in one.edges if edge is not best)
                result[oid] = replace(one, edges=(best,), others=others, anchored=True)
                grew = True
    return result


def _rank(table: Table, edge: Edge) -> tuple[bool, bool, str]:
    key = {part.column for part in table.key}
    return (not edge.cascades, not set(edge.child_columns) <= key, edge.name)
