"""Have the running server look at itself: indexes against their tables, tables against themselves, maps against both.

The functions are those that ``pg_amcheck`` calls; called here by number, so that a name with quotes in it is no
different from another. They take no lock that keeps anybody from writing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from pgdr.corruption.buffers import can_forget
from pgdr.corruption.files import DEFAULT_TABLESPACE, GLOBAL_TABLESPACE, Node, node_of
from pgdr.corruption.model import Damage, Kind
from pgdr.corruption.naming import APPLICATION, Names, Owner
from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected

_SETTINGS = {"statement_timeout": "0", "lock_timeout": "30s", "client_connection_check_interval": "1s"}
EXTENSIONS = ("amcheck", "pg_visibility")
_INSTALLED = """
select a.name, n.nspname from pg_catalog.pg_available_extensions a
left join pg_catalog.pg_extension e on e.extname = a.name left join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where a.name = any (%s)
"""
_BLOCK = re.compile(r"block (\d+) of relation \"?((?:base|global|pg_tblspc)/[^\s\":]+)")
# Not a damage: it went away, it is busy, or it is of a kind that cannot be looked at.
_NO_FINDING = ("42P01", "55P03", "57014", "0A000", "42809", "55000")
_GONE = "could not open relation with OID"
_SHOWN = 3


@dataclass(frozen=True)
class Asked:
    """What the server found.

    Attributes:
        damages: what is wrong.
        unseen: what could not be looked at.
        checked: how many relations were looked at.
    """

    damages: list[Damage]
    unseen: list[str]
    checked: int


@dataclass(frozen=True)
class _Task:
    node: Node
    owner: Owner
    check: str


def ask(
    config: HostConfig, names: Names, databases: Sequence[str], *, thorough: bool, install: bool, jobs: int
) -> Asked:
    """Look at all relations of some databases.

    Args:
        config: this host.
        names: whose files are whose.
        databases: which.
        thorough: hold every row of a table against its indexes, which reads both whole.
        install: make the extensions where they are missing.
        jobs: how many connections work at once.
    """
    damages: list[Damage] = []
    unseen: list[str] = []
    checked = 0
    for database in databases:
        try:
            found = _database(config, names, database, thorough=thorough, install=install, jobs=jobs)
        except PgdrError as error:
            unseen.append(f"database {database}: {error.message}")
            continue
        damages += found.damages
        unseen += found.unseen
        checked += found.checked
    return Asked(damages, unseen, checked)


def _database(config: HostConfig, names: Names, database: str, *, thorough: bool, install: bool, jobs: int) -> Asked:
    with connected(config, database, application_name=APPLICATION, settings=_SETTINGS) as connection:
        schemas, unseen = _extensions(connection, database, install=install)
    own = {node: owner for node, owner in names.owners.items() if owner.database == database}
    tasks = list(_tasks(own, schemas, thorough=thorough))
    if not tasks:
        return Asked([], unseen, 0)
    shares = [tasks[start::jobs] for start in range(min(jobs, len(tasks)))]

    def work(share: list[_Task]) -> list[Damage]:
        with connected(config, database, application_name=APPLICATION, settings=_SETTINGS) as connection:
            return [damage for task in share for damage in _look(connection, task, schemas, names)]

    with ThreadPoolExecutor(len(shares)) as pool:
        damages = [damage for found in pool.map(work, shares) for damage in found]
    return Asked(damages, unseen, len({task.owner.oid for task in tasks}))


def _extensions(connection: Connection[TupleRow], database: str, *, install: bool) -> tuple[dict[str, str], list[str]]:
    """Schemas of the extensions that are there, and what cannot be looked at without the others."""
    found: dict[str, str | None] = dict(connection.execute(_INSTALLED, (list(EXTENSIONS),)).fetchall())
    unseen = []
    for name in EXTENSIONS:
        what = (
            "indexes were not held against tables"
            if name == "amcheck"
            else "visibility maps were not held against tables"
        )
        if name not in found:
            unseen.append(f"{what} in {database}: extension {name} is not on this host (install postgresql-contrib)")
        elif found[name] is None and install:
            connection.execute(
                sql.SQL("create extension if not exists {} with schema pg_catalog").format(sql.Identifier(name))
            )
            found[name] = "pg_catalog"
        elif found[name] is None:
            unseen.append(f"{what} in {database}: extension {name} is not made there (add --install-extensions)")
    return {name: schema for name, schema in found.items() if schema is not None}, unseen


def _tasks(own: dict[Node, Owner], schemas: dict[str, str], *, thorough: bool) -> Iterator[_Task]:
    index = "thorough index" if thorough else "index"
    for node, owner in own.items():
        if "amcheck" in schemas and owner.relkind in {"r", "m", "t"} and owner.method == "heap":
            yield _Task(node, owner, "heap")
        if "amcheck" in schemas and owner.relkind == "i" and owner.method == "btree":
            yield _Task(node, owner, index)
        if "pg_visibility" in schemas and owner.relkind in {"r", "m", "t"} and owner.method == "heap":
            yield _Task(node, owner, "map")


def _look(connection: Connection[TupleRow], task: _Task, schemas: dict[str, str], names: Names) -> Iterable[Damage]:
    check: Callable[[Connection[TupleRow], _Task, dict[str, str]], Iterable[Damage]] = {
        "heap": _heap,
        "map": _map,
    }.get(task.check, _index)
    try:
        return list(check(connection, task, schemas))
    except psycopg.Error as error:
        if connection.closed:
            raise
        return _explained(error, task, names)


def _heap(connection: Connection[TupleRow], task: _Task, schemas: dict[str, str]) -> Iterable[Damage]:
    rows = connection.execute(
        sql.SQL("select blkno, msg from {}.verify_heapam(relation => {}::oid::regclass, check_toast => true)").format(
            sql.Identifier(schemas["amcheck"]), sql.Literal(task.owner.oid)
        )
    ).fetchall()
    if rows:
        blocks = tuple(sorted({row[0] for row in rows if row[0] is not None}))
        said = "; ".join(dict.fromkeys(str(row[1]) for row in rows[:_SHOWN]))
        damage = damage_of(task.owner, task.node, blocks, f"amcheck: {said}")
        # What it says of a TOAST value is said of the block that points there, and that one may be right.
        own = not any("toast" in str(row[1]) for row in rows)
        yield replace(damage, forgettable=own and can_forget(connection))


def _index(connection: Connection[TupleRow], task: _Task, schemas: dict[str, str]) -> Iterable[Damage]:
    connection.execute(
        sql.SQL("select {}.bt_index_check(index => {}::oid::regclass, heapallindexed => {})").format(
            sql.Identifier(schemas["amcheck"]),
            sql.Literal(task.owner.oid),
            sql.Literal(task.check == "thorough index"),
        )
    )
    return ()


def _map(connection: Connection[TupleRow], task: _Task, schemas: dict[str, str]) -> Iterable[Damage]:
    rows = connection.execute(
        sql.SQL(
            "select distinct (t_ctid::text::point)[0]::bigint from"
            " (select t_ctid from {schema}.pg_check_visible({oid}::oid::regclass)"
            "  union all select t_ctid from {schema}.pg_check_frozen({oid}::oid::regclass)) as wrong order by 1"
        ).format(schema=sql.Identifier(schemas["pg_visibility"]), oid=sql.Literal(task.owner.oid))
    ).fetchall()
    if rows:
        node = replace(task.node, fork="vm")
        blocks = tuple(int(row[0]) for row in rows)
        yield damage_of(task.owner, node, blocks, "it calls pages of the table all-visible or all-frozen that are not")


def _explained(error: psycopg.Error, task: _Task, names: Names) -> list[Damage]:
    """What an error of a check says: of the relation itself, or of the one whose page it could not read."""
    if not error.sqlstate or error.sqlstate in _NO_FINDING:
        return []
    text = " ".join((error.diag.message_primary or str(error)).split())
    if _GONE in text:
        return []
    found = _BLOCK.search(text)
    node = node_of(found[2]) if found else None
    owner = names.of(node) if node is not None else None
    if found and node is not None and owner is not None:
        return [damage_of(owner, node, (int(found[1]),), text)]
    return [damage_of(task.owner, task.node, (), text)]


def damage_of(owner: Owner, node: Node, blocks: tuple[int, ...], detail: str, *, page_hit: bool = False) -> Damage:
    """A damage of a relation."""
    kind = owner.kind(node.fork)
    where = {
        GLOBAL_TABLESPACE: "global",
        DEFAULT_TABLESPACE: f"base/{node.database}",
    }.get(node.tablespace, f"pg_tblspc/{node.tablespace}/PG/{node.database}")
    fork = f"_{node.fork}" if node.fork else ""
    return Damage(
        kind=kind,
        name=f"of {owner.label}" if kind in {Kind.VISIBILITY_MAP, Kind.FREE_SPACE_MAP} else owner.label,
        detail=detail,
        database=owner.database,
        oid=owner.oid,
        file=f"{where}/{node.number}{fork}",
        blocks=blocks,
        table=owner.table,
        catalog=owner.catalog,
        unlogged=owner.unlogged,
        page_hit=page_hit,
        named=bool(owner.method),
    )
