"""Whose a file is: from the catalogs of the running server, and from this host's memory where it does not run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pgdr import relationmap
from pgdr.corruption.catalogs import CATALOGS
from pgdr.corruption.files import DEFAULT_TABLESPACE, GLOBAL_TABLESPACE, Node
from pgdr.corruption.model import Kind
from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.surgery.model import quoted

# What lies below belongs to PostgreSQL itself (access/transam.h).
FIRST_NORMAL_OID = 16384
_SETTINGS = {"statement_timeout": "300s", "lock_timeout": "5s"}
APPLICATION = "pgdr corruption"
_DATABASES = "select oid, datname from pg_catalog.pg_database where datallowconn order by datname"
_RELATIONS = """
select case when c.relisshared then 1664 when c.reltablespace = 0 then d.dattablespace else c.reltablespace end,
       case when c.relisshared then 0 else d.oid end,
       coalesce(pg_catalog.pg_relation_filenode(c.oid), 0),
       c.oid, c.relkind::text, n.nspname, c.relname, tn.nspname, t.relname,
       coalesce(o.oid, c.oid) < 16384, c.relpersistence = 'u', coalesce(a.amname, '')
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_database d on d.datname = pg_catalog.current_database()
left join pg_catalog.pg_am a on a.oid = c.relam
left join pg_catalog.pg_index i on i.indexrelid = c.oid
left join pg_catalog.pg_class o on o.reltoastrelid = coalesce(i.indrelid, c.oid) and o.reltoastrelid <> 0
left join pg_catalog.pg_class t on t.oid = coalesce(o.oid, i.indrelid, c.oid)
left join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
where c.relkind in ('r', 'm', 't', 'i', 'S') and c.relpersistence <> 't'
"""
_KINDS = {"r": Kind.HEAP, "m": Kind.MATERIALIZED_VIEW, "t": Kind.TOAST, "i": Kind.INDEX, "S": Kind.SEQUENCE}


@dataclass(frozen=True)
class Owner:
    """The relation that a file belongs to.

    Attributes:
        database: name of its database, empty for what all share.
        oid: the relation.
        relkind: PostgreSQL's letter for what it is.
        schema: its schema.
        name: its name.
        table: the table it belongs to, as SQL writes it.
        catalog: it is PostgreSQL's own.
        unlogged: not in WAL.
        method: its access method.
    """

    database: str
    oid: int
    relkind: str
    schema: str
    name: str
    table: str
    catalog: bool
    unlogged: bool = False
    method: str = ""

    @property
    def label(self) -> str:
        """Its name as SQL writes it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    def kind(self, fork: str = "") -> Kind:
        """What is damaged where a fork of it is."""
        kind = _KINDS[self.relkind]
        if fork in {"vm", "fsm"} and kind is not Kind.INDEX:  # an index and its map are built anew together
            return Kind.VISIBILITY_MAP if fork == "vm" else Kind.FREE_SPACE_MAP
        return Kind.CATALOG if self.catalog and kind in {Kind.HEAP, Kind.TOAST} else kind


@dataclass
class Names:
    """Relations by their files.

    Attributes:
        owners: by the main fork.
        databases: names of all databases by oid; connections are allowed.
        failed: what could not be asked, each with the reason.
    """

    owners: dict[Node, Owner] = field(default_factory=dict)
    databases: dict[int, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def of(self, node: Node) -> Owner | None:
        """Whose a file is."""
        return self.owners.get(node.main) or self._own_of_postgresql(node)

    def _own_of_postgresql(self, node: Node) -> Owner | None:
        """A catalog's file has the catalog's oid as its number until it is rewritten."""
        if node.number >= FIRST_NORMAL_OID:
            return None
        name = CATALOGS.get(node.number, f"oid {node.number}")
        database = "" if node.tablespace == GLOBAL_TABLESPACE else self.databases.get(node.database, f"{node.database}")
        # Without the catalogs nobody can tell an index from a table: both are cured alike then.
        return Owner(database, node.number, "r", "pg_catalog", name, f"pg_catalog.{name}", catalog=True)


def read_names(config: HostConfig, *, running: bool) -> Names:
    """Ask each database of the server, or this host's memory."""
    names = Names()
    _remembered(names, relationmap.relation_map(config))
    if not running:
        return names
    try:
        with connected(config, "postgres", application_name=APPLICATION, settings=_SETTINGS) as connection:
            names.databases = {row[0]: row[1] for row in connection.execute(_DATABASES).fetchall()}
    except PgdrError as error:
        names.failed.append(f"the list of databases: {error.message}")
    now: dict[Node, Owner] = {}
    for database in names.databases.values():
        try:
            with connected(config, database, application_name=APPLICATION, settings=_SETTINGS) as connection:
                now |= dict(_asked(connection, database))
        except PgdrError as error:
            names.failed.append(f"the catalog of database {database}: {error.message}")
    if not names.failed:
        names.owners = {}  # what the catalogs do not name is nobody's any more
    names.owners |= now
    return names


def _asked(connection: Connection[TupleRow], database: str) -> Iterable[tuple[Node, Owner]]:
    for row in connection.execute(_RELATIONS).fetchall():
        node = Node(row[0], row[1], row[2])
        shared = row[0] == GLOBAL_TABLESPACE
        table = f"{quoted(row[7])}.{quoted(row[8])}" if row[8] is not None else ""
        yield (
            node,
            Owner("" if shared else database, row[3], row[4], row[5], row[6], table, row[9], row[10], row[11]),
        )


def _remembered(names: Names, memory: relationmap.RelationMap) -> None:
    try:
        for one in memory.relations():
            if one.filenode and one.kind in _KINDS:
                node = Node(one.tablespace or DEFAULT_TABLESPACE, one.database_oid, one.filenode)
                table = f"{quoted(one.table_schema)}.{quoted(one.table_name)}"
                catalog = one.table_oid < FIRST_NORMAL_OID
                names.owners[node] = Owner(one.database, one.oid, one.kind, one.schema, one.name, table, catalog)
                names.databases[one.database_oid] = one.database
    except PgdrError as error:
        names.failed.append(error.message)
