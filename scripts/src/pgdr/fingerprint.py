"""Exact row count and content checksum of every table, in one snapshot, over several connections.

Big tables are read in ranges of pages, so that one of them does not keep a single connection busy while the
others idle. The sums do not depend on the order or on how the work was cut (see :mod:`pgdr.rowhash`).
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import IsolationLevel, sql

from pgdr.errors import OperationFailedError
from pgdr.fingerprint_model import NOTHING, Fingerprint, SequenceState, TableSum, Totals
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected, explain
from pgdr.postgres.facts import ServerFacts, one, server_facts
from pgdr.postgres.relations import LARGE_OBJECTS, Catalog, Kind, Relation, lock_relations, read_catalog
from pgdr.rowhash import MODULUS, SESSION_SETTINGS, row_hash_sql

_log = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024 * 1024
_BATCH = 200
_APPLICATION = "pgdr fingerprint"
_SETTINGS = {
    **dict(SESSION_SETTINGS),
    "lc_monetary": "C",
    # A table that somebody wants to change holds us up and we hold up them: better to give in and say so.
    "lock_timeout": "30s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Task:
    """One statement that counts and sums a relation or a range of its pages."""

    relation: Relation
    statement: sql.Composed
    weight: int


def take(
    config: HostConfig,
    database: str | None = None,
    *,
    schemas: Sequence[str] | None = None,
    jobs: int | None = None,
    on_progress: Progress | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Fingerprint:
    """Fingerprint a database.

    Sequences are not part of any snapshot: they stand where they stood a moment later.

    Args:
        config: what this host is.
        database: the database, or ``None`` for the ERP's.
        schemas: these only, or ``None`` for all but the system's and our own.
        jobs: connections that read; ``None`` for as many as there are processors, at most 8.
        on_progress: told bytes done and bytes in all, from any thread.
        chunk_bytes: size of the ranges that big tables are cut into.

    Raises:
        PgdrError: the server does not answer, a schema does not exist, or a table could not be read.
    """
    name = database or config.database
    with connected(config, name, application_name=_APPLICATION, settings=_SETTINGS) as leader:
        leader.isolation_level = IsolationLevel.REPEATABLE_READ
        leader.read_only = True
        with leader.transaction():
            snapshot: str = one(leader, "select pg_export_snapshot()")[0]
            facts = server_facts(leader)
            catalog = read_catalog(leader, schemas)
            tasks = _tasks(catalog.relations, chunk_bytes)
            _lock_tables(leader, catalog.relations)
            sums = _Pool(config, name, snapshot, tasks, on_progress).run(jobs or min(8, os.cpu_count() or 1))
            return _document(name, schemas, facts, catalog, sums, _sequences(leader, catalog.relations))


def _tasks(relations: Iterable[Relation], chunk_bytes: int) -> list[_Task]:
    """Cut the work, heaviest first, so that no connection starts a giant when the others are done."""
    tasks: list[_Task] = []
    for relation in relations:
        if relation.kind not in {Kind.TABLE, Kind.MATERIALIZED_VIEW} or relation.unlogged:
            continue
        if not relation.populated:
            continue
        parts = min(relation.blocks, -(-relation.size // chunk_bytes)) if relation.heap else 1
        # `parts` ranges of equal length; the last has no upper end: the table may have grown meanwhile.
        bounds = [round(relation.blocks * part / parts) for part in range(parts)] if parts > 1 else [0]
        for index, first in enumerate(bounds):
            end = bounds[index + 1] if index + 1 < len(bounds) else None
            where = _range(first, end) if len(bounds) > 1 else sql.SQL("")
            tasks.append(_Task(relation, _statement(relation, where), relation.size // len(bounds)))
    return sorted(tasks, key=lambda task: task.weight, reverse=True)


def _range(first: int, end: int | None) -> sql.Composed:
    lower = sql.SQL(" where ctid >= {}::tid").format(sql.Literal(f"({first},0)"))
    if end is None:
        return lower
    return lower + sql.SQL(" and ctid < {}::tid").format(sql.Literal(f"({end},0)"))


def _statement(relation: Relation, where: sql.Composable) -> sql.Composed:
    """Count the rows and sum both hashes of each.

    The row is turned into text once (``offset 0`` keeps the planner from doing it for each hash). A partition
    whose columns stand in another order than its root's is read in the root's order.
    """
    # A column of this name would be taken for the row.
    alias = "row_of_table"
    while alias in relation.columns:
        alias += "_"
    source = sql.SQL("only {table}").format(table=relation.identifier)
    if relation.columns != relation.root_columns:
        columns = sql.SQL(", ").join(sql.Identifier(column) for column in relation.root_columns)
        source = sql.SQL("(select {columns} from {source}{where})").format(columns=columns, source=source, where=where)
        where = sql.SQL("")
    hash0, hash1 = row_hash_sql("content")
    return sql.SQL(
        "select count(*), coalesce(sum({hash0}), 0), coalesce(sum({hash1}), 0)"
        " from (select {alias}::text as content from {source} as {alias}{where} offset 0) as contents"
    ).format(
        hash0=sql.SQL(hash0),
        hash1=sql.SQL(hash1),
        alias=sql.Identifier(alias),
        source=source,
        where=where,
    )


def _lock_tables(leader: Connection[TupleRow], relations: Iterable[Relation]) -> None:
    """Keep tables from being dropped, truncated or rewritten while they are read: no snapshot protects from it."""
    names = [r.identifier for r in relations if r.kind is Kind.TABLE and not r.unlogged and r.key != LARGE_OBJECTS]
    if not lock_relations(leader, names):
        _log.warning("too many tables to lock at once; do not change table definitions during the fingerprint")


class _Pool:
    """Connections that share one snapshot and work off one list of statements."""

    def __init__(
        self,
        config: HostConfig,
        database: str,
        snapshot: str,
        tasks: Sequence[_Task],
        on_progress: Progress | None,
    ) -> None:
        self._config = config
        self._database = database
        self._snapshot = snapshot
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._count = len(tasks)
        self._total = sum(task.weight for task in tasks)
        self._done = 0
        self._sums: dict[Relation, TableSum] = {}
        self._connections: list[Connection[TupleRow]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._on_progress = on_progress

    def run(self, jobs: int) -> dict[Relation, TableSum]:
        """Work off the list and return the sum of each relation."""
        workers = max(1, min(jobs, self._count))
        failed: list[Future[None]] = []
        with ThreadPoolExecutor(max_workers=workers) as executor:
            futures = [executor.submit(self._work) for _ in range(workers)]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failed = [future for future in done if future.exception() is not None]
            finally:
                # Also after Ctrl-C: a statement on a big table would otherwise keep us for minutes.
                if failed or not all(future.done() for future in futures):
                    self._abandon()
        # The first failure is the reason; what the others say is only that they were told to stop.
        for future in failed or futures:
            future.result()
        return self._sums

    def _abandon(self) -> None:
        self._stop.set()
        with self._lock:
            for connection in self._connections:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=5)

    def _work(self) -> None:
        with connected(self._config, self._database, application_name=_APPLICATION, settings=_SETTINGS) as connection:
            with self._lock:
                self._connections.append(connection)
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            try:
                with connection.transaction():
                    connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(self._snapshot)))
                    while not self._stop.is_set():
                        try:
                            task = self._tasks.get_nowait()
                        except queue.Empty:
                            return
                        self._add(task, _measure(connection, task))
            finally:
                with self._lock:
                    self._connections.remove(connection)

    def _add(self, task: _Task, found: TableSum) -> None:
        with self._lock:
            self._sums[task.relation] = self._sums.get(task.relation, NOTHING).plus(found)
            self._done += task.weight
            done = self._done
        if self._on_progress is not None:
            self._on_progress(done, self._total)


def _measure(connection: Connection[TupleRow], task: _Task) -> TableSum:
    key = task.relation.own_key
    try:
        row = connection.execute(task.statement).fetchone()
    except psycopg.errors.LockNotAvailable as error:
        raise OperationFailedError(
            f"{key} is locked, or somebody waits to change it", remedy="run again later"
        ) from error
    except psycopg.errors.SerializationFailure as error:
        raise OperationFailedError(
            f"{key}: replay of WAL removed rows that the snapshot needs",
            remedy="pause replay, or raise max_standby_streaming_delay, and run again",
        ) from error
    except psycopg.Error as error:
        raise explain(error, key) from error
    if row is None:
        raise OperationFailedError(f"{key}: no answer")
    return TableSum(rows=row[0], sum0=int(row[1]) % MODULUS, sum1=int(row[2]) % MODULUS)


def _sequences(leader: Connection[TupleRow], relations: Iterable[Relation]) -> dict[str, SequenceState]:
    found = [r for r in relations if r.kind is Kind.SEQUENCE and not r.unlogged]
    states: dict[str, SequenceState] = {}
    for start in range(0, len(found), _BATCH):
        batch = found[start : start + _BATCH]
        statement = sql.SQL(" union all ").join(
            sql.SQL("select {}::int, last_value, is_called from {}").format(sql.Literal(index), relation.identifier)
            for index, relation in enumerate(batch)
        )
        for index, last_value, is_called in leader.execute(statement):
            states[batch[index].own_key] = SequenceState(
                last_value=last_value, is_called=is_called, increment=batch[index].increment
            )
    return dict(sorted(states.items()))


def _document(
    database: str,
    schemas: Sequence[str] | None,
    facts: ServerFacts,
    catalog: Catalog,
    sums: dict[Relation, TableSum],
    sequences: dict[str, SequenceState],
) -> Fingerprint:
    tables: dict[str, TableSum] = dict.fromkeys(catalog.partitioned, NOTHING)
    views: dict[str, TableSum | None] = {
        r.key: None for r in catalog.relations if r.kind is Kind.MATERIALIZED_VIEW and not r.populated
    }
    for relation, found in sums.items():
        if relation.kind is Kind.MATERIALIZED_VIEW:
            views[relation.key] = found
        elif relation.key != LARGE_OBJECTS or found.rows:
            tables[relation.key] = tables.get(relation.key, NOTHING).plus(found)
    return Fingerprint(
        database=database,
        server_version=facts.version,
        system_identifier=facts.system_identifier,
        timeline=facts.timeline,
        lsn=facts.lsn,
        in_recovery=facts.in_recovery,
        taken_at=facts.now,
        schemas=None if schemas is None else tuple(sorted(set(schemas))),
        tables=dict(sorted(tables.items())),
        sequences=sequences,
        materialized_views=dict(sorted(views.items())),
        unlogged=tuple(r.own_key for r in catalog.relations if r.unlogged),
        foreign_tables=tuple(r.own_key for r in catalog.relations if r.kind is Kind.FOREIGN_TABLE),
        totals=Totals(tables=len(tables), rows=sum(found.rows for found in tables.values())),
    )
