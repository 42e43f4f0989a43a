"""Rows of a table's damaged blocks come home from the past; every row that can be read stays where it is.

A backup replayed to this hour holds the same rows in the same blocks: WAL has everything that was committed. A block
that cannot be read cannot be changed either, so once all transactions that may have worked on it are over it stands
still, and its rows of a moment later are its rows of now. One transaction then writes the table anew without the blocks
and adds their rows: nobody sees it without them, and nothing that was written meanwhile is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgdr.archiving import prove_archiving
from pgdr.corruption.examine import in_block, named, read_block
from pgdr.corruption.model import Damage
from pgdr.corruption.naming import APPLICATION
from pgdr.errors import BusyError, NotProvenError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres import stream
from pgdr.postgres.connection import Connection, TupleRow, connected, explain
from pgdr.postgres.facts import one
from pgdr.recovery.server import ClosedServer
from pgdr.recovery.target import make_target
from pgdr.side import manage, store
from pgdr.side.plan import SideOptions, make_side_plan
from pgdr.side.run import SideInstance
from pgdr.surgery.source import SETTINGS

SIDE = "corruption-cure"
_OTHERS_SECONDS = 600.0
_POLL = 0.5
_UNREADABLE = ("XX001", "XX002", "58030")
_COLUMNS = """
select attname::text from pg_catalog.pg_attribute
where attrelid = %s::oid and attnum > 0 and not attisdropped and attgenerated = '' order by attnum
"""
_FIRING = """
select tgname from pg_catalog.pg_trigger where tgrelid = %s::oid and tgenabled in ('A', 'R') and not tgisinternal
"""
_CLUSTERED = """
select n.nspname, c.relname from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace where i.indrelid = %s::oid and i.indisclustered
"""
Told = Callable[[str], None]


@dataclass(frozen=True)
class Returned:
    """A table that was cured.

    Attributes:
        name: the table.
        blocks: how many blocks were damaged.
        rows: how many rows came back.
        kept: how many stayed.
    """

    name: str
    blocks: int
    rows: int
    kept: int


def bring_back(
    config: HostConfig,
    client: PgBackRest,
    damages: Sequence[Damage],
    repository: int,
    lock_timeout: str,
    processes: int,
    told: Told,
) -> list[Returned]:
    """Cure damaged tables.

    Raises:
        RefusedError: no backup leads to now, the disk is too full, or a table has something that stands in the way.
        BusyError: somebody holds a table, or an old transaction does not end; nothing was changed, run again.
        PgdrError: anything else; a table is as it was before, or is cured.
    """
    for damage in damages:
        _require_quiet(config, damage)
    _wait_for_others(config, told)
    with connected(config, "postgres", application_name=APPLICATION) as connection:
        lsn = str(one(connection, "select pg_current_wal_insert_lsn()")[0])
    told(f"waiting for WAL up to {lsn} to arrive in repository {repository}")
    prove_archiving(config, repository)
    databases = tuple(sorted({damage.database for damage in damages}))
    with _past(config, client, repository, lsn, databases, processes, told) as past:
        return [_one(config, past, damage, lock_timeout, told) for damage in damages]


def _require_quiet(config: HostConfig, damage: Damage) -> None:
    """Refuse a table whose triggers would fire for rows that were there long ago."""
    with connected(config, damage.database, application_name=APPLICATION) as live:
        firing = live.execute(_FIRING, (damage.oid,)).fetchall()
    if firing:
        raise RefusedError(
            f"trigger {firing[0][0]} of {damage.name} fires ALWAYS or for replicas: it would fire a second time",
            remedy="make it fire for origin only, then run again; nothing was changed",
        )


def _wait_for_others(config: HostConfig, told: Told) -> None:
    """Wait until every transaction that may have written into the blocks before they broke has ended."""
    with connected(config, "postgres", application_name=APPLICATION) as connection:
        begun = one(connection, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0]
        until = time.monotonic() + _OTHERS_SECONDS
        said = False
        while one(connection, "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")[0] < begun:
            if time.monotonic() > until:
                raise BusyError(
                    f"a transaction older than {begun} does not end",
                    remedy="see pg_stat_activity and pg_prepared_xacts; end it and run again; nothing was changed",
                )
            if not said:
                told("waiting for the transactions that run now to end")
                said = True
            time.sleep(_POLL)


@contextmanager
def _past(
    config: HostConfig,
    client: PgBackRest,
    repository: int,
    lsn: str,
    databases: tuple[str, ...],
    processes: int,
    told: Told,
) -> Iterator[ClosedServer]:
    """A backup replayed to a position of this hour, beside production, for a block of work."""
    store.require_owner()
    if SIDE in store.names(config):
        manage.stop(config, SIDE, why="left by a killed cure")
    options = SideOptions(SIDE, repository, make_target(lsn=lsn), databases=databases)
    state = make_side_plan(config, client, options)
    store.save(config, state)
    told(f"restoring {state.plan.backup_label} of repository {repository} beside production, and replaying to {lsn}")
    try:
        with SideInstance(config, client, SIDE).opened(processes) as server:
            yield server
    finally:
        manage.stop(config, SIDE, why="cure of damaged tables")


def _one(config: HostConfig, past: ClosedServer, damage: Damage, lock_timeout: str, told: Told) -> Returned:
    told(f"bringing rows of {len(damage.blocks)} blocks of {damage.name} home")
    settings = {**SETTINGS, "lock_timeout": lock_timeout}
    with connected(config, damage.database, application_name=APPLICATION, settings=settings) as live:
        try:
            with past.connect(damage.database) as then, live.transaction():
                for name, value in SETTINGS.items():  # both must write and read a date alike
                    then.execute("select set_config(%s, %s, false)", (name, value))
                return _swap(then, live, damage)
        except psycopg.errors.LockNotAvailable as error:
            raise BusyError(
                f"somebody holds {damage.name} for longer than {lock_timeout}",
                remedy="nothing was changed in it; see pg_stat_activity, or raise --lock-timeout, and run again",
            ) from error
        except psycopg.errors.DeadlockDetected as error:
            raise BusyError(
                f"somebody works on {damage.name}", remedy="nothing was changed in it; run again"
            ) from error
        except psycopg.Error as error:
            raise explain(error, f"cure of {damage.name}") from error


def _swap(then: psycopg.Connection[tuple[object, ...]], live: Connection[TupleRow], damage: Damage) -> Returned:
    """In one transaction of the live session."""
    table = named(live, damage.oid)
    columns = sql.SQL(", ").join(sql.Identifier(row[0]) for row in live.execute(_COLUMNS, (damage.oid,)).fetchall())
    coming = sql.Identifier(f"pgdr_coming_{damage.oid}")
    live.execute(
        sql.SQL("create temp table {} on commit drop as select {} from only {} with no data").format(
            coming, columns, table
        )
    )
    rows = sum(_copy(then, live, table, columns, coming, first, last) for first, last in _runs(damage.blocks))
    live.execute(sql.SQL("lock table only {} in access exclusive mode").format(table))
    for block in damage.blocks:
        _require_unreadable(live, damage, block)
    # From here on a page that cannot be read counts as empty, in this transaction alone.
    live.execute("set local zero_damaged_pages = on")
    live.execute("set local session_replication_role = replica")
    kept = _count(live, table)
    _write_anew(live, damage, table)
    live.execute(
        sql.SQL("insert into {} ({}) overriding system value select {} from {}").format(table, columns, columns, coming)
    )
    live.execute("set local zero_damaged_pages = off")
    if _count(live, table) != kept + rows:
        raise NotProvenError(f"{damage.name} does not hold the {kept} rows that stayed and the {rows} that came back")
    return Returned(damage.name, len(damage.blocks), rows, kept)


def _copy(
    then: psycopg.Connection[tuple[object, ...]],
    live: Connection[TupleRow],
    table: sql.Identifier,
    columns: sql.Composed,
    coming: sql.Identifier,
    first: int,
    last: int,
) -> int:
    """Bring the rows of a run of blocks over and return how many they are."""
    read = sql.SQL("select {} from only {} where {}").format(columns, table, in_block(first, last))
    return stream.carry(then, read, live, coming, columns)


def _runs(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Blocks that follow each other, as first and last."""
    runs: list[tuple[int, int]] = []
    for block in sorted(blocks):
        if runs and runs[-1][1] == block - 1:
            runs[-1] = (runs[-1][0], block)
        else:
            runs.append((block, block))
    return runs


def _require_unreadable(live: Connection[TupleRow], damage: Damage, block: int) -> None:
    """What can be read could have been changed since the past was taken."""
    try:
        with live.transaction():
            read_block(live, damage.oid, block)
    except psycopg.Error as error:
        if error.sqlstate in _UNREADABLE:
            return
        raise
    raise BusyError(
        f"block {block} of {damage.name} can be read again",
        remedy="nothing was changed in it; run again, it is examined anew",
    )


def _write_anew(live: Connection[TupleRow], damage: Damage, table: sql.Identifier) -> None:
    """Write table, TOAST and all indexes into new files; CLUSTER is the one rewrite that a transaction may hold."""
    helper = f"pgdr_corruption_{damage.oid}"
    schema, _ = table._obj  # noqa: SLF001 - psycopg offers no other way to its parts
    before = live.execute(_CLUSTERED, (damage.oid,)).fetchone()
    live.execute(sql.SQL("create index {} on only {} ((true))").format(sql.Identifier(helper), table))
    live.execute(sql.SQL("cluster {} using {}").format(table, sql.Identifier(helper)))
    live.execute(sql.SQL("drop index {}").format(sql.Identifier(schema, helper)))
    if before is not None:
        live.execute(sql.SQL("alter table {} cluster on {}").format(table, sql.Identifier(before[1])))


def _count(live: Connection[TupleRow], table: sql.Identifier) -> int:
    row = live.execute(sql.SQL("select count(*) from only {}").format(table)).fetchone()
    return int(row[0]) if row else 0


def require_source(config: HostConfig, client: PgBackRest, repository: int) -> str:
    """Say which backup the rows would come from; nothing is changed.

    Raises:
        PgdrError: no clean backup leads to now.
    """
    from pgdr.recovery.source import Wish, choose_source  # noqa: PLC0415 - for the plan alone

    source = choose_source(config, client, Wish(repository, make_target()))
    return source.backup.label
