"""A store on a real S3 server, with the identities' own policies in force."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lab.api import Lab
from lab.paths import LabPaths
from lab.podman import execute
from pgdr.policy.cloud import Layout
from pgdr_infra.documents import identities, trusts
from pgdr_infra.documents.buckets import Guardians, Keyed, backup_bucket_policy, break_glass_arn, replica_bucket_policy
from pgdr_infra.documents.identities import Store
from pgdr_infra.documents.statement import Document, role_arn
from tests.enforced.ceph import Ceph

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ACCOUNT, CLUSTER = "210987654321", "erp-enforced"
BUCKET, REPLICA = "erp-enforced", "erp-enforced-replica"
LAYOUT = Layout(repository="pgbackrest/", stanza="erp")
IDENTITIES = ("host-writer", "restore-reader", "side-reader", "auditor", "break-glass")
# Ceph's roles have no account.
SIDE_READER = f"arn:aws:iam:::role/{CLUSTER}-side-reader"
_ADMIN = ("radosgw-admin", "--log-to-stderr=false")
# The key of the lab's server.
_KEY = "pgdr-lab"
# The lock of a version with which it is shown that more than the lock keeps versions.
_SHORT_LOCK = timedelta(seconds=2)


@dataclass
class Enforced:
    """The store.

    Attributes:
        lab: the lab that it is in.
        owner: client of the account that owns the buckets: its administrator.
        ceph: how the documents were said.
        clients: client by identity.
        keys: access key and secret by identity.
    """

    lab: Lab
    owner: S3Client
    ceph: Ceph
    clients: dict[str, S3Client] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)

    def put_policy(self, name: str, policy: Document, *, missing_is_listed: bool = False) -> None:
        """Put an identity's policy in force; see :meth:`tests.enforced.ceph.Ceph.say`."""
        iam = _client(self.lab, "iam", self.lab.secret("s3-admin-key"), self.lab.secret("s3-admin-key-secret"))
        text = self.ceph.say(policy, missing_is_listed=missing_is_listed)
        iam.put_user_policy(UserName=f"{CLUSTER}-{name}", PolicyName=name, PolicyDocument=text)

    def seed(self, key: str, *, bucket: str = BUCKET) -> str:
        """Put an object as the store's owner before the policies were in force did, and return its version."""
        return self.owner.put_object(Bucket=bucket, Key=key, Body=b"backup")["VersionId"]

    def client(self, key: str, secret: str, token: str | None) -> S3Client:
        """Return the client of whoever has these keys."""
        made: S3Client = _client(self.lab, "s3", key, secret, token)
        return made

    def new_key(self, name: str) -> tuple[str, str]:
        """Give an identity one more key."""
        uid = f"--uid={CLUSTER}-{name}"
        known = {pair[0] for pair in self._keys(name)}
        execute(_container(self.lab), *_ADMIN, "key", "create", uid, "--gen-access-key", "--gen-secret")
        (made,) = [pair for pair in self._keys(name) if pair[0] not in known]
        return made

    def remove_key(self, name: str, key: str) -> None:
        """Take a key away from an identity."""
        execute(_container(self.lab), *_ADMIN, "key", "rm", f"--uid={CLUSTER}-{name}", f"--access-key={key}")

    def _keys(self, name: str) -> list[tuple[str, str]]:
        done = execute(_container(self.lab), *_ADMIN, "user", "info", f"--uid={CLUSTER}-{name}")
        return [(one["access_key"], one["secret_key"]) for one in json.loads(done.stdout)["keys"]]

    def have_role(self, arn: str, *, trusted: str, policy: Document) -> None:
        """Make a role that one identity may take on."""
        execute(_container(self.lab), *_ADMIN, "caps", "add", "--uid=erp-backup-owner", "--caps=roles=*")
        iam = _client(self.lab, "iam", self.lab.secret("s3-admin-key"), self.lab.secret("s3-admin-key-secret"))
        name = arn.rsplit("/", 1)[-1]
        trust = trusts.side_reader_trust([f"arn:aws:iam:::user/{CLUSTER}-{trusted}"])
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        text = self.ceph.say(policy, missing_is_listed=True)
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=text)


def _client(lab: Lab, service: str, key: str, secret: str, token: str | None = None) -> Any:
    config = Config(
        s3={"addressing_style": "path"},
        retries={"max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=lab.s3.url,
        region_name="us-east-1",
        verify=str(LabPaths(lab.name).ca),
        config=config,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )


def _container(lab: Lab) -> str:
    assert lab.state.s3 is not None
    return lab.state.s3.container


def _user(lab: Lab, name: str) -> tuple[str, str]:
    done = execute(_container(lab), *_ADMIN, "user", "create", f"--uid={name}", f"--display-name={name}")
    key = json.loads(done.stdout)["keys"][0]
    return key["access_key"], key["secret_key"]


def _known_actions(owner: S3Client) -> Any:
    """Ask the server itself which actions it knows."""

    @cache
    def knows(action: str) -> bool:
        statement = {
            "Effect": "Deny",
            "Principal": {"AWS": ["arn:aws:iam:::user/nobody"]},
            "Action": [action],
            "Resource": [f"arn:aws:s3:::{REPLICA}", f"arn:aws:s3:::{REPLICA}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        try:
            owner.put_bucket_policy(Bucket=REPLICA, Policy=policy)
        except ClientError as error:
            if "is not a valid action" in str(error):
                return False
            raise
        return True

    return knows


def identity_policies(layout: Layout) -> dict[str, Document]:
    """Return each identity's document, as infra/access makes it for a cluster."""
    where = Store(Keyed(BUCKET, "us-east-1", _KEY), layout, Keyed(REPLICA, "us-west-2", _KEY))
    return {
        "host-writer": identities.writer_policy(where, SIDE_READER),
        "restore-reader": identities.reader_policy(where, "arn:aws:ssm:::parameter/x", _KEY, "us-east-1", SIDE_READER),
        "side-reader": identities.side_reader_policy(where),
        "auditor": identities.auditor_policy(where, [f"{BUCKET}-logs"], _KEY),
        "break-glass": identities.break_glass_policy(where),
    }


def enforce(lab: Lab) -> Enforced:
    """Buckets as infra/storage makes them, identities as infra/access makes them; the functions are the same."""
    owner_keys = lab.secret("s3-admin-key"), lab.secret("s3-admin-key-secret")
    owner = _client(lab, "s3", *owner_keys)
    execute(_container(lab), *_ADMIN, "caps", "add", "--uid=erp-backup-owner", "--caps=user-policy=*")
    store = Enforced(lab, owner, Ceph(_known_actions(owner)))
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    for bucket in (BUCKET, REPLICA):
        owner.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        owner.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    for name, policy in identity_policies(LAYOUT).items():
        store.keys[name] = _user(lab, f"{CLUSTER}-{name}")
        store.clients[name] = _client(lab, "s3", *store.keys[name])
        store.put_policy(name, policy)
    guardians = Guardians(ACCOUNT, break_glass_arn(ACCOUNT, CLUSTER), role_arn(ACCOUNT, "deployer"))
    said = {
        BUCKET: store.ceph.say(backup_bucket_policy(BUCKET, _KEY, guardians)),
        REPLICA: store.ceph.say(
            replica_bucket_policy(REPLICA, _KEY, guardians, role_arn(ACCOUNT, f"{CLUSTER}-host-writer"))
        ),
    }
    _seed(store)
    for bucket, text in said.items():
        owner.put_bucket_policy(Bucket=bucket, Policy=text)
    return store


SEEDS = ["pgbackrest/backup/erp/seed", "pgbackrest/backup/other/seed", "kit/erp/seed", "journal/erp/seed"]
VERSIONS: dict[str, str] = {}


def _seed(store: Enforced) -> None:
    """Put what the identities try themselves on, before the policies are in force."""
    for key in SEEDS:
        VERSIONS[key] = store.seed(key)
        VERSIONS[f"replica {key}"] = store.seed(key, bucket=REPLICA)
    for name in (*IDENTITIES, "owner"):
        for number in range(2):
            key = f"pgbackrest/backup/erp/unlocked-{name}-{number}"
            until = datetime.now(UTC) + _SHORT_LOCK
            made = store.owner.put_object(
                Bucket=BUCKET, Key=key, Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until
            )
            VERSIONS[key] = made["VersionId"]
    time.sleep(_SHORT_LOCK.total_seconds() + 1)
