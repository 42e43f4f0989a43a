"""Give a moment a name, before something risky: ``pgdr restore-point before_release_42``."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime

from pgdr import relationmap
from pgdr.errors import ConfigError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import in_recovery
from pgdr.recovery.lsn import parse_lsn

OPERATION = "restore-point"
# PostgreSQL cuts longer names, so that the target would never be found (MAXFNAMELEN - 1, xlogfuncs.c).
_NAME_BYTES = 63
_SETTINGS = {"statement_timeout": "60s"}
# The switch closes the segment: it reaches the repositories now, and not when it happens to be full.
_CREATE = """
select point::text, ('x' || substr(pg_walfile_name(point), 1, 8))::bit(32)::int, pg_walfile_name(pg_switch_wal())
from pg_create_restore_point(%s) as point
"""


@dataclass(frozen=True)
class RestorePoint:
    """A named position in WAL.

    Attributes:
        name: its name.
        at: when it was made, in UTC.
        lsn: end of its record.
        timeline: the timeline that it is on.
        segment: the WAL segment that must be archived before it can be recovered to.
        map_error: why the relation map was not renewed, empty if it was.
    """

    name: str
    at: datetime
    lsn: str
    timeline: int
    segment: str
    map_error: str = ""


def create(config: HostConfig, name: str) -> RestorePoint:
    """Write a restore point into WAL, close the segment, note it in the journal.

    It takes no operation lock: a deployment must not wait for a backup that runs.

    Raises:
        RefusedError: the name cannot be a target or is taken, or the server is a standby.
        UnreachableError: the server does not answer.
    """
    journal = Journal.of(config)
    try:
        _require_usable(name)
        _require_new(name, known(config))
        with connected(config, "postgres", application_name="pgdr restore-point", settings=_SETTINGS) as connection:
            if in_recovery(connection):
                raise RefusedError(
                    f"{config.cluster_name} on this host is a standby: it writes no WAL", remedy="run it on the primary"
                )
            row = connection.execute(_CREATE, (name,)).fetchone()
        if row is None:
            raise AssertionError("a function returns a row")
    except PgdrError as error:
        journal.append(operation=OPERATION, result="refused", details={"name": name, "error": error.message})
        raise
    point = RestorePoint(name, datetime.now(UTC), row[0], row[1], row[2])
    details = {"name": name, "lsn": point.lsn, "timeline": point.timeline, "segment": point.segment}
    try:
        journal.append(operation=OPERATION, result="ok", details=details)
    except ConfigError as error:
        raise ConfigError(
            f"restore point {name!r} is written; the journal does not say so: {error.message}",
            remedy=f"{error.remedy}; this moment is --target-lsn {point.lsn}; for another one choose another name",
        ) from error
    try:
        relationmap.refresh(config)
    except PgdrError as error:
        return RestorePoint(point.name, point.at, point.lsn, point.timeline, point.segment, str(error))
    return point


def known(config: HostConfig) -> list[RestorePoint]:
    """The restore points that this host's journal holds, oldest first.

    Raises:
        PgdrError: the journal cannot be read.
    """
    if not config.journal_path.exists():
        return []
    found = []
    for entry in Journal.of(config).entries():
        if entry.operation != OPERATION or entry.result != "ok":
            continue
        try:
            details = entry.details
            found.append(
                RestorePoint(
                    str(details["name"]),
                    datetime.fromisoformat(entry.at),
                    str(details["lsn"]),
                    int(details["timeline"]),
                    str(details["segment"]),
                )
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"{config.journal_path}, entry {entry.seq} is no restore point") from error
    return found


def position(config: HostConfig, name: str) -> int:
    """Where a restore point is, if this host's journal knows it: a backup that is newer does not lead to it.

    Returns:
        its position in WAL, 0 where it is not known.
    """
    try:
        points = known(config)
    except PgdrError:
        return 0
    return next((parse_lsn(point.lsn) for point in points if point.name == name), 0)


def _require_usable(name: str) -> None:
    if not name or name != name.strip() or not all(char.isprintable() for char in unicodedata.normalize("NFC", name)):
        raise RefusedError(
            f"{name!r} cannot name a restore point",
            remedy="use printable characters, no space at either end: before_release_42",
        )
    if len(name.encode()) > _NAME_BYTES:
        raise RefusedError(
            f"{name!r} has {len(name.encode())} bytes", remedy=f"a restore point's name has at most {_NAME_BYTES}"
        )


def _require_new(name: str, points: list[RestorePoint]) -> None:
    taken = next((point for point in points if point.name == name), None)
    if taken is not None:
        raise RefusedError(
            f"restore point {name!r} exists since {taken.at:%Y-%m-%d %H:%M:%S+00:00} ({taken.lsn})",
            remedy="choose another name: a recovery stops at the first of that name behind its backup",
        )
