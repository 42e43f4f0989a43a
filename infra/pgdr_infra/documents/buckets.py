"""Policies of the buckets.

They deny; what is allowed is said by the identities' own policies. A statement that denies wins over everything that
is ever allowed by mistake, an administrator's ``s3:*`` included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgdr_infra.documents.statement import (
    Condition,
    Document,
    Statement,
    bucket_and_objects,
    bucket_arn,
    deny,
    document,
    role_arn,
    root_arn,
    unless,
)

# Who may do one of these can destroy what is locked, or wait until it is not.
DESTRUCTION = (
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket",
    "s3:DeleteObjectVersion",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
)
# Who may do one of these can make S3 destroy, expose or stop keeping objects.
CONFIGURATION = (
    "s3:DeleteBucketPolicy",
    "s3:PutBucketAcl",
    "s3:PutBucketLogging",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketVersioning",
    "s3:PutEncryptionConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
)
OBJECT_ACLS = ("s3:PutObjectAcl", "s3:PutObjectVersionAcl")


@dataclass(frozen=True)
class Guardians:
    """Who may do what nobody else may.

    Attributes:
        account: the account that owns the bucket.
        break_glass: the role of the last resort.
        deployer: the identity that runs Pulumi.
    """

    account: str
    break_glass: str
    deployer: str


def transport(bucket: str) -> list[Statement]:
    """Return the statements that every bucket has: encrypted connections of today only."""
    resource = bucket_and_objects(bucket)
    return [
        deny("DenyUnencryptedTransport", ["s3:*"], resource, {"Bool": {"aws:SecureTransport": "false"}}),
        deny("DenyOldTls", ["s3:*"], resource, {"NumericLessThan": {"s3:TlsVersion": "1.2"}}),
    ]


def guarded(bucket: str, guardians: Guardians) -> list[Statement]:
    """Return the statements that keep a bucket's versions, and the rules that keep them, from everybody else."""
    resource = bucket_and_objects(bucket)
    return [
        deny("DenyDestruction", DESTRUCTION, resource, unless([guardians.break_glass])),
        deny(
            "DenyConfiguration", CONFIGURATION, bucket_arn(bucket), unless([guardians.break_glass, guardians.deployer])
        ),
        deny("DenyObjectAcls", OBJECT_ACLS, f"{bucket_arn(bucket)}/*"),
    ]


def encryption(bucket: str, key_arn: str) -> list[Statement]:
    """Return the statements that leave no other encryption than the bucket's own key.

    A request without a header is taken: the bucket's default encrypts it. ``Null`` says that the header is there; the
    operators that say "not equal" hold for a missing header too, with and without ``IfExists``.
    """
    objects = f"{bucket_arn(bucket)}/*"
    return [
        deny(
            "DenyOtherEncryption",
            ["s3:PutObject"],
            objects,
            {
                "Null": {"s3:x-amz-server-side-encryption": "false"},
                "StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"},
            },
        ),
        deny(
            "DenyOtherKeys",
            ["s3:PutObject"],
            objects,
            {
                "Null": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "false"},
                "StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key_arn},
            },
        ),
        deny(
            "DenyCustomerKeys",
            ["s3:PutObject"],
            objects,
            {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
        ),
    ]


def insiders_only(bucket: str, accounts: Sequence[str]) -> Statement:
    """Return the statement that shuts out all accounts but these; AWS's own services act for one of them."""
    return deny(
        "DenyOtherAccounts",
        ["s3:*"],
        bucket_and_objects(bucket),
        {
            "StringNotEquals": {"aws:PrincipalAccount": list(accounts)},
            "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
        },
    )


def backup_bucket_policy(bucket: str, key_arn: str, guardians: Guardians) -> Document:
    """Return the policy of the bucket that pgBackRest writes to."""
    return document(
        *transport(bucket),
        *guarded(bucket, guardians),
        *encryption(bucket, key_arn),
        insiders_only(bucket, [guardians.account]),
    )


def replica_bucket_policy(bucket: str, key_arn: str, guardians: Guardians, writer: str) -> Document:
    """Return the policy of the copy: S3's replication writes it, and the host that was recovered from it.

    Replication is another action (``s3:ReplicateObject``) than writing. A thief of the host's credentials gains nothing
    here: what he adds to the bucket itself is replicated, as a version on top of those that stay. Nobody hides
    anything here, so what he hides there is in sight here.

    Args:
        bucket: the bucket.
        key_arn: its key.
        guardians: of the account.
        writer: ARN of the database host's role: after a recovery from the copy it archives into it.
    """
    return document(
        *transport(bucket),
        *guarded(bucket, guardians),
        deny(
            "DenyHiding",
            ["s3:DeleteObject"],
            f"{bucket_arn(bucket)}/*",
            unless([guardians.break_glass]),
        ),
        deny(
            "DenyWriting",
            ["s3:PutObject"],
            f"{bucket_arn(bucket)}/*",
            unless([guardians.break_glass, writer]),
        ),
        *encryption(bucket, key_arn),
        insiders_only(bucket, [guardians.account]),
    )


def tertiary_bucket_policy(bucket: str, key_arn: str, guardians: Guardians, writer: str) -> Document:
    """Return the policy of the offsite copy, which belongs to another account.

    Args:
        bucket: the bucket.
        key_arn: its key.
        guardians: of the other account.
        writer: ARN of the role, in the first account, that makes the copy: it adds objects and can do no more.
    """
    first_account = writer.split(":")[4]
    return document(
        *transport(bucket),
        *guarded(bucket, guardians),
        *encryption(bucket, key_arn),
        insiders_only(bucket, [guardians.account, first_account]),
        Statement(
            Sid="AllowCopy",
            Effect="Allow",
            Principal={"AWS": root_arn(first_account)},
            Action=["s3:AbortMultipartUpload", "s3:PutObject"],
            Resource=f"{bucket_arn(bucket)}/*",
            Condition={"ArnEquals": {"aws:PrincipalArn": writer}},
        ),
    )


def log_bucket_policy(bucket: str, sources: Sequence[str], guardians: Guardians) -> Document:
    """Return the policy of a bucket that S3 delivers access logs and inventories to.

    Args:
        bucket: the bucket.
        sources: names of the buckets that are logged; of the first one there is an inventory too.
        guardians: of the account.
    """
    return document(
        *transport(bucket),
        *guarded(bucket, guardians),
        *(
            _delivery(
                f"AllowAccessLogs{number}", "logging.s3.amazonaws.com", bucket, f"access/{source}/", source, guardians
            )
            for number, source in enumerate(sources)
        ),
        _delivery("AllowInventory", "s3.amazonaws.com", bucket, f"inventory/{sources[0]}/", sources[0], guardians),
    )


def _delivery(sid: str, service: str, bucket: str, prefix: str, source: str, guardians: Guardians) -> Statement:
    """Return the statement that lets a service deliver what is about one bucket below a prefix of another."""
    return Statement(
        Sid=sid,
        Effect="Allow",
        Principal={"Service": service},
        Action=["s3:PutObject"],
        Resource=f"{bucket_arn(bucket)}/{prefix}*",
        Condition={
            "ArnLike": {"aws:SourceArn": bucket_arn(source)},
            "StringEquals": {"aws:SourceAccount": guardians.account},
        },
    )


def trail_bucket_policy(bucket: str, trail_arn: str, guardians: Guardians) -> Document:
    """Return the policy of the bucket that CloudTrail writes to."""
    service: dict[str, str | list[str]] = {"Service": "cloudtrail.amazonaws.com"}
    origin: Condition = {"StringEquals": {"aws:SourceArn": trail_arn}}
    return document(
        *transport(bucket),
        *guarded(bucket, guardians),
        Statement(
            Sid="AllowTrailToLook",
            Effect="Allow",
            Principal=service,
            Action=["s3:GetBucketAcl"],
            Resource=bucket_arn(bucket),
            Condition=origin,
        ),
        Statement(
            Sid="AllowTrailToWrite",
            Effect="Allow",
            Principal=service,
            Action=["s3:PutObject"],
            Resource=f"{bucket_arn(bucket)}/AWSLogs/{guardians.account}/*",
            Condition=origin,
        ),
    )


def replication_trust(account: str) -> Document:
    """Return who may take on the role of the replication: S3, for this account."""
    return document(
        Statement(
            Sid="AllowS3",
            Effect="Allow",
            Principal={"Service": "s3.amazonaws.com"},
            Action=["sts:AssumeRole"],
            Condition={"StringEquals": {"aws:SourceAccount": account}},
        )
    )


@dataclass(frozen=True)
class Keyed:
    """A bucket with its key.

    Attributes:
        bucket: name of the bucket.
        region: its region.
        key_arn: the key that encrypts it.
    """

    bucket: str
    region: str
    key_arn: str


def replication_policy(source: Keyed, target: Keyed) -> Document:
    """Return what the replication may do: read versions here, add versions there. It never deletes."""
    return document(
        Statement(
            Sid="ReadConfiguration",
            Effect="Allow",
            Action=["s3:GetReplicationConfiguration", "s3:ListBucket"],
            Resource=bucket_arn(source.bucket),
        ),
        Statement(
            Sid="ReadVersions",
            Effect="Allow",
            Action=[
                "s3:GetObjectLegalHold",
                "s3:GetObjectRetention",
                "s3:GetObjectVersionAcl",
                "s3:GetObjectVersionForReplication",
                "s3:GetObjectVersionTagging",
            ],
            Resource=f"{bucket_arn(source.bucket)}/*",
        ),
        Statement(
            Sid="AddVersions",
            Effect="Allow",
            Action=["s3:ReplicateObject", "s3:ReplicateTags"],
            Resource=f"{bucket_arn(target.bucket)}/*",
        ),
        Statement(
            Sid="DecryptSource",
            Effect="Allow",
            Action=["kms:Decrypt"],
            Resource=source.key_arn,
            Condition={"StringLike": {"kms:ViaService": f"s3.{source.region}.amazonaws.com"}},
        ),
        Statement(
            Sid="EncryptTarget",
            Effect="Allow",
            Action=["kms:Encrypt", "kms:GenerateDataKey"],
            Resource=target.key_arn,
            Condition={"StringLike": {"kms:ViaService": f"s3.{target.region}.amazonaws.com"}},
        ),
    )


def break_glass_arn(account: str, cluster: str) -> str:
    """Return the ARN of the role of the last resort, which infra/access makes."""
    return role_arn(account, f"{cluster}-break-glass")


def log_bucket_name(bucket: str) -> str:
    """Return the name of the bucket for another one's access logs and inventory."""
    return f"{bucket}-logs"


def trail_bucket_name(account: str, cluster: str) -> str:
    """Return the name of CloudTrail's bucket: bucket names are the whole world's, so the account is part of it."""
    return f"{cluster}-trail-{account}"
