"""Which files belonged to which relation, now and in the past.

WAL names files (tablespace, database, number), never tables. The catalog knows only the files of now: TRUNCATE,
VACUUM FULL and some ALTER TABLE give a table new ones, and DROP makes the catalog forget it. So the host remembers:
each backup, each restore point and the first heartbeat of an hour note what the catalog says. A row stays for
:data:`KEPT_DAYS` after it was last seen.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pgdr.errors import ConfigError
from pgdr.files import adopt_owner
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import TupleRow, connected

KEPT_DAYS = 400
EVERY_SECONDS = 3600.0
_BUSY_SECONDS = 20.0
_SETTINGS = {"statement_timeout": "60s", "lock_timeout": "5s"}

_DATABASES = "select oid, datname from pg_database where datallowconn and not datistemplate order by datname"
_TABLESPACES = """
select oid, spcname, pg_tablespace_location(oid) from pg_tablespace where pg_tablespace_location(oid) <> ''
"""
# 16384 is FirstNormalObjectId: what lies below belongs to PostgreSQL itself (access/transam.h). Rewritten catalogs have
# files above it, and those must not be taken for unknown tables.
# An index or TOAST table counts for its table, a partition for the topmost table of its tree.
_RELATIONS = """
select d.oid, d.datname,
       case when c.reltablespace = 0 then d.dattablespace else c.reltablespace end,
       coalesce(pg_catalog.pg_relation_filenode(c.oid), 0),
       c.oid, c.relkind::text, n.nspname, c.relname, t.oid, tn.nspname, t.relname, rn.nspname, r.relname
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_database d on d.datname = pg_catalog.current_database()
left join pg_catalog.pg_index i on i.indexrelid = c.oid
left join pg_catalog.pg_class o on o.reltoastrelid = coalesce(i.indrelid, c.oid) and o.reltoastrelid <> 0
join pg_catalog.pg_class t on t.oid = coalesce(o.oid, i.indrelid, c.oid)
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
join pg_catalog.pg_class r
  on r.oid = case when t.relispartition then coalesce(pg_catalog.pg_partition_root(t.oid), t.oid) else t.oid end
join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
where (c.oid >= 16384 or pg_catalog.pg_relation_filenode(c.oid) >= 16384)
  and c.relkind in ('r', 'p', 'm', 't', 'i', 'I', 'S') and c.relpersistence <> 't'
"""
_CREATE = (
    """
    create table if not exists relation (
        database_oid integer not null, database text not null, tablespace integer not null, filenode integer not null,
        oid integer not null, kind text not null, schema text not null, name text not null,
        table_oid integer not null, table_schema text not null, table_name text not null,
        root_schema text not null, root_name text not null, first_seen text not null, last_seen text not null,
        primary key (database_oid, tablespace, filenode, oid, schema, name)
    )
    """,
    """
    create table if not exists tablespace (
        oid integer not null, name text not null, location text not null,
        first_seen text not null, last_seen text not null, primary key (oid, name, location)
    )
    """,
)
_NOTE = """
insert into relation values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (database_oid, tablespace, filenode, oid, schema, name) do update set
    database = excluded.database, kind = excluded.kind, table_oid = excluded.table_oid,
    table_schema = excluded.table_schema, table_name = excluded.table_name,
    root_schema = excluded.root_schema, root_name = excluded.root_name, last_seen = excluded.last_seen
"""
_NOTE_TABLESPACE = """
insert into tablespace values (?, ?, ?, ?, ?)
on conflict (oid, name, location) do update set last_seen = excluded.last_seen
"""


@dataclass(frozen=True)
class FileOwner:
    """A relation and the file that it had at some time.

    Attributes:
        database_oid: its database.
        database: name of the database.
        tablespace: the file's tablespace.
        filenode: the file's number, 0 for a partitioned table, which has none.
        oid: the relation.
        kind: PostgreSQL's ``relkind``.
        schema: its schema.
        name: its name.
        table_oid: the table that it belongs to: itself, or that of an index or TOAST table.
        table_schema: schema of that table.
        table_name: name of that table.
        root_schema: schema of the topmost table of the partition tree.
        root_name: name of it.
        last_seen: when the catalog said so the last time.
    """

    database_oid: int
    database: str
    tablespace: int
    filenode: int
    oid: int
    kind: str
    schema: str
    name: str
    table_oid: int
    table_schema: str
    table_name: str
    root_schema: str
    root_name: str
    last_seen: datetime

    @property
    def node(self) -> str:
        """The file as WAL names it: tablespace/database/number."""
        return f"{self.tablespace}/{self.database_oid}/{self.filenode}"


# The columns of the queries and of the file, in their order.
_FIELDS = tuple(field.name for field in fields(FileOwner) if field.name != "last_seen")


@dataclass(frozen=True)
class TablespaceSeen:
    """A tablespace and where its files are or were."""

    oid: int
    name: str
    location: str
    last_seen: datetime


@dataclass(frozen=True)
class CatalogNow:
    """What the catalogs of all databases say at one moment."""

    at: datetime
    relations: tuple[FileOwner, ...]
    tablespaces: tuple[TablespaceSeen, ...]


def read_catalogs(config: HostConfig) -> CatalogNow:
    """Ask each database of the running server.

    Raises:
        PgdrError: the server does not answer.
    """
    now = datetime.now(UTC)
    relations: list[FileOwner] = []
    with connected(config, "postgres", application_name="pgdr relation map", settings=_SETTINGS) as connection:
        databases = [row[1] for row in connection.execute(_DATABASES).fetchall()]
        spaces = tuple(_space(row, now) for row in connection.execute(_TABLESPACES).fetchall())
    for database in databases:
        with connected(config, database, application_name="pgdr relation map", settings=_SETTINGS) as connection:
            relations += [_owner(row, now) for row in connection.execute(_RELATIONS).fetchall()]
    return CatalogNow(now, tuple(relations), spaces)


def _space(row: TupleRow, seen: datetime) -> TablespaceSeen:
    return TablespaceSeen(oid=row[0], name=row[1], location=row[2], last_seen=seen)


def _owner(row: TupleRow, seen: datetime) -> FileOwner:
    return FileOwner(**dict(zip(_FIELDS, row, strict=True)), last_seen=seen)


class RelationMap:
    """The host's memory of files and their relations.

    Args:
        path: the file; it is made when something is noted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def due(self, every: float = EVERY_SECONDS) -> bool:
        """Whether nothing was noted for so many seconds."""
        try:
            return time.time() - self.path.stat().st_mtime >= every
        except FileNotFoundError:
            return True

    def note(self, catalog: CatalogNow) -> None:
        """Remember what the catalogs say.

        Raises:
            ConfigError: the file cannot be written.
        """
        at = catalog.at.isoformat()
        kept = (catalog.at - timedelta(days=KEPT_DAYS)).isoformat()
        with self._open() as file, file:
            for statement in _CREATE:
                file.execute(statement)
            file.executemany(_NOTE, ((*_columns(item), at, at) for item in catalog.relations))
            file.executemany(
                _NOTE_TABLESPACE, ((item.oid, item.name, item.location, at, at) for item in catalog.tablespaces)
            )
            file.execute("delete from relation where last_seen < ?", (kept,))
            file.execute("delete from tablespace where last_seen < ?", (kept,))
        self.path.chmod(0o640)  # SQLite goes by the umask
        adopt_owner(self.path)
        self.path.touch()  # nothing new changes no page, but it was looked at

    def relations(self) -> Iterator[FileOwner]:
        """All that is remembered, what was seen last at the end."""
        for row in self._read(f"select {', '.join(_FIELDS)}, last_seen from relation order by last_seen"):  # noqa: S608 - fixed words
            yield _owner(row[:-1], datetime.fromisoformat(row[-1]))

    def tablespaces(self) -> Iterator[TablespaceSeen]:
        """All tablespaces that are remembered."""
        for row in self._read("select oid, name, location, last_seen from tablespace order by last_seen"):
            yield TablespaceSeen(row[0], row[1], row[2], datetime.fromisoformat(row[3]))

    def _read(self, query: str) -> list[Any]:
        if not self.path.exists():
            return []
        with self._open() as file:
            return file.execute(query).fetchall()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            file = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
            try:
                yield file
            finally:
                file.close()
        except sqlite3.Error as error:
            raise ConfigError(
                f"{self.path} cannot be used: {error}", remedy="run as postgres; move the file away if it is damaged"
            ) from error


def _columns(item: FileOwner) -> tuple[object, ...]:
    return tuple(getattr(item, name) for name in _FIELDS)


def relation_map(config: HostConfig) -> RelationMap:
    """The memory of this host."""
    return RelationMap(config.state_directory / "relations.sqlite")


def refresh(config: HostConfig) -> CatalogNow:
    """Note what the catalogs say now.

    Raises:
        PgdrError: the server does not answer, or the file cannot be written.
    """
    catalog = read_catalogs(config)
    relation_map(config).note(catalog)
    return catalog
