"""The bucket of a lab and its two users.

The owner administers. The hosts' user may hide objects and never destroy them: what a thief of a host's
credentials could do in production, he can do here, and no more.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from lab import s3_client, s3_probe
from lab.paths import LabPaths, write_file
from lab.podman import any_status, execute
from pgdr.errors import NotProvenError

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from lab.state import LabState, S3State

_log = logging.getLogger(__name__)

OWNER = "erp-backup-owner"
WRITER = "erp-backup-writer"
READER = "erp-backup-reader"
# As the policy of the lab's inventory promises; the versions end with their container all the same.
LOCK_DAYS = 35

_WRITER_BUCKET_ACTIONS = [
    "s3:GetBucketLocation",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketVersioning",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
]
_WRITER_OBJECT_ACTIONS = [
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
    "s3:PutObjectTagging",
]
# Denied in so many words, so that no later grant by mistake can open them.
_WRITER_NEVER = [
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:DeleteObjectVersion",
    "s3:PutBucketAcl",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketPolicy",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectAcl",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectVersionAcl",
]


def bucket_policy(bucket: str) -> dict[str, object]:
    """What the hosts' users may and may never do."""
    owner, principal, reader = ({"AWS": [f"arn:aws:iam:::user/{uid}"]} for uid in (OWNER, WRITER, READER))
    resource, objects = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                # An object belongs to who wrote it; a cloud gives all to the bucket's owner, Ceph must be told.
                "Sid": "OwnerOwnsAll",
                "Effect": "Allow",
                "Principal": owner,
                "Action": ["s3:*"],
                "Resource": [resource, objects],
            },
            {
                "Sid": "WriterSeesTheBucket",
                "Effect": "Allow",
                "Principal": principal,
                "Action": _WRITER_BUCKET_ACTIONS,
                "Resource": [resource],
            },
            {
                "Sid": "WriterWritesAndHides",
                "Effect": "Allow",
                "Principal": principal,
                "Action": _WRITER_OBJECT_ACTIONS,
                "Resource": [objects],
            },
            {
                # A cloud asks this of each object; Ceph asks it of the bucket when one request hides many, which is how
                # pgBackRest takes away what a killed backup left.
                "Sid": "WriterHidesManyAtOnce",
                "Effect": "Allow",
                "Principal": principal,
                "Action": ["s3:DeleteObject"],
                "Resource": [resource],
            },
            {
                # For side instances: nothing that adds, hides or destroys.
                "Sid": "ReaderReads",
                "Effect": "Allow",
                "Principal": reader,
                "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"],
                "Resource": [resource, objects],
            },
            {
                "Sid": "WriterNeverDestroys",
                "Effect": "Deny",
                "Principal": principal,
                "Action": _WRITER_NEVER,
                "Resource": [resource, objects],
            },
        ],
    }


def set_up(state: LabState, s3: S3State) -> None:
    """Make users and bucket, then prove on the server that they are what they should be.

    Raises:
        NotProvenError: the server does not enforce it; the message says what.
    """
    _ensure_user(state.name, s3, OWNER, "s3-admin-key")
    _ensure_user(state.name, s3, WRITER, "s3-key")
    _ensure_user(state.name, s3, READER, "s3-reader-key")
    owner = s3_client.client(state.name, s3, admin=True)
    ensure_bucket(owner, s3.bucket)
    writer, anonymous = s3_client.client(state.name, s3), s3_client.anonymous_client(state.name, s3)
    s3.container_id = ""
    s3.probed = s3_probe.probe(owner, writer, anonymous, s3)
    state.save()
    wrong = [name for name, holds in s3.probed.items() if not holds]
    if wrong:
        raise NotProvenError(
            f"the S3 server does not hold what a bucket for backups must: {', '.join(wrong)}",
            remedy=f"look at {LabPaths(state.name).state}; a lab that proves nothing is of no use",
        )


def _ensure_user(lab: str, s3: S3State, uid: str, secret_name: str) -> None:
    """Make a user; the server chooses the keys, so that no argument list ever holds one."""
    admin = ("radosgw-admin", "--log-to-stderr=false")
    done = execute(s3.container, *admin, "user", "info", f"--uid={uid}", allowed=any_status)
    if done.returncode != 0:
        done = execute(s3.container, *admin, "user", "create", f"--uid={uid}", f"--display-name={uid}")
    key = json.loads(done.stdout)["keys"][0]
    secrets = LabPaths(lab).secrets
    write_file(secrets / secret_name, key["access_key"], mode=0o600)
    write_file(secrets / f"{secret_name}-secret", key["secret_key"], mode=0o600)


def ensure_bucket(owner: S3Client, bucket: str) -> None:
    """Have the bucket with its lock and its policy, whatever it was before."""
    if bucket not in {found["Name"] for found in owner.list_buckets()["Buckets"]}:
        # Object Lock can be asked for only now; it brings versioning, which it then keeps on.
        owner.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    owner.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": LOCK_DAYS}},
        },
    )
    # Ceph 18 goes too far with the other two: BlockPublicPolicy refuses every policy with an Allow, BlockPublicAcls
    # refuses every put by a user other than the owner.
    owner.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": False,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": False,
            "RestrictPublicBuckets": True,
        },
    )
    owner.put_bucket_policy(Bucket=bucket, Policy=json.dumps(bucket_policy(bucket)))
