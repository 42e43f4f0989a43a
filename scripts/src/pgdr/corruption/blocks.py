"""Damaged blocks come home from the past, byte for byte; nothing else of the relation is touched, and nobody waits.

A backup replayed to this hour holds the same blocks: whatever was written into one is in WAL. A block that cannot be
read cannot be changed either, so its content of a moment later is its content of now, transactions that have not ended
included. It is written where it belongs, and the server reads it the next time somebody wants it. Where the server has
a block in memory and does not write it by itself, its table is locked meanwhile: nobody may change what is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import psycopg
from psycopg import sql

from pgdr.archiving import prove_archiving
from pgdr.corruption.buffers import forget
from pgdr.corruption.checksum import PAGE_SIZE, fault
from pgdr.corruption.examine import named, read_block
from pgdr.corruption.files import read_page
from pgdr.corruption.model import Damage
from pgdr.corruption.naming import APPLICATION
from pgdr.errors import BusyError, NotProvenError, OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import Connection, TupleRow, connected, explain
from pgdr.postgres.facts import one
from pgdr.recovery.source import Wish, choose_source
from pgdr.recovery.target import make_target
from pgdr.side import manage, store
from pgdr.side.borrowed import borrowed
from pgdr.side.model import place
from pgdr.side.plan import SideOptions, make_side_plan

SIDE = "corruption-cure"
# A page begins with the position of its last record.
_POSITION = 8
_UNREADABLE = ("XX001", "XX002", "58030")
_AMCHECK = """
select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where e.extname = 'amcheck'
"""
_VERIFY = """
select msg from {}.verify_heapam(relation => {}::oid::regclass, startblock => %(block)s, endblock => %(block)s)
"""
_OWNER = """
select n.nspname, c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and %(oid)s in (c.oid, c.reltoastrelid)
"""
# What all databases share, and those that pgBackRest restores unasked and refuses to be asked for.
_ALWAYS_THERE = {"", "postgres", "template0", "template1"}
_MODES = {"access share": sql.SQL("access share"), "access exclusive": sql.SQL("access exclusive")}
Told = Callable[[str], None]


@dataclass(frozen=True)
class How:
    """What is the same for all relations.

    Attributes:
        checksums: whether pages carry one.
        segment_pages: pages of a full file.
        repository: where the past comes from.
        lock_timeout: how long to wait for a relation that somebody holds.
        processes: how many restore files.
    """

    checksums: bool
    segment_pages: int
    repository: int
    lock_timeout: str
    processes: int


@dataclass(frozen=True)
class Returned:
    """A relation that was cured.

    Attributes:
        name: the relation.
        blocks: how many of its blocks came back.
    """

    name: str
    blocks: int


def bring_back(
    config: HostConfig, client: PgBackRest, damages: Sequence[Damage], how: How, told: Told
) -> list[Returned]:
    """Write the damaged blocks of some relations as they were.

    Raises:
        RefusedError: no backup leads to now, or the disk is too full.
        BusyError: somebody holds a relation; nothing was changed in it, run again.
        NotProvenError: the past has not what is needed, or the server cannot read what was written.
        PgdrError: anything else; a rerun does what is left.
    """
    with connected(config, "postgres", application_name=APPLICATION) as connection:
        # The past writes its pages out where it has replayed a checkpoint: this one.
        connection.execute("checkpoint")
        redo = str(one(connection, "select redo_lsn from pg_control_checkpoint()")[0])
        lsn = str(one(connection, "select pg_current_wal_insert_lsn()")[0])
    told(f"waiting for WAL up to {lsn} to arrive in repository {how.repository}")
    prove_archiving(config, how.repository)
    databases = tuple(sorted({damage.database for damage in damages} - _ALWAYS_THERE))
    if not databases and config.database not in _ALWAYS_THERE:
        databases = (config.database,)
    with _past(config, client, how, lsn, databases, told) as data:
        _write_out(config, redo)
        return [_one(config, data, damage, how, told) for damage in damages]


@contextmanager
def _past(
    config: HostConfig, client: PgBackRest, how: How, lsn: str, databases: tuple[str, ...], told: Told
) -> Iterator[Path]:
    """A backup replayed to a position of this hour, beside production: its data directory."""
    store.require_owner()
    if SIDE in store.names(config):
        manage.stop(config, SIDE, why="left by a killed cure")
    state = make_side_plan(config, client, SideOptions(SIDE, how.repository, make_target(lsn=lsn), databases=databases))
    told(
        f"restoring {state.plan.backup_label} of repository {how.repository} beside production, and replaying to {lsn}"
    )
    with borrowed(config, client, state, how.processes, why="cure of damaged blocks", told=told):
        yield place(config, SIDE).data


def _write_out(config: HostConfig, redo: str) -> None:
    """Have the side instance write all pages into its files."""
    past = manage.connection(config, SIDE, "postgres")
    try:
        with psycopg.connect(past.conninfo, autocommit=True, application_name=APPLICATION) as then:
            then.execute("checkpoint")
            row = then.execute("select redo_lsn >= %s::pg_lsn from pg_control_checkpoint()", (redo,)).fetchone()
    except psycopg.Error as error:
        raise explain(error, "writing out the side instance's pages") from error
    if row != (True,):
        raise OperationFailedError(
            f"the side instance has not written the pages of {redo} into its files", remedy="run again"
        )


def _one(config: HostConfig, past: Path, damage: Damage, how: How, told: Told) -> Returned:
    told(f"bringing {len(damage.blocks)} blocks of {damage.name} home")
    # Plans for catalogs and TOAST tables must not need their indexes, which may be broken too.
    settings = {"statement_timeout": "0", "lock_timeout": how.lock_timeout, "ignore_system_indexes": "on"}
    with connected(config, damage.database or "postgres", application_name=APPLICATION, settings=settings) as live:
        try:
            with live.transaction():
                return _return(config, live, past, damage, how)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            raise BusyError(
                f"somebody holds {damage.name} for longer than {how.lock_timeout}",
                remedy="nothing was changed in it; see pg_stat_activity, or raise --lock-timeout, and run again",
            ) from error
        except psycopg.Error as error:
            raise explain(error, f"cure of {damage.name}") from error


def _return(config: HostConfig, live: Connection[TupleRow], past: Path, damage: Damage, how: How) -> Returned:
    """While the relation is held, so that it keeps its files."""
    _hold(live, damage, "access share")
    name = str(one(live, f"select pg_catalog.pg_relation_filepath({damage.oid}::oid)")[0])
    blocks = _blocks(config.data_directory / name, past / name, damage, how)
    if not damage.page_hit or not all(_state(live, damage, name, block) is _State.UNREADABLE for block in blocks):
        # What is in memory can be changed: nobody may, and what was changed before goes to the disk.
        _hold(live, damage, "access exclusive")
        with connected(config, "postgres", application_name=APPLICATION) as other:
            other.execute("checkpoint")
    if not damage.page_hit:
        return _replace(config, config.data_directory / name, past / name, damage, how)
    coming = []
    for block in blocks:
        file = _segment(config.data_directory / name, block, how)
        if fault(read_page(file, block, how.segment_pages), block, checksums=how.checksums):
            coming.append((file, block, _of_the_past(_segment(past / name, block, how), block, damage, how)))
    for file, block, page in coming:
        _write(file, block, page, how, damage)
        if _state(live, damage, name, block) is _State.UNREADABLE:
            raise NotProvenError(f"block {block} of {damage.name} was written and still cannot be read")
    return Returned(damage.name, len(coming))


def _replace(config: HostConfig, now: Path, past: Path, damage: Damage, how: How) -> Returned:
    """Blocks that can be read and make no sense, while nobody but us may come near them.

    Both have the position of the last record that changed them: where it is the same, WAL has changed neither since.
    """
    _require_sense(config, damage)
    coming = []
    for block in damage.blocks:
        file = _segment(now, block, how)
        here = read_page(file, block, how.segment_pages)
        page = _of_the_past(_segment(past, block, how), block, damage, how)
        if here[:_POSITION] != page[:_POSITION]:
            raise BusyError(
                f"block {block} of {damage.name} was written meanwhile, or its header is broken too",
                remedy="nothing was changed in it; run again, and if it says so again: --whole-cluster",
            )
        coming.append((file, block, page))
    forget(config, damage.database, damage.oid, damage.blocks)
    for file, block, page in coming:
        _write(file, block, page, how, damage)
    return Returned(damage.name, len(coming))


def _require_sense(config: HostConfig, damage: Damage) -> None:
    """Refuse blocks that make no more sense in the past: the server may have written them into WAL as they are."""
    past = manage.connection(config, SIDE, damage.database)
    try:
        with psycopg.connect(past.conninfo, autocommit=True, application_name=APPLICATION) as then:
            for (schema,) in then.execute(_AMCHECK).fetchall():
                check = sql.SQL(_VERIFY).format(sql.Identifier(schema), sql.Literal(damage.oid))
                for block in damage.blocks:
                    said = then.execute(check, {"block": block}).fetchone()
                    if said is not None:
                        raise NotProvenError(
                            f"block {block} of {damage.name} makes no more sense in the past: {said[0]}",
                            remedy="WAL holds it as it is, so the whole cluster would come back with it too; nothing "
                            "was changed: bring its rows from before it broke, see playbooks/README.md",
                        )
    except psycopg.Error as error:
        raise explain(error, f"look at {damage.name} in the past") from error


def _of_the_past(file: Path, block: int, damage: Damage, how: How) -> bytes:
    try:
        page = read_page(file, block, how.segment_pages)
        wrong = fault(page, block, checksums=how.checksums)
    except OSError as error:
        wrong = error.strerror or str(error)
    if wrong:
        raise NotProvenError(
            f"block {block} of {damage.name} is no better in the past: {wrong}",
            remedy="its backup copied the damage: name another repository with --repo; nothing was changed in it",
        )
    return page


def _blocks(file: Path, past: Path, damage: Damage, how: How) -> list[int]:
    """The damaged blocks; where a file ends in the middle of one, all that should stand behind it too."""
    wanted = set(damage.blocks)
    for block in damage.blocks:
        segment = _segment(file, block, how)
        before = _segment(past, block, how)
        if not before.exists():
            raise RefusedError(f"{damage.name} has other files than a moment ago", remedy="examine again")
        size = segment.stat().st_size
        if size % PAGE_SIZE:
            first = block - block % how.segment_pages
            wanted |= {first + number for number in range(size // PAGE_SIZE, before.stat().st_size // PAGE_SIZE)}
    return sorted(wanted)


def _segment(file: Path, block: int, how: How) -> Path:
    number = block // how.segment_pages
    return file.with_name(f"{file.name}.{number}") if number else file


class _State(Enum):
    """What the server says of a block."""

    READABLE = "it has it, on the disk or in memory"
    UNREADABLE = "it cannot read it"
    UNKNOWN = "something else is in the way, such as a broken index"


def _state(live: Connection[TupleRow], damage: Damage, name: str, block: int) -> _State:
    try:
        with live.transaction():
            read_block(live, damage.oid, block)
    except psycopg.Error as error:
        if error.sqlstate not in _UNREADABLE:
            raise
        own = re.search(rf"{re.escape(name)}(?!\d)", str(error))
        return _State.UNREADABLE if own else _State.UNKNOWN
    return _State.READABLE


def _hold(live: Connection[TupleRow], damage: Damage, mode: str) -> None:
    """Lock the table that a relation is or belongs to, so that it keeps its files."""
    row = live.execute(_OWNER, {"oid": damage.oid}).fetchone()
    if row is not None and (mode == "access share" or not damage.catalog):
        lock = sql.SQL("lock table only {} in {} mode").format(sql.Identifier(row[0], row[1]), _MODES[mode])
    elif mode == "access share":
        # Not every relation can be locked by that name; a cursor that nobody reads from locks it as a reader does.
        lock = sql.SQL("declare pgdr_hold no scroll cursor for select from only {}").format(named(live, damage.oid))
    else:
        raise BusyError(
            f"{damage.name} can be read again", remedy="nothing was changed in it; run again, it is examined anew"
        )
    live.execute(lock)


def _write(file: Path, block: int, page: bytes, how: How, damage: Damage) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY)
        try:
            os.pwrite(descriptor, page, block % how.segment_pages * PAGE_SIZE)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OperationFailedError(
            f"the disk does not take block {block} of {damage.name}: {error.strerror}",
            remedy="the disk is no good any more: restore the cluster onto another, see playbooks/README.md",
        ) from error


def require_source(config: HostConfig, client: PgBackRest, repository: int) -> str:
    """Say which backup the blocks would come from; nothing is changed.

    Raises:
        PgdrError: no clean backup leads to now.
    """
    return choose_source(config, client, Wish(repository, make_target())).backup.label
