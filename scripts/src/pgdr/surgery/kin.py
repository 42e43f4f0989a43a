"""Which tables hang on others, and which rows of the past hang on rows that come back.

A deleted row takes its children along, by a cascade or because somebody removed them first. Who asks for the rows of
a table means those children too, but not a child that was removed for a reason of its own from a parent that is
still there. So of a table that nobody named, only those rows count whose past version refers, over any number of
steps, to a row that comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.components import components
from pgdr.surgery.conflicts import Ground, own_row, past_rows, refers
from pgdr.surgery.diff import Kind
from pgdr.surgery.model import ForeignKey, Schema, Table
from pgdr.surgery.staging import Stage, analyze
from pgdr.surgery.tenancy import foreign_key_edge


def family(schema: Schema, chosen: Iterable[Table], *, children: bool = True) -> list[Table]:
    """Tables and all that refer to them, over any number of steps; parents before children where there is no circle."""
    found = {table.oid for table in chosen}
    if children:
        found = _reached(found, lambda there: {key.child for key in schema.foreign_keys if key.parent in there})
    parents: dict[int, list[int]] = {oid: [] for oid in schema.tables if oid in found}
    for key in schema.foreign_keys:
        if key.child in found and key.parent in found:
            parents[key.child].append(key.parent)
    return [schema.tables[oid] for group in components(parents) for oid in group]


def ancestors(schema: Schema, tables: Iterable[Table]) -> list[Table]:
    """Tables and all that they refer to, over any number of steps."""
    found = _reached(
        {table.oid for table in tables},
        lambda there: {key.parent for key in schema.foreign_keys if key.child in there},
    )
    return [schema.tables[oid] for oid in found]


def _reached(start: set[int], step: Callable[[set[int]], set[int]]) -> set[int]:
    """Where one gets to over any number of steps, the start included."""
    found = set(start)
    while more := step(found) - found:
        found |= more
    return found


def keep_hanging(connection: Connection[TupleRow], ground: Ground, chosen: Collection[int]) -> None:
    """Forget all rows of tables that nobody chose, except those that hang on a row that comes back.

    Args:
        connection: the live session; everything is staged and compared.
        ground: what is staged.
        chosen: oids of the tables whose rows count by themselves.
    """
    waiting = {oid: stage for oid, stage in ground.stages.items() if oid not in chosen}
    for stage in waiting.values():
        connection.execute(
            sql.SQL("create temp table {} on commit drop as select kind, p, l from {}").format(
                _waiting(stage)[-1], stage.act
            )
        )
        connection.execute(sql.SQL("truncate {}").format(stage.act))
    keys = [key for key in ground.schema.foreign_keys if key.child in waiting and key.parent in ground.stages]
    while sum(_reach(connection, ground, key) for key in keys):
        pass
    for stage in waiting.values():
        analyze(connection, stage.act)
    ground.forget()


def _waiting(stage: Stage) -> tuple[sql.Identifier, sql.Identifier]:
    name = f"pgdr_wait_{stage.number}"
    # CREATE TEMP TABLE wants the bare name; every later use has the schema, since the path is empty.
    return sql.Identifier("pg_temp", name), sql.Identifier(name)


def _reach(connection: Connection[TupleRow], ground: Ground, key: ForeignKey) -> int:
    """Take in the rows that hang on a returning row by one key, and return how many there were."""
    child, parent = ground.stages[key.child], ground.stages[key.parent]
    edge = foreign_key_edge(ground.schema, key)
    done = connection.execute(
        sql.SQL(
            "with reached as (delete from {waiting} as w where w.p in"
            " (select s.n from {past} as s, lateral ({own}) as r where {refers}"
            "  and exists (select from {coming} as p where {holds})) returning w.kind, w.p, w.l)"
            " insert into {act} (kind, p, l) select kind, p, l from reached"
        ).format(
            waiting=_waiting(child)[0],
            past=child.past,
            own=own_row(child, "s"),
            refers=refers(edge, "r"),
            coming=past_rows(parent, (Kind.INSERT,)),
            holds=edge.holds("p", "r"),
            act=child.act,
        )
    )
    return done.rowcount
