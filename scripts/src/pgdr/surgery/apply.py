"""The change itself, inside one transaction of the live session.

The session takes the role of a replica (``session_replication_role``): triggers and rules of the ERP do not fire a
second time for work that was done long ago, audit trails do not record it, and no cascade reaches rows that nobody
planned for. The server then does not check foreign keys and deferrable constraints either; :mod:`pgdr.surgery.checks`
does, before the commit. Rights needed: ``SET`` on that parameter (PostgreSQL 15+), ``BYPASSRLS``, reading and writing
the tables; no superuser.

Isolation is READ COMMITTED on purpose: each statement sees what others have committed meanwhile, so the checks at the
end see it too. A row is changed only if it still stands at the address where it was read, with the same content; if
one does not, somebody else was faster, and everything is given up.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from pgdr.errors import BusyError, OperationFailedError, PgdrError, RefusedError, UnreachableError
from pgdr.postgres.connection import Connection, TupleRow, explain
from pgdr.surgery.conflicts import Ground, past_rows, refers
from pgdr.surgery.diff import COMING, LEAVING, WRITTEN, Kind, kinds
from pgdr.surgery.model import Table
from pgdr.surgery.scope import TenantScope
from pgdr.surgery.staging import Stage

_BATCH = 100


def become_replica(connection: Connection[TupleRow]) -> None:
    """Keep triggers and rules quiet until the end of the transaction.

    Raises:
        RefusedError: the role may not.
    """
    try:
        with connection.transaction():
            connection.execute("set local session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege as error:
        raise RefusedError(
            "this role may not keep triggers from firing a second time",
            remedy="GRANT SET ON PARAMETER session_replication_role TO it, or run as postgres; nothing was changed",
        ) from error


def hold_tables(connection: Connection[TupleRow], tables: Iterable[Table], mode: str = "row exclusive") -> None:
    """Keep tables from being altered, dropped or truncated; reading and writing rows goes on."""
    names = [table.rows for table in tables]
    for start in range(0, len(names), _BATCH):
        connection.execute(
            sql.SQL("lock table {} in {} mode").format(
                sql.SQL(", ").join(names[start : start + _BATCH]),
                sql.SQL("row exclusive" if mode == "row exclusive" else "share row exclusive"),
            )
        )


def close_gate(connection: Connection[TupleRow], scope: TenantScope) -> int:
    """Lock the tenant's row in the register of tenants.

    Every new row that refers to it by a foreign key has to wait: the tenant stands still, all others go on.

    Returns:
        how many rows were locked: 0 where there is no register.
    """
    closed = 0
    for one in scope.ownership.owned.values():
        if one.register and not one.edges:
            done = connection.execute(
                sql.SQL("select from {rows} as t where {holds} for update").format(
                    rows=one.table.rows, holds=scope.is_tenant(one, "t")
                )
            )
            closed += done.rowcount
    return closed


def change(connection: Connection[TupleRow], ground: Ground) -> None:
    """Remove, rewrite and insert, in this order over all tables.

    Raises:
        BusyError: a row has changed since it was read.
    """
    stages = list(ground.stages.values())
    for stage in stages:
        found = ground.count(connection, stage)
        expected = sum(found.get(kind, 0) for kind in LEAVING)
        if expected:
            _expect(connection.execute(_delete(stage)), expected, stage)
    for stage in stages:
        expected = ground.count(connection, stage).get(Kind.UPDATE, 0)
        if expected:
            _expect(connection.execute(_update(stage)), expected, stage)
    for stage in stages:
        found = ground.count(connection, stage)
        if sum(found.get(kind, 0) for kind in COMING) and any(rule.deferrable for rule in stage.table.unique_rules):
            # Nobody else would notice a value that we take: the check of such a rule is a trigger.
            hold_tables(connection, [stage.table], "share row exclusive")
        for kind in COMING:
            if found.get(kind):
                _expect(connection.execute(_insert(stage, kind)), found[kind], stage)


def _expect(done: psycopg.Cursor[TupleRow], expected: int, stage: Stage) -> None:
    if done.rowcount != expected:
        raise BusyError(
            f"{expected - done.rowcount} rows of {stage.table.label} were changed by somebody else meanwhile",
            remedy="nothing was changed; keep the tenant's users out and run again",
        )


def _addressed(stage: Stage, wanted: Iterable[Kind]) -> sql.Composed:
    """Rows that still stand where they were read, unchanged: an address alone may have been given to another row."""
    return sql.SQL("a.kind in {kinds} and t.tableoid = l.tab and t.ctid = l.tid and {now} = {then}").format(
        kinds=kinds(*wanted), now=stage.whole_image("t", staged=False), then=stage.whole_image("l", staged=True)
    )


def _delete(stage: Stage) -> sql.Composed:
    return sql.SQL("delete from {rows} as t using {act} as a join {live} as l on l.n = a.l where {where}").format(
        rows=stage.table.rows, act=stage.act, live=stage.live, where=_addressed(stage, LEAVING)
    )


def _update(stage: Stage) -> sql.Composed:
    key = {part.column for part in stage.key}
    settings = sql.SQL(", ").join(
        sql.SQL("{} = p.{}").format(sql.Identifier(one.column.name), name)
        for one, name in stage.carried
        if one.column.identity != "a" and one.column.name not in key
    )
    return sql.SQL(
        "update {rows} as t set {settings} from {act} as a join {live} as l on l.n = a.l"
        " join {past} as p on p.n = a.p where {where}"
    ).format(
        rows=stage.table.rows,
        settings=settings,
        act=stage.act,
        live=stage.live,
        past=stage.past,
        where=_addressed(stage, (Kind.UPDATE,)),
    )


def _insert(stage: Stage, kind: Kind) -> sql.Composed:
    columns = [(sql.Identifier(one.column.name), sql.SQL("p.{}").format(name)) for one, name in stage.carried]
    if kind is Kind.REPLACE:  # what the past does not know stays as it is
        columns += [
            (sql.Identifier(one.column.name), sql.SQL("l.{}").format(name))
            for one, name in zip(stage.columns, stage.all_names, strict=True)
            if one.source is None and not one.column.generated
        ]
    return sql.SQL(
        "insert into {table} ({names}) overriding system value select {values}"
        " from {act} as a join {past} as p on p.n = a.p left join {live} as l on l.n = a.l where a.kind = {kind}"
    ).format(
        table=stage.table.identifier,
        names=sql.SQL(", ").join(name for name, _ in columns),
        values=sql.SQL(", ").join(value for _, value in columns),
        act=stage.act,
        past=stage.past,
        live=stage.live,
        kind=sql.Literal(str(kind)),
    )


def hold_parents(connection: Connection[TupleRow], ground: Ground) -> None:
    """Lock the rows that the written ones refer to, as the server's own check does: nobody removes them meanwhile."""
    for key, edge in ground.edges():
        child = ground.stages.get(key.child)
        if child is None or not ground.has(connection, child, WRITTEN):
            continue
        parent = ground.schema.tables[key.parent]
        connection.execute(
            sql.SQL(
                "select count(*) from (select from {parent} as p where exists"
                " (select from {written} as r where {refers} and {holds}) for key share of p) as held"
            ).format(
                parent=sql.Identifier(*key.parent_relation) if key.parent_relation else parent.rows,
                written=past_rows(child, WRITTEN),
                refers=refers(edge, "r"),
                holds=edge.holds("p", "r"),
            )
        )


def run_hooks(connection: Connection[TupleRow], tenant: str, hooks: Iterable[tuple[str, str]]) -> None:
    """Run the policy's statements for this tenant.

    Args:
        connection: in the transaction of the change.
        tenant: what ``current_setting('pgdr.tenant')`` shall say.
        hooks: name and statement.
    """
    connection.execute("select set_config('pgdr.tenant', %s, true)", (tenant,))
    for name, statement in hooks:
        try:
            connection.execute(statement.encode())
        except psycopg.OperationalError:  # the server, not the hook
            raise
        except psycopg.Error as error:
            raise OperationFailedError(
                f"hook {name} failed: {' '.join((error.diag.message_primary or str(error)).split())}",
                remedy="nothing was changed; correct the policy",
            ) from error


def in_words(error: psycopg.Error, lock_timeout: str) -> PgdrError:
    """Say what an error of the database means for a person in the middle of surgery."""
    text = " ".join((error.diag.message_primary or str(error)).split())
    where = f"{error.diag.schema_name}.{error.diag.table_name}: " if error.diag.table_name else ""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return BusyError(
            f"somebody else holds rows or tables that are needed, for longer than {lock_timeout}",
            remedy="nothing was changed; see pg_stat_activity, or raise --lock-timeout, and run again",
        )
    if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return BusyError(
            f"{where}somebody else works on the same rows ({text})",
            remedy="nothing was changed; keep the tenant's users out and run again",
        )
    if (error.sqlstate or "").startswith("57P"):
        return UnreachableError(f"the server ended the session: {text}", remedy="nothing was changed; run again")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return RefusedError(
            f"this role lacks a right: {text}",
            remedy="it needs BYPASSRLS, pg_read_all_data and pg_write_all_data; nothing was changed",
        )
    if isinstance(error, psycopg.IntegrityError):
        detail = " ".join((error.diag.message_detail or "").split())
        return OperationFailedError(f"{where}{text} {detail}".rstrip(), remedy="nothing was changed")
    return explain(error)
