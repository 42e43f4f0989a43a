"""Tables, keys and references as row surgery sees them.

Partitions count for the topmost table of their tree; a foreign key that only one partition has keeps the condition
of that partition. Tables of plain inheritance are tables of their own and always read with ``ONLY``.

All names are kept apart and quoted when SQL is composed; expressions (of indexes, of partitions) are the server's own
text, produced with an empty ``search_path``, so every name in them is qualified and quoted. Operators are qualified
as well: with an empty path, ``=`` on a ``citext`` would quietly compare as ``text``.

Composed statements are executed without parameters, because psycopg would then read a ``%`` in a name as a
placeholder. Values become literals of the column's own type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from psycopg import sql


def server_text(text: str) -> sql.SQL:
    """SQL that the server wrote itself (an expression of an index, a type's name): already quoted and qualified."""
    return sql.SQL(cast(Any, text))


@dataclass(frozen=True)
class Operator:
    """An operator by its full name."""

    schema: str
    name: str

    def apply(self, left: sql.Composable, right: sql.Composable) -> sql.Composed:
        """The comparison of two values."""
        # An operator's name is made of symbols only; the server allows no others.
        return sql.SQL("{left} OPERATOR({schema}.{name}) {right}").format(
            left=left, schema=sql.Identifier(self.schema), name=server_text(self.name), right=right
        )


EQUALS = Operator("pg_catalog", "=")


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its name.
        type: its type as SQL writes it, modifiers included.
        not_null: whether it refuses NULL.
        generated: the server computes it: never written, never compared.
        identity: ``a`` for GENERATED ALWAYS AS IDENTITY, ``d`` for BY DEFAULT, else empty.
        has_default: whether a row that does not name it gets a value.
        sequence: the sequence that feeds it, as ``(schema, name)``.
        equality: the operator that its type uses for "the same".
    """

    name: str
    type: str
    not_null: bool
    generated: bool = False
    identity: str = ""
    has_default: bool = False
    sequence: tuple[str, str] | None = None
    equality: Operator = EQUALS


@dataclass(frozen=True)
class KeyPart:
    """One part of a unique rule: an expression and the operator that says "the same".

    Attributes:
        expression: a column or an expression, as the server writes it.
        operator: equality, or any operator of an exclusion constraint.
        column: the column's name where the expression is just that.
    """

    expression: str
    operator: Operator
    column: str | None = None


@dataclass(frozen=True)
class UniqueRule:
    """A unique index or an exclusion constraint: no two rows may agree in all parts.

    Attributes:
        name: its name.
        parts: what must not agree.
        predicate: only rows that meet it count; ``None`` for all.
        nulls_equal: whether two NULLs agree.
        deferrable: its check is a trigger, which does not fire for a session in the role of a replica.
        columns: all columns that play a part.
    """

    name: str
    parts: tuple[KeyPart, ...]
    predicate: str | None
    nulls_equal: bool
    deferrable: bool
    columns: frozenset[str]


@dataclass(frozen=True)
class ForeignKey:
    """A reference that the database enforces.

    Attributes:
        name: of the constraint.
        child: oid of the (topmost) table that refers.
        parent: oid of the (topmost) table referred to.
        child_columns: columns that refer.
        parent_columns: columns referred to, in the same order.
        operators: parent column OPERATOR child column.
        cascades: ON DELETE CASCADE: the child is a part of its parent.
        enforced: whether existing rows are known to obey it.
        child_condition: set where only some partitions refer: the condition of the partition.
        parent_relation: the partition that is referred to, where it is not the whole table.
    """

    name: str
    child: int
    parent: int
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    operators: tuple[Operator, ...]
    cascades: bool = False
    enforced: bool = True
    child_condition: str | None = None
    parent_relation: tuple[str, str] | None = None


@dataclass(frozen=True)
class Table:
    """A table, or the topmost table of a tree of partitions.

    Attributes:
        oid: its oid in its own database.
        schema: its schema.
        name: its name.
        partitioned: rows are in its partitions.
        columns: its columns in order.
        key: what tells rows apart: the primary key, else a unique index over NOT NULL columns; empty for none.
        unique_rules: all unique indexes and exclusion constraints, the key's included.
        always_firing: triggers and rules that fire even for a session in the role of a replica.
        constraint_triggers: triggers of the ERP that check something and do not fire during surgery.
        owner: the role that owns it.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool
    columns: tuple[Column, ...]
    key: tuple[KeyPart, ...] = ()
    unique_rules: tuple[UniqueRule, ...] = ()
    always_firing: tuple[str, ...] = ()
    constraint_triggers: tuple[str, ...] = ()
    owner: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Schema and name: what it is called in any database."""
        return (self.schema, self.name)

    @property
    def label(self) -> str:
        """Its name for people: quoted where SQL needs it quoted."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def identifier(self) -> sql.Identifier:
        """Its qualified name, quoted."""
        return sql.Identifier(self.schema, self.name)

    @property
    def rows(self) -> sql.Composed:
        """What stands behind FROM, UPDATE and DELETE FROM: its own rows, and those of its partitions."""
        return sql.SQL("{}" if self.partitioned else "only {}").format(self.identifier)

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Schema:
    """What a database holds.

    Attributes:
        tables: by oid.
        foreign_keys: all of them, in a stable order.
        skipped: relations that hold rows which row surgery cannot move, with the reason.
    """

    tables: dict[int, Table]
    foreign_keys: tuple[ForeignKey, ...]
    skipped: tuple[str, ...] = ()
    _names: dict[tuple[str, str], int] = field(default_factory=dict, repr=False, compare=False)

    def find(self, schema: str, name: str) -> Table | None:
        """The table of that name, exact, case included."""
        if not self._names:
            self._names.update({table.identity: table.oid for table in self.tables.values()})
        oid = self._names.get((schema, name))
        return None if oid is None else self.tables[oid]


def quoted(name: str) -> str:
    """A name as people know it from SQL: quoted only where it must be."""
    if name and name.replace("_", "a").isalnum() and name.isascii() and name == name.lower() and not name[0].isdigit():
        return name
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
