"""Which bucket a host works with: its repository's, or the copy in another region that it was recovered from."""

from __future__ import annotations

from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.repositories import configured
from pgdr.policy.repository import S3Repository


def in_use(config: HostConfig, repository: S3Repository) -> S3Repository:
    """The repository, or its copy where pgBackRest works with that (a recovery from the replica stays there)."""
    copy = repository.as_replica()
    if copy is None or not config.pgbackrest_config.exists():
        return repository
    found = [
        (one.bucket, one.region, one.endpoint, one.port)
        for one in configured(config.pgbackrest_config, config.stanza)
        if one.key == repository.id
    ]
    return copy if _address(copy) in found and _address(repository) not in found else repository


def _address(repository: S3Repository) -> tuple[str, str, str, int]:
    return repository.bucket, repository.region, repository.effective_endpoint, repository.port or 443
