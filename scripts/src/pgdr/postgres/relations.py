"""Which relations of a database hold data, and how to name and read them.

Every relation has a key, ``format('%I.%I', schema, name)``: no two relations share one, whatever is in a name,
and it is the name as SQL writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg import sql

from pgdr.errors import RefusedError
from pgdr.postgres.connection import Connection, TupleRow

# Our own bookkeeping: it changes every minute and says nothing about the ERP's data.
OWN_SCHEMA = "pgdr"
LARGE_OBJECTS = "pg_catalog.pg_largeobject"
_LOCK_BATCH = 200


class Kind(StrEnum):
    """What a relation is to a fingerprint."""

    TABLE = "table"
    MATERIALIZED_VIEW = "materialized view"
    SEQUENCE = "sequence"
    FOREIGN_TABLE = "foreign table"


@dataclass(frozen=True)
class Relation:
    """One relation that stores something, a partition for example.

    Attributes:
        schema: its schema.
        name: its name.
        key: key of what it counts for: the root of a partition, else itself.
        own_key: its own key.
        kind: what it is.
        unlogged: not in WAL: empty after a recovery.
        populated: ``False`` for a materialized view that was never filled.
        heap: its rows have physical addresses that can be scanned in ranges.
        blocks: size of its main part in blocks.
        size: its size in bytes with everything that was moved out of line.
        columns: its columns in the order of its own rows.
        root_columns: its columns in the order of the root's rows.
        increment: step of a sequence.
    """

    schema: str
    name: str
    key: str
    own_key: str
    kind: Kind
    unlogged: bool
    populated: bool
    heap: bool
    blocks: int
    size: int
    columns: tuple[str, ...]
    root_columns: tuple[str, ...]
    increment: int

    @property
    def identifier(self) -> sql.Identifier:
        """Its qualified name, quoted."""
        return sql.Identifier(self.schema, self.name)


_KINDS = {
    "r": Kind.TABLE,
    "m": Kind.MATERIALIZED_VIEW,
    "S": Kind.SEQUENCE,
    "f": Kind.FOREIGN_TABLE,
}

_SCHEMAS = """
select nspname from pg_catalog.pg_namespace
where case when %(wanted)s::text[] is null
           then nspname !~ '^pg_' and nspname not in ('information_schema', %(own)s)
           else nspname = any (%(wanted)s::text[]) end
"""

# A partitioned table (p) stores nothing itself; its partitions count for the topmost table of their tree.
_RELATIONS = """
select n.nspname,
       c.relname,
       format('%%I.%%I', rn.nspname, r.relname),
       format('%%I.%%I', n.nspname, c.relname),
       c.relkind::text,
       c.relpersistence = 'u',
       c.relispopulated,
       coalesce(am.amname = 'heap', false),
       case when c.relkind in ('r', 'm')
            then pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int else 0 end,
       case when c.relkind in ('r', 'm') then pg_catalog.pg_table_size(c.oid) else 0 end,
       array(select a.attname::text from pg_catalog.pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
       array(select a.attname::text from pg_catalog.pg_attribute a
             where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
       coalesce(s.seqincrement, 1)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class r
  on r.oid = case when c.relispartition then pg_catalog.pg_partition_root(c.oid) else c.oid end
join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
left join pg_catalog.pg_am am on am.oid = c.relam
left join pg_catalog.pg_sequence s on s.seqrelid = c.oid
where c.relkind in ('r', 'm', 'S', 'f')
  and c.relpersistence <> 't'
  and (rn.nspname = any (%(schemas)s)
       or (%(all)s and c.oid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass))
order by 4
"""

_EMPTY_ROOTS = """
select format('%%I.%%I', n.nspname, c.relname)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'p' and not c.relispartition and c.relpersistence <> 't' and n.nspname = any (%(schemas)s)
"""


@dataclass(frozen=True)
class Catalog:
    """What a database holds.

    Attributes:
        relations: everything that stores something.
        partitioned: keys of the topmost partitioned tables, those without partitions included.
    """

    relations: tuple[Relation, ...]
    partitioned: tuple[str, ...]


def read_catalog(connection: Connection[TupleRow], schemas: Sequence[str] | None = None) -> Catalog:
    """List what a database holds, as the connection's snapshot sees it.

    Args:
        connection: open in the database.
        schemas: these only; ``None`` for all but the system's and :data:`OWN_SCHEMA`.

    Raises:
        RefusedError: a schema does not exist.
    """
    wanted = None if schemas is None else list(schemas)
    found = [row[0] for row in connection.execute(_SCHEMAS, {"wanted": wanted, "own": OWN_SCHEMA}).fetchall()]
    missing = sorted(set(wanted or ()) - set(found))
    if missing:
        raise RefusedError(f"no such schema: {', '.join(missing)}", remedy="names are exact, case included")
    rows = connection.execute(_RELATIONS, {"schemas": found, "all": wanted is None}).fetchall()
    roots = connection.execute(_EMPTY_ROOTS, {"schemas": found}).fetchall()
    return Catalog(tuple(_relation(row) for row in rows), tuple(row[0] for row in roots))


def lock_relations(connection: Connection[TupleRow], names: Sequence[sql.Identifier]) -> bool:
    """Keep tables from being dropped, truncated or rewritten while they are read: no snapshot protects from it.

    Returns:
        Whether all could be locked; there is room for so many locks only (``max_locks_per_transaction``).
    """
    try:
        with connection.transaction():
            for start in range(0, len(names), _LOCK_BATCH):
                targets = sql.SQL(", ").join(sql.SQL("only {}").format(n) for n in names[start : start + _LOCK_BATCH])
                connection.execute(sql.SQL("lock table {} in access share mode").format(targets))
    except psycopg.errors.OutOfMemory:
        return False
    return True


def _relation(row: TupleRow) -> Relation:
    return Relation(
        schema=row[0],
        name=row[1],
        key=row[2],
        own_key=row[3],
        kind=_KINDS[row[4]],
        unlogged=row[5],
        populated=row[6],
        heap=row[7],
        blocks=row[8],
        size=row[9],
        columns=tuple(row[10]),
        root_columns=tuple(row[11]),
        increment=row[12],
    )
