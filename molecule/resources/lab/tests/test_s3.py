"""The S3 server of a real lab: what it denies, what it keeps, how it fails."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from lab import lifecycle, s3_client, s3_probe, s3_setup
from lab.paths import REPOSITORY
from pgdr.errors import NotProvenError, RefusedError
from pgdr.policy import load_policy
from pgdr.policy.repository import S3Repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.api import Lab


def _code_of(action: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as refused:
        action()
    return str(refused.value.response["Error"]["Code"])


def test_stolen_host_keys_hide_a_backup_and_never_destroy_it(lab: Lab) -> None:
    thief, owner, bucket = lab.boto3_client(), lab.boto3_client(admin=True), lab.s3.bucket
    version = thief.put_object(Bucket=bucket, Key="stolen", Body=b"backup")["VersionId"]

    def destroy() -> object:
        return thief.delete_object(Bucket=bucket, Key="stolen", VersionId=version, BypassGovernanceRetention=True)

    def expire() -> object:
        rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
        return thief.put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={"Rules": [rule]},  # type: ignore[list-item]
        )

    assert _code_of(destroy) == "AccessDenied"
    assert _code_of(expire) == "AccessDenied"
    thief.delete_object(Bucket=bucket, Key="stolen")
    assert _code_of(lambda: thief.get_object(Bucket=bucket, Key="stolen")) == "NoSuchKey"
    kept = owner.get_object(Bucket=bucket, Key="stolen", VersionId=version)
    assert kept["Body"].read() == b"backup"


def test_the_bucket_locks_for_as_long_as_the_policy_promises(lab: Lab) -> None:
    policy = load_policy(REPOSITORY / "inventories/lab/group_vars/all/policy.yml")
    cloud = next(one for one in policy.repositories if isinstance(one, S3Repository))
    promised = cloud.object_lock
    assert promised is not None
    bucket = lab.boto3_client(admin=True).get_object_lock_configuration(Bucket=lab.s3.bucket)
    assert bucket["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]["Days"] == promised.days


def test_a_server_that_enforces_less_is_found_out(lab: Lab) -> None:
    """The same server with a policy that lets the hosts' user do everything."""
    owner = lab.boto3_client(admin=True)
    s3 = lab.state.s3
    assert s3 is not None
    policy = s3_setup.bucket_policy(s3.bucket)
    statements = policy["Statement"]
    assert isinstance(statements, list)
    loose = {"Version": policy["Version"], "Statement": [{**statements[0], "Principal": {"AWS": ["*"]}}]}
    owner.delete_public_access_block(Bucket=s3.bucket)
    owner.put_bucket_policy(Bucket=s3.bucket, Policy=json.dumps(loose))
    try:
        found = s3_probe.probe(owner, lab.boto3_client(), s3_client.anonymous_client(lab.name, s3), s3)
    finally:
        owner.delete_bucket_lifecycle(Bucket=s3.bucket)
        s3_setup.ensure_bucket(owner, s3.bucket)
    wrong = {name for name, holds in found.items() if not holds}
    assert wrong >= {
        "anonymous_cannot_list",
        "writer_cannot_change_the_lifecycle",
        "writer_cannot_change_the_lock",
        "writer_cannot_change_the_policy",
        "writer_cannot_bypass_the_lock",
        "writer_cannot_delete_a_version_that_no_lock_holds",
    }


def test_up_fails_loudly_when_the_server_enforces_less(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the result is planted: what `up` does with it is real."""
    state = lab.state
    assert state.s3 is not None
    monkeypatch.setattr(s3_probe, "probe", lambda *_: {"writer_lists": True, "writer_cannot_x": False})
    with pytest.raises(NotProvenError, match="writer_cannot_x"):
        s3_setup.set_up(state, state.s3)
    monkeypatch.undo()
    assert lab.state.s3 is not None
    assert lab.state.s3.container_id == ""
    # The next `up` proves it again, because nothing was proven.
    lifecycle.up(lab.name, [])
    assert lab.state.s3 is not None
    assert all(lab.state.s3.probed.values())
    assert len(lab.state.s3.probed) >= 20


def test_a_stopped_gateway_refuses_connections_and_loses_nothing(lab: Lab) -> None:
    client, s3 = lab.boto3_client(), lab.state.s3
    assert s3 is not None
    client.put_object(Bucket=s3.bucket, Key="kept", Body=b"data")
    lab.stop_s3()
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((s3.ip, s3.port), timeout=5)
        assert lifecycle.statuses(lab.state) == {"db1": "running", "dr1": "running", "s3": "stopped"}
    finally:
        lab.start_s3()
    assert client.get_object(Bucket=s3.bucket, Key="kept")["Body"].read() == b"data"


def test_latency_is_added_to_each_request_and_taken_away(lab: Lab) -> None:
    client, s3 = lab.boto3_client(), lab.state.s3
    assert s3 is not None
    client.put_object(Bucket=s3.bucket, Key="far", Body=b"x")

    def seconds_of_one_get() -> float:
        client.get_object(Bucket=s3.bucket, Key="far")["Body"].read()  # the connection is made here
        took = []
        for _ in range(3):
            started = time.monotonic()
            client.get_object(Bucket=s3.bucket, Key="far")["Body"].read()
            took.append(time.monotonic() - started)
        return min(took)

    near = seconds_of_one_get()
    lab.set_s3_latency(200)
    try:
        far = seconds_of_one_get()
        # A body is sent at once: four megabytes wait as often as one byte does.
        started = time.monotonic()
        client.put_object(Bucket=s3.bucket, Key="far", Body=b"x" * 4 * 2**20)
        upload = time.monotonic() - started
        lab.stop_s3()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((s3.ip, s3.port), timeout=5)
    finally:
        lab.set_s3_latency(0)
    assert far - near >= 0.19
    assert far < 0.4
    assert upload < 1.5
    assert seconds_of_one_get() < 0.15


def test_a_memory_size_that_is_none_is_refused(lab: Lab) -> None:
    with pytest.raises(RefusedError, match="1 TB"):
        lifecycle.up(lab.name, [], s3_memory="1 TB")
