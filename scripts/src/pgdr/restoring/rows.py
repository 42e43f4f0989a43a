"""Bring archived rows into live tables: one transaction, with the rights of the tables' owners and no others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter

import psycopg
from psycopg import sql

from pgdr.archive.model import TableEntry
from pgdr.archive.names import label_of, with_suffix
from pgdr.errors import BusyError, NotProvenError, OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres import stream
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.restoring import checks, merge
from pgdr.restoring.columns import ColumnPairs
from pgdr.restoring.part import Part, owner_role
from pgdr.restoring.selection import foreign_keys

SETTINGS = {"search_path": "", "row_security": "off", "statement_timeout": "0"}
_LOCK_TIMEOUT = "10s"
# Actions of a foreign key that change the rows that refer: they must not do so behind a person's back.
_ACTIONS = {"c": "deleted", "n": "set to null", "d": "set to their default"}


class Work:
    """One transaction in the live database.

    Args:
        config: what this host is.
        admin: a superuser's connection.
        part: the quarantine that holds the archived rows.
        tables: the archived tables.
        pairs: for each table that rows come back to, its columns and those of the archive that they come from.
    """

    def __init__(
        self,
        config: HostConfig,
        admin: Connection[TupleRow],
        part: Part,
        tables: Sequence[TableEntry],
        pairs: ColumnPairs,
    ) -> None:
        self._config = config
        self._admin = admin
        self._part = part
        self._tables = tables
        self._pairs = pairs

    def bring_back(self, *, overwrite: bool, only_plan: bool) -> dict[str, merge.Counts]:
        """Merge the archived rows into the live tables; says what that changes."""
        with self._session() as live, live.transaction(force_rollback=only_plan):
            order = self._prepare(live)
            changes = {
                table.key: merge.plan_changes(live, table, f"pgdr_{index}", overwrite=overwrite)
                for index, table in order
            }
            if overwrite:
                self._refuse_side_effects(live, order)
            if not only_plan:
                self._apply(live, order, changes, overwrite=overwrite)
                self._require_equal(live, order, overwrite=overwrite)
                self._wake_triggers(live, order)
        return changes

    def copy(self, new_name: str, *, only_plan: bool) -> dict[str, merge.Counts]:
        """Make a copy of the one table beside it."""
        table = self._tables[0]
        with self._part.login.connected(self._config, self._part.database) as old:
            types = old.execute(
                "select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull"
                " from pg_catalog.pg_attribute a where a.attrelid = %s::regclass and a.attnum > 0"
                " and not a.attisdropped order by a.attnum",
                (table.key,),
            ).fetchall()
        schema_owner = self._admin.execute(
            "select pg_catalog.pg_get_userbyid(n.nspowner) from pg_catalog.pg_namespace n where n.nspname = %s",
            (table.schema_,),
        ).fetchone()
        assert schema_owner is not None  # noqa: S101 - looked at before
        # Type names are PostgreSQL's own words for them, quoted by it.
        columns = sql.SQL(", ").join(
            sql.Identifier(name) + sql.SQL(f" {type_name}{' not null' if not_null else ''}")
            for name, type_name, not_null in types
        )
        target = sql.Identifier(table.schema_, new_name)
        with (
            connected(self._config, application_name="pgdr restore", settings=SETTINGS) as live,
            live.transaction(force_rollback=only_plan),
        ):
            # Plain columns: no code of the dump comes along, and none runs.
            live.execute(sql.SQL("create table {} ({})").format(target, columns))
            live.execute(sql.SQL("alter table {} owner to {}").format(target, sql.Identifier(schema_owner[0])))
            rows = self._stream(live, table, target, [(row[0], row[0]) for row in types])
        return {f"{table.schema_}.{new_name}": merge.Counts(inserted=rows)}

    @contextmanager
    def _session(self) -> Iterator[Connection[TupleRow]]:
        """A session in the live database with the rights of the tables' owners and no others."""
        role = sql.Identifier(self._part.login.role)
        superusers = []
        forced = False
        for table in self._tables:
            owner, is_super = owner_role(self._admin, table.schema_, table.name)
            if is_super:
                superusers.append(table)
            else:
                self._admin.execute(sql.SQL("grant {} to {}").format(sql.Identifier(owner), role))
            row = self._admin.execute(
                "select relforcerowsecurity from pg_catalog.pg_class where oid = %s::regclass", (table.key,)
            ).fetchone()
            forced = forced or bool(row and row[0])
        if not forced and not superusers:
            self._admin.execute(sql.SQL("alter role {} nobypassrls").format(role))
        database = sql.Identifier(self._config.database)
        self._admin.execute(sql.SQL("grant connect, temporary on database {} to {}").format(database, role))
        try:
            for table in superusers:
                self._grant_rows(table)
            with self._part.login.connected(self._config, self._config.database) as live:
                live.execute("set search_path = ''; set row_security = off")
                live.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
                yield live
        finally:
            self._admin.execute(sql.SQL("drop owned by {}").format(role))

    def _grant_rows(self, table: TableEntry) -> None:
        """A superuser's table: rights on its rows only, because nobody may act as its owner."""
        triggers = self._admin.execute(
            "select from pg_catalog.pg_trigger where tgrelid = %s::regclass and not tgisinternal", (table.key,)
        ).fetchone()
        if triggers is not None:
            raise RefusedError(
                f"{table.key} belongs to a superuser and has triggers: they would run again with all rights",
                remedy="give the table to a role of its own first: alter table ... owner to ...",
            )
        role = sql.Identifier(self._part.login.role)
        self._admin.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(table.schema_), role))
        self._admin.execute(
            sql.SQL("grant select, insert, update, delete on table {} to {}").format(
                sql.Identifier(table.schema_, table.name), role
            )
        )

    def _prepare(self, live: Connection[TupleRow]) -> list[tuple[int, merge.LiveTable]]:
        """Lock the tables, still their triggers, and load the archived rows beside them; parents come first."""
        found: dict[str, tuple[int, merge.LiveTable]] = {}
        for index, table in enumerate(self._tables):
            name = sql.Identifier(table.schema_, table.name)
            owned = not owner_role(self._admin, table.schema_, table.name)[1]
            try:
                live.execute(sql.SQL("lock table {} in share row exclusive mode").format(name))
            except psycopg.errors.LockNotAvailable as error:
                raise BusyError(
                    f"somebody works on {table.key} and did not end within {_LOCK_TIMEOUT}",
                    remedy="nothing was changed; see pg_stat_activity, then run again",
                ) from error
            if owned:
                # What triggers did when the rows were first written is in the archive too.
                live.execute(sql.SQL("alter table {} disable trigger user").format(name))
            target = self._live_table(table)
            found[table.key] = (index, target)
            staging = sql.Identifier(f"pgdr_{index}")
            live.execute(
                sql.SQL("create temp table {} on commit drop as select {} from {} with no data").format(
                    staging, target.column_list, name
                )
            )
            self._stream(live, table, staging, self._pairs[table.key])
            if target.primary_key:
                keys = sql.SQL(", ").join(sql.Identifier(column) for column in target.primary_key)
                live.execute(sql.SQL("create index on {} ({})").format(staging, keys))
            live.execute(sql.SQL("analyze {}").format(staging))
        return [found[key] for key in self._in_order(found)]

    def _live_table(self, table: TableEntry) -> merge.LiveTable:
        live = next(t for t in checks.live_tables(self._admin) if t.key == table.key)
        identity = self._admin.execute(
            "select attname from pg_catalog.pg_attribute where attrelid = %s::regclass and attidentity = 'a'",
            (table.key,),
        ).fetchall()
        return merge.LiveTable(
            schema=table.schema_,
            name=table.name,
            key=table.key,
            kind=live.kind,
            columns=tuple(column for column, _ in self._pairs[table.key]),
            primary_key=self._key_of(table),
            unchangeable=tuple(row[0] for row in identity),
        )

    def _key_of(self, table: TableEntry) -> tuple[str, ...]:
        """The primary key that rows are matched by: the archive must have a value for each of its columns."""
        key = merge.primary_key(self._admin, table.key)
        known = {column for column, _ in self._pairs[table.key]}
        for column in key:
            if column not in known:
                raise RefusedError(
                    f"column {column} of the primary key of {table.key} gets no value from the archive",
                    remedy="say with --column-map which column it comes from, or restore a copy with --into NEW_NAME",
                )
        return key

    def _stream(
        self,
        live: Connection[TupleRow],
        table: TableEntry,
        target: sql.Composable,
        columns: Sequence[tuple[str, str]],
    ) -> int:
        """Copy the archived rows over, never more of them in memory than one block."""
        mine = sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns)
        theirs = sql.SQL(", ").join(sql.Identifier(column) for _, column in columns)
        source = sql.Identifier(table.schema_, table.name)
        if table.kind == "r":
            source = sql.SQL("only {}").format(source)  # type: ignore[assignment]
        query = sql.SQL("select {} from {}").format(theirs, source)
        with self._part.login.connected(self._config, self._part.database) as old:
            return stream.carry(old, query, live, target, mine)

    def _in_order(self, keys: Collection[str]) -> list[str]:
        """Parents before children; tables that refer to each other in a circle come as they come."""
        graph: dict[str, set[str]] = {key: set() for key in keys}
        for foreign_key in foreign_keys(self._admin):
            if foreign_key.child in graph and foreign_key.parent in graph and foreign_key.child != foreign_key.parent:
                graph[foreign_key.child].add(foreign_key.parent)
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError:
            return list(keys)

    def _refuse_side_effects(self, live: Connection[TupleRow], order: Sequence[tuple[int, merge.LiveTable]]) -> None:
        """Refuse when deleting a row would change rows of tables that are not restored."""
        chosen = {table.key: (index, table) for index, table in order}
        for foreign_key in foreign_keys(self._admin):
            if foreign_key.parent not in chosen or foreign_key.child in chosen or foreign_key.action not in _ACTIONS:
                continue
            same = sql.SQL(" and ").join(
                sql.SQL("{} = {}").format(sql.Identifier("c", child), sql.Identifier("d", parent))
                for child, parent in zip(foreign_key.child_columns, foreign_key.parent_columns, strict=True)
            )
            doomed = f"pgdr_{chosen[foreign_key.parent][0]}_doomed"
            keys = live.execute(
                sql.SQL("select {} from {} d where not pgdr_stays limit 1").format(
                    sql.SQL(", ").join(sql.Identifier("d", column) for column in foreign_key.parent_columns),
                    sql.Identifier(doomed),
                )
            ).fetchone()
            if keys is None:
                continue
            count = live.execute(
                sql.SQL("select count(*) from {} c where exists (select from {} d where not pgdr_stays and {})").format(
                    sql.Identifier(foreign_key.schema, foreign_key.table), sql.Identifier(doomed), same
                )
            ).fetchone()
            if count and count[0]:
                raise RefusedError(
                    f"{count[0]} rows of {foreign_key.child} would be {_ACTIONS[foreign_key.action]} by "
                    f"{foreign_key.name}, because rows of {foreign_key.parent} that the archive does not have go away",
                    remedy="add --with-children to restore those too, or use --missing-only",
                )

    def _apply(
        self,
        live: Connection[TupleRow],
        order: Sequence[tuple[int, merge.LiveTable]],
        changes: dict[str, merge.Counts],
        *,
        overwrite: bool,
    ) -> None:
        live.execute("set constraints all deferred")
        try:
            if overwrite:
                for index, table in order:
                    self._keep(live, table, f"pgdr_{index}", changes[table.key])
                for index, table in reversed(order):
                    merge.delete(live, table, f"pgdr_{index}")
                for index, table in order:
                    merge.update(live, table, f"pgdr_{index}")
            for index, table in order:
                merge.insert(live, table, f"pgdr_{index}")
            live.execute("set constraints all immediate")
        except psycopg.errors.IntegrityError as error:
            text = " ".join(
                part for part in (error.diag.message_primary or "", error.diag.message_detail or "") if part
            )
            raise OperationFailedError(
                f"a constraint refuses the archived rows: {text}",
                remedy="nothing was changed; restore the tables that it is about together, or use --into",
            ) from error

    @staticmethod
    def _require_equal(
        live: Connection[TupleRow], order: Sequence[tuple[int, merge.LiveTable]], *, overwrite: bool
    ) -> None:
        """Compare once more, in the same transaction."""
        for index, table in order:
            for suffix in ("missing", "doomed"):
                live.execute(sql.SQL("drop table {}").format(sql.Identifier(f"pgdr_{index}_{suffix}")))
            after = merge.plan_changes(live, table, f"pgdr_{index}", overwrite=overwrite)
            if after.inserted or (overwrite and (after.updated or after.deleted)):
                raise NotProvenError(
                    f"{table.key} differs from the archive after the restore", remedy="nothing was changed"
                )

    def _wake_triggers(self, live: Connection[TupleRow], order: Sequence[tuple[int, merge.LiveTable]]) -> None:
        for _index, table in order:
            if not owner_role(self._admin, table.schema, table.name)[1]:
                name = sql.Identifier(table.schema, table.name)
                live.execute(sql.SQL("alter table {} enable trigger user").format(name))

    def _keep(self, live: Connection[TupleRow], table: merge.LiveTable, staging: str, counts: merge.Counts) -> None:
        if not counts.updated and not counts.deleted:
            return
        owner, is_super = owner_role(self._admin, table.schema, table.name)
        if is_super:
            raise RefusedError(
                f"{table.key} belongs to a superuser: its rows of now cannot be kept beside it",
                remedy="give the table to a role of its own first, or use --missing-only",
            )
        counts.before = with_suffix(table.name, f"_before_{label_of(datetime.now(UTC))}")
        merge.keep_before(live, table, staging, counts.before, owner)
