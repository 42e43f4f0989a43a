"""Rules about places: repositories, archives and the backup volume."""

from __future__ import annotations

from collections.abc import Iterator

from pgdr.policy.cloud import INFREQUENT_ACCESS_DAYS
from pgdr.policy.findings import Finding, error, key_path, warning
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository

ARCHIVE_PREFIX = "/archive"
# Environments whose data cannot be made again.
PROTECTED = ("production", "recovery")


def repositories_are_distinct(policy: Policy) -> Iterator[Finding]:
    """No number twice, no place twice: two repositories in one place destroy each other."""
    numbers: dict[int, int] = {}
    places: dict[tuple[str, ...], int] = {}
    for index, repository in enumerate(policy.repositories):
        first = numbers.setdefault(repository.id, index)
        if first != index:
            yield error(
                key_path("repositories", index, "id"),
                f"{repository.id} is also the id of repositories[{first}]",
                "give it a number of its own",
            )
        place: tuple[str, ...] = (repository.path,)
        if isinstance(repository, S3Repository):
            place = (repository.effective_endpoint, repository.bucket, repository.path)
        first = places.setdefault(place, index)
        if first != index:
            yield error(
                key_path("repositories", index, "path"),
                f"{'/'.join(part.strip('/') for part in place)} is also the place of repositories[{first}]",
                "give it a place of its own",
            )


def repository_outside_archives(policy: Policy) -> Iterator[Finding]:
    """The archives' prefixes have lifecycle rules that would destroy a live repository."""
    for index, repository in enumerate(policy.repositories):
        if isinstance(repository, S3Repository) and f"{repository.path}/".startswith(f"{ARCHIVE_PREFIX}/"):
            yield error(
                key_path("repositories", index, "path"),
                f"{repository.path} is below {ARCHIVE_PREFIX}/, where rules of age move and remove objects",
                "choose another folder, such as /pgbackrest",
            )


def local_paths_on_backup_volume(policy: Policy) -> Iterator[Finding]:
    """What is kept on the host belongs on the volume whose capacity is checked."""
    volume = policy.backup_volume.path
    local = [
        (key_path("repositories", index, "path"), repository.path)
        for index, repository in enumerate(policy.repositories)
        if repository.type == "posix"
    ]
    if policy.archives:
        local.append((key_path("archives", "local", "path"), policy.archives.local.path))
    for path, folder in local:
        if not f"{folder}/".startswith(f"{volume}/"):
            yield warning(path, f"{folder} is not on backup_volume.path {volume}", "nobody checks its capacity there")


def protected_data_leaves_the_host(policy: Policy) -> Iterator[Finding]:
    """Production survives the loss of its host, and only encrypted."""
    if policy.environment not in PROTECTED:
        return
    if not policy.s3_repositories:
        yield error(
            key_path("repositories"),
            f"{policy.environment} has no repository off the host: all backups are lost with it",
            "add one of type s3",
        )
    for index, repository in enumerate(policy.repositories):
        if repository.cipher == "none":
            yield error(
                key_path("repositories", index, "cipher"),
                f"backups of {policy.environment} would be stored in the clear",
                "write aes-256-cbc",
            )
        if isinstance(repository, S3Repository) and not repository.verify_tls:
            yield error(
                key_path("repositories", index, "verify_tls"),
                f"anybody between {policy.environment} and the bucket could read and forge backups",
                "remove it; name a private CA with ca_file",
            )
        if isinstance(repository, S3Repository) and repository.kms_key_id is None:
            yield warning(
                key_path("repositories", index, "kms_key_id"),
                "not filled: objects get the bucket's default encryption",
                "write the ARN that infra/storage shows, once it stands",
            )


def replica_elsewhere(policy: Policy) -> Iterator[Finding]:
    """A copy in the same region is lost with it."""
    for index, repository in enumerate(policy.repositories):
        if isinstance(repository, S3Repository) and repository.replica is not None:
            if repository.replica.region == repository.region:
                yield error(
                    key_path("repositories", index, "replica", "region"),
                    f"{repository.region} is the bucket's own region",
                    "choose another one",
                )
            copy = repository.as_replica()
            elsewhere = copy is not None and (copy.endpoint, copy.port) != (repository.endpoint, repository.port)
            # Zones of one S3 server name a bucket alike; what tells them apart is the address.
            if repository.replica.bucket == repository.bucket and not elsewhere:
                yield error(
                    key_path("repositories", index, "replica", "bucket"),
                    f"{repository.bucket} is the bucket itself",
                    "choose another name",
                )


def archives_have_a_bucket(policy: Policy) -> Iterator[Finding]:
    """Archives go to the bucket of a repository that exists and is S3."""
    cloud = policy.archives.cloud if policy.archives else None
    known = sorted(repository.id for repository in policy.s3_repositories)
    if cloud is not None and cloud.repository not in known:
        yield error(
            key_path("archives", "cloud", "repository"),
            f"there is no s3 repository with id {cloud.repository}",
            f"write one of: {', '.join(map(str, known))}" if known else "add a repository of type s3",
        )


def slots_fit_their_class(policy: Policy) -> Iterator[Finding]:
    """S3 moves objects to STANDARD_IA after 30 days at the earliest, and not in order to remove them."""
    cloud = policy.archives.cloud if policy.archives else None
    for name, slot in cloud.slots.items() if cloud else ():
        if slot.storage_class == "STANDARD_IA" and slot.retention.days <= INFREQUENT_ACCESS_DAYS:
            yield error(
                key_path("archives", "cloud", name, "storage_class"),
                f"STANDARD_IA takes objects after {INFREQUENT_ACCESS_DAYS} days, and these are removed after "
                f"{slot.retention}",
                "write STANDARD or keep them longer",
            )


def offsite_copy_is_elsewhere(policy: Policy) -> Iterator[Finding]:
    """A tertiary copy in a bucket that has another job is no copy, and its lock must end with its retention."""
    offsite = policy.archives.offsite if policy.archives else None
    if offsite is None or offsite.bucket is None:
        return
    for index, repository in enumerate(policy.s3_repositories):
        taken = {repository.bucket, repository.replica.bucket if repository.replica else ""}
        if offsite.bucket in taken:
            yield error(
                key_path("archives", "offsite", "bucket"),
                f"{offsite.bucket} is also a bucket of the S3 repository {index + 1}",
                "choose another name",
            )
    if offsite.object_lock is not None and offsite.object_lock.days > offsite.retention.days:
        yield error(
            key_path("archives", "offsite", "object_lock", "days"),
            f"{offsite.object_lock.days} days outlast archives.offsite.retention {offsite.retention}",
            f"write at most {offsite.retention.days}",
        )
