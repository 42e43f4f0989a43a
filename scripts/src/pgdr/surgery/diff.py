"""What would have to change: rows of the past and of today are paired, and each pair gets a kind.

Rows are paired by key; without a key as multisets: of rows with the same content, as many are paired as both sides
have. Two rows are the same when the text of all their columns is; that is stricter than ``=`` (``1.0`` and ``1.00``
differ), and works for types that have no ``=``.

A changed row is rewritten in place where that is safe. Where a column of a unique rule or of a partition key changes,
or an identity that only the server may write, the old row is removed and the new one inserted, all removals first:
two rows that swap a unique value could not be updated one after the other.
"""

from __future__ import annotations

from enum import StrEnum

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.staging import Stage, analyze


class Kind(StrEnum):
    """What happens to a row."""

    SAME = "="  # as it was
    INSERT = "i"  # was there, is gone
    UPDATE = "u"  # changed: rewritten in place
    REPLACE = "r"  # changed: removed and inserted
    DELETE = "d"  # was not there
    KEEP = "k"  # stays as it is today, though the past says otherwise
    SKIP = "x"  # was there and does not come back


class Mode(StrEnum):
    """How far a restore goes."""

    EXACT = "exact"  # the rows are as they were
    KEEP_NEW = "keep-new"  # rows that came since stay
    MISSING_ONLY = "missing-only"  # only what is gone comes back


# Kinds whose row of today leaves, and kinds whose row of the past comes.
LEAVING = (Kind.DELETE, Kind.REPLACE)
COMING = (Kind.INSERT, Kind.REPLACE)
WRITTEN = (Kind.INSERT, Kind.REPLACE, Kind.UPDATE)
REWRITTEN = (Kind.DELETE, Kind.REPLACE, Kind.UPDATE)


def kinds(*wanted: Kind) -> sql.Composed:
    """A list of kinds for ``in``."""
    return sql.SQL("({})").format(sql.SQL(", ").join(sql.Literal(str(kind)) for kind in wanted))


def compare(connection: Connection[TupleRow], stage: Stage, mode: Mode) -> None:
    """Pair the rows of a table and write down what each pair needs."""
    changed = Kind.UPDATE
    extra = Kind.DELETE
    replaced = Kind.REPLACE
    if stage.grows_only or mode is Mode.MISSING_ONLY:
        changed = extra = replaced = Kind.KEEP
    elif mode is Mode.KEEP_NEW:
        extra = Kind.KEEP
    pairs = _by_key(stage) if stage.key else _as_multiset(stage)
    statement = sql.SQL(
        "insert into {act} (kind, p, l) select case when p.n is null then {extra} when l.n is null then {missing}"
        " when {same} then {kept} when {rebuild} then {replaced} else {changed} end, p.n, l.n from {pairs}"
    ).format(
        act=stage.act,
        extra=sql.Literal(str(extra)),
        missing=sql.Literal(str(Kind.INSERT)),
        same=sql.SQL("{} = {}").format(stage.image("p"), stage.image("l")),
        kept=sql.Literal(str(Kind.SAME)),
        rebuild=_rebuild(stage),
        replaced=sql.Literal(str(replaced)),
        changed=sql.Literal(str(changed)),
        pairs=pairs,
    )
    connection.execute(statement)
    analyze(connection, stage.act)


def _by_key(stage: Stage) -> sql.Composed:
    return sql.SQL("{past} as p full join {live} as l on {match}").format(
        past=stage.past, live=stage.live, match=stage.key_match("p", "l")
    )


def _as_multiset(stage: Stage) -> sql.Composed:
    return sql.SQL(
        "(select s.*, {image} as img, row_number() over (partition by {image} order by s.n) as copy"
        " from {past} as s) as p full join"
        " (select s.*, {image} as img, row_number() over (partition by {image} order by s.n) as copy"
        " from {live} as s) as l"
        " on p.img = l.img and p.copy = l.copy"
    ).format(image=stage.image("s"), past=stage.past, live=stage.live)


def _rebuild(stage: Stage) -> sql.Composable:
    """Whether a changed row has to be removed and inserted."""
    if stage.table.partitioned:  # an update could move the row to another partition, which is a removal anyway
        return sql.SQL("true")
    unique = {name for rule in stage.table.unique_rules for name in rule.columns}
    unique |= {part.column for part in stage.key if part.column}
    fixed = [
        name
        for one, name in zip(stage.columns, stage.all_names, strict=True)
        if one.source is not None and (one.column.name in unique or one.column.identity == "a")
    ]
    if not fixed:
        return sql.SQL("false")
    left = sql.SQL(", ").join(sql.SQL("p.{}").format(name) for name in fixed)
    right = sql.SQL(", ").join(sql.SQL("l.{}").format(name) for name in fixed)
    return sql.SQL("row({})::text <> row({})::text").format(left, right)


def count(connection: Connection[TupleRow], stage: Stage) -> dict[Kind, int]:
    """How many rows there are of each kind."""
    rows = connection.execute(sql.SQL("select kind::text, count(*) from {} group by kind").format(stage.act))
    return {Kind(kind): number for kind, number in rows}
