"""Rows of the past and of today side by side, in temporary tables of the live session.

For table number *n*: ``past_n`` holds the scope's rows as they were, ``live_n`` as they are, with their addresses, and
``act_n`` what shall happen to them. Columns are called ``c1``, ``c2``, ... there: no name of a database can be in the
way. Rows travel by COPY as text (`postgres/stream`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import psycopg
from psycopg import sql

from pgdr.errors import OperationFailedError
from pgdr.postgres import stream
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.drift import Mapping, StagedColumn
from pgdr.surgery.model import KeyPart, Table
from pgdr.surgery.scope import Scope

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Stage:
    """One table and its three temporary companions.

    Attributes:
        number: tells them apart.
        table: the live table.
        past_table: the same table in the past; ``None`` where nothing comes from there.
        columns: the live table's columns, and where their values come from.
        grows_only: rows are added, never removed or changed.
        scoped: its rows in scope were read; else it only takes shared rows that come back.
    """

    number: int
    table: Table
    past_table: Table | None
    columns: tuple[StagedColumn, ...]
    grows_only: bool = False
    scoped: bool = True

    @property
    def past(self) -> sql.Identifier:
        """The rows as they were: ``n`` and ``c1``..."""
        return sql.Identifier("pg_temp", f"pgdr_past_{self.number}")

    @property
    def live(self) -> sql.Identifier:
        """The rows as they are: ``n``, ``tab``, ``tid`` and ``c1``..."""
        return sql.Identifier("pg_temp", f"pgdr_live_{self.number}")

    @property
    def act(self) -> sql.Identifier:
        """What happens: ``kind``, ``p`` (a row of the past) and ``l`` (a row of today)."""
        return sql.Identifier("pg_temp", f"pgdr_act_{self.number}")

    def name_of(self, column: str) -> sql.Identifier:
        """What a column is called in the temporary tables."""
        return sql.Identifier(f"c{self._position(column)}")

    def _position(self, column: str) -> int:
        return next(i for i, one in enumerate(self.columns, start=1) if one.column.name == column)

    @property
    def all_names(self) -> list[sql.Identifier]:
        """All columns of the temporary tables."""
        return [sql.Identifier(f"c{i}") for i in range(1, len(self.columns) + 1)]

    @property
    def carried(self) -> list[tuple[StagedColumn, sql.Identifier]]:
        """Columns that the past has values for and that may be written."""
        return [
            (one, name)
            for one, name in zip(self.columns, self.all_names, strict=True)
            if one.source is not None and not one.column.generated
        ]

    def image(self, alias: str) -> sql.Composed:
        """The text of a row of a temporary table: two rows are the same when it is."""
        names = sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.Identifier(alias), name) for _, name in self.carried)
        return sql.SQL("row({})::text").format(names)

    def real_image(self, alias: str) -> sql.Composed:
        """The text of a row of the table itself, comparable with :meth:`image`."""
        names = sql.SQL(", ").join(sql.Identifier(alias, one.column.name) for one, _ in self.carried)
        return sql.SQL("row({})::text").format(names)

    def whole_image(self, alias: str, *, staged: bool) -> sql.Composed:
        """The text of a row with all its columns, those that the past does not know included."""
        names = (
            [sql.SQL("{}.{}").format(sql.Identifier(alias), name) for name in self.all_names]
            if staged
            else [sql.Identifier(alias, one.column.name) for one in self.columns]
        )
        return sql.SQL("row({})::text").format(sql.SQL(", ").join(names))

    def key_match(self, left: str, right: str) -> sql.Composed:
        """The condition that two rows of temporary tables have the same key."""
        return sql.SQL(" and ").join(
            part.operator.apply(
                sql.SQL("{}.{}").format(sql.Identifier(left), self._key_name(part)),
                sql.SQL("{}.{}").format(sql.Identifier(right), self._key_name(part)),
            )
            for part in self.key
        )

    def _key_name(self, part: KeyPart) -> sql.Identifier:
        return self.name_of(part.column or "")

    @property
    def key(self) -> tuple[KeyPart, ...]:
        """The key, if the past has a value for each of its columns."""
        known = {one.column.name for one in self.columns if one.source is not None}
        return self.table.key if all(part.column in known for part in self.table.key) else ()


def make(number: int, mapping: Mapping, scope: Scope) -> Stage:
    """Describe the temporary tables for a table in scope."""
    return Stage(
        number=number,
        table=mapping.table,
        past_table=mapping.past,
        columns=mapping.columns,
        grows_only=scope.grows_only(mapping.table),
    )


# One sequence numbers the rows of all temporary tables: a hundred of them would take longer than the rows.
NUMBERS = sql.Literal("pg_temp.pgdr_numbers")
_SMALL = 64 * 1024


def create(connection: Connection[TupleRow], stage: Stage) -> None:
    """Make the temporary tables, all empty."""
    columns = sql.SQL(", ").join(
        sql.SQL("t.{} as {}").format(sql.Identifier(one.column.name), name)
        for one, name in zip(stage.columns, stage.all_names, strict=True)
    )
    for target, more in (
        (stage.past, sql.SQL("")),
        (stage.live, sql.SQL(", t.tableoid as tab, t.ctid as tid")),
    ):
        connection.execute(
            sql.SQL(
                "create temp table {target} on commit drop as select {columns}{more} from {rows} as t with no data"
            ).format(target=_unqualified(target), columns=columns, more=more, rows=stage.table.rows)
        )
        connection.execute(
            sql.SQL("alter table {} add column n bigint default nextval({}::regclass)").format(target, NUMBERS)
        )
    connection.execute(
        sql.SQL('create temp table {} (kind "char", p bigint, l bigint) on commit drop').format(_unqualified(stage.act))
    )


def _unqualified(name: sql.Identifier) -> sql.Identifier:
    # CREATE TEMP TABLE wants the bare name; every later use has the schema, since the path is empty.
    return sql.Identifier(name._obj[-1])  # noqa: SLF001 - psycopg offers no other way to its parts


def fill_past(
    source: Connection[TupleRow], target: Connection[TupleRow], stage: Stage, scope: Scope, progress: Progress
) -> int:
    """Bring the scope's rows of the past over, and return how many they are."""
    if stage.past_table is None:
        return 0
    wanted = [one for one in stage.columns if one.source is not None]
    what = sql.SQL(", ").join(sql.Identifier("t", one.source or "") for one in wanted)
    copied = copy_rows(source, scope.select(stage.past_table, what), target, stage, progress)
    analyze(target, stage.past)
    return copied


def copy_rows(
    source: Connection[TupleRow],
    query: sql.Composable,
    target: Connection[TupleRow],
    stage: Stage,
    progress: Progress | None = None,
) -> int:
    """Stream the result of a query into ``past_n``; its columns are those that have a source, in order."""
    names = [name for one, name in zip(stage.columns, stage.all_names, strict=True) if one.source is not None]
    sent = None if progress is None else partial(progress, stage.table.label)
    try:
        return stream.carry(source, query, target, stage.past, sql.SQL(", ").join(names), sent)
    except psycopg.DataError as error:
        text = " ".join((error.diag.message_primary or str(error)).split())
        raise OperationFailedError(
            f"{stage.table.label}: a value of the past does not fit today's type: {text}",
            remedy="nothing was changed; see --column-map",
        ) from error


def fill_live(target: Connection[TupleRow], stage: Stage, scope: Scope) -> int:
    """Read the scope's rows as they are now, with their addresses, and return how many they are."""
    what = sql.SQL(", ").join(
        [*(sql.Identifier("t", one.column.name) for one in stage.columns), sql.SQL("t.tableoid, t.ctid")]
    )
    names = sql.SQL(", ").join([*stage.all_names, sql.SQL("tab, tid")])
    # A clause WITH of the query must stand before INSERT's own SELECT, which it does.
    done = target.execute(
        sql.SQL("insert into {live} ({names}) {query}").format(
            live=stage.live, names=names, query=scope.select(stage.table, what)
        )
    )
    analyze(target, stage.live)
    return done.rowcount


def fill_matching(target: Connection[TupleRow], stage: Stage) -> int:
    """Read the rows of today that a row of the past has its match in: the same key, or without one the same content."""
    match = (
        sql.SQL("exists (select from {past} as s where {key})").format(
            past=stage.past,
            key=sql.SQL(" and ").join(
                part.operator.apply(
                    sql.SQL("s.{}").format(stage.name_of(part.column or "")), sql.Identifier("t", part.column or "")
                )
                for part in stage.key
            ),
        )
        if stage.key
        else sql.SQL("{now} in (select {then} from {past} as s)").format(
            now=stage.real_image("t"), then=stage.image("s"), past=stage.past
        )
    )
    done = target.execute(
        sql.SQL(
            "insert into {live} ({names}, tab, tid) select {what}, t.tableoid, t.ctid from {rows} as t where {match}"
        ).format(
            live=stage.live,
            names=sql.SQL(", ").join(stage.all_names),
            what=sql.SQL(", ").join(sql.Identifier("t", one.column.name) for one in stage.columns),
            rows=stage.table.rows,
            match=match,
        )
    )
    analyze(target, stage.live)
    return done.rowcount


def analyze(connection: Connection[TupleRow], name: sql.Composable) -> None:
    """Tell the planner what a temporary table holds; nobody else does. Of a small one its size tells enough."""
    row = connection.execute(
        sql.SQL("select pg_relation_size({}::regclass) > {}").format(sql.Literal(name.as_string()), sql.Literal(_SMALL))
    ).fetchone()
    if row is not None and not row[0]:
        return
    connection.execute(sql.SQL("analyze {}").format(name))


def unscoped(stage: Stage) -> Stage:
    """The same for a table that only takes shared rows that come back."""
    return replace(stage, scoped=False)
