"""Where physical backups and WAL are kept: pgBackRest's repositories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pgdr.policy.base import (
    AbsolutePath,
    Bool,
    BucketName,
    HostName,
    Int,
    KmsKeyId,
    Region,
    RoleArn,
    Section,
    described,
)
from pgdr.policy.units import Duration

Cipher = Literal["aes-256-cbc", "none"]


class RepositoryRetention(Section):
    """How long a repository keeps full backups; increments and WAL stay as long as a full needs them."""

    full: Duration = described(
        "How far back a point in time can be reached. A full backup is removed when a newer one is at least this "
        "old, so the oldest can be older by one interval of schedule.full. Whole days.",
        "30d",
    )

    weekly: Duration | None = described(
        "How long the first full backup of each week stays, without the WAL between: that backup only.",
        "12w",
        default=None,
    )
    monthly: Duration | None = described("The same for each month.", "12mo", default=None)
    annual: Duration | None = described("The same for each year.", "7y", default=None)

    @property
    def slots(self) -> dict[str, Duration]:
        """The slots in use by name, the shortest interval first."""
        named = {"weekly": self.weekly, "monthly": self.monthly, "annual": self.annual}
        return {name: kept for name, kept in named.items() if kept is not None}

    @property
    def longest(self) -> Duration:
        """The longest that any full backup stays."""
        return max([self.full, *self.slots.values()])

    @field_validator("full", mode="after")
    @classmethod
    def _whole_days(cls, value: Duration) -> Duration:
        if not value.whole_days:
            raise ValueError(f"'{value}' is not allowed: pgBackRest counts whole days, write days or weeks")
        return value


class ObjectLock(Section):
    """Object Lock: for so long nobody with the host's credentials can destroy a version of an object."""

    mode: Literal["governance", "compliance"] = described(
        "governance: a break-glass identity can lift it. compliance: nobody can, the account's owner included.",
        "governance",
    )
    days: Int = described("Days that each version is locked, counted from its upload.", 35, ge=1, le=36_600)


class Replica(Section):
    """A copy of the bucket in another region, written by S3's own replication (infra/storage)."""

    region: Region = described("Region of the copy; another one than the bucket's own.", "us-west-2")
    bucket: BucketName = described("Bucket of the copy.", "erp-generic-backups-prod-replica")
    time_control: Bool = described(
        "Replication time control: S3 promises 15 minutes, reports what is late, and costs more.",
        example=False,
        default=False,
    )
    endpoint: HostName | None = described(
        "S3 server's host name. Left out: AWS in the region above, or the repository's own server where it names one.",
        "s3.us-west-2.amazonaws.com",
        default=None,
    )
    port: Int | None = described(
        "S3 server's port. Left out: the repository's own.", 443, default=None, ge=1, le=65_535
    )
    kms_key_id: KmsKeyId | None = described(
        "Customer key of the copy's region. Left out: the bucket's default encryption.",
        "arn:aws:kms:us-west-2:210987654321:key/8f7e6d5c-4b3a-2918-0716-f5e4d3c2b1a0",
        default=None,
    )


class _Repository(Section):
    """What all kinds of repository have."""

    id: Int = described("pgBackRest's number of the repository (repo1, repo2...).", 1, ge=1, le=256)
    path: AbsolutePath = described("Folder of the repository: on the host, or below the bucket.", "/backups/pgbackrest")
    retention: RepositoryRetention = described("How long backups stay in this repository.", {"full": "7d"})
    cipher: Cipher = described(
        "Encryption by pgBackRest before data leaves the host; cannot be changed once the stanza exists. The "
        "passphrase is a secret: vault, pgbackrest_secrets.",
        "aes-256-cbc",
        default="aes-256-cbc",
    )


class PosixRepository(_Repository):
    """A repository in a file system of the database host: fast to restore from, lost with the host."""

    type: Literal["posix"] = described("Kind of repository.", "posix")


class S3Repository(_Repository):
    """A repository in an S3 bucket, off the host."""

    type: Literal["s3"] = described("Kind of repository.", "s3")
    bucket: BucketName = described("The bucket; infra/storage makes it.", "erp-generic-backups-prod")
    region: Region = described("The bucket's region; any word where the server has none.", "us-east-1")
    endpoint: HostName | None = described(
        "S3 server's host name. Left out: AWS in the region above.",
        "s3.us-east-1.amazonaws.com",
        default=None,
    )
    port: Int | None = described("S3 server's port. Left out: 443.", 443, default=None, ge=1, le=65_535)
    uri_style: Literal["host", "path"] = described(
        "Where a request names the bucket: in the host name (AWS) or in the path (most other servers).",
        "host",
        default="host",
    )
    verify_tls: Bool = described(
        "Whether the server's certificate is verified. Never false in production: use ca_file for a private CA.",
        example=True,
        default=True,
    )
    ca_file: AbsolutePath | None = described(
        "Certificate of a private CA, on the database host.",
        "/usr/local/share/ca-certificates/pgdr-lab.crt",
        default=None,
    )
    key_type: Literal["auto", "shared"] = described(
        "auto: the instance's own role, no stored key. shared: key and secret from the vault, pgbackrest_secrets.",
        "auto",
        default="auto",
    )
    reader_role: RoleArn | None = described(
        "Role that only reads, which the host may take on: side instances and rehearsals beside production use its "
        "short-lived keys. `pulumi stack output` in infra/access shows it. Left out: reader_key of pgbackrest_secrets, "
        "else the host's own key.",
        "arn:aws:iam::210987654321:role/erp-prod-side-reader",
        default=None,
    )
    kms_key_id: KmsKeyId | None = described(
        "Customer key with which S3 encrypts objects (SSE-KMS). Left out: the bucket's default encryption. "
        "`pulumi stack output` in infra/storage shows it.",
        "arn:aws:kms:us-east-1:210987654321:key/8f7e6d5c-4b3a-2918-0716-f5e4d3c2b1a0",
        default=None,
    )
    object_lock: ObjectLock | None = described(
        "Default lock of the bucket. infra/storage sets it up; the bucket must have been made with Object Lock.",
        {"mode": "governance", "days": 35},
        default=None,
    )
    versions: Int | None = described(
        "Newest versions kept of the files that pgBackRest overwrites (backup.info, archive.info); other objects "
        "have one version each. Left out: no rule. Used by infra/storage.",
        30,
        default=None,
        ge=1,
        le=100,
    )
    replica: Replica | None = described(
        "Copy of the bucket in another region. Used by infra/storage.",
        {"region": "us-west-2", "bucket": "erp-generic-backups-prod-replica"},
        default=None,
    )

    @property
    def effective_endpoint(self) -> str:
        """The host name that requests go to."""
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return self.endpoint or f"s3.{self.region}.{suffix}"

    @property
    def own_server(self) -> bool:
        """Whether its server is another one than AWS."""
        return not self.effective_endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    def as_replica(self) -> S3Repository | None:
        """This repository as its copy holds it: the same number, path and cipher in another place; or nothing."""
        copy = self.replica
        if copy is None:
            return None
        # A region of AWS has an endpoint of its own; another server is one server for both.
        own_server = self.endpoint if self.own_server else None
        changed = {
            "bucket": copy.bucket,
            "region": copy.region,
            "endpoint": copy.endpoint or own_server,
            "port": copy.port or self.port,
            "kms_key_id": copy.kms_key_id,
            "replica": None,
        }
        return self.model_copy(update=changed)

    @property
    def noncurrent_days(self) -> int:
        """Days that a deleted or overwritten version stays: the time to notice a theft and undo it.

        Versions are locked from their upload, so a version that was overwritten this long ago is free of its
        lock and can be removed by the bucket's own rule.
        """
        return self.object_lock.days if self.object_lock else self.retention.full.days


# The `type` key chooses the model, so that an error speaks of one kind and not of all.
Repository = Annotated[PosixRepository | S3Repository, Field(discriminator="type")]
