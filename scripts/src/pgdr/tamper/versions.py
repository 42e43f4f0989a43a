"""The bucket of a repository and what may be done in it with versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgdr.archive.bucket import COPY_LIMIT
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.policy.cloud import Layout, bucket_layout
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.s3 import client_of, explained
from pgdr.tamper.history import Version

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


@dataclass(frozen=True)
class Place:
    """A repository in a bucket.

    Attributes:
        client: boto3's client with the repository's own key.
        bucket: the bucket.
        layout: where the stanza is in it.
        repository: pgBackRest's number.
        ciphered: whether pgBackRest encrypts.
        kms_key_id: key that new versions are encrypted with; ``None`` for the bucket's default.
    """

    client: S3Client
    bucket: str
    layout: Layout
    repository: int
    ciphered: bool = True
    kms_key_id: str | None = None

    @property
    def name(self) -> str:
        """What it is, for a person."""
        return f"repository {self.repository} (s3://{self.bucket}/{self.layout.repository})"

    def bring_back(self, version: Version) -> None:
        """Make a version current again: a copy on the server, nothing is downloaded and nothing destroyed."""
        origin: Any = {"Bucket": self.bucket, "Key": version.key, "VersionId": version.version_id}
        more: Any = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id} if self.kms_key_id is not None else {}
        )
        with explained(self.bucket, version.key):
            if version.size > COPY_LIMIT:
                self.client.copy(origin, self.bucket, version.key, ExtraArgs=more)
            else:
                self.client.copy_object(Bucket=self.bucket, Key=version.key, CopySource=origin, **more)

    def hide(self, key: str) -> None:
        """Put a delete marker over an object; its versions stay."""
        with explained(self.bucket, key):
            self.client.delete_object(Bucket=self.bucket, Key=key)


def place_of(config: HostConfig, policy: Policy, number: int) -> Place:
    """The bucket of a repository of the policy.

    Raises:
        RefusedError: there is no such repository, or it is in no bucket.
        ConfigError: the host has no key for it.
    """
    repository = next((one for one in policy.repositories if one.id == number), None)
    if not isinstance(repository, S3Repository):
        buckets = ", ".join(str(one.id) for one in policy.repositories if isinstance(one, S3Repository)) or "none"
        raise RefusedError(
            f"repository {number} is in no bucket: only versions of objects remember what was done",
            remedy=f"repositories in buckets: {buckets}",
        )
    return Place(
        client=client_of(config, repository),
        bucket=repository.bucket,
        layout=bucket_layout(policy, repository),
        repository=number,
        ciphered=repository.cipher != "none",
        kms_key_id=repository.kms_key_id,
    )
