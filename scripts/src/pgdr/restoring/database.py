"""Restore a whole database beside the live one, prove it, and swap the two by name; the old one is kept."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from pgdr.archive.model import DatabaseFacts, Setting
from pgdr.archive.names import label_of, with_suffix
from pgdr.errors import OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.marks import mark, marks
from pgdr.restoring import checks, contents, quarantine, swap
from pgdr.restoring.proof import Proven, prove
from pgdr.restoring.source import Source, require_version

_APPLICATION = "pgdr restore"
_GROWTH = 1.7  # rows of tables to a whole database, with its indexes
_MARGIN = 1.1

Phase = Callable[[str], None]


@dataclass(frozen=True)
class DatabasePlan:
    """What a restore of a database would do.

    Attributes:
        source: label of the archive.
        archived_at: when it was made.
        database: name that the restored database gets.
        replaces: whether a database of this name is there now.
        kept_as: name that one gets.
        sessions: sessions in it now; they are ended.
        rows: rows that come back.
        size: bytes that are written, about.
        held_back: entries of the dump that are not restored unless asked for.
        extension_notes: extensions that come in another version.
        drift: how the live database differs in structure from the archive.
        tablespaces: relations go back into the tablespaces where they lay; else all into the default one.
    """

    source: str
    archived_at: datetime
    database: str
    replaces: bool
    kept_as: str
    sessions: int
    rows: int
    size: int
    held_back: tuple[str, ...]
    extension_notes: tuple[str, ...]
    drift: tuple[checks.Drift, ...]
    tablespaces: bool = True


@dataclass
class DatabaseRestore:
    """What became of a restore of a database."""

    plan: DatabasePlan
    proven: Proven
    times: dict[str, float] = field(default_factory=dict)


def make_plan(config: HostConfig, source: Source, database: str, *, tablespaces: bool = True) -> DatabasePlan:
    """Look at archive, server and live database, and refuse what cannot work; nothing is changed.

    Args:
        config: what this host is.
        source: the archive.
        database: name of the database to restore, usually the one that was archived.
        tablespaces: put everything where it lay; else into the default tablespace.

    Raises:
        RefusedError: it cannot work.
        NotProvenError: the archive is damaged.
    """
    manifest = source.manifest
    if database in {"postgres", "template0", "template1"}:
        raise RefusedError(f"{database} is PostgreSQL's own database", remedy="name another with --into")
    with connected(config, "postgres", application_name=_APPLICATION) as admin:
        require_version(config, admin, source)
        checks.require_roles(admin, manifest, manifest.roles)
        checks.require_extensions(admin, manifest)
        if tablespaces:
            checks.require_tablespaces(admin, manifest)
        available = admin.execute("select name, version from pg_catalog.pg_available_extension_versions").fetchall()
        row = admin.execute(
            "select pg_catalog.pg_database_size(datname) from pg_catalog.pg_database where datname = %s", (database,)
        ).fetchone()
        replaces = row is not None
        held = swap.blockers(admin, database) if replaces else []
        connected_now = swap.sessions(admin, database) if replaces else 0
    if held:
        raise RefusedError(f"database {database} is held by {', '.join(held)}", remedy="end it first")
    size = int((row[0] if row else sum(table.size for table in manifest.tables) * _GROWTH) * _MARGIN)
    checks.require_space(config, size)
    known = {(name, version) for name, version in available}
    entries = contents.read_contents(config, source.full_dump)
    drift: tuple[checks.Drift, ...] = ()
    if replaces:
        with connected(config, database, application_name=_APPLICATION, settings={"search_path": ""}) as live:
            drift = checks.find_drift(manifest.tables, checks.live_tables(live))
    return DatabasePlan(
        source=manifest.label,
        archived_at=manifest.created_at,
        database=database,
        replaces=replaces,
        kept_as=with_suffix(database, f"_before_{label_of(datetime.now(UTC))}") if replaces else "",
        sessions=connected_now,
        rows=manifest.rows,
        size=size,
        held_back=tuple(entry.text for entry in entries if entry.is_privileged and not entry.is_privilege),
        extension_notes=tuple(
            f"extension {e.name} {e.version} is not on this host: the version here is used"
            for e in manifest.extensions
            if (e.name, e.version) not in known
        ),
        drift=drift,
        tablespaces=tablespaces,
    )


def restore(
    config: HostConfig,
    source: Source,
    plan: DatabasePlan,
    *,
    privileged: bool = False,
    jobs: int | None = None,
    on_phase: Phase = lambda _phase: None,
    before_swap: Callable[[str], object] = lambda _database: None,
) -> DatabaseRestore:
    """Carry out a plan.

    Args:
        config: what this host is.
        source: the archive.
        plan: what was shown.
        privileged: also restore what is held back otherwise, as superuser, after the proof.
        jobs: how much is done at once.
        on_phase: told what begins.
        before_swap: gets the name of the restored database, which nobody uses yet; what it raises ends all.

    Raises:
        OperationFailedError: PostgreSQL refused something; the live database is as before.
        NotProvenError: what was restored differs from the manifest; the live database is as before.
    """
    clock = Clock(on_phase)
    beside, proven = _load(config, source, plan, clock, jobs=jobs, privileged=privileged)
    try:
        before_swap(beside)
        clock.begin("swap")
        _publish(config, beside, plan, source.manifest.database)
    except BaseException:
        quarantine.drop(config, beside, None)
        raise
    clock.end()
    return DatabaseRestore(plan, proven, clock.times)


@contextmanager
def scratch(
    config: HostConfig, source: Source, *, jobs: int | None = None, on_phase: Phase = lambda _phase: None
) -> Iterator[str]:
    """Have an archive as a database for a block of work, to read from; it is dropped at the end.

    What a kill leaves is listed and removed by ``pgdr cleanup``.

    Args:
        config: what this host is.
        source: the archive.
        jobs: how much is done at once.
        on_phase: told what begins.

    Raises:
        RefusedError: it cannot work: version, roles, extensions or disk.
        OperationFailedError: PostgreSQL refused something.
        NotProvenError: the archive is damaged, or what was restored differs from its manifest.
    """
    database = with_suffix(source.manifest.database.name, "_past")
    # For the time of a look it may lie anywhere, and this host need not have the tablespaces of that one.
    plan = make_plan(config, source, database, tablespaces=False)
    clock = Clock(on_phase)
    beside, _ = _load(config, source, plan, clock, jobs=jobs)
    clock.end()
    try:
        yield beside
    finally:
        quarantine.drop(config, beside, None)


def _load(
    config: HostConfig, source: Source, plan: DatabasePlan, clock: Clock, *, jobs: int | None, privileged: bool = False
) -> tuple[str, Proven]:
    """Restore into a database beside the live one, and prove it; its name is marked as unfinished work."""
    manifest, database, places = source.manifest, plan.database, plan.tablespaces
    workers = quarantine.processors(jobs)
    beside = with_suffix(database, f"_restore_{secrets.token_hex(4)}")
    clock.begin("checksums")
    source.check()
    entries = contents.read_contents(config, source.full_dump)
    with connected(config, "postgres", application_name=_APPLICATION) as admin:
        role = None
        try:
            with quarantine.throwaway_role(config, admin, bypass_rls=True) as login:
                role = login.role
                clock.begin("restore")
                marked = mark("restore", archive=manifest.label, of=database, role=login.role)
                quarantine.create_database(admin, beside, login.role, manifest.database, marked)
                made = quarantine.create_extensions(config, beside, login.role, manifest.extensions)
                there = {schema.oid for schema in manifest.schemas if schema.name in made}
                ordinary = [e for e in entries if not (e.is_privilege or e.is_extension or e.is_privileged)]
                ordinary = quarantine.without_schemas(ordinary, tuple(there))
                quarantine.load(
                    config, source.full_dump, ordinary, beside, login=login, jobs=workers, tablespaces=places
                )
                clock.begin("statistics")
                quarantine.analyze(config, beside, login, workers)
                clock.begin("proof")
                proven = prove(config, beside, manifest, jobs=workers)
                clock.begin("owners and privileges")
                quarantine.hand_over(config, beside, login, manifest)
                later = [e for e in entries if e.is_privileged and not e.is_privilege] if privileged else []
                later += [e for e in entries if e.is_privilege and (privileged or not e.is_privileged)]
                if later:
                    quarantine.load(config, source.full_dump, later, beside, login=None, tablespaces=places)
        except BaseException:
            quarantine.drop(config, beside, role)
            raise
    return beside, proven


def _publish(config: HostConfig, beside: str, plan: DatabasePlan, facts: DatabaseFacts) -> None:
    """Give the restored database its name, settings and privileges, and the old one another name."""
    renames = [(plan.database, plan.kept_as)] if plan.replaces else []
    renames.append((beside, plan.database))

    def finish(admin: Connection[TupleRow]) -> None:
        apply_settings(admin, plan.database, facts.settings)
        if plan.replaces:
            _copy_privileges(admin, plan.kept_as, plan.database)
            _mark_kept(admin, plan.kept_as, plan.database)
        else:
            _grant(admin, plan.database, [("PUBLIC", "CONNECT", False), ("PUBLIC", "TEMPORARY", False)])
            _comment(admin, plan.database, None)

    with connected(config, "postgres", application_name=_APPLICATION) as admin:
        exists = admin.execute("select from pg_catalog.pg_database where datname = %s", (plan.database,)).fetchone()
    if (exists is not None) != plan.replaces:
        raise OperationFailedError(f"database {plan.database} came or went meanwhile", remedy="run again")
    swap.rename(config, renames, finish)


def apply_settings(admin: Connection[TupleRow], database: str, settings: Iterable[Setting]) -> None:
    """Give a database its settings, and roles theirs in it.

    The value goes through the session, so that PostgreSQL quotes lists itself.
    """
    for item in settings:
        admin.execute("select pg_catalog.set_config(%s, %s, true)", (item.name, item.value))
        who = sql.SQL("database {}").format(sql.Identifier(database))
        if item.role is not None:
            who = sql.SQL("role {} in database {}").format(sql.Identifier(item.role), sql.Identifier(database))
        name = sql.SQL(".").join(sql.Identifier(part) for part in item.name.split("."))
        admin.execute(sql.SQL("alter {} set {} from current").format(who, name))


def _copy_privileges(admin: Connection[TupleRow], source: str, target: str) -> None:
    rows = admin.execute(
        "select case when a.grantee = 0 then 'PUBLIC' else pg_catalog.pg_get_userbyid(a.grantee) end,"
        " a.privilege_type, a.is_grantable from pg_catalog.pg_database d cross join lateral"
        " pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a where d.datname = %s",
        (source,),
    ).fetchall()
    _grant(admin, target, [(row[0], row[1], row[2]) for row in rows])


def _grant(admin: Connection[TupleRow], database: str, rows: list[tuple[str, str, bool]]) -> None:
    for grantee, privilege, grantable in rows:
        who = sql.SQL("public") if grantee == "PUBLIC" else sql.Identifier(grantee)
        statement = sql.SQL("grant {} on database {} to {}").format(
            sql.SQL(privilege),
            sql.Identifier(database),
            who,
        )
        admin.execute(statement + sql.SQL(" with grant option" if grantable else ""))


def _mark_kept(admin: Connection[TupleRow], kept: str, name: str) -> None:
    """Note on the old database what it was, and give the new one its comment."""
    row = admin.execute(
        "select s.description from pg_catalog.pg_shdescription s join pg_catalog.pg_database d on d.oid = s.objoid"
        " where s.classoid = 'pg_catalog.pg_database'::regclass and d.datname = %s",
        (kept,),
    ).fetchone()
    comment = row[0] if row else None
    _comment(admin, kept, mark("kept", of=name, at=datetime.now(UTC).isoformat(), comment=comment))
    _comment(admin, name, comment)


def _comment(admin: Connection[TupleRow], database: str, text: str | None) -> None:
    admin.execute(
        sql.SQL("comment on database {} is {}").format(
            sql.Identifier(database), sql.NULL if text is None else sql.Literal(text)
        )
    )


def find_kept(config: HostConfig, database: str) -> str:
    """The database that was last replaced under this name.

    Raises:
        RefusedError: there is none.
    """
    with connected(config, "postgres", application_name=_APPLICATION) as admin:
        found = marks(admin)
    kept = [
        (str(m.get("at", "")), name) for name, m in found.items() if m["pgdr"] == "kept" and m.get("of") == database
    ]
    if not kept:
        raise RefusedError(f"no database was kept when {database} was replaced", remedy="restore it from an archive")
    return max(kept)[1]


def swap_back(config: HostConfig, database: str) -> tuple[str, str]:
    """Put the database back that a restore replaced; the restored one is kept in its turn.

    Returns:
        The name that the restored one has now, and the one that was put back.

    Raises:
        RefusedError: none was kept.
    """
    kept = find_kept(config, database)
    aside = with_suffix(database, f"_undone_{label_of(datetime.now(UTC))}")
    with connected(config, "postgres", application_name=_APPLICATION) as admin:
        comment = marks(admin)[kept].get("comment")
        there = admin.execute("select from pg_catalog.pg_database where datname = %s", (database,)).fetchone()

    def finish(admin: Connection[TupleRow]) -> None:
        if there is not None:
            _mark_kept(admin, aside, database)
        _comment(admin, database, comment)

    renames = [(database, aside)] if there is not None else []
    swap.rename(config, [*renames, (kept, database)], finish)
    return aside, kept


class Clock:
    """Seconds by phase."""

    def __init__(self, on_phase: Phase) -> None:
        self.times: dict[str, float] = {}
        self._on_phase = on_phase
        self._phase = ""
        self._began = 0.0

    def begin(self, phase: str) -> None:
        """End the phase at hand and begin another."""
        self.end()
        self._phase, self._began = phase, time.monotonic()
        self._on_phase(phase)

    def end(self) -> None:
        """End the phase at hand."""
        if self._phase:
            self.times[self._phase] = time.monotonic() - self._began


def as_details(plan: DatabasePlan) -> dict[str, Any]:
    """What the journal keeps of a plan."""
    return {"archive": plan.source, "database": plan.database, "kept_as": plan.kept_as, "rows": plan.rows}
