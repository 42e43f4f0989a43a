"""What a change would break in rows that it is not about, found before anything is changed.

Three kinds: a returning row needs a value that another row has taken (unique rules, exclusion constraints); a returning
row refers to a row that is gone (a shared row, or one of another tenant); a row that would go is referred to by rows
that stay (of other tenants, or shared). Each query returns numbers of staged rows, so that a choice can be carried out
by changing their kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.diff import COMING, LEAVING, REWRITTEN, WRITTEN, Kind, count, kinds
from pgdr.surgery.model import ForeignKey, Schema, UniqueRule, quoted, server_text
from pgdr.surgery.staging import Stage
from pgdr.surgery.tenancy import Edge, foreign_key_edge

_EXAMPLES = 3


class Trouble(StrEnum):
    """Why a row cannot be treated as the past wants it."""

    TAKEN = "value taken"
    MISSING = "reference to a missing row"
    NEEDED = "still referred to"


@dataclass(frozen=True)
class Conflict:
    """Rows of one table that one rule forbids to change.

    Attributes:
        trouble: why.
        table: the table whose rows are meant.
        rule: name of the constraint or index.
        other: the table on the other side.
        rows: how many rows.
        examples: keys of some of them, as text.
        shared: of the missing rows, whether they could be brought back from the past on request.
    """

    trouble: Trouble
    table: str
    rule: str
    other: str
    rows: int
    examples: tuple[str, ...]
    shared: bool = False

    def __str__(self) -> str:
        such = f" (such as {', '.join(self.examples)})" if self.examples else ""
        match self.trouble:
            case Trouble.TAKEN:
                what = f"values that other rows have taken, by {quoted(self.rule)}"
            case Trouble.MISSING:
                what = f"references by {quoted(self.rule)} to rows of {self.other} that are gone"
            case Trouble.NEEDED:
                what = f"rows that would go, but rows of {self.other} refer to them by {quoted(self.rule)}"
        return f"{self.table}: {self.rows} {what}{such}"


@dataclass
class Ground:
    """Everything that is staged.

    Attributes:
        schema: the live database.
        stages: by oid of the live table.
    """

    schema: Schema
    stages: dict[int, Stage] = field(default_factory=dict)
    _counts: dict[int, dict[Kind, int]] = field(default_factory=dict, repr=False)

    def count(self, connection: Connection[TupleRow], stage: Stage) -> dict[Kind, int]:
        """How many rows of a table there are of each kind; asked once until :meth:`forget`."""
        if stage.number not in self._counts:
            self._counts[stage.number] = count(connection, stage)
        return self._counts[stage.number]

    def has(self, connection: Connection[TupleRow], stage: Stage, wanted: Iterable[Kind]) -> bool:
        """Whether a table has rows of one of these kinds."""
        found = self.count(connection, stage)
        return any(found.get(kind) for kind in wanted)

    def may_have(self, stage: Stage, wanted: Iterable[Kind]) -> bool:
        """The same without asking: yes, where nobody has counted yet."""
        found = self._counts.get(stage.number)
        return found is None or any(found.get(kind) for kind in wanted)

    def forget(self) -> None:
        """Rows have changed their kind, or new ones were staged."""
        self._counts.clear()

    def edges(self) -> Iterator[tuple[ForeignKey, Edge]]:
        """The enforced foreign keys that touch a staged table."""
        for key in self.schema.foreign_keys:
            if key.enforced and (key.child in self.stages or key.parent in self.stages):
                yield key, foreign_key_edge(self.schema, key)


def addresses(stage: Stage, wanted: Iterable[Kind]) -> sql.Composed:
    """Addresses of live rows whose kind is one of these."""
    return sql.SQL(
        "(select l.tab, l.tid from {act} as a join {live} as l on l.n = a.l where a.kind in {kinds})"
    ).format(act=stage.act, live=stage.live, kinds=kinds(*wanted))


def past_rows(stage: Stage, wanted: Iterable[Kind]) -> sql.Composed:
    """Rows of the past whose kind is one of these, under the real names of their columns."""
    return sql.SQL("({own} from {past} as s join {act} as a on a.p = s.n and a.kind in {kinds})").format(
        own=own_row(stage, "s"), past=stage.past, act=stage.act, kinds=kinds(*wanted)
    )


def live_rows(stage: Stage, wanted: Iterable[Kind]) -> sql.Composed:
    """The same for rows of today."""
    return sql.SQL("({own} from {live} as s join {act} as a on a.l = s.n and a.kind in {kinds})").format(
        own=own_row(stage, "s"), live=stage.live, act=stage.act, kinds=kinds(*wanted)
    )


def taken(stage: Stage, rule: UniqueRule) -> sql.Composed:
    """Numbers of rows of the past that cannot come back because of a unique rule."""
    keys = sql.SQL(", ").join(
        sql.SQL("({}) as {}").format(server_text(part.expression), sql.Identifier(f"k{i}"))
        for i, part in enumerate(rule.parts, start=1)
    )
    where = sql.SQL("true") if rule.predicate is None else server_text(rule.predicate)
    match = sql.SQL(" and ").join(_agree(rule, i) for i in range(1, len(rule.parts) + 1))
    return sql.SQL(
        "select distinct s.n from"
        " (select p.n, k.* from {past} as p join {act} as a on a.p = p.n and a.kind in {coming},"
        "  lateral (select {keys} from ({own}) as r where {where}) as k) as s"
        " join (select t.tableoid as tab, t.ctid as tid, {keys} from {rows} as t where {where}) as t on {match}"
        " left join {leaving} as g on g.tab = t.tab and g.tid = t.tid where g.tid is null"
    ).format(
        past=stage.past,
        act=stage.act,
        coming=kinds(*COMING),
        keys=keys,
        own=own_row(stage, "p"),
        where=where,
        rows=stage.table.rows,
        match=match,
        leaving=addresses(stage, LEAVING),
    )


def own_row(stage: Stage, alias: str) -> sql.Composed:
    """One staged row with the real names of its columns."""
    names = sql.SQL(", ").join(
        sql.SQL("{}.{} as {}").format(sql.Identifier(alias), name, sql.Identifier(one.column.name))
        for one, name in zip(stage.columns, stage.all_names, strict=True)
    )
    return sql.SQL("select {}").format(names)


def _agree(rule: UniqueRule, position: int) -> sql.Composed:
    left, right = sql.Identifier("s", f"k{position}"), sql.Identifier("t", f"k{position}")
    same = rule.parts[position - 1].operator.apply(left, right)
    if not rule.nulls_equal:
        return same
    return sql.SQL("({same} or ({left} is null and {right} is null))").format(same=same, left=left, right=right)


def missing(ground: Ground, key: ForeignKey, edge: Edge) -> sql.Composed:
    """Numbers of rows of the past that would refer to nothing."""
    child = ground.stages[key.child]
    parent = ground.stages.get(key.parent)
    holds, rows = edge.holds("p", "r"), _parent_rows(ground, key)
    # The simplest question that is right: a join that is not needed costs a look at the whole table.
    gone = sql.SQL("not exists (select from {rows} as p where {holds})").format(rows=rows, holds=holds)
    if parent is not None and ground.may_have(parent, LEAVING):
        gone = sql.SQL(
            "not exists (select from {rows} as p left join {leaving} as g on g.tab = p.tableoid and g.tid = p.ctid"
            " where {holds} and g.tid is null)"
        ).format(rows=rows, leaving=addresses(parent, LEAVING), holds=holds)
    if parent is not None and ground.may_have(parent, COMING):
        gone += sql.SQL(" and not exists (select from {coming} as p where {holds})").format(
            coming=past_rows(parent, COMING), holds=holds
        )
    return sql.SQL(
        "select s.n from {past} as s join {act} as a on a.p = s.n and a.kind in {written},"
        " lateral ({own}) as r where {refers} and {gone}"
    ).format(
        past=child.past,
        act=child.act,
        written=kinds(*WRITTEN),
        own=own_row(child, "s"),
        refers=refers(edge, "r"),
        gone=gone,
    )


def _parent_rows(ground: Ground, key: ForeignKey) -> sql.Composable:
    if key.parent_relation is not None:
        return sql.Identifier(*key.parent_relation)
    return ground.schema.tables[key.parent].rows


def refers(edge: Edge, alias: str) -> sql.Composed:
    """The condition that a row refers at all: no column of the key is NULL."""
    terms: list[sql.Composable] = [
        sql.SQL("{} is not null").format(sql.Identifier(alias, c)) for c in edge.child_columns
    ]
    if edge.condition is not None:
        terms.append(sql.SQL("({})").format(edge.condition(alias)))
    return sql.SQL(" and ").join(terms)


def needed(ground: Ground, key: ForeignKey, edge: Edge) -> sql.Composed:
    """Numbers of rows of today that would go, though rows that stay refer to them."""
    parent = ground.stages[key.parent]
    child = ground.stages.get(key.child)
    table = ground.schema.tables[key.child]
    back = sql.SQL(" and ").join(
        sql.SQL("{}::text = {}::text").format(sql.Identifier("q", name), sql.Identifier("r", name))
        for name in key.parent_columns
    )
    stays: sql.Composable = sql.SQL("")
    if child is not None and not ground.may_have(child, REWRITTEN):
        child = None
    if child is not None:
        stays = sql.SQL(" left join {} as g on g.tab = c.tableoid and g.tid = c.ctid").format(
            addresses(child, REWRITTEN)
        )
    return sql.SQL(
        "select distinct s.n from {live} as s join {act} as a on a.l = s.n and a.kind in {leaving},"
        " lateral ({own}) as r, lateral (select from {rows} as c{stays} where {holds}{kept}) as x"
        " where not exists (select from {coming} as q where {back})"
    ).format(
        live=parent.live,
        act=parent.act,
        leaving=kinds(*LEAVING),
        own=own_row(parent, "s"),
        rows=table.rows,
        stays=stays,
        holds=edge.holds("r", "c"),
        kept=sql.SQL(" and g.tid is null") if child is not None else sql.SQL(""),
        coming=past_rows(parent, COMING),
        back=back,
    )


@dataclass(frozen=True)
class Finding:
    """A query of staged rows that are in trouble.

    Attributes:
        trouble: why.
        stage: whose rows.
        rule: name of the constraint or index.
        other: the table on the other side.
        query: numbers of the rows: of the past, or of today where they are still referred to.
        key: the foreign key, where it is one.
    """

    trouble: Trouble
    stage: Stage
    rule: str
    other: str
    query: sql.Composed
    key: ForeignKey | None = None


def findings(connection: Connection[TupleRow], ground: Ground) -> Iterator[Finding]:
    """All questions that have to be asked before a change; those that no row is about are left out."""
    for stage in ground.stages.values():
        ground.count(connection, stage)
    for stage in list(ground.stages.values()):
        if not ground.has(connection, stage, COMING):
            continue
        for rule in stage.table.unique_rules:
            yield Finding(Trouble.TAKEN, stage, rule.name, stage.table.label, taken(stage, rule))
    for key, edge in ground.edges():
        if key.child in ground.stages and ground.has(connection, ground.stages[key.child], WRITTEN):
            other = ground.schema.tables[key.parent].label
            yield Finding(Trouble.MISSING, ground.stages[key.child], key.name, other, missing(ground, key, edge), key)
        if key.parent in ground.stages and ground.has(connection, ground.stages[key.parent], LEAVING):
            other = ground.schema.tables[key.child].label
            yield Finding(Trouble.NEEDED, ground.stages[key.parent], key.name, other, needed(ground, key, edge), key)


def ask(connection: Connection[TupleRow], finding: Finding) -> Conflict | None:
    """Ask one question; ``None`` where there is no conflict."""
    stage = finding.stage
    side = stage.live if finding.trouble is Trouble.NEEDED else stage.past
    names = [stage.name_of(part.column or "") for part in stage.table.key] or stage.all_names[:3]
    shown = sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(sql.SQL("s.{}").format(n) for n in names))
    connection.execute(sql.SQL("truncate pg_temp.pgdr_trouble"))
    done = connection.execute(
        sql.SQL("insert into pg_temp.pgdr_trouble (n) select distinct q.n from ({}) as q").format(finding.query)
    )
    if not done.rowcount:
        return None
    examples = connection.execute(
        sql.SQL(
            "select left({shown}, 60) from {side} as s join pg_temp.pgdr_trouble as q on q.n = s.n"
            " order by s.n limit {k}"
        ).format(shown=shown, side=side, k=sql.Literal(_EXAMPLES))
    ).fetchall()
    return Conflict(
        finding.trouble,
        stage.table.label,
        finding.rule,
        finding.other,
        done.rowcount,
        tuple(row[0] for row in examples),
    )


def prepare(connection: Connection[TupleRow]) -> None:
    """Make what all temporary tables share, and the one that :func:`ask` fills and :func:`give_way` reads."""
    connection.execute("create temp sequence if not exists pgdr_numbers")
    connection.execute("create temp table pgdr_trouble (n bigint) on commit drop")


def give_way(connection: Connection[TupleRow], finding: Finding) -> int:
    """Leave the rows that :func:`ask` has just found as they are today, and return how many there were."""
    side = "l" if finding.trouble is Trouble.NEEDED else "p"
    done = connection.execute(
        sql.SQL(
            'update {act} as a set kind = case when a.l is null then {skip} else {keep} end::"char"'
            " from pg_temp.pgdr_trouble as q where a.{side} = q.n and a.kind not in {settled}"
        ).format(
            act=finding.stage.act,
            skip=sql.Literal(str(Kind.SKIP)),
            keep=sql.Literal(str(Kind.KEEP)),
            side=sql.Identifier(side),
            settled=kinds(Kind.SKIP, Kind.KEEP),
        )
    )
    return done.rowcount
