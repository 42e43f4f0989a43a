"""One look at the host and its repositories that verify, status, metrics and expire share.

What cannot be asked is a finding and not an error: the rest is still worth knowing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pgdr.errors import ExitCode, PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.info import STATUS_NO_BACKUP, STATUS_OK, StanzaInfo
from pgdr.postgres.archiver import Archiver, archiver
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import ServerFacts, server_facts
from pgdr.recovery.lsn import DEFAULT_SEGMENT_SIZE

_SETTINGS = {"statement_timeout": "10s"}


@dataclass(frozen=True)
class Server:
    """What the server says, or why it does not.

    Attributes:
        archiver: its archiving; ``None`` where it does not answer.
        check: whether it answers.
        facts: what it is; ``None`` where it does not answer.
    """

    archiver: Archiver | None
    check: Check
    facts: ServerFacts | None = None

    @property
    def segment_size(self) -> int:
        """Bytes of a WAL segment; PostgreSQL's default where the server cannot be asked."""
        return self.archiver.segment_size if self.archiver else DEFAULT_SEGMENT_SIZE


def ask_server(config: HostConfig) -> Server:
    """Ask the server about its archiving."""
    try:
        with connected(config, "postgres", application_name="pgdr", settings=_SETTINGS) as connection:
            found, facts = archiver(connection), server_facts(connection)
    except PgdrError as error:
        return Server(
            None,
            Check(
                "server",
                Level.RED,
                error.message,
                endangers="the service itself",
                remedy=error.remedy,
                code=ExitCode.UNREACHABLE,
            ),
        )
    return Server(found, green("server", "PostgreSQL answers"), facts)


def repository_check(found: StanzaInfo, repository: int) -> Check:
    """Whether a repository could be read and holds a backup."""
    entry = found.repository(repository)
    status = found.status if entry is None else entry.status
    if status.code == STATUS_OK:
        return green("repository", "can be read", repository)
    error = status.as_error("not usable")
    return Check(
        "repository",
        Level.RED,
        error.message,
        repository,
        endangers="every recovery from this repository",
        remedy=error.remedy,
        # No backup is a missing proof; everything else says why the repository could not be read.
        code=ExitCode.NOT_PROVEN if status.code == STATUS_NO_BACKUP else error.exit_code,
    )


def page_checks(found: StanzaInfo, repository: int) -> Check:
    """Whether PostgreSQL's pages were right when they were backed up."""
    damaged = [item for item in found.backups(repository) if item.error]
    if not damaged:
        return green("pages", "no page checksum error in any backup", repository)
    return Check(
        "pages",
        Level.RED,
        f"page checksum errors in {', '.join(item.label for item in damaged[-3:])}: the database was damaged when it "
        "was copied",
        repository,
        since=damaged[0].stopped,
        endangers="the data of the damaged tables; good sets are kept until a newer good one is verified",
        remedy=f"pgbackrest --repo={repository} --set={damaged[-1].label} info names the files; then pg_amcheck",
    )


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)
