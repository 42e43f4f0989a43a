"""What each identity may do. Allowed is the least that its work needs; what would be a disaster is denied as well.

host-writer
    the database host: adds backups, WAL and archives of its own cluster, and hides what its retention no longer
    keeps. It destroys nothing: a thief of its credentials can hide backups, and their versions come back.
restore-reader
    the recovery host and drills: reads, versions included, from bucket and replica, and the escrowed passphrase.
side-reader
    side instances and rehearsals, for an hour at a time: reads backups and WAL. The hosts may take it on; a thief of
    their keys gains nothing by it, for they read that too. restore-reader would give him the passphrase.
auditor
    reads configuration, logs and the journal; no backup, no secret.
break-glass
    the last resort, by a person with MFA: versions, locks and rules; it decrypts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgdr.policy.cloud import Layout
from pgdr_infra.documents.buckets import CONFIGURATION, DESTRUCTION, OBJECT_ACLS, Keyed
from pgdr_infra.documents.statement import Condition, Document, Statement, bucket_arn, document

_NEVER = sorted({*DESTRUCTION, *CONFIGURATION, *OBJECT_ACLS})
_EVERY_WRITE = [
    "s3:AbortMultipartUpload",
    "s3:BypassGovernanceRetention",
    "s3:Create*",
    "s3:Delete*",
    "s3:Put*",
    "s3:Replicate*",
    "s3:RestoreObject",
    "s3:Update*",
]

_READ_AND_ADD = [
    "s3:AbortMultipartUpload",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
    "s3:PutObjectTagging",
]


@dataclass(frozen=True)
class Store:
    """Where backups are.

    Attributes:
        primary: the bucket that pgBackRest writes to.
        layout: where the cluster's objects are in it.
        replica: its copy in another region, or ``None``.
        tertiary: the copy in another account, or ``None``.
    """

    primary: Keyed
    layout: Layout
    replica: Keyed | None = None
    tertiary: Keyed | None = None

    @property
    def readable(self) -> list[Keyed]:
        """The buckets that a recovery reads from."""
        return [self.primary] if self.replica is None else [self.primary, self.replica]


def own_prefixes(layout: Layout) -> list[str]:
    """Return the prefixes that belong to the cluster."""
    slots = [layout.archive(slot) for slot in ("daily", "weekly", "monthly", "annual")]
    return sorted([layout.wal, layout.backups, *slots, layout.configuration, layout.kit, layout.journal])


def repository_prefixes(layout: Layout) -> list[str]:
    """Return the prefixes of pgBackRest: there it removes what its retention no longer keeps; elsewhere rules do."""
    return sorted([layout.wal, layout.backups])


def _objects(bucket: str, prefixes: Sequence[str]) -> list[str]:
    return [f"{bucket_arn(bucket)}/{prefix}*" for prefix in prefixes]


def _listed(prefixes: Sequence[str]) -> Condition:
    """Return the condition of a list request: below the prefixes, or the prefix itself without its last slash."""
    return {"StringLike": {"s3:prefix": sorted([*(f"{p}*" for p in prefixes), *(p.rstrip("/") for p in prefixes)])}}


def _list_statements(
    sid: str, buckets: str | list[str], layout: Layout, prefixes: Sequence[str] = ()
) -> list[Statement]:
    """Return the statements that let an identity list what is the cluster's, and the names of the stanzas.

    Where prefixes are given, it is what lies below them.

    pgBackRest's ``info`` looks for stanzas first; with the delimiter it sees their names and nothing in them.
    """
    return [
        Statement(
            Sid=f"List{sid}",
            Effect="Allow",
            Action=["s3:ListBucket", "s3:ListBucketVersions"],
            Resource=buckets,
            Condition=_listed(prefixes or own_prefixes(layout)),
        ),
        Statement(
            Sid=f"ListStanzas{sid}",
            Effect="Allow",
            # Versions too: after a theft the same is asked of the repository as it was (repo-target-time).
            Action=["s3:ListBucket", "s3:ListBucketVersions"],
            Resource=buckets,
            Condition={"StringEquals": {"s3:delimiter": "/", "s3:prefix": list(layout.stanzas)}},
        ),
    ]


def _through_s3(*regions: str) -> Condition:
    return {"StringEquals": {"kms:ViaService": sorted({f"s3.{region}.amazonaws.com" for region in regions})}}


def take_on(role: str) -> Statement:
    """Return the statement that lets an identity take on one role."""
    return Statement(Sid="TakeOnSideReader", Effect="Allow", Action=["sts:AssumeRole"], Resource=role)


def writer_policy(store: Store, side_reader: str) -> Document:
    """Return what the database host may do.

    Args:
        store: where backups are.
        side_reader: ARN of the role that reads for its side instances.
    """
    bucket, prefixes = store.primary.bucket, own_prefixes(store.layout)
    statements = [
        Statement(Sid="LocateBucket", Effect="Allow", Action=["s3:GetBucketLocation"], Resource=bucket_arn(bucket)),
        *_list_statements("Own", bucket_arn(bucket), store.layout),
        Statement(
            Sid="ReadAndAddOwn",
            Effect="Allow",
            Action=_READ_AND_ADD,
            Resource=_objects(bucket, prefixes),
        ),
        # Without a version this adds a delete marker: the version stays, locked.
        Statement(
            Sid="HideOwnBackups",
            Effect="Allow",
            Action=["s3:DeleteObject"],
            Resource=_objects(bucket, repository_prefixes(store.layout)),
        ),
        Statement(
            Sid="UseKey",
            Effect="Allow",
            Action=["kms:Decrypt", "kms:GenerateDataKey"],
            Resource=[store.primary.key_arn],
            Condition=_through_s3(store.primary.region),
        ),
        take_on(side_reader),
        Statement(Sid="NeverDestroy", Effect="Deny", Action=list(_NEVER), Resource="*"),
    ]
    if store.replica is not None:
        # The host that a recovery builds from the replica becomes the database host, and archives there from then on.
        statements[-1:-1] = [
            *_list_statements("Replica", bucket_arn(store.replica.bucket), store.layout),
            Statement(
                Sid="ReadAndAddReplica",
                Effect="Allow",
                Action=_READ_AND_ADD,
                Resource=_objects(store.replica.bucket, prefixes),
            ),
            Statement(
                Sid="UseReplicaKey",
                Effect="Allow",
                Action=["kms:Decrypt", "kms:GenerateDataKey"],
                Resource=[store.replica.key_arn],
                Condition=_through_s3(store.replica.region),
            ),
        ]
    if store.tertiary is not None:
        statements[-1:-1] = [
            Statement(
                Sid="AddOffsite",
                Effect="Allow",
                Action=["s3:AbortMultipartUpload", "s3:PutObject"],
                Resource=_objects(store.tertiary.bucket, [store.layout.archive("monthly")]),
            ),
            Statement(
                Sid="UseOffsiteKey",
                Effect="Allow",
                # Decrypt is what S3 needs to put the parts of an upload together; nothing there can be read.
                Action=["kms:Decrypt", "kms:GenerateDataKey"],
                Resource=[store.tertiary.key_arn],
                Condition=_through_s3(store.tertiary.region),
            ),
        ]
    return document(*statements)


def _read_statements(store: Store, prefixes: Sequence[str]) -> list[Statement]:
    """Return the statements that let an identity read what lies below some prefixes, in bucket and replica."""
    buckets = [bucket_arn(keyed.bucket) for keyed in store.readable]
    return [
        Statement(
            Sid="LocateBuckets",
            Effect="Allow",
            Action=["s3:GetBucketLocation", "s3:GetBucketVersioning"],
            Resource=buckets,
        ),
        *_list_statements("Own", buckets, store.layout, prefixes),
        Statement(
            Sid="ReadOwn",
            Effect="Allow",
            Action=["s3:GetObject", "s3:GetObjectVersion"],
            Resource=[arn for keyed in store.readable for arn in _objects(keyed.bucket, prefixes)],
        ),
        Statement(
            Sid="Decrypt",
            Effect="Allow",
            Action=["kms:Decrypt"],
            Resource=[keyed.key_arn for keyed in store.readable],
            Condition=_through_s3(*(keyed.region for keyed in store.readable)),
        ),
    ]


def reader_policy(
    store: Store, passphrase_arn: str, passphrase_key_arn: str, region: str, side_reader: str
) -> Document:
    """Return what a recovery may do.

    Args:
        store: where backups are.
        passphrase_arn: the escrowed passphrase of the repository.
        passphrase_key_arn: the key that encrypts it.
        region: the passphrase's region.
        side_reader: ARN of the role that reads for side instances and rehearsals on its host.
    """
    return document(
        *_read_statements(store, own_prefixes(store.layout)),
        Statement(Sid="ReadPassphrase", Effect="Allow", Action=["ssm:GetParameter"], Resource=passphrase_arn),
        Statement(
            Sid="DecryptPassphrase",
            Effect="Allow",
            Action=["kms:Decrypt"],
            Resource=passphrase_key_arn,
            Condition={"StringEquals": {"kms:ViaService": f"ssm.{region}.amazonaws.com"}},
        ),
        take_on(side_reader),
        Statement(Sid="NeverWrite", Effect="Deny", Action=list(_EVERY_WRITE), Resource="*"),
    )


def side_reader_policy(store: Store) -> Document:
    """Return what side instances and rehearsals may do: they need WAL and backups, and nothing else."""
    return document(
        *_read_statements(store, repository_prefixes(store.layout)),
        Statement(Sid="NeverWrite", Effect="Deny", Action=list(_EVERY_WRITE), Resource="*"),
    )


def auditor_policy(store: Store, log_buckets: Sequence[str], trail_key_arn: str) -> Document:
    """Return what an auditor may do: read how things are set up, who did what, and the journal."""
    logs = [f"{bucket_arn(bucket)}/*" for bucket in log_buckets]
    journal = _objects(store.primary.bucket, [store.layout.journal])
    configured = [bucket_arn(keyed.bucket) for keyed in store.readable] + [bucket_arn(b) for b in log_buckets]
    return document(
        Statement(
            Sid="ReadConfiguration",
            Effect="Allow",
            Action=[
                "cloudtrail:DescribeTrails",
                "cloudtrail:GetEventSelectors",
                "cloudtrail:GetTrailStatus",
                "cloudtrail:LookupEvents",
                "cloudwatch:DescribeAlarms",
                "iam:GetPolicy",
                "iam:GetPolicyVersion",
                "iam:GetRole",
                "iam:GetRolePolicy",
                "iam:ListAttachedRolePolicies",
                "iam:ListRolePolicies",
                "iam:ListRoles",
                "kms:DescribeKey",
                "kms:GetKeyPolicy",
                "kms:GetKeyRotationStatus",
                "kms:ListAliases",
                "logs:DescribeMetricFilters",
            ],
            # These actions name no single thing, or the auditor must find what nobody told him of.
            Resource="*",
        ),
        Statement(
            Sid="ReadBuckets",
            Effect="Allow",
            Action=[
                "s3:GetBucketAcl",
                "s3:GetBucketLocation",
                "s3:GetBucketLogging",
                "s3:GetBucketObjectLockConfiguration",
                "s3:GetBucketOwnershipControls",
                "s3:GetBucketPolicy",
                "s3:GetBucketPublicAccessBlock",
                "s3:GetBucketTagging",
                "s3:GetBucketVersioning",
                "s3:GetEncryptionConfiguration",
                "s3:GetInventoryConfiguration",
                "s3:GetLifecycleConfiguration",
                "s3:GetReplicationConfiguration",
                "s3:ListBucket",
                "s3:ListBucketVersions",
            ],
            Resource=configured,
        ),
        Statement(
            Sid="ReadLocks",
            Effect="Allow",
            Action=["s3:GetObjectLegalHold", "s3:GetObjectRetention"],
            Resource=[f"{bucket_arn(keyed.bucket)}/*" for keyed in store.readable],
        ),
        Statement(Sid="ReadEvidence", Effect="Allow", Action=["s3:GetObject"], Resource=[*logs, *journal]),
        Statement(
            Sid="DecryptEvidence",
            Effect="Allow",
            Action=["kms:Decrypt"],
            Resource=[store.primary.key_arn, trail_key_arn],
            Condition=_through_s3(store.primary.region),
        ),
        Statement(Sid="NeverWrite", Effect="Deny", Action=list(_EVERY_WRITE), Resource="*"),
    )


def break_glass_policy(store: Store) -> Document:
    """Return what the last resort may do to buckets and keys. It brings hidden backups back, and reads none."""
    buckets = [bucket_arn(keyed.bucket) for keyed in store.readable]
    objects = [f"{bucket}/*" for bucket in buckets]
    keys = [keyed.key_arn for keyed in store.readable]
    return document(
        Statement(
            Sid="RepairBuckets",
            Effect="Allow",
            Action=sorted(
                {
                    *CONFIGURATION,
                    "s3:GetBucket*",
                    "s3:GetEncryptionConfiguration",
                    "s3:GetLifecycleConfiguration",
                    "s3:GetReplicationConfiguration",
                    "s3:ListBucket",
                    "s3:ListBucketVersions",
                }
            ),
            Resource=buckets,
        ),
        Statement(
            Sid="RepairVersions",
            Effect="Allow",
            Action=[
                "s3:BypassGovernanceRetention",
                "s3:DeleteObject",
                "s3:DeleteObjectVersion",
                "s3:GetObjectLegalHold",
                "s3:GetObjectRetention",
                "s3:PutObjectLegalHold",
                "s3:PutObjectRetention",
                "s3:RestoreObject",
            ],
            Resource=objects,
        ),
        Statement(
            Sid="RepairKeys",
            Effect="Allow",
            Action=[
                "kms:CancelKeyDeletion",
                "kms:DescribeKey",
                "kms:DisableKey",
                "kms:EnableKey",
                "kms:GetKeyPolicy",
                "kms:ScheduleKeyDeletion",
            ],
            Resource=keys,
        ),
        Statement(
            Sid="NeverRead",
            Effect="Deny",
            Action=["kms:Decrypt", "s3:GetObject", "s3:GetObjectVersion", "ssm:GetParameter*"],
            Resource="*",
        ),
    )
