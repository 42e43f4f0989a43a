"""What a running server says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgdr.errors import OperationFailedError
from pgdr.postgres.connection import Connection, TupleRow

_FACTS = """
select split_part(current_setting('server_version'), ' ', 1),
       current_setting('server_version_num')::int / 10000,
       pg_is_in_recovery(),
       (select system_identifier from pg_control_system()),
       clock_timestamp()
"""
# The control file's timeline lags until the first checkpoint after a promotion; the name of the WAL file that
# is being written does not. A standby has no such name: the highest timeline that it knows of counts.
_PRIMARY = """
select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
       pg_current_wal_insert_lsn()::text
"""
_STANDBY = """
select greatest((select timeline_id from pg_control_checkpoint()),
                (select min_recovery_end_timeline from pg_control_recovery())),
       coalesce(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn())::text
"""


@dataclass(frozen=True)
class ServerFacts:
    """A server at one moment.

    Attributes:
        version: as the server writes it, for example ``16.14``.
        major: its major version.
        in_recovery: whether it replays WAL and takes no writes.
        system_identifier: the number that all copies of this cluster share.
        timeline: the timeline that it is on.
        lsn: how far its WAL is written, or replayed when it is in recovery.
        now: the server's clock, in UTC.
    """

    version: str
    major: int
    in_recovery: bool
    system_identifier: str
    timeline: int
    lsn: str
    now: datetime


def server_facts(connection: Connection[TupleRow]) -> ServerFacts:
    """Ask a server what it is."""
    version, major, in_recovery, identifier, now = one(connection, _FACTS)
    timeline, lsn = one(connection, _STANDBY if in_recovery else _PRIMARY)
    return ServerFacts(version, major, in_recovery, str(identifier), timeline, lsn, now)


def in_recovery(connection: Connection[TupleRow]) -> bool:
    """Whether the server replays WAL and takes no writes."""
    return bool(one(connection, "select pg_is_in_recovery()")[0])


def one(connection: Connection[TupleRow], statement: str) -> TupleRow:
    """Run a statement that returns exactly one row."""
    row = connection.execute(statement.encode()).fetchone()
    if row is None:
        raise OperationFailedError("PostgreSQL returned no row where one was expected")
    return row
