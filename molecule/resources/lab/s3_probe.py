"""Sees for itself what the S3 server enforces. A policy that a server stores and ignores protects nothing."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3.client import S3Client

    from lab.state import S3State

_PREFIX = "probe/"
_CONTENT = b"proof"
_EXPIRE_ALL = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
_EMPTY_POLICY = json.dumps({"Version": "2012-10-17", "Statement": []})
_DENIED = {"AccessDenied", "403", "Forbidden"}
# How long the lock holds on the version with which it is proven that more than the lock protects versions.
_SHORT_LOCK = timedelta(seconds=2)


class _BucketArgument(TypedDict):
    Bucket: str


class _ObjectArguments(_BucketArgument):
    Key: str


class _VersionArguments(_ObjectArguments):
    VersionId: str


@dataclass(frozen=True)
class _Version:
    """One version of an object that was put for the probe."""

    bucket: str
    key: str
    version: str

    @property
    def of_bucket(self) -> _BucketArgument:
        return {"Bucket": self.bucket}

    @property
    def of_object(self) -> _ObjectArguments:
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def itself(self) -> _VersionArguments:
        return {"Bucket": self.bucket, "Key": self.key, "VersionId": self.version}


def probe(owner: S3Client, writer: S3Client, anonymous: S3Client, s3: S3State) -> dict[str, bool]:
    """Try on the server what must work and what must be denied.

    Args:
        owner: client of the bucket's owner.
        writer: client of the hosts' user.
        anonymous: client without any user.
        s3: the server.

    Returns:
        What was tried, and whether it was as it must be.
    """
    unlocked = _put(writer, s3.bucket, locked_until=datetime.now(UTC) + _SHORT_LOCK)
    unlocked_from = time.monotonic() + _SHORT_LOCK.total_seconds() + 1
    version = _put(writer, s3.bucket)
    # In this order: what comes later destroys what the earlier looked at.
    found = {
        **_run({**_positives(owner, writer, version), "anonymous_cannot_list": _anonymous(anonymous, s3)}),
        **_run(_denials(writer, version)),
        **_run(_locks(owner, version)),
        **_run(_hiding(writer, version)),
    }
    time.sleep(max(0.0, unlocked_from - time.monotonic()))
    return {
        **found,
        **_run(
            {
                "writer_cannot_delete_a_version_that_no_lock_holds": _denied(
                    partial(writer.delete_object, **unlocked.itself)
                ),
                "owner_deletes_a_version_that_no_lock_holds": _works(partial(owner.delete_object, **unlocked.itself)),
                "owner_deletes_a_locked_version_by_bypass": _works(
                    partial(owner.delete_object, **version.itself, BypassGovernanceRetention=True)
                ),
                "encrypts_with_the_kms_key": partial(_encrypts, owner, s3),
                # Last: where these are not denied, all the other denials are gone with the policy.
                "writer_cannot_change_the_policy": _denied(
                    partial(writer.put_bucket_policy, Bucket=s3.bucket, Policy=_EMPTY_POLICY)
                ),
                "writer_cannot_delete_the_policy": _denied(partial(writer.delete_bucket_policy, Bucket=s3.bucket)),
            }
        ),
    }


def _run(checks: dict[str, Callable[[], bool]]) -> dict[str, bool]:
    """Do each check; one that the server ends with an error does not hold."""
    found = {}
    for name, check in checks.items():
        try:
            found[name] = check()
        except ClientError:
            found[name] = False
    return found


def _denied(action: Callable[[], object]) -> Callable[[], bool]:
    """Holds if the server refuses an action as not allowed; an error of another kind proves nothing."""

    def check() -> bool:
        try:
            action()
        except ClientError as error:
            return error.response.get("Error", {}).get("Code") in _DENIED
        return False

    return check


def _works(action: Callable[[], object]) -> Callable[[], bool]:
    """Holds if the server does it; an error is for :func:`_run`."""

    def check() -> bool:
        action()
        return True

    return check


def _put(client: S3Client, bucket: str, *, locked_until: datetime | None = None) -> _Version:
    key = f"{_PREFIX}{uuid.uuid4()}"
    if locked_until is None:
        made = client.put_object(Bucket=bucket, Key=key, Body=_CONTENT)
    else:
        made = client.put_object(
            Bucket=bucket,
            Key=key,
            Body=_CONTENT,
            ObjectLockMode="GOVERNANCE",
            ObjectLockRetainUntilDate=locked_until,
        )
    return _Version(bucket, key, made["VersionId"])


def _lists(client: S3Client, version: _Version) -> bool:
    listed = client.list_objects_v2(Bucket=version.bucket, Prefix=_PREFIX)
    return version.key in {entry["Key"] for entry in listed.get("Contents", [])}


def _positives(owner: S3Client, writer: S3Client, version: _Version) -> dict[str, Callable[[], bool]]:
    """What must work."""

    def locked_by_default() -> bool:
        return owner.get_object_retention(**version.itself)["Retention"].get("Mode") == "GOVERNANCE"

    return {
        "writer_reads_what_it_wrote": lambda: writer.get_object(**version.of_object)["Body"].read() == _CONTENT,
        "writer_lists": partial(_lists, writer, version),
        "bucket_is_versioned": lambda: owner.get_bucket_versioning(**version.of_bucket).get("Status") == "Enabled",
        "bucket_locks_by_default": locked_by_default,
    }


def _anonymous(anonymous: S3Client, s3: S3State) -> Callable[[], bool]:
    return _denied(partial(anonymous.list_objects_v2, Bucket=s3.bucket))


def _denials(writer: S3Client, version: _Version) -> dict[str, Callable[[], bool]]:
    """What the hosts' user must never be able to do."""
    bucket = version.of_bucket
    soon = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(minutes=1)}
    calls: dict[str, tuple[str, dict[str, object]]] = {
        "change_the_lifecycle": (
            "put_bucket_lifecycle_configuration",
            {**bucket, "LifecycleConfiguration": {"Rules": [_EXPIRE_ALL]}},
        ),
        "suspend_versioning": (
            "put_bucket_versioning",
            {**bucket, "VersioningConfiguration": {"Status": "Suspended"}},
        ),
        "change_the_lock": (
            "put_object_lock_configuration",
            {**bucket, "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}},
        ),
        "delete_the_bucket": ("delete_bucket", {**bucket}),
        "shorten_a_retention": (
            "put_object_retention",
            {**version.itself, "Retention": soon, "BypassGovernanceRetention": True},
        ),
        "bypass_the_lock": ("delete_object", {**version.itself, "BypassGovernanceRetention": True}),
    }
    return {
        f"writer_cannot_{name}": _denied(partial(getattr(writer, call), **arguments))
        for name, (call, arguments) in calls.items()
    }


def _locks(owner: S3Client, version: _Version) -> dict[str, Callable[[], bool]]:
    """What the lock must keep even the owner from doing."""

    def versioning_stays() -> bool:
        try:
            owner.put_bucket_versioning(Bucket=version.bucket, VersioningConfiguration={"Status": "Suspended"})
        except ClientError:
            # A conflict here, not a denial: the owner may, the lock does not let it happen.
            return True
        return False

    return {
        "owner_cannot_delete_a_locked_version": _denied(partial(owner.delete_object, **version.itself)),
        "owner_cannot_suspend_versioning": versioning_stays,
    }


def _hiding(writer: S3Client, version: _Version) -> dict[str, Callable[[], bool]]:
    """What the hosts' user can do to an object: hide it, and nothing worse."""

    def only_hides() -> bool:
        writer.delete_object(**version.of_object)
        kept = writer.get_object(**version.itself)["Body"].read() == _CONTENT
        return kept and not _lists(writer, version)

    def hides_many() -> bool:
        """pgBackRest takes away what a killed backup left by one request for many objects."""
        others = [_put(writer, version.bucket), _put(writer, version.bucket)]
        hidden = writer.delete_objects(Bucket=version.bucket, Delete={"Objects": [{"Key": o.key} for o in others]})
        return len(hidden.get("Deleted", [])) == len(others) and not hidden.get("Errors")

    def destroys_none_of_many() -> bool:
        other = _put(writer, version.bucket)
        refused = writer.delete_objects(
            Bucket=version.bucket, Delete={"Objects": [{"Key": other.key, "VersionId": other.version}]}
        ).get("Errors", [])
        return [error.get("Code") in _DENIED for error in refused] == [True]

    return {
        "deletion_only_hides": only_hides,
        "deletion_of_many_only_hides": hides_many,
        "writer_destroys_none_of_many": destroys_none_of_many,
    }


def _encrypts(owner: S3Client, s3: S3State) -> bool:
    key = f"{_PREFIX}{uuid.uuid4()}"
    made = owner.put_object(
        Bucket=s3.bucket, Key=key, Body=_CONTENT, ServerSideEncryption="aws:kms", SSEKMSKeyId=s3.kms_key_id
    )
    read = owner.get_object(Bucket=s3.bucket, Key=key)
    owner.delete_object(Bucket=s3.bucket, Key=key, VersionId=made["VersionId"], BypassGovernanceRetention=True)
    return read["ServerSideEncryption"] == "aws:kms" and read["Body"].read() == _CONTENT
