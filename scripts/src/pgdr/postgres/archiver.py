"""What a server says of its archiving: a claim, to be held against the repositories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.facts import one

_ARCHIVER = """
select pg_is_in_recovery(),
       (select setting::int from pg_settings where name = 'wal_segment_size'),
       current_setting('archive_mode'),
       last_archived_wal, last_archived_time, last_failed_wal, last_failed_time, archived_count, failed_count,
       clock_timestamp()
from pg_stat_archiver
"""
_PRIMARY = """
select pg_walfile_name(pg_current_wal_lsn()),
       (pg_walfile_name_offset(pg_current_wal_lsn())).file_offset,
       (select count(*) from pg_ls_archive_statusdir() where name like '%.ready'),
       (select min(modification) from pg_ls_archive_statusdir() where name like '%.ready'),
       (select coalesce(sum(size), 0) from pg_ls_waldir()),
       (select sum(pg_database_size(oid)) from pg_database where datallowconn)
"""


@dataclass(frozen=True)
class Archiver:
    """The archiving of a server at one moment.

    Attributes:
        in_recovery: whether it is a standby; then the fields of a primary are empty.
        segment_size: bytes of a WAL segment.
        archive_mode: ``on``, ``off`` or ``always``.
        last_archived: the segment (or other file) that it last reported as archived.
        last_archived_at: when, by the host's clock.
        last_failed: what could last not be archived.
        last_failed_at: when.
        archived_count: how many were archived since the statistics were reset.
        failed_count: how many attempts failed.
        now: the server's clock.
        current: the segment that is being written.
        current_bytes: how many bytes are in it.
        waiting: how many files wait to be archived.
        waiting_since: since when the oldest of them does.
        wal_bytes: bytes of ``pg_wal``.
        database_bytes: bytes of all databases.
    """

    in_recovery: bool
    segment_size: int
    archive_mode: str
    last_archived: str | None
    last_archived_at: datetime | None
    last_failed: str | None
    last_failed_at: datetime | None
    archived_count: int
    failed_count: int
    now: datetime
    current: str | None = None
    current_bytes: int = 0
    waiting: int = 0
    waiting_since: datetime | None = None
    wal_bytes: int = 0
    database_bytes: int = 0

    @property
    def last_segment(self) -> str | None:
        """The newest whole segment that was reported as archived; ``None`` for another file."""
        name = self.last_archived
        return None if name is None or name.endswith((".history", ".partial")) else name[:24]


def archiver(connection: Connection[TupleRow]) -> Archiver:
    """Ask a server about its archiving. Needs the rights of ``pg_monitor``."""
    row = one(connection, _ARCHIVER)
    if row[0]:
        return Archiver(*row)
    current, written, waiting, since, wal_bytes, database_bytes = one(connection, _PRIMARY)
    return replace(
        Archiver(*row),
        current=current,
        current_bytes=written,
        waiting=waiting,
        waiting_since=since,
        wal_bytes=int(wal_bytes),
        database_bytes=int(database_bytes or 0),
    )
