"""Prove for one repository that WAL written now arrives in it.

pgBackRest's ``check`` asks all repositories at once and fails for all when one is down; and an
``archive_command`` that reports success proves nothing. Here a new segment is closed and then fetched back, by
name, from the repository in question.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pgdr.errors import OperationFailedError, RefusedError
from pgdr.files import adopt_owner
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import in_recovery, one

_POLL = 0.5


@dataclass(frozen=True)
class ArchivedSegment:
    """A segment that was seen in a repository.

    Attributes:
        segment: its name.
        repository: the repository's key.
        seconds: from the switch until it could be fetched.
    """

    segment: str
    repository: int
    seconds: float


def prove_archiving(config: HostConfig, repository: int, *, timeout: float = 120.0) -> ArchivedSegment:
    """Close a WAL segment and wait until it can be fetched from a repository.

    Args:
        config: what this host is.
        repository: the repository's key.
        timeout: seconds to wait for it.

    Raises:
        OperationFailedError: it did not arrive in time.
        RefusedError: the server is in recovery.
        PgBackRestError: the repository could not be asked.
    """
    client = PgBackRest(config)
    segment = _closed_segment(config)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pgdr-wal-", dir=config.run_directory) as folder:
        adopt_owner(Path(folder))
        while not client.archive_get(segment, Path(folder) / segment, repository):
            if time.monotonic() - began > timeout:
                raise OperationFailedError(
                    f"WAL segment {segment} did not arrive in repository {repository} within {timeout:.0f} s",
                    remedy="see pg_stat_archiver and pgBackRest's log of archive-push",
                )
            time.sleep(_POLL)
    return ArchivedSegment(segment, repository, time.monotonic() - began)


def _closed_segment(config: HostConfig) -> str:
    with connected(config, "postgres", application_name="pgdr archiving") as connection:
        if in_recovery(connection):
            raise RefusedError("the server is in recovery and archives nothing", remedy="run on the primary")
        # A switch on an empty segment does nothing: write something first.
        connection.execute("select pg_create_restore_point('pgdr archiving')")
        name: str = one(connection, "select pg_walfile_name(pg_switch_wal())")[0]
        return name
