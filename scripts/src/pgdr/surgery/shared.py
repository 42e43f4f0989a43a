"""Shared rows that a returning row needs and that are gone meanwhile: brought back on request."""

from __future__ import annotations

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.conflicts import Ground, missing
from pgdr.surgery.diff import Kind
from pgdr.surgery.drift import StagedColumn
from pgdr.surgery.forgotten import Forgotten
from pgdr.surgery.model import ForeignKey, Schema, server_text
from pgdr.surgery.staging import Stage, analyze, copy_rows, create
from pgdr.surgery.tenancy import Owned, Ownership, foreign_key_edge

_BATCH = 500


def is_shared(owned: Owned | None) -> bool:
    """Whether a table can hold rows of nobody."""
    return owned is None or (owned.column is not None and not owned.always and not owned.nulls_follow)


def bring(
    source: Connection[TupleRow],
    target: Connection[TupleRow],
    ground: Ground,
    past: Schema,
    ownership: Ownership,
    key: ForeignKey,
    forgotten: Forgotten,
) -> int:
    """Stage the rows of the past that returning rows refer to by a key and that are gone, if they are shared.

    Rows of who was erased are gone for good.

    Returns:
        how many rows were added.
    """
    owned = ownership.owned.get(key.parent)
    table = ground.schema.tables[key.parent]
    then = past.find(*table.identity)
    if not is_shared(owned) or then is None:
        return 0
    stage = ground.stages.get(key.parent)
    if stage is None:
        columns = tuple(
            StagedColumn(column, column.name if then.column(column.name) else None) for column in table.columns
        )
        number = max((one.number for one in ground.stages.values()), default=0) + 1
        stage = Stage(number, table, then, columns, scoped=False)
        create(target, stage)
        ground.stages[key.parent] = stage
    added = 0
    child = ground.stages[key.child]
    wanted = sql.SQL("select distinct {columns} from {child} as s join ({query}) as q on q.n = s.n").format(
        columns=sql.SQL(", ").join(sql.SQL("s.{}::text").format(child.name_of(name)) for name in key.child_columns),
        child=child.past,
        query=missing(ground, key, foreign_key_edge(ground.schema, key)),
    )
    values = target.execute(
        wanted
    ).fetchall()  # keys of rows that are missing: few, or this is no accident of one tenant
    for start in range(0, len(values), _BATCH):
        query = _rows_of(stage, key, owned, values[start : start + _BATCH], forgotten)
        added += _take(source, target, stage, query)
    return added


def _rows_of(
    stage: Stage, key: ForeignKey, owned: Owned | None, values: list[TupleRow], forgotten: Forgotten
) -> sql.Composed:
    table = stage.past_table or stage.table
    terms = []
    for row in values:
        same = [
            sql.SQL("t.{} = {}::{}").format(sql.Identifier(name), sql.Literal(value), server_text(column.type))
            for name, value in zip(key.parent_columns, row, strict=True)
            if (column := table.column(name)) is not None
        ]
        terms.append(sql.SQL("({})").format(sql.SQL(" and ").join(same)))
    nobody: sql.Composable = sql.SQL("")
    if owned is not None:
        nobody = sql.SQL(" and t.{} is null").format(sql.Identifier(owned.column or ""))
    what = sql.SQL(", ").join(sql.Identifier("t", one.source) for one in stage.columns if one.source is not None)
    return sql.SQL("select {what} from {rows} as t where ({terms}){nobody}{left_out}").format(
        what=what,
        rows=table.rows,
        terms=sql.SQL(" or ").join(terms),
        nobody=nobody,
        left_out=forgotten.left_out(table),
    )


def _take(source: Connection[TupleRow], target: Connection[TupleRow], stage: Stage, query: sql.Composed) -> int:
    row = target.execute(sql.SQL("select coalesce(max(n), 0) from {}").format(stage.past)).fetchone()
    before = row[0] if row else 0
    added = copy_rows(source, query, target, stage)
    target.execute(
        sql.SQL("insert into {act} (kind, p) select {insert}, n from {past} where n > {before}").format(
            act=stage.act, insert=sql.Literal(str(Kind.INSERT)), past=stage.past, before=sql.Literal(before)
        )
    )
    analyze(target, stage.past)
    analyze(target, stage.act)
    return added
