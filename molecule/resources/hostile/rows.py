"""Rows for several tenants. Who owns a row is decided first, and its references are drawn to fit: that is the truth."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import count

from psycopg import sql

from hostile.ddl import JSON, PAYLOAD, TENANT, UNIQUE, Made
from hostile.spec import TableSpec

_TEXTS = (
    "",
    "a",
    "A",
    "NULL",
    "\\N",
    "tab\there",
    "line\nbreak",
    "quote ' \" \\",
    "%s {x} $1",
    "ß日本",
    " x ",
    "1.0",
    "1.00",
)
Values = dict[str, str | None]


@dataclass
class Row:
    """A row and its owner; ``None`` for a shared one."""

    table: int
    owner: str | None
    key: tuple[str, ...]
    values: Values


@dataclass
class Filling:
    """All rows of a database.

    Attributes:
        made: the schema.
        chance: where everything random comes from.
        rows: by table.
    """

    made: Made
    chance: random.Random
    rows: dict[int, list[Row]] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def fill(self) -> None:
        """Make the first rows: of both tenants, and shared ones where they can be."""
        for table in self.made.spec.tables:
            self.rows[table.number] = []
            for owner in self._owners(table):
                for _ in range(self.chance.randint(1, 4)):
                    self.add(table, owner)
        for table in self.made.spec.tables:
            for row in self.rows[table.number]:
                self.refer(table, row)

    def _owners(self, table: TableSpec) -> list[str | None]:
        if table.kind == "shared":
            return [None]
        return [*self.made.spec.tenants, *([None] if table.kind == "tenant" and table.tenant_nullable else [])]

    def add(self, table: TableSpec, owner: str | None) -> Row:
        """Make a row without references."""
        made, number = self.made, next(self.numbers)
        key = {
            "text": (f"{self.chance.choice(_TEXTS)}{number}",),
            "composite": (str(number), self.chance.choice(_TEXTS)),
            "none": (),
        }.get(table.key, (str(number),))
        roles = made.roles[table.number]
        values: Values = dict(zip(made.keys[table.number], key, strict=True))
        if table.kind == "tenant":
            values[roles[TENANT]] = owner
        values[roles[PAYLOAD]] = self.chance.choice(_TEXTS)
        values[roles[UNIQUE]] = None if self.chance.random() < 0.2 else f"U{number}"
        values[roles[JSON]] = self.chance.choice((None, '{"a": 1,  "a": 2}', "[1.0]"))
        row = Row(table.number, owner, key, values)
        self.rows[table.number].append(row)
        return row

    def refer(self, table: TableSpec, row: Row) -> None:
        """Draw the references of a row: rows of the same owner, or shared ones."""
        for position, ref in enumerate(table.refs):
            owner_ref = table.kind == "child" and position == 0
            wanted = {row.owner} if owner_ref else {row.owner, None}
            foreign = table.kind == self.made.spec.tables[ref.parent].kind == "tenant" and not table.tenant_nullable
            if foreign and self.chance.random() < 0.1:  # a row of one tenant that refers to another's
                wanted |= set(self.made.spec.tenants)
            found = [other for other in self.rows[ref.parent] if other.owner in wanted and other is not row]
            nothing = not owner_ref and self.chance.random() < 0.3
            chosen = self.chance.choice(found) if found and not nothing else None
            columns = self.made.refs[table.number, position]
            row.values.update(dict(zip(columns, chosen.key if chosen else (None,) * len(columns), strict=True)))

    def insert(self, row: Row) -> sql.Composed:
        """The statement that inserts a row."""
        return sql.SQL("insert into {} ({}) overriding system value values ({})").format(
            self.made.identifier(self.made.spec.tables[row.table]),
            sql.SQL(", ").join(map(sql.Identifier, row.values)),
            sql.SQL(", ").join(sql.Literal(value) for value in row.values.values()),
        )

    def inserts(self, *, without: str | None = None) -> list[sql.Composed]:
        """Statements for all rows, but for those of one owner."""
        return [
            self.insert(row) for rows in self.rows.values() for row in rows if without is None or row.owner != without
        ]
