"""Restore the newest archive into a server that is made for it, and look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg import sql

from pgdr import process
from pgdr.archive.model import Manifest
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import Policy
from pgdr.postgres.connection import connected
from pgdr.recovery.controldata import read_control_data
from pgdr.recovery.replay import leave_nothing, wait_until_open
from pgdr.recovery.server import ClosedServer, ServerPaths, recovery_settings
from pgdr.recovery.verify import Check
from pgdr.rehearsal.model import Part, PartReport, Shelf
from pgdr.rehearsal.physical import look, require_right, timed
from pgdr.rehearsal.shelf import Found, newest
from pgdr.restoring.database import scratch
from pgdr.restoring.source import Source
from pgdr.side import manage, store
from pgdr.side.leftovers import end_leftovers
from pgdr.side.model import Place, limits, place
from pgdr.side.plan import ROOM_BYTES, free_port, require_room

Tell = Callable[[str], None]

# Rows of tables to a whole database with its indexes, and some more.
_GROWTH = 2.0
_SETTINGS = {
    # It lives for an hour and nobody's data is only here.
    "fsync": "off",
    "full_page_writes": "off",
    "archive_mode": "off",
    "max_wal_size": "1GB",
    "shared_buffers": "256MB",
    "max_parallel_workers_per_gather": "0",
    "max_connections": "40",
}


def rehearse_archive(
    config: HostConfig, policy: Policy, shelf: Shelf, report: PartReport, *, processes: int, tell: Tell
) -> None:
    """Take it from where it lies, restore, compare with the manifest, look, remove.

    Raises:
        NotProvenError: something is not what it should be.
        PgdrError: it could not be done.
    """
    found = newest(config, policy, shelf)
    manifest = found.manifest
    report.label, report.place, report.reached_at = manifest.label, found.place, manifest.created_at
    report.target = f"LSN {manifest.lsn}"
    report.bytes = manifest.size
    where = place(config, Part.ARCHIVE.instance)
    needed = int(sum(table.size for table in manifest.tables) * _GROWTH) + found.bytes + ROOM_BYTES
    require_room(where, limits(config), needed)
    try:
        _claim(config, where)
        source = _taken(found, where, report, tell)
        tell(f"restoring {report.what}")
        with _server(config, where, report) as there:
            _make_roles(there, manifest)
            clock = _Clock(report)
            with scratch(there, source, jobs=processes, on_phase=clock.begin) as database:
                clock.end()
                tell(f"looking into {report.what}")
                rows = f"{len(manifest.tables)} tables, {manifest.rows} rows"
                report.checks.append(Check(name="manifest", ok=True, detail=f"{rows} counted, all as archived"))
                loaded = there.model_copy(update={"database": database})
                with timed(report, "look"):
                    report.checks.append(_versions(loaded, manifest))
                    look(loaded, policy, report, production=config, databases=(database,), jobs=processes)
    finally:
        with timed(report, "remove"):
            remove(config, where)
    require_right(report)


def remove(config: HostConfig, where: Place) -> None:
    """End what runs in a throw-away instance's folder and delete it."""
    if where.folder.exists():
        manage.stop(config, where.folder.name, why="rehearsed")


def _taken(found: Found, where: Place, report: PartReport, tell: Tell) -> Source:
    """Have the archive's files on this host."""
    if not found.bytes:
        return found.take(where.folder)
    tell(f"fetching {report.what} from {found.place}")
    with timed(report, "fetch"):
        return found.take(where.folder / "archive")


def _claim(config: HostConfig, where: Place) -> None:
    """Have the folder by whose name a killed rehearsal's files are found and removed."""
    where.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store.note(config, where.folder.name).mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _server(config: HostConfig, where: Place, report: PartReport) -> Iterator[HostConfig]:
    """Have an empty cluster for a block of work."""
    with timed(report, "make a server"):
        end_leftovers(config.bin_directory, where.data)
        process.run(
            [
                *(config.program("initdb"), f"--pgdata={where.data}", "--username=postgres", "--auth=reject"),
                *("--no-sync", "--data-checksums", "--encoding=UTF8", "--locale=C"),
            ]
        )
        paths = ServerPaths(
            bin_directory=config.bin_directory,
            data_directory=where.data,
            folder=where.server,
            socket_directory=where.socket_directory,
            port=free_port(config, limits(config)),
            label=f"pgdr-side-{where.folder.name}",
        )
        control = read_control_data(config.bin_directory, where.data)
        server = ClosedServer(paths, {**recovery_settings(control), **_SETTINGS}, passwords=True)
    try:
        server.start()
        wait_until_open(server, lambda _line, _percent: None)
        run = where.folder / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        yield config.model_copy(
            update={
                "port": paths.port,
                "socket_directory": where.socket_directory,
                "data_directory": where.data,
                "run_directory": run,
            }
        )
    finally:
        leave_nothing(server)


def _make_roles(there: HostConfig, manifest: Manifest) -> None:
    """Have the roles that own what is restored, as names only.

    Not from the archive's own script: it makes tablespaces too, in production's folders.
    """
    with connected(there, "postgres", application_name="pgdr rehearse") as admin:
        known = {row[0] for row in admin.execute("select rolname from pg_catalog.pg_roles").fetchall()}
        for role in manifest.roles:
            if role not in known:
                admin.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))


def _versions(there: HostConfig, manifest: Manifest) -> Check:
    """Extensions have the version that they had: a newer package is worth knowing, and no fault of the archive."""
    with connected(there, application_name="pgdr rehearse") as connection:
        found = dict(connection.execute("select extname, extversion from pg_catalog.pg_extension").fetchall())
    other = [
        f"{item.name} {found.get(item.name, 'missing')} instead of {item.version}"
        for item in manifest.extensions
        if found.get(item.name) != item.version
    ]
    missing = any("missing" in item for item in other)
    return Check(name="extension versions", ok=not other, detail="; ".join(other) or "as archived", fatal=missing)


class _Clock:
    """Turns the beginnings of phases into their lengths."""

    def __init__(self, report: PartReport) -> None:
        self._report, self._name, self._began = report, "", 0.0

    def begin(self, name: str) -> None:
        """A phase begins, and so the one before it ends."""
        self.end()
        self._name, self._began = name, time.monotonic()

    def end(self) -> None:
        """The last phase ends."""
        if self._name:
            self._report.seconds[self._name] = round(time.monotonic() - self._began, 3)
        self._name = ""
