"""``pgbackrest info --output=json`` as models.

pgBackRest's documentation calls this output its stable interface, and new versions add keys: unknown ones are
ignored here, and everything that some version leaves out is optional. ``info`` ends with status 0 even when a
repository could not be read; the truth is in the status of each repository.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgdr.errors import OperationFailedError
from pgdr.pgbackrest.faults import PgBackRestError, PgBackRestRefusedError, code_of, fault_error

# Meaning of `.status.code`, for the stanza as a whole and for each repository.
STATUS_OK = 0
STATUS_NO_STANZA = 1
STATUS_NO_BACKUP = 2
STATUS_DIFFER = 4
STATUS_OTHER = 99
STATUS_MEANING: dict[int, str] = {
    STATUS_OK: "ok",
    STATUS_NO_STANZA: "the stanza does not exist in this repository",
    STATUS_NO_BACKUP: "the stanza exists but holds no backup",
    3: "the stanza's data is missing",
    STATUS_DIFFER: "the repositories differ, see each of them",
    5: "the repositories belong to different databases",
    6: "the requested backup set is not there",
    STATUS_OTHER: "the repository could not be read",
}

# At three in the morning a disk that is not mounted is likelier than a repository that never was one.
_LOST = "is its disk mounted? check path, bucket and the stanza's name; only a new repository needs stanza-create"
_REMEDY = {
    STATUS_NO_STANZA: _LOST,
    STATUS_NO_BACKUP: "take a full backup",
    3: _LOST,
    6: "choose one that pgdr info lists",
}

BackupType = Literal["full", "diff", "incr"]


def status_meaning(code: int) -> str:
    """Say what a status code means, unknown ones included."""
    return STATUS_MEANING.get(code, f"unknown status {code}")


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Range(_Tolerant):
    """The first and the last WAL segment (or LSN) that a backup needs."""

    start: str | None = None
    stop: str | None = None


class RepositorySize(_Tolerant):
    """Bytes in the repository: of the whole set where known, and of what this backup added."""

    size: int | None = None
    delta: int = 0


class Sizes(_Tolerant):
    """Bytes of the database, of what was copied, and in the repository."""

    size: int = 0
    delta: int = 0
    repository: RepositorySize = RepositorySize()


class Timestamps(_Tolerant):
    """Seconds since the epoch."""

    start: int
    stop: int


class DatabaseReference(_Tolerant):
    """Which database history entry of which repository something belongs to."""

    id: int
    repo_key: int = Field(default=1, alias="repo-key")


class Link(_Tolerant):
    """A symbolic link or tablespace in a backup."""

    name: str
    destination: str
    oid: int | None = None


class NamedDatabase(_Tolerant):
    """A database in a backup."""

    name: str
    oid: int


class Backup(_Tolerant):
    """One backup set in one repository.

    The lists at the end are there only after ``info(backup_set=...)``.
    """

    label: str
    type: BackupType
    prior: str | None = None
    reference: tuple[str, ...] | None = None
    error: bool | None = None  # page checksums failed: the backup ended "well" all the same
    archive: Range = Range()
    lsn: Range = Range()
    database: DatabaseReference
    info: Sizes = Sizes()
    timestamp: Timestamps
    annotation: dict[str, str] | None = None
    tablespace: tuple[Link, ...] | None = None
    link: tuple[Link, ...] | None = None
    databases: tuple[NamedDatabase, ...] | None = Field(default=None, alias="database-ref")
    error_list: tuple[str, ...] | None = Field(default=None, alias="error-list")

    @property
    def repository(self) -> int:
        """The key of the repository that holds this set."""
        return self.database.repo_key

    @property
    def started(self) -> datetime:
        """When it began, in UTC."""
        return datetime.fromtimestamp(self.timestamp.start, UTC)

    @property
    def stopped(self) -> datetime:
        """When it became consistent, in UTC: the earliest moment it can be recovered to."""
        return datetime.fromtimestamp(self.timestamp.stop, UTC)


class Archive(_Tolerant):
    """The WAL that one repository holds for one database history entry, over all timelines."""

    id: str
    database: DatabaseReference
    min: str | None = None
    max: str | None = None


class BackupLock(_Tolerant):
    """Whether a backup runs on this host, and how far it is (bytes; since 2.48)."""

    held: bool = False
    size: int | None = None
    size_complete: int | None = Field(default=None, alias="size-cplt")

    @property
    def percent(self) -> float | None:
        """How much is done, or ``None`` before pgBackRest knows."""
        if not self.size or self.size_complete is None:
            return None
        return min(100.0, 100.0 * self.size_complete / self.size)


class Locks(_Tolerant):
    """Locks seen from this host."""

    backup: BackupLock = BackupLock()


class Status(_Tolerant):
    """A status code, pgBackRest's message, and the locks (stanza only)."""

    code: int
    message: str = ""
    lock: Locks = Locks()

    @property
    def meaning(self) -> str:
        """The code in words, with pgBackRest's own message where that one says more."""
        if self.code == STATUS_OTHER and self.message not in {"", "other"}:
            return str(self.as_error("not readable"))
        return status_meaning(self.code)

    def as_error(self, action: str) -> PgBackRestError:
        """The error that this status is, for a caller that cannot go on without the repository."""
        if self.code == STATUS_OTHER:
            return fault_error(code_of(self.message) or 125, self.message, action=action)
        return PgBackRestRefusedError(f"{action}: {self.meaning}", remedy=_REMEDY.get(self.code, ""))


class Repository(_Tolerant):
    """One repository of the stanza."""

    key: int
    cipher: str = "none"
    status: Status = Status(code=STATUS_OK)


class DatabaseHistory(_Tolerant):
    """A cluster that the stanza has belonged to in one repository."""

    id: int
    repo_key: int = Field(default=1, alias="repo-key")
    system_id: int = Field(alias="system-id")
    version: str


class StanzaInfo(_Tolerant):
    """All that the repositories say of one stanza."""

    name: str
    status: Status
    cipher: str = "none"
    backup: tuple[Backup, ...] = ()
    archive: tuple[Archive, ...] = ()
    db: tuple[DatabaseHistory, ...] = ()
    repo: tuple[Repository, ...] = ()

    def readable(self) -> StanzaInfo:
        """This answer, for a caller to whom a repository that could not be read is no empty one.

        Raises:
            PgBackRestError: there is one.
        """
        for one in self.repo:
            if one.status.code == STATUS_OTHER:
                raise one.status.as_error(f"repository {one.key}")
        return self

    def repository(self, key: int) -> Repository | None:
        """The repository with this key, if it is configured."""
        return next((repo for repo in self.repo if repo.key == key), None)

    def backups(self, repository: int | None = None) -> tuple[Backup, ...]:
        """The backup sets, oldest first, of all repositories or of one."""
        found = (b for b in self.backup if repository is None or b.repository == repository)
        return tuple(sorted(found, key=lambda backup: (backup.timestamp.stop, backup.repository)))

    def labels(self, repository: int) -> frozenset[str]:
        """The labels of the sets in one repository."""
        return frozenset(backup.label for backup in self.backup if backup.repository == repository)

    def find(self, label: str, repository: int | None = None) -> Backup | None:
        """The set with this label."""
        return next((b for b in self.backups(repository) if b.label == label), None)

    def newest(self, repository: int | None = None, kind: BackupType | None = None) -> Backup | None:
        """The newest set, of any type or of one."""
        found = [b for b in self.backups(repository) if kind is None or b.type == kind]
        return found[-1] if found else None

    def database(self, repository: int) -> DatabaseHistory | None:
        """The cluster that the stanza belongs to now: the history entry with the highest id."""
        entries = [entry for entry in self.db if entry.repo_key == repository]
        return max(entries, key=lambda entry: entry.id, default=None)

    def current_archive(self, repository: int) -> Archive | None:
        """The WAL archive of the cluster that the stanza belongs to now."""
        current = self.database(repository)
        if current is None:
            return None
        return next((a for a in self._archives(repository) if a.database.id == current.id), None)

    def _archives(self, repository: int) -> Iterator[Archive]:
        return (archive for archive in self.archive if archive.database.repo_key == repository)


def parse(text: str, stanza: str) -> StanzaInfo:
    """Turn the output of ``info --output=json`` into the stanza asked for.

    Raises:
        OperationFailedError: the output is not what this project knows.
    """
    try:
        document: Any = json.loads(text, strict=False)  # a wrong passphrase puts raw bytes into messages
        if not isinstance(document, list):
            raise TypeError("not a list")  # noqa: TRY301 - one way out for all that is not understood
        stanzas = [item for item in document if item.get("name") == stanza]
        if not stanzas:
            # An empty list: no repository has heard of any stanza.
            return StanzaInfo(name=stanza, status=Status(code=STATUS_NO_STANZA))
        return StanzaInfo.model_validate(stanzas[0])
    except (ValueError, AttributeError, TypeError, ValidationError) as error:
        raise OperationFailedError(
            f"pgBackRest's info output is not understood: {type(error).__name__}",
            remedy="compare pgBackRest's version with the supported ones",
        ) from error


def silent(stanza: str, repository: int, seconds: float) -> StanzaInfo:
    """What is known of a repository that did not answer."""
    status = Status(code=STATUS_OTHER, message=f"[HostConnectError] no answer within {seconds:g} s")
    return StanzaInfo(name=stanza, status=status, repo=(Repository(key=repository, status=status),))


def joined(answers: Sequence[StanzaInfo]) -> StanzaInfo:
    """The answers of several repositories as the one that pgBackRest gives of all of them."""
    codes = {one.status.code for one in answers}
    held = next((one.status.lock for one in answers if one.status.lock.backup.held), answers[0].status.lock)
    return StanzaInfo(
        name=answers[0].name,
        status=Status(code=codes.pop() if len(codes) == 1 else STATUS_DIFFER, lock=held),
        cipher=answers[0].cipher,
        backup=tuple(item for one in answers for item in one.backup),
        archive=tuple(item for one in answers for item in one.archive),
        db=tuple(item for one in answers for item in one.db),
        repo=tuple(item for one in answers for item in one.repo),
    )
