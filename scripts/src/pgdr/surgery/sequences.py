"""Sequences behind columns: moved on where a returning row has a number that they have not given out yet."""

from __future__ import annotations

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.diff import WRITTEN, kinds
from pgdr.surgery.staging import Stage

_STEP_BY_STEP = 1000
_INTEGERS = frozenset({"smallint", "integer", "bigint"})


def move_on(connection: Connection[TupleRow], stage: Stage) -> list[str]:
    """Move the sequences of a table beyond the numbers of its returning rows, never back.

    A sequence is no part of a transaction: it stays moved if the change is given up, which leaves a gap and harms
    nobody. Others may take numbers at the same time; up to a thousand numbers are therefore taken one by one, as any
    session would.

    Returns:
        names of the sequences that were moved.
    """
    moved = []
    for one, name in stage.carried:
        if one.column.sequence is None or one.column.type not in _INTEGERS:
            continue
        sequence = sql.Identifier(*one.column.sequence)
        top = connection.execute(
            sql.SQL(
                "select"
                " (select max(p.{name}) from {past} as p join {act} as a on a.p = p.n and a.kind in {written}),"
                " s.last_value, s.is_called, q.seqincrement"
                " from {sequence} as s, pg_sequence as q where q.seqrelid = {literal}::regclass"
            ).format(
                name=name,
                past=stage.past,
                act=stage.act,
                written=kinds(*WRITTEN),
                sequence=sequence,
                literal=sql.Literal(sequence.as_string()),
            )
        ).fetchone()
        if top is None or top[0] is None or top[3] < 0:
            continue
        highest, last, called, step = top
        following = last + step if called else last
        if following > highest:
            continue
        distance = (highest - following) // step + 1
        literal = sql.Literal(sequence.as_string())
        if distance <= _STEP_BY_STEP:
            connection.execute(
                sql.SQL("select max(nextval({}::regclass)) from generate_series(1, {})").format(
                    literal, sql.Literal(distance)
                )
            )
        else:
            connection.execute(sql.SQL("select setval({}::regclass, {})").format(literal, sql.Literal(highest)))
        moved.append(sequence.as_string())
    return moved
