"""infra/recovery_site: closed, encrypted, disposable, and off until somebody says so."""

from __future__ import annotations

import pulumi
import pytest

from tests.recorder import ACCOUNT, COMMON, SSH_KEY, Recording, record

STACKS = {
    "organization/pgdr-access/prod": {
        "host_writer_instance_profile": "erp-prod-host-writer",
        "restore_reader_instance_profile": "erp-prod-restore-reader",
    }
}


@pytest.mark.parametrize("stack", ["prod", "staging"])
def test_off_by_default(stack: str) -> None:
    made = record("recovery_site", stack)
    assert made.resources == []
    assert made.outputs == {"inventory": {}}


def test_nothing_in_it_is_protected(site: Recording) -> None:
    assert [resource.name for resource in site.resources if resource.protect] == []


def test_everything_is_in_the_sites_region(site: Recording) -> None:
    assert {resource.region for resource in site.resources if resource.type.startswith("aws:")} == {"us-west-2"}


@pytest.mark.parametrize("host", ["database", "application"])
def test_ec2_8_9_ckv_aws_8_79_88_host_is_closed(site: Recording, host: str) -> None:
    inputs = site.one(f"{host}-instance").inputs
    assert inputs["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    # Said once, at the subnet: at an instance it would replace a host that gets a fixed address later.
    assert "associatePublicIpAddress" not in inputs
    assert {subnet.inputs["mapPublicIpOnLaunch"] for subnet in site.of("ec2/subnet:Subnet")} == {False}
    assert inputs["rootBlockDevice"]["encrypted"] is True
    assert inputs["rootBlockDevice"]["kmsKeyId"] == f"arn:aws:kms:region:{ACCOUNT}:site-key"
    assert site.one(f"{host}-instance").ignored == ("ami",)


@pytest.mark.parametrize(("volume", "gib"), [("data", 466), ("backup", 466)])
def test_ec2_3_ckv_aws_3_189_volumes_are_encrypted_and_as_large_as_the_policy_says(
    site: Recording, volume: str, gib: int
) -> None:
    inputs = site.one(f"database-{volume}").inputs
    assert inputs["encrypted"] is True
    assert inputs["kmsKeyId"] == f"arn:aws:kms:region:{ACCOUNT}:site-key"
    assert inputs["size"] == gib


def test_database_is_private_and_carries_the_writers_identity(site: Recording) -> None:
    database = site.one("database-instance").inputs
    assert database["subnetId"] == "site-private-id"
    assert database["iamInstanceProfile"] == "erp-prod-host-writer"
    assert database["instanceType"] == "r6i.xlarge"
    assert "iamInstanceProfile" not in site.one("application-instance").inputs


def test_a_drill_can_only_read() -> None:
    config = {**COMMON, "pgdr:sshPublicKey": SSH_KEY, "pgdr:purpose": "drill"}
    drill = record("recovery_site", "recovery", config, STACKS)
    assert drill.one("database-instance").inputs["iamInstanceProfile"] == "erp-prod-restore-reader"


def test_ec2_2_13_ckv_aws_24_260_nothing_listens_to_the_world(site: Recording) -> None:
    assert (site.one("site-default-group").inputs["ingress"], site.one("site-default-group").inputs["egress"]) == (
        [],
        [],
    )
    rules = [rule.inputs for rule in site.of("ec2/securityGroupRule:SecurityGroupRule")]
    assert [rule for rule in rules if rule["type"] == "ingress" and "cidrBlocks" in rule] == []
    incoming = {
        (r["securityGroupId"], r["sourceSecurityGroupId"], r["fromPort"]) for r in rules if r["type"] == "ingress"
    }
    assert incoming == {
        ("site-database-group-id", "site-application-group-id", 5432),
        ("site-database-group-id", "site-application-group-id", 22),
    }
    assert {(r["fromPort"], r["protocol"]) for r in rules if r.get("cidrBlocks") == ["0.0.0.0/0"]} == {
        (80, "tcp"),
        (443, "tcp"),
    }


def test_door_to_s3_opens_to_the_backup_buckets_only(site: Recording) -> None:
    endpoint = site.one("site-s3")
    assert endpoint.inputs["serviceName"] == "com.amazonaws.us-west-2.s3"
    assert endpoint.inputs["routeTableIds"] == ["site-public-routes-id", "site-private-routes-id"]
    (statement,) = endpoint.document("policy")["Statement"]
    assert statement["Resource"] == [
        "arn:aws:s3:::erp-generic-backups-prod",
        "arn:aws:s3:::erp-generic-backups-prod/*",
        "arn:aws:s3:::erp-generic-backups-prod-replica",
        "arn:aws:s3:::erp-generic-backups-prod-replica/*",
    ]


def test_inventory_has_every_address(site: Recording) -> None:
    assert site.outputs["inventory"] == {
        "hosts": {
            "erp-app-dr1.example.com": {"ansible_host": "198.51.100.7", "ansible_user": "admin"},
            "erp-dr1.example.com": {
                "ansible_host": "10.60.128.4",
                "ansible_user": "admin",
                "ansible_ssh_common_args": "-o ProxyJump=admin@198.51.100.7",
                "site_devices": {
                    "data": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_databasedataid",
                    "backup": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_databasebackupid",
                },
            },
        },
        "groups": {
            "recovery_target": {"hosts": {"erp-dr1.example.com": {}}},
            "recovery_application": {"hosts": {"erp-app-dr1.example.com": {}}},
        },
    }


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"pgdr:account": None}, "pgdr:account is missing"),
        ({"pgdr:sshPublicKey": None}, "pgdr:sshPublicKey is missing"),
        ({"pgdr:purpose": "fun"}, "pgdr:purpose: 'fun'"),
        ({"pgdr:ami": "debian"}, "pgdr:ami: 'debian'"),
    ],
)
def test_a_stack_that_is_not_filled_in_makes_nothing(config: dict[str, str | None], key: str) -> None:
    with pytest.raises(pulumi.RunError, match=key):
        record("recovery_site", "recovery", {**COMMON, "pgdr:sshPublicKey": SSH_KEY, **config}, STACKS)
