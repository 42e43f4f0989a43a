"""Prove a recovered and opened cluster, and measure what the recovery cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from pydantic import BaseModel, ConfigDict

from pgdr import process
from pgdr.errors import NotProvenError, UnreachableError
from pgdr.hostconfig import HostConfig
from pgdr.recovery.model import PhaseTime, RecoveryState
from pgdr.recovery.run import reached_target


class Check(BaseModel):
    """One thing that was looked at.

    Attributes:
        name: what it is.
        ok: whether it holds.
        detail: what was seen.
        fatal: a failed check of this kind means that the recovery is not proven.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ok: bool
    detail: str
    fatal: bool = True


class Report(BaseModel):
    """What a recovery did, reached and cost.

    Attributes:
        rto_seconds: from ``started_at`` to ``finished_at``.
        rpo_seconds: from the last recovered change to the disaster; ``None`` where the disaster's time is unknown.
        heartbeat_at: newest heartbeat in the recovered database.
        phases_off: phases of the play that were not asked for.
    """

    model_config = ConfigDict(extra="forbid")

    operation: str
    cluster_name: str
    backup_label: str
    repository: int
    target: str
    target_lsn: str
    reached: str
    reached_at: datetime | None
    timeline: int
    started_at: datetime
    finished_at: datetime
    disaster_at: datetime | None
    rto_seconds: float
    rpo_seconds: float | None
    heartbeat_at: datetime | None
    phases: list[PhaseTime]
    host_phases: list[PhaseTime]
    set_aside: list[tuple[str, str]]
    checks: list[Check]
    phases_off: list[str] = []


@dataclass(frozen=True)
class Mark:
    """The moment at which a phase of the play began."""

    name: str
    at: datetime


def verify(config: HostConfig, state: RecoveryState, schemas: Sequence[str], *, isolated: bool = False) -> list[Check]:
    """Look at the opened cluster.

    Args:
        config: this host.
        state: the recovery that brought it here.
        schemas: schemas that the policy says the database has.
        isolated: it is a drill's, and must never archive: production does, into the same repository.

    Raises:
        UnreachableError: the server does not accept connections.
    """
    checks = [
        Check(
            name="target reached",
            ok=reached_target(state),
            detail=f"{state.reached.lsn if state.reached else 'nothing'} for {state.plan.target.text}",
        )
    ]
    try:
        with _connect(config) as connection:
            checks += [
                _identity(connection, state),
                _writable(connection),
                check_schemas(connection, schemas),
                check_indexes(connection),
                check_collations(connection),
                _isolated(connection) if isolated else _archiving(connection),
            ]
    except psycopg.OperationalError as error:
        raise UnreachableError(
            f"database {config.database} does not accept connections: {' '.join(str(error).split())}",
            remedy=f"see journalctl -u {config.service_unit}",
        ) from error
    return checks


def analyze(config: HostConfig, jobs: int) -> None:
    """Bring the planner's statistics up to date in every database.

    Raises:
        CommandError: vacuumdb failed.
    """
    process.run(
        [
            config.program("vacuumdb"),
            f"--host={config.socket_directory}",
            f"--port={config.port}",
            "--no-password",
            "--all",
            "--analyze-only",
            "--quiet",
            f"--jobs={jobs}",
        ]
    )


def phases_of(marks: Sequence[Mark], end: datetime) -> list[PhaseTime]:
    """Turn the moments at which phases began into phases with lengths; by hand there are none."""
    if not marks:
        return []
    ends = [*(mark.at for mark in marks[1:]), end]
    return [
        PhaseTime(name=mark.name, started_at=mark.at, seconds=round((after - mark.at).total_seconds(), 3))
        for mark, after in zip(marks, ends, strict=True)
    ]


def make_report(
    state: RecoveryState,
    *,
    marks: Sequence[Mark],
    disaster_at: datetime | None,
    checks: list[Check],
    now: datetime,
    off: Sequence[str] = (),
) -> Report:
    """Put together what the recovery did and cost."""
    plan, reached = state.plan, state.reached
    begun = [mark.at for mark in marks] or [plan.created_at]
    started = min([*begun, *([disaster_at] if disaster_at else [])])
    heartbeat_at = reached.heartbeat_at if reached else None
    recovered_to = _latest(reached.last_commit_at if reached else None, heartbeat_at)
    loss = (disaster_at - recovered_to).total_seconds() if disaster_at and recovered_to else None
    return Report(
        operation=plan.operation,
        cluster_name=plan.cluster_name,
        backup_label=plan.backup_label,
        repository=plan.repository,
        target=plan.target.text,
        target_lsn=plan.recovery_lsn,
        reached=reached.lsn if reached else "",
        reached_at=reached.last_commit_at if reached else None,
        timeline=reached.timeline if reached else 0,
        started_at=started,
        finished_at=now,
        disaster_at=disaster_at,
        rto_seconds=round((now - started).total_seconds(), 3),
        rpo_seconds=round(max(loss, 0.0), 3) if loss is not None else None,
        heartbeat_at=heartbeat_at,
        phases=phases_of(marks, now),
        host_phases=state.phases,
        set_aside=plan.set_aside,
        checks=checks,
        phases_off=list(off),
    )


def amended(first: Report, later: Report) -> Report:
    """Put phases that ran after a recovery was closed into its report; what it was measured at stays.

    Args:
        first: the report of the recovery, with its RTO and RPO.
        later: what a later run of some phases measured of itself.
    """
    return first.model_copy(
        update={
            "phases": [*first.phases, *later.phases],
            "phases_off": [name for name in first.phases_off if name in later.phases_off],
            "checks": later.checks,
        }
    )


def require_proven(checks: Sequence[Check]) -> None:
    """Refuse to call a recovery proven when a check that matters failed.

    Raises:
        NotProvenError: with every failed check.
    """
    failed = [f"{check.name}: {check.detail}" for check in checks if check.fatal and not check.ok]
    if failed:
        raise NotProvenError("; ".join(failed), remedy="keep applications away until this is understood")


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _connect(config: HostConfig) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=str(config.socket_directory),
        port=config.port,
        dbname=config.database,
        connect_timeout=30,
        autocommit=True,
        client_encoding="utf8",
        application_name="pgdr verify",
    )


def _identity(connection: psycopg.Connection[tuple[Any, ...]], state: RecoveryState) -> Check:
    row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    found = int(row[0]) if row else 0
    wanted = state.plan.system_identifier
    return Check(name="the same cluster", ok=found == wanted, detail=f"system identifier {found}, wanted {wanted}")


def _writable(connection: psycopg.Connection[tuple[Any, ...]]) -> Check:
    row = connection.execute("SELECT pg_is_in_recovery(), pg_walfile_name(pg_current_wal_lsn())").fetchone()
    if row is None or row[0]:
        return Check(name="open for writing", ok=False, detail="still in recovery")
    return Check(name="open for writing", ok=True, detail=f"timeline {int(str(row[1])[:8], 16)}")


def check_schemas(connection: psycopg.Connection[tuple[Any, ...]], schemas: Sequence[str]) -> Check:
    """Whether the schemas of the policy are there."""
    rows = connection.execute("SELECT nspname FROM pg_namespace").fetchall()
    missing = sorted(set(schemas) - {str(row[0]) for row in rows})
    detail = f"missing: {', '.join(missing)}" if missing else f"all {len(schemas)} of the policy"
    return Check(name="schemas", ok=not missing, detail=detail)


def check_indexes(connection: psycopg.Connection[tuple[Any, ...]]) -> Check:
    """Whether every index is valid."""
    rows = connection.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid OR NOT indisready ORDER BY 1"
    ).fetchall()
    names = [str(row[0]) for row in rows]
    # An invalid index was invalid on the lost server too: worth knowing, no doubt about the data.
    return Check(name="indexes", ok=not names, detail=", ".join(names) or "all valid", fatal=False)


def check_collations(connection: psycopg.Connection[tuple[Any, ...]]) -> Check:
    """Whether collations have the versions that the indexes were built with."""
    rows = connection.execute(
        "SELECT collname FROM pg_collation"
        " WHERE collversion IS DISTINCT FROM pg_collation_actual_version(oid) AND collversion IS NOT NULL"
        " UNION ALL SELECT 'database ' || datname FROM pg_database"
        " WHERE datcollversion IS NOT NULL AND datcollversion <> pg_database_collation_actual_version(oid)"
    ).fetchall()
    names = [str(row[0]) for row in rows]
    detail = f"other version than on the lost host, reindex: {', '.join(names)}" if names else "same versions"
    return Check(name="collations", ok=not names, detail=detail, fatal=False)


def _isolated(connection: psycopg.Connection[tuple[Any, ...]]) -> Check:
    row = connection.execute("SELECT current_setting('archive_mode')").fetchone()
    mode = str(row[0]) if row else "?"
    return Check(name="nothing is archived", ok=mode == "off", detail=f"archive_mode {mode}")


def _archiving(connection: psycopg.Connection[tuple[Any, ...]]) -> Check:
    row = connection.execute(
        "SELECT current_setting('archive_mode'), current_setting('archive_command'), archived_count, last_failed_wal"
        " FROM pg_stat_archiver"
    ).fetchone()
    mode, command, count, failed = row or ("?", "", 0, None)
    armed = mode == "on" and "archive-push" in str(command) and int(count) > 0
    return Check(
        name="archiving armed", ok=armed, detail=f"archive_mode {mode}, {count} archived, last failed {failed}"
    )
