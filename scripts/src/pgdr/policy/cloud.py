"""What follows from a policy for the cloud: days of lifecycle and lock, copies, and where objects are.

The Pulumi programs (infra/) and everything that writes to the bucket take prefixes from here, so that a rule and the
objects it is about cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgdr.errors import ConfigError
from pgdr.policy.rules_compliance import RETENTION_FLOORS
from pgdr.policy.units import DAY, Duration

if TYPE_CHECKING:
    from pgdr.policy.model import Policy
    from pgdr.policy.repository import ObjectLock, S3Repository

# S3 moves an object to STANDARD_IA when it is so old, not earlier.
INFREQUENT_ACCESS_DAYS = 30
# A cold class takes an archive a day after its upload: until then it can be verified without a thaw.
COLD_DAYS = 1
# Parts of an upload that was broken off are paid for and seen by nobody.
ABORT_UPLOAD_DAYS = 7
_DEFAULT_EVIDENCE = Duration(1, "y")


@dataclass(frozen=True)
class Layout:
    """Where a cluster's objects are in its bucket; every prefix ends with a slash.

    Attributes:
        repository: pgBackRest's folder.
        stanza: the cluster's name in it.
    """

    repository: str
    stanza: str

    @property
    def wal(self) -> str:
        """The stanza's WAL and ``archive.info``."""
        return f"{self.repository}archive/{self.stanza}/"

    @property
    def backups(self) -> str:
        """The stanza's backups and ``backup.info``."""
        return f"{self.repository}backup/{self.stanza}/"

    @property
    def stanzas(self) -> tuple[str, str]:
        """The folders with one folder for each stanza; pgBackRest looks there for the names."""
        return f"{self.repository}archive/", f"{self.repository}backup/"

    def archive(self, slot: str) -> str:
        """Logical archives of one slot of the long-term plan."""
        return f"archive/{slot}/{self.stanza}/"

    @property
    def configuration(self) -> str:
        """Copies of the host's configuration."""
        return f"configuration/{self.stanza}/"

    @property
    def kit(self) -> str:
        """The recovery kit: names that stay the same, so that versions are its history."""
        return f"kit/{self.stanza}/"

    @property
    def journal(self) -> str:
        """Copies of the journal."""
        return f"journal/{self.stanza}/"

    @property
    def journals(self) -> str:
        """The journals, one folder a host and in it one a journal, one object an entry."""
        return f"{self.journal}hosts/"

    @property
    def erasures(self) -> str:
        """The erasure ledger, one object an entry."""
        return f"{self.journal}erasures/"


def bucket_layout(policy: Policy, repository: S3Repository) -> Layout:
    """Return where the cluster's objects are in the bucket of a repository."""
    return Layout(repository=f"{repository.path.strip('/')}/", stanza=policy.cluster.stanza)


def the_repository(policy: Policy, repository_id: int | None = None) -> S3Repository:
    """Return the S3 repository that is meant.

    Args:
        policy: the policy.
        repository_id: its id, or ``None`` where there is only one.

    Raises:
        ConfigError: there is none, or there are several and none was named.
    """
    found = [r for r in policy.s3_repositories if repository_id is None or r.id == repository_id]
    if len(found) == 1:
        return found[0]
    known = ", ".join(str(r.id) for r in policy.s3_repositories) or "none"
    if found:
        raise ConfigError("recovery_policy.repositories: more than one is of type s3", remedy=f"name one of: {known}")
    wanted = "" if repository_id is None else f" with id {repository_id}"
    raise ConfigError(f"recovery_policy.repositories: no repository of type s3{wanted}", remedy=f"there: {known}")


def replica_expire_days(policy: Policy, repository: S3Repository) -> int:
    """Return after how many days the replica removes what pgBackRest has long removed from the bucket itself.

    Removals are not replicated, so that a thief cannot remove both. A backup is needed for its retention and one
    interval of full backups; one day more for the clock of S3, which rounds up to midnight.
    """
    return repository.retention.full.days + -(-policy.schedule.full.longest_gap // DAY) + 1


def evidence_days(policy: Policy) -> int:
    """Return how many days logs of access and of changes are kept: the strictest framework's, else a year."""
    floors = [RETENTION_FLOORS[name] for name in policy.compliance.frameworks if name in RETENTION_FLOORS]
    return max((*floors, _DEFAULT_EVIDENCE), key=lambda floor: floor.seconds).days


def transition_days(storage_class: str) -> int | None:
    """Return after how many days objects move to a class, or ``None`` for the one that they start in."""
    if storage_class == "STANDARD":
        return None
    return INFREQUENT_ACCESS_DAYS if storage_class == "STANDARD_IA" else COLD_DAYS


def effective_lock(repository: S3Repository) -> ObjectLock:
    """Return the lock of a repository's bucket.

    Raises:
        ConfigError: the policy has none: infra/ makes no bucket that a thief of the host's credentials can empty.
    """
    if repository.object_lock is None:
        raise ConfigError(
            f"recovery_policy.repositories: the repository {repository.id} has no object_lock",
            remedy="write mode and days, such as {mode: governance, days: 35}",
        )
    return repository.object_lock
