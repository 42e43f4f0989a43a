"""Bring the rows of a staging table and those of a live one together, by the live table's primary key.

A table without primary key is compared as a multiset: the same row three times is three rows. Rows are compared as
text, because not every type knows what is equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pgdr.postgres.connection import Connection, TupleRow

_KEY = """
select array(select a.attname::text from unnest(i.indkey) with ordinality k(attnum, position)
             join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum order by k.position)
from pg_catalog.pg_index i where i.indrelid = %s::regclass and i.indisprimary
"""


@dataclass(frozen=True)
class LiveTable:
    """A live table that rows come back to.

    Attributes:
        schema: its schema.
        name: its name.
        key: the name as SQL writes it.
        kind: ``r`` or ``p``.
        columns: the columns that archive and table share, without generated ones.
        primary_key: columns of the primary key, empty if there is none.
        unchangeable: identity columns that take no update.
    """

    schema: str
    name: str
    key: str
    kind: str
    columns: tuple[str, ...]
    primary_key: tuple[str, ...]
    unchangeable: tuple[str, ...] = ()

    @property
    def target(self) -> sql.Composable:
        """The table in a FROM: itself alone, without heirs, but with its partitions."""
        name = sql.Identifier(self.schema, self.name)
        return name if self.kind == "p" else sql.SQL("only {}").format(name)

    @property
    def column_list(self) -> sql.Composed:
        """The columns, quoted."""
        return sql.SQL(", ").join(sql.Identifier(column) for column in self.columns)

    def prefixed(self, alias: str, columns: Sequence[str] = ()) -> sql.Composed:
        """Columns of an alias, quoted."""
        return sql.SQL(", ").join(sql.Identifier(alias, column) for column in columns or self.columns)

    def same_key(self) -> sql.Composed:
        """The condition that rows ``l`` and ``s`` have the same key."""
        return sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier("l", column), sql.Identifier("s", column))
            for column in self.primary_key
        )


@dataclass
class Counts:
    """What a merge did, or would do.

    Attributes:
        inserted: rows that were missing.
        updated: rows that were changed back.
        deleted: rows that the archive does not have.
        unchanged: rows that are the same.
        kept: other rows of the live table that are left alone.
        before: table that keeps the rows as they were, if any was changed or deleted.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    kept: int = 0
    before: str = ""


def primary_key(connection: Connection[TupleRow], key: str) -> tuple[str, ...]:
    """Columns of a table's primary key."""
    row = connection.execute(_KEY, (key,)).fetchone()
    return tuple(row[0]) if row else ()


def plan_changes(connection: Connection[TupleRow], table: LiveTable, staging: str, *, overwrite: bool) -> Counts:
    """Find what is missing, differs or is too much, and note it in temporary tables beside the staging table.

    The rows to insert are in ``<staging>_missing``, the live rows to change or delete in ``<staging>_doomed``.

    Args:
        connection: in the transaction of the merge.
        table: the live table.
        staging: name of the temporary table with the archived rows.
        overwrite: whether rows are changed and deleted too.
    """
    names = {
        "live": table.target,
        "staging": sql.Identifier(staging),
        "missing": sql.Identifier(f"{staging}_missing"),
        "doomed": sql.Identifier(f"{staging}_doomed"),
        "columns": table.column_list,
        "l": table.prefixed("l"),
        "s": table.prefixed("s"),
    }
    if table.primary_key:
        names["same"] = table.same_key()
        connection.execute(
            sql.SQL(
                "create temp table {missing} on commit drop as select {s} from {staging} s"
                " where not exists (select from {live} l where {same})"
            ).format(**names)
        )
        connection.execute(
            sql.SQL(
                "create temp table {doomed} on commit drop as select l.*, l.tableoid as pgdr_oid, l.ctid as pgdr_tid,"
                " exists (select from {staging} s where {same}) as pgdr_stays from {live} l"
                " where not exists (select from {staging} s where {same} and row({s})::text = row({l})::text)"
            ).format(**names)
        )
    else:
        connection.execute(
            sql.SQL(
                "create temp table {missing} on commit drop as select {s} from (select s.*, row({s})::text as pgdr_row,"
                " row_number() over (partition by row({s})::text) as pgdr_number from {staging} s) s"
                " left join (select row({l})::text as pgdr_row, count(*) as pgdr_count from {live} l group by 1) l"
                " using (pgdr_row) where pgdr_number > coalesce(pgdr_count, 0)"
            ).format(**names)
        )
        connection.execute(
            sql.SQL(
                "create temp table {doomed} on commit drop as select l.*, false as pgdr_stays from"
                " (select l.*, l.tableoid as pgdr_oid, l.ctid as pgdr_tid, row({l})::text as pgdr_row, row_number()"
                " over (partition by row({l})::text) as pgdr_number from {live} l) l"
                " left join (select row({s})::text as pgdr_row, count(*) as pgdr_count from {staging} s group by 1) s"
                " using (pgdr_row) where pgdr_number > coalesce(pgdr_count, 0)"
            ).format(**names)
        )
    return _count(connection, names, overwrite=overwrite)


def _count(connection: Connection[TupleRow], names: dict[str, sql.Composable], *, overwrite: bool) -> Counts:
    row = connection.execute(
        sql.SQL(
            "select (select count(*) from {missing}), (select count(*) from {doomed} where pgdr_stays),"
            " (select count(*) from {doomed} where not pgdr_stays), (select count(*) from {live} l)"
        ).format(**names)
    ).fetchone()
    assert row is not None  # noqa: S101 - aggregates have a row
    missing, differing, extra, live = row
    unchanged = live - differing - extra
    if overwrite:
        return Counts(inserted=missing, updated=differing, deleted=extra, unchanged=unchanged)
    return Counts(inserted=missing, unchanged=unchanged, kept=differing + extra)


def delete(connection: Connection[TupleRow], table: LiveTable, staging: str) -> int:
    """Delete the live rows that the archive does not have."""
    return connection.execute(
        sql.SQL(
            "delete from {live} l using {doomed} d where l.tableoid = d.pgdr_oid and l.ctid = d.pgdr_tid"
            " and not d.pgdr_stays"
        ).format(live=table.target, doomed=sql.Identifier(f"{staging}_doomed"))
    ).rowcount


def update(connection: Connection[TupleRow], table: LiveTable, staging: str) -> int:
    """Change the live rows back that differ."""
    columns = [c for c in table.columns if c not in table.primary_key and c not in table.unchangeable]
    if not table.primary_key or not columns:
        return 0
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(column), sql.Identifier("s", column)) for column in columns
    )
    return connection.execute(
        sql.SQL(
            "update {live} l set {assignments} from {staging} s where {same} and row({l})::text <> row({s})::text"
        ).format(
            live=table.target,
            assignments=assignments,
            staging=sql.Identifier(staging),
            same=table.same_key(),
            l=table.prefixed("l"),
            s=table.prefixed("s"),
        )
    ).rowcount


def insert(connection: Connection[TupleRow], table: LiveTable, staging: str) -> int:
    """Insert the rows that are missing, with the values that they had."""
    return connection.execute(
        sql.SQL("insert into {live} ({columns}) overriding system value select {columns} from {missing}").format(
            live=sql.Identifier(table.schema, table.name),
            columns=table.column_list,
            missing=sql.Identifier(f"{staging}_missing"),
        )
    ).rowcount


def keep_before(connection: Connection[TupleRow], table: LiveTable, staging: str, name: str, owner: str) -> None:
    """Keep the rows that are about to be changed or deleted, in a table beside theirs."""
    kept = sql.Identifier(table.schema, name)
    every = connection.execute(
        "select attname from pg_catalog.pg_attribute where attrelid = %s::regclass and attnum > 0"
        " and not attisdropped order by attnum",
        (table.key,),
    ).fetchall()
    columns = sql.SQL(", ").join(sql.Identifier(row[0]) for row in every)
    connection.execute(
        sql.SQL("create table {} as select {} from {}").format(kept, columns, sql.Identifier(f"{staging}_doomed"))
    )
    connection.execute(sql.SQL("alter table {} owner to {}").format(kept, sql.Identifier(owner)))
