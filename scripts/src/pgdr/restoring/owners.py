"""Rows whose owners were erased: they are known by their parents, so those are read as well.

A line of an order does not say whose it is; its order does. Rows of a table that come back alone are therefore brought
into quarantine together with what they hang on, and keys and references with them: there the erasure ledger finds
whom they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from pgdr.archive.model import Manifest, TableEntry
from pgdr.policy.tenancy import Tenancy
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.restoring import contents
from pgdr.restoring.selection import stored
from pgdr.surgery.catalog import read_schema
from pgdr.surgery.ledger import Ledger
from pgdr.surgery.tenancy import resolve

# Keys, and the indexes that stand in for them.
_KEYS = ("CONSTRAINT ", "INDEX ", "INDEX ATTACH ")


@dataclass(frozen=True)
class Erasures:
    """Who was erased since.

    Attributes:
        tenancy: how rows belong to tenants.
        ledger: says who.
        keep: removes their rows from a database, and returns how many.
    """

    tenancy: Tenancy
    ledger: Ledger
    keep: Callable[[str], int]


def owner_tables(
    live: Connection[TupleRow], tenancy: Tenancy, manifest: Manifest, tables: Collection[TableEntry]
) -> list[TableEntry]:
    """Archived tables that say whose the rows of these are; ``search_path`` must be empty.

    Args:
        live: the live database: its foreign keys lead to the owners.
        tenancy: how rows belong to tenants.
        manifest: of the archive.
        tables: the tables whose rows come back.
    """
    ownership = resolve(read_schema(live), tenancy)
    known = {(table.schema_, table.name): table for table in manifest.tables}
    labels = {one.table.identity: oid for oid, one in ownership.owned.items()}
    open_ones = [labels[place] for table in tables if (place := (table.schema_, table.name)) in labels]
    found: dict[int, TableEntry] = {}
    seen = set(open_ones)
    while open_ones:
        for edge in ownership.owned[open_ones.pop()].edges:
            if edge.parent in seen:
                continue
            seen.add(edge.parent)
            open_ones.append(edge.parent)
            entry = known.get(ownership.owned[edge.parent].table.identity)
            if entry is not None:
                found.update({part.oid: part for part in stored(manifest, entry)})
    return [entry for oid, entry in found.items() if oid not in {table.oid for table in tables}]


def keys_among(
    manifest: Manifest, entries: Collection[contents.Entry], tables: Collection[int]
) -> list[contents.Entry]:
    """Entries of a dump that make all keys, and the foreign keys between some tables.

    Args:
        manifest: of the archive.
        entries: the list of contents of its full dump.
        tables: the tables whose rows are there, by their numbers in the manifest.
    """
    here = {(table.schema_, table.name) for table in manifest.tables if table.oid in tables}
    between = {
        key.oid
        for key in manifest.foreign_keys
        if (key.schema_, key.table) in here and (key.parent_schema, key.parent_table) in here
    }
    return [
        entry
        for entry in entries
        if entry.text.startswith(_KEYS) or (entry.catalog == contents.PG_CONSTRAINT and entry.oid in between)
    ]
