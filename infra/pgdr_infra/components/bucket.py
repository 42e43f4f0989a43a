"""A bucket that loses nothing: what cannot be chosen here is what makes it safe.

Versions are kept, everything public is blocked, objects belong to the bucket's owner, the policy asks for TLS 1.2, and
Pulumi refuses to destroy it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import s3

from pgdr_infra.documents.statement import Document, dumps
from pgdr_infra.lifecycle import Rule


@dataclass(frozen=True)
class Lock:
    """Object Lock of a bucket.

    Attributes:
        mode: ``governance`` or ``compliance``.
        days: days that each version is locked.
    """

    mode: str
    days: int


@dataclass(frozen=True)
class SecureBucketArgs:
    """What a bucket is for.

    Attributes:
        bucket: its name.
        policy: its policy.
        rules: its lifecycle.
        tags: its tags.
        key_arn: the key that encrypts it; ``None`` only for logs, which S3 delivers to no bucket with a key.
        lock: its lock; ``None`` only for logs, which S3 delivers to no locked bucket.
        log_bucket: name of the bucket for its access logs; ``None`` only for a bucket of logs.
    """

    bucket: str
    policy: pulumi.Input[Document]
    rules: Sequence[Rule]
    tags: dict[str, str]
    key_arn: pulumi.Input[str] | None = None
    lock: Lock | None = None
    log_bucket: pulumi.Input[str] | None = None


class SecureBucket(pulumi.ComponentResource):
    """A bucket with everything that keeps its objects.

    Attributes:
        name: the bucket's name.
        arn: the bucket's ARN.
        versioning: its versioning, which a replication waits for.
        policy: its policy, which writers wait for.
    """

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    versioning: s3.BucketVersioning
    policy: s3.BucketPolicy

    def __init__(self, name: str, args: SecureBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:storage:SecureBucket", name, None, opts)
        # All of it: without its policy or its lock a bucket is only a bucket.
        child = pulumi.ResourceOptions(parent=self, protect=True)
        bucket = s3.Bucket(
            f"{name}-bucket",
            bucket=args.bucket,
            force_destroy=False,
            # Can be asked for only when the bucket is made.
            object_lock_enabled=args.lock is not None,
            tags=args.tags,
            opts=child,
        )
        self.versioning = s3.BucketVersioning(
            f"{name}-versioning", bucket=bucket.bucket, versioning_configuration={"status": "Enabled"}, opts=child
        )
        closed = s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        s3.BucketOwnershipControls(
            f"{name}-ownership", bucket=bucket.bucket, rule={"object_ownership": "BucketOwnerEnforced"}, opts=child
        )
        s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption", bucket=bucket.bucket, rules=[_encryption(args.key_arn)], opts=child
        )
        after_versioning = pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[self.versioning]))
        if args.lock is not None:
            s3.BucketObjectLockConfiguration(
                f"{name}-lock",
                bucket=bucket.bucket,
                rule={"default_retention": {"mode": args.lock.mode.upper(), "days": args.lock.days}},
                opts=after_versioning,
            )
        s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.bucket,
            rules=[lifecycle_rule(rule) for rule in args.rules],
            opts=after_versioning,
        )
        if args.log_bucket is not None:
            s3.BucketLogging(
                f"{name}-logging",
                bucket=bucket.bucket,
                target_bucket=args.log_bucket,
                target_prefix=f"access/{args.bucket}/",
                opts=child,
            )
        # Last: it denies changes to what was made above by anybody but the deployer.
        self.policy = s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.bucket,
            policy=pulumi.Output.from_input(args.policy).apply(dumps),
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[closed])),
        )
        self.name, self.arn = bucket.bucket, bucket.arn
        self.register_outputs({"name": self.name, "arn": self.arn})


def _encryption(key_arn: pulumi.Input[str] | None) -> s3.BucketServerSideEncryptionConfigurationRuleArgs:
    """Return the default encryption: the key, one data key for many objects, and no key that a client brings."""
    by_default = s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs
    return s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=(
            by_default(sse_algorithm="AES256")
            if key_arn is None
            else by_default(sse_algorithm="aws:kms", kms_master_key_id=key_arn)
        ),
        bucket_key_enabled=key_arn is not None,
        blocked_encryption_types=["SSE-C"],
    )


def lifecycle_rule(rule: Rule) -> s3.BucketLifecycleConfigurationRuleArgs:
    """Return a rule as AWS takes it.

    Where current objects have no age, delete markers that hide nothing any more are removed; with an age S3 does that
    by itself and refuses to be told.
    """
    expiration = None
    if rule.expire_days is not None:
        expiration = s3.BucketLifecycleConfigurationRuleExpirationArgs(days=rule.expire_days)
    elif rule.noncurrent_days is not None:
        expiration = s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True)
    return s3.BucketLifecycleConfigurationRuleArgs(
        id=rule.name,
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=rule.prefix),
        expiration=expiration,
        transitions=None
        if rule.transition is None
        else [
            s3.BucketLifecycleConfigurationRuleTransitionArgs(days=rule.transition[0], storage_class=rule.transition[1])
        ],
        noncurrent_version_expiration=None
        if rule.noncurrent_days is None
        else s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=rule.noncurrent_days, newer_noncurrent_versions=rule.newer_versions
        ),
        abort_incomplete_multipart_upload=None
        if rule.abort_days is None
        else s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
            days_after_initiation=rule.abort_days
        ),
    )
