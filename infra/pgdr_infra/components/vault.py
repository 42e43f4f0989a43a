"""One region's half of the backup store: a bucket, its own key, a bucket for its logs, its inventory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import s3

from pgdr_infra.components.bucket import Lock, SecureBucket, SecureBucketArgs
from pgdr_infra.components.key import EncryptionKey, EncryptionKeyArgs
from pgdr_infra.documents.buckets import Guardians, log_bucket_name, log_bucket_policy
from pgdr_infra.documents.keys import backup_key_policy
from pgdr_infra.documents.statement import Document
from pgdr_infra.lifecycle import Rule, log_rules

_INVENTORY_FIELDS = [
    "BucketKeyStatus",
    "EncryptionStatus",
    "IsMultipartUploaded",
    "LastModifiedDate",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "ReplicationStatus",
    "Size",
    "StorageClass",
]


@dataclass(frozen=True)
class BackupVaultArgs:
    """What differs between the bucket, its replica and the offsite copy.

    Attributes:
        bucket: name of the bucket.
        region: its region.
        guardians: of its account.
        policy: makes the bucket's policy when the key's ARN is known.
        rules: its lifecycle.
        lock: its lock.
        log_days: how long its logs are kept.
        tags: its tags.
        foreign_writer: ARN of a role of another account that adds objects, or ``None``.
        also_logged: names of other buckets whose access logs come to the same place.
    """

    bucket: str
    region: str
    guardians: Guardians
    policy: Callable[[str], Document]
    rules: Sequence[Rule]
    lock: Lock
    log_days: int
    tags: dict[str, str]
    foreign_writer: str | None = None
    also_logged: Sequence[str] = ()


class BackupVault(pulumi.ComponentResource):
    """A bucket for backups with all that belongs to it.

    Attributes:
        bucket: the bucket.
        logs: the bucket with its access logs and inventories.
        key_arn: ARN of its key.
    """

    bucket: SecureBucket
    logs: SecureBucket
    key_arn: pulumi.Output[str]

    def __init__(self, name: str, args: BackupVaultArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:storage:BackupVault", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        log_bucket = log_bucket_name(args.bucket)
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Encrypts the backups in {args.bucket}",
                alias=args.bucket,
                policy=backup_key_policy(args.guardians, args.region, foreign_writer=args.foreign_writer),
                tags=args.tags,
            ),
            child,
        )
        self.logs = SecureBucket(
            f"{name}-logs",
            SecureBucketArgs(
                bucket=log_bucket,
                policy=log_bucket_policy(log_bucket, [args.bucket, *args.also_logged], args.guardians),
                rules=log_rules(args.log_days),
                tags={**args.tags, "pgdr:data": "log"},
            ),
            child,
        )
        self.bucket = SecureBucket(
            name,
            SecureBucketArgs(
                bucket=args.bucket,
                policy=key.arn.apply(args.policy),
                rules=args.rules,
                tags=args.tags,
                key_arn=key.arn,
                lock=args.lock,
                # By way of its policy: S3 asks for permission to deliver when logging is switched on.
                log_bucket=self.logs.policy.bucket,
            ),
            child,
        )
        s3.Inventory(
            f"{name}-inventory",
            bucket=self.bucket.name,
            name="daily",
            included_object_versions="All",
            schedule={"frequency": "Daily"},
            optional_fields=list(_INVENTORY_FIELDS),
            destination={
                "bucket": {
                    "bucket_arn": self.logs.arn,
                    "format": "CSV",
                    "account_id": args.guardians.account,
                    "prefix": "inventory",
                }
            },
            opts=child,
        )
        self.key_arn = key.arn
        self.register_outputs({"key_arn": self.key_arn})
