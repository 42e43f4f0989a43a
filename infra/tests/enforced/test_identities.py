"""The whole table of who may do what, on a server that enforces it: real requests with each identity's own keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.enforced.store import BUCKET, IDENTITIES, REPLICA, VERSIONS, Enforced

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_DENIED = {"AccessDenied", "403", "Forbidden"}
_OWN = "pgbackrest/backup/erp/"
Call = Callable[["S3Client", str], object]


def _put(key: str, bucket: str = BUCKET, **more: Any) -> Call:
    return lambda client, who: client.put_object(Bucket=bucket, Key=f"{key}-{who}", Body=b"x", **more)


def _get(key: str, bucket: str = BUCKET) -> Call:
    return lambda client, _who: client.get_object(Bucket=bucket, Key=key)["Body"].read()


def _get_version(key: str) -> Call:
    return lambda client, _who: client.get_object(Bucket=BUCKET, Key=key, VersionId=VERSIONS[key])["Body"].read()


def _hide(key: str, bucket: str = BUCKET) -> Call:
    return lambda client, who: client.delete_object(Bucket=bucket, Key=f"{key}-{who}")


def _hide_many(prefix: str) -> Call:
    def call(client: S3Client, who: str) -> object:
        keys: Any = {"Objects": [{"Key": f"{prefix}gone-{who}-{number}"} for number in range(2)]}
        errors = client.delete_objects(Bucket=BUCKET, Delete=keys).get("Errors", [])
        if errors:
            # One answer for all, with an error for each.
            raise ClientError({"Error": {"Code": errors[0]["Code"]}}, "DeleteObjects")
        return None

    return call


def _list(prefix: str, bucket: str = BUCKET) -> Call:
    return lambda client, _who: client.list_objects_v2(Bucket=bucket, Prefix=prefix)


def _multipart(client: S3Client, who: str) -> object:
    key = f"{_OWN}multipart-{who}"
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    part = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    parts: Any = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    return client.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload=parts)


def _delete_version(client: S3Client, who: str) -> object:
    key = f"{_OWN}unlocked-{who}-0"
    return client.delete_object(Bucket=BUCKET, Key=key, VersionId=VERSIONS[key])


def _bypass(client: S3Client, who: str) -> object:
    key = f"{_OWN}seed"
    if who == "break-glass":
        # Its own victim: the others read this one.
        key = f"{_OWN}unlocked-{who}-1"
    return client.delete_object(Bucket=BUCKET, Key=key, VersionId=VERSIONS[key], BypassGovernanceRetention=True)


def _shorten(client: S3Client, _who: str) -> object:
    soon: Any = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(minutes=5)}
    key = f"{_OWN}seed"
    return client.put_object_retention(
        Bucket=BUCKET, Key=key, VersionId=VERSIONS[key], Retention=soon, BypassGovernanceRetention=True
    )


def _legal_hold(client: S3Client, _who: str) -> object:
    key = "kit/erp/seed"
    return client.put_object_legal_hold(Bucket=BUCKET, Key=key, VersionId=VERSIONS[key], LegalHold={"Status": "OFF"})


_EXPIRE_ALL: Any = {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
_ANYBODY = json.dumps({"Version": "2012-10-17", "Statement": []})
_OPEN: Any = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), False)

CALLS: dict[str, Call] = {
    "list own": _list(_OWN),
    "list own versions": lambda c, _w: c.list_object_versions(Bucket=BUCKET, Prefix=_OWN),
    "list another stanza": _list("pgbackrest/backup/other/"),
    "list the stanzas' names": lambda c, _w: c.list_objects_v2(
        Bucket=BUCKET, Prefix="pgbackrest/backup/", Delimiter="/"
    ),
    "list all that is below the stanzas": _list("pgbackrest/backup/"),
    "list everything": lambda c, _w: c.list_objects_v2(Bucket=BUCKET),
    "read own": _get(f"{_OWN}seed"),
    "read an old version": _get_version(f"{_OWN}seed"),
    "read the journal": _get("journal/erp/seed"),
    "read another stanza": _get("pgbackrest/backup/other/seed"),
    "read the replica": _get(f"{_OWN}seed", REPLICA),
    "add a backup": _put(f"{_OWN}new"),
    "add WAL": _put("pgbackrest/archive/erp/16-1/new"),
    "add an archive": _put("archive/daily/erp/new"),
    "add to the journal": _put("journal/erp/new"),
    "add to a host's journal": _put("journal/erp/hosts/db1-0a1b2c3d/0f3c9a1be2d45c77/00000001.json"),
    "see what was hidden in the journal": lambda c, _w: c.list_object_versions(
        Bucket=BUCKET, Prefix="journal/erp/hosts/", Delimiter="/"
    ),
    "delete a version of the journal": lambda c, _w: c.delete_object(
        Bucket=BUCKET, Key="journal/erp/seed", VersionId=VERSIONS["journal/erp/seed"]
    ),
    "add in parts": _multipart,
    "add to another stanza": _put("pgbackrest/backup/other/new"),
    "add elsewhere": _put("new"),
    "add to the replica": _put(f"{_OWN}new", REPLICA),
    "add with another encryption": _put(f"{_OWN}new", ServerSideEncryption="AES256"),
    "add with the store's key": _put(f"{_OWN}new", ServerSideEncryption="aws:kms", SSEKMSKeyId="pgdr-lab"),
    "add with another key": _put(f"{_OWN}new", ServerSideEncryption="aws:kms", SSEKMSKeyId="thief"),
    "hide a backup": _hide(f"{_OWN}gone"),
    "hide many backups": _hide_many(_OWN),
    "hide many of another stanza": _hide_many("pgbackrest/backup/other/"),
    "hide an archive": _hide("archive/daily/erp/gone"),
    "hide the journal": _hide("journal/erp/gone"),
    "hide another stanza": _hide("pgbackrest/backup/other/gone"),
    "hide in the replica": _hide(f"{_OWN}gone", REPLICA),
    "delete a version": _delete_version,
    "bypass the lock": _bypass,
    "shorten a retention": _shorten,
    "lift a legal hold": _legal_hold,
    "change the lifecycle": lambda c, _w: c.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration=_EXPIRE_ALL
    ),
    "suspend versioning": lambda c, _w: c.put_bucket_versioning(
        Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}
    ),
    "change the lock": lambda c, _w: c.put_object_lock_configuration(
        Bucket=BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    ),
    "open to the public": lambda c, _w: c.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=_OPEN),
    "give an object away": lambda c, _w: c.put_object_acl(Bucket=BUCKET, Key=f"{_OWN}seed", ACL="public-read"),
    "delete the bucket": lambda c, _w: c.delete_bucket(Bucket=BUCKET),
    "delete the policy": lambda c, _w: c.delete_bucket_policy(Bucket=REPLICA),
    "change the policy": lambda c, _w: c.put_bucket_policy(Bucket=REPLICA, Policy=_ANYBODY),
}

ALLOWED: dict[str, set[str]] = {
    "host-writer": {
        "list own",
        "list own versions",
        "list the stanzas' names",
        "read own",
        "read an old version",
        "read the journal",
        "read the replica",
        "add to the replica",
        "add a backup",
        "add WAL",
        "add an archive",
        "add to the journal",
        "add to a host's journal",
        "see what was hidden in the journal",
        "add in parts",
        "add with the store's key",
        "hide a backup",
        "hide many backups",
    },
    "restore-reader": {
        "list own",
        "list own versions",
        "list the stanzas' names",
        "read own",
        "read an old version",
        "read the journal",
        "see what was hidden in the journal",
        "read the replica",
    },
    "side-reader": {
        "list own",
        "list own versions",
        "list the stanzas' names",
        "read own",
        "read an old version",
        "read the replica",
    },
    "auditor": {
        "list own",
        "list own versions",
        "list another stanza",
        "list the stanzas' names",
        "list all that is below the stanzas",
        "list everything",
        "read the journal",
        "see what was hidden in the journal",
    },
    "break-glass": {
        "list own",
        "list own versions",
        "list another stanza",
        "list the stanzas' names",
        "list all that is below the stanzas",
        "list everything",
        "see what was hidden in the journal",
        "hide a backup",
        "hide many backups",
        "hide many of another stanza",
        "hide an archive",
        "hide the journal",
        "hide another stanza",
        "hide in the replica",
        "delete a version",
        "bypass the lock",
        "shorten a retention",
        "lift a legal hold",
        "change the lifecycle",
        "change the lock",
        "open to the public",
    },
}
# It may, and the lock does not let it: an error of another kind than a denial.
CONFLICTS = {("break-glass", "suspend versioning"): "InvalidBucketState"}
# Last, and by nobody: where it is not denied, the other rows would mean nothing.
UNTRIED = {
    ("break-glass", "delete the bucket"),
    ("break-glass", "delete the policy"),
    ("break-glass", "change the policy"),
}


def _outcome(call: Call, client: S3Client, who: str) -> str:
    try:
        call(client, who)
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        return "denied" if code in _DENIED else code
    return "allowed"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("who", IDENTITIES)
def test_identity(enforced: Enforced, who: str, call: str) -> None:
    if (who, call) in UNTRIED:
        pytest.skip("the last resort may; trying it would take the policies away that all other rows need")
    expected = CONFLICTS.get((who, call), "allowed" if call in ALLOWED[who] else "denied")
    assert _outcome(CALLS[call], enforced.clients[who], who) == expected


OWNER_NEVER = [
    "delete a version",
    "bypass the lock",
    "shorten a retention",
    "change the lifecycle",
    "suspend versioning",
    "change the lock",
    "open to the public",
    "give an object away",
    "delete the bucket",
    "delete the policy",
    "change the policy",
    "add to the replica",
    "hide in the replica",
]


@pytest.mark.parametrize("call", OWNER_NEVER)
def test_the_owner_himself_is_denied_by_the_buckets_policy(enforced: Enforced, call: str) -> None:
    """Not even an administrator's keys destroy backups; the identity's own policy is not what stops him."""
    assert _outcome(CALLS[call], enforced.owner, "owner") == "denied"


def test_what_was_hidden_comes_back(enforced: Enforced) -> None:
    """The thief hides, the last resort removes the marker, the reader reads."""
    key = f"{_OWN}stolen"
    thief, last, reader = (enforced.clients[name] for name in ("host-writer", "break-glass", "restore-reader"))
    thief.put_object(Bucket=BUCKET, Key=key, Body=b"backup")
    marker = thief.delete_object(Bucket=BUCKET, Key=key)["VersionId"]
    assert key not in {entry["Key"] for entry in reader.list_objects_v2(Bucket=BUCKET, Prefix=_OWN)["Contents"]}
    assert _outcome(lambda c, _w: c.delete_object(Bucket=BUCKET, Key=key, VersionId=marker), thief, "") == "denied"
    last.delete_object(Bucket=BUCKET, Key=key, VersionId=marker, BypassGovernanceRetention=True)
    assert reader.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"backup"


def test_what_this_server_could_not_be_asked_is_known(enforced: Enforced) -> None:
    """Statements that Ceph has no words for are proven nowhere in this suite; a new one is to be noticed."""
    assert enforced.ceph.unsaid == {
        # other services
        "Decrypt", "DecryptEvidence", "DecryptPassphrase", "ReadPassphrase", "RepairKeys", "UseKey", "UseReplicaKey",
        "ReadConfiguration", "TakeOnSideReader",
        # conditions
        "DenyCustomerKeys", "DenyOldTls", "DenyOtherAccounts",
    }  # fmt: skip
    assert enforced.ceph.unknown == {
        "s3:GetBucketOwnershipControls", "s3:GetEncryptionConfiguration", "s3:GetInventoryConfiguration",
        "s3:PutBucketOwnershipControls", "s3:PutEncryptionConfiguration", "s3:PutInventoryConfiguration",
        "s3:Replicate*", "s3:Update*",
    }  # fmt: skip


def test_versions_outlive_their_lock_by_policy_alone(enforced: Enforced) -> None:
    """The lock of this version ended long ago: what is left is the policy."""
    key = f"{_OWN}unlocked-host-writer-1"
    call = lambda client, _who: client.delete_object(Bucket=BUCKET, Key=key, VersionId=VERSIONS[key])  # noqa: E731
    assert _outcome(call, enforced.clients["host-writer"], "") == "denied"
