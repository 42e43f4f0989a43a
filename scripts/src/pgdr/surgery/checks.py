"""The proof, inside the transaction and before its commit.

* every foreign key that the change could have broken holds, in both directions;
* every deferrable unique rule holds (the others were checked by the server at each row);
* the scope, read again from the tables, has exactly the content that was planned;
* the server's own counters say that this transaction changed as many rows of each table as planned, and none of any
  other table. Each change was addressed to a row of the scope, so no other row was touched, whatever others do
  meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg import sql

from pgdr.errors import BusyError, NotProvenError, RefusedError
from pgdr.fingerprint_model import TableSum
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.facts import one
from pgdr.rowhash import MODULUS, row_hash_sql
from pgdr.surgery.conflicts import Ground, live_rows, past_rows, refers
from pgdr.surgery.diff import COMING, LEAVING, WRITTEN, Kind, kinds
from pgdr.surgery.model import UniqueRule, quoted, server_text
from pgdr.surgery.scope import Scope
from pgdr.surgery.staging import Stage

# So many written rows are looked up one by one.
_FEW = 1000
_COUNTERS = """
select case when c.relispartition then pg_partition_root(c.oid) else c.oid end::oid,
       sum(s.n_tup_ins)::bigint, sum(s.n_tup_upd)::bigint, sum(s.n_tup_del)::bigint
from pg_stat_xact_user_tables s join pg_class c on c.oid = s.relid
where c.relpersistence <> 't'
group by 1
"""


@dataclass(frozen=True)
class Work:
    """Rows that a transaction inserted into, updated in and deleted from a table."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def minus(self, other: Work) -> Work:
        """What came since."""
        return Work(self.inserted - other.inserted, self.updated - other.updated, self.deleted - other.deleted)


def counters(connection: Connection[TupleRow]) -> dict[int, Work]:
    """The server's count of rows that this session has changed, by oid of the topmost table.

    Raises:
        RefusedError: it does not count.
    """
    if one(connection, "select current_setting('track_counts')")[0] != "on":
        raise RefusedError("the server does not count changes", remedy="set track_counts = on; nothing was changed")
    return {row[0]: Work(*row[1:]) for row in connection.execute(_COUNTERS.encode())}


def only_planned(
    connection: Connection[TupleRow], ground: Ground, before: Mapping[int, Work], exempt: Collection[int]
) -> int:
    """Compare the counters with the plan, and return how many rows were changed.

    Args:
        connection: in the transaction of the change.
        ground: what was planned.
        before: the counters at its beginning.
        exempt: tables that a hook may change.

    Raises:
        NotProvenError: something else was changed.
    """
    planned: dict[int, Work] = {}
    for oid, stage in ground.stages.items():
        found = ground.count(connection, stage)
        planned[oid] = Work(
            inserted=sum(found.get(kind, 0) for kind in COMING),
            updated=found.get(Kind.UPDATE, 0),
            deleted=sum(found.get(kind, 0) for kind in LEAVING),
        )
    now = counters(connection)
    total = 0
    for oid in now.keys() | planned.keys():
        done = now.get(oid, Work()).minus(before.get(oid, Work()))
        wanted = planned.get(oid, Work())
        total += done.inserted + done.updated + done.deleted
        if done != wanted and oid not in exempt:
            table = ground.schema.tables.get(oid)
            name = table.label if table else f"table with oid {oid}"
            raise NotProvenError(
                f"{name}: {done.inserted}, {done.updated}, {done.deleted} rows were inserted, updated and deleted "
                f"where {wanted.inserted}, {wanted.updated}, {wanted.deleted} were planned",
                remedy="all was taken back; a trigger or rule that fires ALWAYS would do this",
            )
    return total


def references_hold(connection: Connection[TupleRow], ground: Ground) -> int:
    """Check every enforced foreign key that touches a changed row, and return how many keys that were.

    Raises:
        BusyError: one does not hold: somebody has removed or added a row meanwhile.
    """
    checked = 0
    for key, edge in ground.edges():
        parent = ground.schema.tables[key.parent]
        child = ground.schema.tables[key.child]
        parents = sql.Identifier(*key.parent_relation) if key.parent_relation else parent.rows
        nothing = sql.SQL("not exists (select from {parents} as p where {holds})").format(
            parents=parents, holds=edge.holds("p", "r")
        )
        queries = []
        if key.child in ground.stages and ground.has(connection, ground.stages[key.child], WRITTEN):
            queries.append(
                sql.SQL("select count(*) from {written} as r where {refers} and {nothing}").format(
                    written=past_rows(ground.stages[key.child], WRITTEN), refers=refers(edge, "r"), nothing=nothing
                )
            )
        if key.parent in ground.stages and ground.has(connection, ground.stages[key.parent], LEAVING):
            queries.append(
                sql.SQL("select count(*) from {left} as l join {rows} as r on {holds} where {nothing}").format(
                    left=live_rows(ground.stages[key.parent], LEAVING),
                    rows=child.rows,
                    holds=edge.holds("l", "r"),
                    nothing=nothing,
                )
            )
        checked += bool(queries)
        for query in queries:
            row = connection.execute(query).fetchone()
            if row is not None and row[0]:
                raise BusyError(
                    f"{child.label}: {row[0]} rows would refer to missing rows of {parent.label} "
                    f"by {quoted(key.name)}: somebody else changed them meanwhile",
                    remedy="nothing was changed; run again",
                )
    return checked


def deferrable_rules_hold(connection: Connection[TupleRow], ground: Ground) -> None:
    """Check unique rules whose check is a trigger.

    Raises:
        BusyError: one does not hold.
    """
    for stage in ground.stages.values():
        found = ground.count(connection, stage)
        for rule in stage.table.unique_rules:
            if not rule.deferrable or not any(found.get(kind) for kind in COMING):
                continue
            row = connection.execute(_doubles(stage, rule)).fetchone()
            if row is not None:
                raise BusyError(
                    f"{stage.table.label}: values that {quoted(rule.name)} wants once stand twice",
                    remedy="nothing was changed; run again with --plan",
                )


def _doubles(stage: Stage, rule: UniqueRule) -> sql.Composed:
    where = sql.SQL("true") if rule.predicate is None else server_text(rule.predicate)
    keys = sql.SQL(", ").join(
        sql.SQL("({}) as {}").format(server_text(part.expression), sql.Identifier(f"k{i}"))
        for i, part in enumerate(rule.parts, start=1)
    )
    rows = sql.SQL("(select t.tableoid as tab, t.ctid as tid, {keys} from {rows} as t where {where})").format(
        keys=keys, rows=stage.table.rows, where=where
    )
    terms = []
    for i, part in enumerate(rule.parts, start=1):
        left, right = sql.Identifier("x", f"k{i}"), sql.Identifier("y", f"k{i}")
        same = part.operator.apply(left, right)
        both = sql.SQL("({} or ({} is null and {} is null))").format(same, left, right)
        terms.append(both if rule.nulls_equal else same)
    return sql.SQL(
        "select 1 from {rows} as x join {rows} as y on {match} and (x.tab, x.tid) <> (y.tab, y.tid) limit 1"
    ).format(rows=rows, match=sql.SQL(" and ").join(terms))


def content_is_planned(
    connection: Connection[TupleRow], stage: Stage, scope: Scope, without: Collection[str] = ()
) -> TableSum:
    """Read the scope's rows of a table again and compare them with what was planned.

    Args:
        connection: in the transaction of the change.
        stage: the table.
        scope: which of its rows.
        without: columns that a hook may change.

    Returns:
        the checksum of the rows.

    Raises:
        BusyError: they differ: the tenant has written meanwhile.
    """
    expected = sum_of(connection, _planned(stage, without))
    actual = sum_of(connection, scope.select(stage.table, sql.SQL("{} as content").format(_real(stage, without))))
    if expected != actual:
        raise BusyError(
            f"{stage.table.label}: {actual.rows} rows ({actual.checksum}) where {expected.rows} ({expected.checksum}) "
            "were planned: the tenant has written meanwhile",
            remedy="nothing was changed; keep the tenant's users out and run again",
        )
    return actual


def written_stand(connection: Connection[TupleRow], stage: Stage) -> TableSum:
    """Read what this transaction wrote to a table, and compare it with what was planned.

    For work that shares its tables with others: their rows are not looked at.

    Returns:
        the checksum of the rows that were written.

    Raises:
        NotProvenError: they differ.
    """
    written = sql.SQL("{past} as s join {act} as a on a.p = s.n where a.kind in {written}").format(
        past=stage.past, act=stage.act, written=kinds(*WRITTEN)
    )
    planned = sql.SQL("select {then} as content from {written}").format(then=stage.image("s"), written=written)
    expected = sum_of(connection, planned)
    near: sql.Composable = sql.SQL("")
    if stage.key and expected.rows <= _FEW:
        # Few rows are looked up. For many the planner, who cannot know how many rows have our number, would look at
        # all of them once for each: one walk through the table is the better way then.
        match = sql.SQL(" and ").join(
            part.operator.apply(
                sql.SQL("s.{}").format(stage.name_of(part.column or "")), sql.Identifier("t", part.column or "")
            )
            for part in stage.key
        )
        near = sql.SQL(" and exists (select from {written} and {match})").format(written=written, match=match)
    standing = sql.SQL(
        "select {now} as content from {rows} as t where t.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid{near}"
    ).format(now=stage.real_image("t"), rows=stage.table.rows, near=near)
    actual = sum_of(connection, standing)
    if expected != actual:
        raise NotProvenError(
            f"{stage.table.label}: {actual.rows} rows ({actual.checksum}) stand where {expected.rows} "
            f"({expected.checksum}) were to be written",
            remedy="all was taken back; a trigger or rule that fires ALWAYS would do this",
        )
    return actual


def _real(stage: Stage, without: Collection[str]) -> sql.Composed:
    names = [sql.Identifier("t", one.column.name) for one, _ in stage.carried if one.column.name not in without]
    return sql.SQL("row({})::text").format(sql.SQL(", ").join(names))


def _staged(stage: Stage, alias: str, without: Collection[str]) -> sql.Composed:
    names = [
        sql.SQL("{}.{}").format(sql.Identifier(alias), name)
        for one, name in stage.carried
        if one.column.name not in without
    ]
    return sql.SQL("row({})::text").format(sql.SQL(", ").join(names))


def _planned(stage: Stage, without: Collection[str]) -> sql.Composed:
    return sql.SQL(
        "select {then} as content from {act} as a join {past} as p on p.n = a.p where a.kind in {past_kinds}"
        " union all select {now} from {act} as a join {live} as l on l.n = a.l where a.kind in {live_kinds}"
    ).format(
        then=_staged(stage, "p", without),
        now=_staged(stage, "l", without),
        act=stage.act,
        past=stage.past,
        live=stage.live,
        past_kinds=kinds(Kind.SAME, *WRITTEN),
        live_kinds=kinds(Kind.KEEP),
    )


def sum_of(connection: Connection[TupleRow], rows: sql.Composable) -> TableSum:
    """Rows and checksum of a query whose one column is called ``content``."""
    hash0, hash1 = row_hash_sql("content")
    # A query that begins with WITH may stand in FROM as it is.
    found = connection.execute(
        sql.SQL("select count(*), coalesce(sum({h0}), 0), coalesce(sum({h1}), 0) from ({rows}) as contents").format(
            h0=sql.SQL(hash0), h1=sql.SQL(hash1), rows=rows
        )
    ).fetchone()
    if found is None:
        raise NotProvenError("PostgreSQL returned no sum")
    return TableSum(rows=found[0], sum0=int(found[1]) % MODULUS, sum1=int(found[2]) % MODULUS)
