"""Which tables are meant, which belong to them, and what refers to what."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from pgdr.archive.model import Manifest, TableEntry
from pgdr.errors import RefusedError
from pgdr.postgres.connection import Connection, TupleRow

_FOREIGN_KEYS = """
select format('%I.%I', n.nspname, c.relname), format('%I.%I', fn.nspname, f.relname), k.conname, k.confdeltype::text,
       array(select a.attname::text from unnest(k.conkey) with ordinality u(n, o)
             join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n order by o),
       array(select a.attname::text from unnest(k.confkey) with ordinality u(n, o)
             join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n order by o),
       n.nspname, c.relname
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class f on f.oid = k.confrelid join pg_catalog.pg_namespace fn on fn.oid = f.relnamespace
where k.contype = 'f' and k.conparentid = 0
"""


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of the live database; a partition's own copies are left out.

    Attributes:
        child: key of the table that refers.
        parent: key of the table that it refers to.
        name: its name.
        action: what happens to the child's rows when a parent's is deleted, in the catalog's letter.
        child_columns: its columns.
        parent_columns: those that they refer to.
        schema: the child's schema.
        table: the child's name.
    """

    child: str
    parent: str
    name: str
    action: str
    child_columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    schema: str
    table: str


def foreign_keys(connection: Connection[TupleRow]) -> list[ForeignKey]:
    """All foreign keys of a database; ``search_path`` must be empty."""
    rows = connection.execute(_FOREIGN_KEYS.encode()).fetchall()
    return [ForeignKey(r[0], r[1], r[2], r[3], tuple(r[4]), tuple(r[5]), r[6], r[7]) for r in rows]


def find_tables(manifest: Manifest, names: Sequence[tuple[str, str]]) -> list[TableEntry]:
    """The archived tables of these names.

    Raises:
        RefusedError: the archive does not have one.
    """
    found = []
    for schema, name in names:
        table = manifest.table(schema, name)
        if table is None:
            near = difflib.get_close_matches(f"{schema}.{name}", [t.key for t in manifest.tables], n=1)
            raise RefusedError(
                f"archive {manifest.label} has no table {schema}.{name}",
                remedy=f"did you mean {near[0]}?" if near else "names are exact, case included",
            )
        if table.kind not in {"r", "p"}:
            raise RefusedError(f"{table.key} holds no rows of its own", remedy="refresh it, or restore the schema")
        if table.parent is not None:
            raise RefusedError(f"{table.key} is a partition of {table.parent}", remedy="name that table")
        if table not in found:
            found.append(table)
    return found


def with_children(manifest: Manifest, connection: Connection[TupleRow], tables: list[TableEntry]) -> list[TableEntry]:
    """Add all tables that refer to these by foreign keys, and those that refer to them in turn."""
    keys = foreign_keys(connection)
    known = {table.key: table for table in manifest.tables if table.parent is None}
    chosen = {table.key: table for table in tables}
    while True:
        more = {k.child for k in keys if k.parent in chosen and k.child not in chosen and k.child in known}
        if not more:
            return list(chosen.values())
        chosen.update({key: known[key] for key in sorted(more)})


def stored(manifest: Manifest, table: TableEntry) -> list[TableEntry]:
    """A table and its partitions, down to the last: the rows are in those."""
    found = [table]
    for entry in manifest.tables:
        if entry.parent is not None and entry.parent in {item.key for item in found}:
            found.append(entry)
    # Partitions may be listed before the one that they belong to.
    more = [e for e in manifest.tables if e.parent in {i.key for i in found} and e not in found]
    return found if not more else [*found, *(s for e in more for s in stored(manifest, e) if s not in found)]
