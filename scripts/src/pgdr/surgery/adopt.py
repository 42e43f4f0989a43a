"""Rows of today that lost their owner: an accident may have set the reference to it, or the tenant column, to NULL.

Such a row belongs to nobody now. It is this tenant's own damaged row if the past has its key for this tenant, and then
so are the rows that hang on it. Without this, its return would clash with itself, and what hangs on it would turn up
out of nowhere when its owner is back. A row that belongs to another tenant today is never taken.
"""

from __future__ import annotations

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.conflicts import own_row
from pgdr.surgery.model import Table
from pgdr.surgery.scope import TenantScope
from pgdr.surgery.staging import Stage, analyze


def adopt(target: Connection[TupleRow], stages: dict[int, Stage], scope: TenantScope) -> dict[str, int]:
    """Take in rows without an owner, until none is left that is surely this tenant's.

    Args:
        target: the live session; past and live rows are staged.
        stages: by oid of the live table.
        scope: whose rows.

    Returns:
        how many rows of each table were taken in.
    """
    everybody = TenantScope(scope.ownership, scope.tenant, everybody=True)
    target.execute("create temp table pgdr_lost (tab oid, tid tid) on commit drop")
    found: dict[int, int] = {}
    while True:
        before = sum(found.values())
        for oid, stage in stages.items():
            if scope.ownership.owned[oid].always:
                continue
            taken = _take(target, stage, _candidates(stages, stage, scope, set(found)), everybody)
            if taken:
                found[oid] = found.get(oid, 0) + taken
        if sum(found.values()) == before:
            return {stages[oid].table.label: rows for oid, rows in found.items()}


def _candidates(stages: dict[int, Stage], stage: Stage, scope: TenantScope, adopted: set[int]) -> list[sql.Composed]:
    """Addresses of rows that could be this tenant's: their key is one of the past's, or they hang on an adopted row."""
    queries = []
    if stage.key:
        match = sql.SQL(" and ").join(
            part.operator.apply(
                sql.SQL("s.{}").format(stage.name_of(part.column or "")), sql.Identifier("t", part.column or "")
            )
            for part in stage.key
        )
        # A key is unique: what has a row of its own in scope has none elsewhere. Mostly that is all, and then the
        # table, which may be large and without a fitting index, is not read once more.
        queries.append(
            sql.SQL(
                "select t.tableoid as tab, t.ctid as tid from (select * from {past} as p where not exists"
                " (select from {live} as l where {here})) as s join {rows} as t on {match}"
            ).format(
                past=stage.past, live=stage.live, here=stage.key_match("p", "l"), rows=stage.table.rows, match=match
            )
        )
    one = scope.ownership.owned[stage.table.oid]
    for edge in one.edges:
        if edge.parent not in adopted:
            continue
        parent = stages[edge.parent]
        null = sql.SQL(" and {} is null").format(sql.Identifier("t", one.column)) if one.column else sql.SQL("")
        queries.append(
            sql.SQL(
                "select t.tableoid as tab, t.ctid as tid from ({own} from {live} as s) as p"
                " join {rows} as t on {holds}{null}"
            ).format(
                own=own_row(parent, "s"), live=parent.live, rows=stage.table.rows, holds=edge.holds("p", "t"), null=null
            )
        )
    return queries


def _take(target: Connection[TupleRow], stage: Stage, candidates: list[sql.Composed], everybody: TenantScope) -> int:
    if not candidates:
        return 0
    target.execute("truncate pg_temp.pgdr_lost")
    lost = target.execute(
        sql.SQL(
            "insert into pg_temp.pgdr_lost select distinct c.tab, c.tid from ({candidates}) as c"
            " left join {live} as g on g.tab = c.tab and g.tid = c.tid where g.tid is null"
        ).format(candidates=sql.SQL(" union all ").join(candidates), live=stage.live)
    )
    if not lost.rowcount:
        return 0
    done = target.execute(
        sql.SQL(
            "insert into {live} ({names}, tab, tid) select {values}, t.tableoid, t.ctid from pg_temp.pgdr_lost as c"
            " join {rows} as t on t.tableoid = c.tab and t.ctid = c.tid left join ({others}) as o"
            " on o.tab = c.tab and o.tid = c.tid where o.tid is null"
        ).format(
            live=stage.live,
            names=sql.SQL(", ").join(stage.all_names),
            values=sql.SQL(", ").join(sql.Identifier("t", one.column.name) for one in stage.columns),
            rows=stage.table.rows,
            others=_addresses(stage.table, everybody),
        )
    )
    analyze(target, stage.live)
    return done.rowcount


def _addresses(table: Table, everybody: TenantScope) -> sql.Composed:
    return everybody.select(table, sql.SQL("t.tableoid as tab, t.ctid as tid"))
