"""Make an archive: one snapshot, one dump, every count, one manifest; under its name only when it is whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import IsolationLevel, sql

from pgdr import __version__
from pgdr.archive import catalog, dump
from pgdr.archive.counting import Counter
from pgdr.archive.dependencies import read_edges
from pgdr.archive.local import LocalArchive, LocalStore, digests, files_of
from pgdr.archive.model import FileEntry, Manifest, SchemaEntry
from pgdr.archive.names import MANIFEST, dump_name, label_of
from pgdr.archive.shares import Share, share_out
from pgdr.errors import ConfigError, ExitCode, PgdrError, RefusedError
from pgdr.files import write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import ARCHIVES, WaitMessage, operation_lock
from pgdr.policy.archives import Archives
from pgdr.policy.model import Policy
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import one, server_facts
from pgdr.postgres.marks import schema_marks
from pgdr.postgres.relations import OWN_SCHEMA, lock_relations
from pgdr.supervise import Supervisor

_APPLICATION = "pgdr archive"
_SETTINGS = {
    "search_path": "",
    "row_security": "off",
    "lock_timeout": "30s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# What a dump takes of the database's own size, before there is an archive to compare with.
_GUESS = 0.6
_MARGIN = 1.2
_SAME_SECOND = 0.2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ArchiveReport:
    """What became of an archive.

    Attributes:
        archive: the archive.
        manifest: what it says about itself.
        times: seconds by phase.
        expired: labels of older archives that were removed.
        notes: things that a person should know and that are no error.
    """

    archive: LocalArchive
    manifest: Manifest
    times: dict[str, float]
    expired: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes the run end with an error although the archive is whole."""
        name = self.manifest.database.name
        found = [
            f"schema {schema} of {name} stands in no policy: it was archived, but nobody decided so"
            for schema in self.manifest.uncovered
        ]
        found += [f"schema {schema} of the policy is not in {name}" for schema in self.manifest.missing]
        return tuple(found)

    @property
    def exit_code(self) -> ExitCode:
        """Not 0 when policy and database disagree on the schemas."""
        return ExitCode.CONFIG if self.problems else ExitCode.OK


def archives_of(policy: Policy) -> Archives:
    """The policy's section on archives.

    Raises:
        ConfigError: it has none.
    """
    if policy.archives is None:
        raise ConfigError("the policy has no archives", remedy="add recovery_policy.archives, then run site.yml")
    return policy.archives


def make_archive(
    config: HostConfig,
    policy: Policy,
    *,
    jobs: int | None = None,
    wait: float = 0.0,
    on_wait: WaitMessage | None = None,
    on_progress: Progress | None = None,
    held: Collection[str] = (),
) -> ArchiveReport:
    """Make an archive of the ERP database on the backup volume, then remove those past their retention.

    Args:
        config: what this host is.
        policy: says which schemas there are, where archives go and how long they stay.
        jobs: connections that dump at once; ``None`` for one a processor.
        wait: seconds to wait for another archive to end; 0 gives way at once.
        on_wait: told who is waited for.
        on_progress: told bytes written and bytes expected.
        held: labels that people hold: they stay.

    Raises:
        BusyError: another archive is being made.
        ConfigError: the policy has no archives, or the folder cannot be written.
        RefusedError: ``pg_dump`` is too old for the server, or the volume is too full.
        PgdrError: a dump failed; nothing is left of the archive.
    """
    local = archives_of(policy).local
    work = _Archive(config, policy, LocalStore(Path(local.path)), jobs or os.cpu_count() or 1, on_progress)
    journal = Journal.of(config)
    try:
        with Supervisor(), operation_lock(config, "archive", scope=ARCHIVES, wait=wait, on_wait=on_wait):
            report = work.run(timedelta(seconds=local.retention.seconds), held)
    except PgdrError as error:
        journal.append(operation="archive", result="failed", details={"error": str(error)})
        raise
    journal.append(
        operation="archive",
        result="ok" if not report.problems else "incomplete policy",
        details=_facts(report),
        times=report.times,
    )
    return report


def make_past_archive(
    past: HostConfig, policy: Policy, folder: Path, *, jobs: int | None = None, on_progress: Progress | None = None
) -> LocalArchive:
    """Make an archive of a side instance in a folder of the caller's: no list shows it and nothing else expires.

    Args:
        past: this host, but for how the side instance is reached.
        policy: says which schemas there are.
        folder: where to; the archive is a folder in it.
        jobs: connections that dump at once; ``None`` for one a processor.
        on_progress: told bytes written and bytes expected.

    Raises:
        RefusedError: the volume is too full.
        PgdrError: the dump failed; nothing is left of the archive.
    """
    work = _Archive(past, policy, LocalStore(folder), jobs or os.cpu_count() or 1, on_progress)
    with Supervisor():
        return work.run(timedelta.max, held=()).archive


def _facts(report: ArchiveReport) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "archive": manifest.label,
        "database": manifest.database.name,
        "lsn": manifest.lsn,
        "schemas": len(manifest.schemas),
        "tables": len(manifest.tables),
        "rows": manifest.rows,
        "bytes": manifest.size,
        "expired": list(report.expired),
        "problems": list(report.problems),
    }


class _Archive:
    """One call of :func:`make_archive`."""

    def __init__(
        self, config: HostConfig, policy: Policy, store: LocalStore, jobs: int, on_progress: Progress | None
    ) -> None:
        self._config = config
        self._policy = policy
        self._store = store
        self._jobs = jobs
        self._on_progress = on_progress
        self._times: dict[str, float] = {}

    def run(self, retention: timedelta, held: Collection[str]) -> ArchiveReport:
        program = dump.find_program(self._config)
        began = datetime.now(UTC)
        while (self._store.root / label_of(began)).exists():  # labels count seconds
            time.sleep(_SAME_SECOND)
            began = datetime.now(UTC)
        label = label_of(began)
        with self._connect() as leader:
            facts = server_facts(leader)
            if program.major < facts.major:
                raise RefusedError(
                    f"pg_dump {program.version} cannot dump a server of version {facts.version}",
                    remedy=f"install postgresql-client-{facts.major} and name it in host.yml, bin_directory",
                )
            expected = self._require_space(int(one(leader, "select pg_database_size(current_database())")[0]))
            folder = self._store.begin(label)
            try:
                leader.isolation_level = IsolationLevel.REPEATABLE_READ
                leader.read_only = True
                with leader.transaction():
                    manifest = self._dump(leader, folder, label, began, program, expected)
                write_atomically(folder / MANIFEST, manifest.text(), 0o600)
                archive = self._store.finish(folder, label)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        expired = self._store.expired(retention, datetime.now(UTC), held)
        for old in expired:
            self._store.remove(old.folder)
        notes = self._notes(retention)
        return ArchiveReport(archive, manifest, self._times, tuple(old.label for old in expired), notes)

    def _connect(self) -> AbstractContextManager[Connection[TupleRow]]:
        return connected(self._config, application_name=_APPLICATION, settings=_SETTINGS)

    def _notes(self, retention: timedelta) -> tuple[str, ...]:
        late = [a for a in self._store.archives() if datetime.now(UTC) - a.kept_since > retention]
        if not late or any(a.verified_at for a in self._store.archives() if a.label > late[-1].label):
            return ()
        return (
            f"{len(late)} archives past their retention stay until a younger one is verified: pgdr archives verify",
        )

    def _require_space(self, database_size: int) -> int:
        last = self._store.typical_size()
        expected = int(last * _MARGIN) if last is not None else int(database_size * _GUESS)
        try:
            free = shutil.disk_usage(self._store.root).free
        except OSError as error:
            raise ConfigError(
                f"{self._store.root}: {error.strerror}", remedy="the role backup_volume makes the folder"
            ) from error
        if free < expected:
            raise RefusedError(
                f"{self._store.root} has {free >> 20} MiB free, an archive takes about {expected >> 20} MiB",
                remedy="make room, or remove archives that are not needed: pgdr archives list",
            )
        return expected

    def _dump(
        self,
        leader: Connection[TupleRow],
        folder: Path,
        label: str,
        began: datetime,
        program: dump.DumpProgram,
        expected: int,
    ) -> Manifest:
        snapshot: str = one(leader, "select pg_export_snapshot()")[0]
        facts = server_facts(leader)
        tables = catalog.read_tables(leader)
        # What no WAL brings back cannot be read on a server in recovery, which a side instance is.
        unreadable = catalog.read_unlogged(leader) if facts.in_recovery else frozenset()
        counted = [table for table in tables if table.kind == "r" and table.oid not in unreadable]
        lock_relations(leader, [sql.Identifier(table.schema_, table.name) for table in counted])
        # What a restore has set aside is in the full dump; no policy needs to name it.
        aside = {OWN_SCHEMA, *schema_marks(leader)}
        schemas = [entry for entry in catalog.read_schemas(leader) if entry[0] not in aside]
        sizes = {name: sum(t.size for t in tables if t.schema_ == name) for name, _, _ in schemas}
        globals_file = f"globals_{label}.sql"
        dump.dump_globals(self._config, self._config.database, folder / globals_file)
        with Counter(self._connect, snapshot, counted) as counter:
            target = dump.Target(folder, label, snapshot, logged_only=facts.in_recovery)

            def tick() -> None:
                self._tick(folder, expected, counter)

            self._times["dump_full"] = dump.dump_full(self._config, program, target, jobs=self._jobs, on_tick=tick)
            began_sharing = time.monotonic()
            shares = [Share(name, oid, owner, folder / dump_name(name, label)) for name, oid, owner in schemas]
            share_out(self._config, folder / dump_name(None, label), shares, jobs=self._jobs, on_tick=tick)
            self._times["share_out"] = time.monotonic() - began_sharing
            began_counting = time.monotonic()
            rows = counter.result()
        self._times["count_after_dump"] = time.monotonic() - began_counting
        began_hashing = time.monotonic()
        files = self._hash(folder)
        self._times["checksums"] = time.monotonic() - began_hashing
        covered = set(self._policy.schemas)
        database = catalog.read_database(leader)
        roles = catalog.read_roles(leader)
        owners = catalog.read_owners(leader)
        lacks = catalog.read_lacks(leader, sizes, read_edges(leader), roles, database.settings)
        finished = datetime.now(UTC)
        self._times["all"] = (finished - began).total_seconds()
        return Manifest(
            label=label,
            cluster_name=self._config.cluster_name,
            created_at=began,
            finished_at=finished,
            pgdr_version=__version__,
            server_version=facts.version,
            server_major=facts.major,
            system_identifier=facts.system_identifier,
            timeline=facts.timeline,
            lsn=facts.lsn,
            pg_dump_version=program.version,
            compression=program.compression,
            database=database,
            extensions=catalog.read_extensions(leader),
            collations=catalog.read_collations(leader),
            roles=tuple(sorted({*roles, *(item.owner for item in owners), *(owner for _, _, owner in schemas)})),
            schemas=tuple(
                SchemaEntry(
                    name=name,
                    oid=oid,
                    owner=owner,
                    dump=dump_name(name, label),
                    covered=name in covered,
                    lacks=lacks[name],
                )
                for name, oid, owner in schemas
            ),
            tables=tuple(
                table.model_copy(update={"rows": rows[table.key]}) if table.key in rows else table for table in tables
            ),
            constraints=catalog.read_constraints(leader),
            foreign_keys=catalog.read_foreign_keys(leader),
            sequences=catalog.read_sequences(leader),
            large_objects=catalog.read_large_objects(leader),
            owners=owners,
            full_dump=dump_name(None, label),
            globals_file=globals_file,
            archiver=catalog.read_archiver(leader),
            uncovered=tuple(name for name, _, _ in schemas if name not in covered),
            missing=tuple(sorted(covered - set(sizes))),
            tablespaces=catalog.read_tablespaces(leader),
            files=files,
        )

    def _tick(self, folder: Path, expected: int, counter: Counter) -> None:
        counter.raise_if_failed()
        if self._on_progress is not None:
            written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            self._on_progress(min(written, expected), expected)

    def _hash(self, folder: Path) -> dict[str, FileEntry]:
        paths = files_of(folder)
        sums = digests(paths.values(), self._jobs)
        return {name: FileEntry(size=path.stat().st_size, sha256=sums[path]) for name, path in paths.items()}
