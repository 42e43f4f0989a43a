"""Make the sample: schema, data, keys, references, logic, in this order because it is the fastest.

The data is computed by the server from hashes of a seed and of row numbers; nothing depends on the clock, on
chance, or on how many connections loaded it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from erp.database import Connection, connect, one_line, open_or_fail
from erp.parallel import Progress, WorkPool
from erp.scale import Scale
from erp.sqlfiles import FOLDER, Slice, read_scripts, read_tasks
from pgdr.errors import OperationFailedError, RefusedError

SCHEMAS = ("auth", "core", "financial", "inventory", "purchase", "sales", "analytics", "projects", "system")
GENERATOR_SCHEMA = "erp_gen"
# Counts up when the tables or the data of a seed change: a reference of another layout is no reference.
LAYOUT = 1
_APPLICATION = "erp create"


@dataclass(frozen=True)
class Wanted:
    """What to make.

    Attributes:
        dsn: connection string of a role that may create schemas in the database (its owner, for example).
        size_mb: size of the database in MiB.
        tenants: how many tenants share it.
        seed: another seed gives other data.
        extensions: whether extensions are used; without contrib modules they cannot be.
        jobs: connections that work at the same time.
        recreate: drop an earlier sample first.
        owner: role that shall own everything, or ``None`` for the one that logs in.
        app_role: role that gets the rights of an application, if it exists.
    """

    dsn: str
    size_mb: int = 300
    tenants: int = 50
    seed: int = 42
    extensions: bool = True
    jobs: int = 2
    recreate: bool = False
    owner: str | None = None
    app_role: str = "erp_user"


@dataclass
class Created:
    """What was made.

    Attributes:
        database_bytes: ``pg_database_size`` afterwards.
        seconds: wall time of each phase, in order.
        app_role_found: whether the application's role exists and was given its rights.
    """

    database_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    app_role_found: bool = False


def create(wanted: Wanted, progress: Progress) -> Created:
    """Make the sample.

    Raises:
        RefusedError: the schemas exist, or the size is too small; nothing was changed.
        UnreachableError: the server does not answer.
        OperationFailedError: PostgreSQL refused something; what was made so far is dropped by ``recreate``.
    """
    scale = Scale.for_size(wanted.size_mb, wanted.tenants)
    with open_or_fail(wanted.dsn, application=_APPLICATION, owner=wanted.owner) as connection:
        _check_encoding(connection)
        _make_room(connection, recreate=wanted.recreate)
        try:
            return _fill(connection, wanted, scale, progress)
        except psycopg.Error as error:
            raise OperationFailedError(
                f"the sample could not be made: {one_line(error)}", remedy="then run again with --recreate"
            ) from error


def _check_encoding(connection: Connection) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise RefusedError(
            f"the database {connection.info.dbname} has encoding {encoding}",
            remedy="make it with ENCODING 'UTF8' TEMPLATE template0",
        )


def _make_room(connection: Connection, *, recreate: bool) -> None:
    existing = [
        name
        for (name,) in connection.execute(
            "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY(%s) ORDER BY 1",
            ([*SCHEMAS, GENERATOR_SCHEMA],),
        )
    ]
    if not existing:
        return
    row = connection.execute("SELECT to_regclass('system.erp_sample') IS NOT NULL").fetchone()
    if not (row and row[0]):
        raise RefusedError(
            f"schemas exist that this sample did not make: {', '.join(existing)}",
            remedy="use an empty database; these are never dropped",
        )
    if not recreate:
        complete = connection.execute("SELECT complete FROM system.erp_sample").fetchone()
        state = "is there already" if complete and complete[0] else "is there, but was never finished"
        raise RefusedError(f"the ERP sample {state}", remedy="--recreate drops it first")
    with connection.transaction():
        for name in existing:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def _fill(connection: Connection, wanted: Wanted, scale: Scale, progress: Progress) -> Created:
    created = Created()
    clock = _Clock(created.seconds)
    _prepare_session(connection, wanted, scale)
    with connection.transaction():
        for script in (*read_scripts("schema"), (FOLDER / "generator.sql").read_text(encoding="utf-8")):
            connection.execute(script.encode())
        connection.execute(
            "INSERT INTO system.erp_sample (layout, seed, size_mb, tenants, extensions) VALUES (%s, %s, %s, %s, %s)",
            (LAYOUT, wanted.seed, wanted.size_mb, wanted.tenants, wanted.extensions),
        )
    clock.lap("schema")

    def opener() -> Connection:
        worker = connect(wanted.dsn, application=_APPLICATION, owner=wanted.owner)
        _prepare_session(worker, wanted, scale)
        return worker

    with WorkPool(opener, wanted.jobs) as pool:
        pool.run("data", _largest_first("data", scale), progress)
        clock.lap("data")
        pool.run("keys", [piece for task in read_tasks("keys") for piece in task.slices({})], progress)
        clock.lap("keys")
        pool.run("references", [piece for task in read_tasks("references") for piece in task.slices({})], progress)
        clock.lap("references")
        if wanted.extensions:
            pool.run("extensions", [Slice("extensions", script) for script in read_scripts("extensions")], progress)
            clock.lap("extensions")
        logic = Slice("logic", "\n".join(read_scripts("logic")))
        pool.run("logic", [logic], progress)
        created.app_role_found = _grant(connection, wanted.app_role)
        with connection.transaction():
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(GENERATOR_SCHEMA)))
        clock.lap("logic")
        pool.run("vacuum", _vacuums(connection), progress, transaction=False)
        clock.lap("vacuum")
    connection.execute("UPDATE system.erp_sample SET complete = true")
    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    created.database_bytes = int(row[0]) if row else 0
    return created


def _prepare_session(connection: Connection, wanted: Wanted, scale: Scale) -> None:
    settings = {
        "erp_gen.seed": str(wanted.seed),
        "erp_gen.counts": json.dumps(scale.counts),
        "maintenance_work_mem": "256MB",
        "work_mem": "64MB",
        # A crash while the sample is made costs a new run, nothing else.
        "synchronous_commit": "off",
        "jit": "off",
        # The load is parallel already.
        "max_parallel_workers_per_gather": "0",
        "max_parallel_maintenance_workers": "0",
        "client_min_messages": "warning",
    }
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def _largest_first(folder: str, scale: Scale) -> Sequence[Slice]:
    """The pieces of tables with many rows come first, so that no connection is left alone with one at the end."""
    tasks = sorted(read_tasks(folder), key=lambda task: -scale.counts.get(task.over or "", 0))
    return [piece for task in tasks for piece in task.slices(scale.counts)]


def _vacuums(connection: Connection) -> list[Slice]:
    """Leave a settled database: otherwise autovacuum rewrites it under the first backup."""
    rows = connection.execute(
        "SELECT format('VACUUM (ANALYZE) %%I.%%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'm') ORDER BY c.relpages DESC, c.oid",
        (list(SCHEMAS),),
    ).fetchall()
    return [Slice("vacuum", statement) for (statement,) in rows]


def _grant(connection: Connection, role: str) -> bool:
    """Give the application's role what it needs; partitions are reached through their root only."""
    if connection.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
        return False
    names = sql.SQL(", ").join(map(sql.Identifier, SCHEMAS))
    grantee = sql.Identifier(role)
    partitions = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ANY(%s) AND c.relispartition AND c.relkind = 'r'",
        (list(SCHEMAS),),
    ).fetchall()
    with connection.transaction():
        for statement in (
            "GRANT USAGE ON SCHEMA {names} TO {grantee}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {names} TO {grantee}",
            "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {names} TO {grantee}",
            "REVOKE INSERT, UPDATE, DELETE ON system.audit_logs FROM {grantee}",
        ):
            connection.execute(sql.SQL(statement).format(names=names, grantee=grantee))
        for partition in partitions:
            connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.Identifier(*partition), grantee))
    return True


class _Clock:
    """Writes down how long each phase took."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        now = time.monotonic()
        self._seconds[phase] = now - self._last
        self._last = now
