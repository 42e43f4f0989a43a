"""infra/access: who may do what, the secret in escrow, the record and its alarms."""

from __future__ import annotations

import pytest

from tests.recorder import ACCOUNT, PASSPHRASE, Recording, record_access

BUCKETS = ["erp-generic-backups-prod", "erp-generic-backups-prod-replica"]


def test_kms_1_ckv_aws_337_passphrase_is_escrowed_encrypted_and_protected(access: Recording) -> None:
    parameter = access.one("escrow-passphrase")
    assert parameter.inputs["type"] == "SecureString"
    assert parameter.inputs["name"] == "/pgdr/erp-prod/repository-2/passphrase"
    assert parameter.inputs["keyId"] == f"arn:aws:kms:region:{ACCOUNT}:escrow-key"
    assert parameter.inputs["value"] == PASSPHRASE
    assert parameter.secrets == ("value",)
    assert parameter.protect


def test_passphrase_is_in_no_other_input_or_output(access: Recording) -> None:
    others = [r for r in access.resources if r.name != "escrow-passphrase"]
    assert PASSPHRASE not in str([r.inputs for r in others]) + str(access.outputs)


def test_cloudtrail_1_2_4_5_ckv_aws_35_36_67_s3_22_23_trail_records_everything(access: Recording) -> None:
    trail = access.one("trail-trail")
    assert trail.protect
    assert trail.inputs["isMultiRegionTrail"] is True
    assert trail.inputs["includeGlobalServiceEvents"] is True
    assert trail.inputs["enableLogFileValidation"] is True
    assert trail.inputs["enableLogging"] is True
    assert trail.inputs["kmsKeyId"] == f"arn:aws:kms:region:{ACCOUNT}:trail-key"
    assert trail.inputs["s3BucketName"] == f"erp-prod-trail-{ACCOUNT}"
    assert trail.inputs["cloudWatchLogsGroupArn"].endswith(":*")
    assert trail.inputs["advancedEventSelectors"] == [
        {"name": "management", "fieldSelectors": [{"field": "eventCategory", "equals": ["Management"]}]},
        {
            "name": "backup-objects",
            "fieldSelectors": [
                {"field": "eventCategory", "equals": ["Data"]},
                {"field": "resources.type", "equals": ["AWS::S3::Object"]},
                {"field": "resources.ARN", "startsWiths": [f"arn:aws:s3:::{bucket}/" for bucket in BUCKETS]},
            ],
        },
    ]


def test_cloudtrail_6_7_trail_bucket_is_as_safe_as_the_store(access: Recording) -> None:
    assert access.one("trail-lock").inputs["rule"] == {"defaultRetention": {"mode": "GOVERNANCE", "days": 35}}
    assert access.one("trail-versioning").inputs["versioningConfiguration"] == {"status": "Enabled"}
    assert access.one("trail-logging").inputs["targetBucket"] == "erp-generic-backups-prod-logs"
    assert access.one("trail-bucket").protect


def test_ckv_aws_158_338_log_group_is_encrypted_and_kept(access: Recording) -> None:
    group = access.one("trail-log-group")
    assert group.inputs["retentionInDays"] == 2557
    assert group.inputs["kmsKeyId"] == f"arn:aws:kms:region:{ACCOUNT}:trail-key"
    assert group.protect


ALARMS = {
    "delete-burst": (100, '($.eventName = "DeleteObjects")'),
    "version-delete": (1, '($.requestParameters.versionId = "*")'),
    "bucket-change": (1, '($.eventName = "PutBucketVersioning")'),
    "trail-change": (1, '($.eventName = "StopLogging")'),
    "key-change": (1, '($.eventName = "ScheduleKeyDeletion")'),
    "break-glass": (1, f'"arn:aws:iam::{ACCOUNT}:role/erp-prod-break-glass"'),
}


@pytest.mark.parametrize(("name", "threshold", "pattern"), [(name, *rest) for name, rest in ALARMS.items()])
def test_cis_4_ckv_aws_319_alarm_reaches_people(access: Recording, name: str, threshold: int, pattern: str) -> None:
    metric = access.one(f"trail-{name}-filter")
    assert pattern in metric.inputs["pattern"]
    alarm = access.one(f"trail-{name}-alarm")
    assert alarm.inputs["threshold"] == threshold
    assert (alarm.inputs["period"], alarm.inputs["evaluationPeriods"]) == (300, 1)
    assert alarm.inputs["comparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert alarm.inputs["treatMissingData"] == "notBreaching"
    assert alarm.inputs["metricName"] == metric.inputs["metricTransformation"]["name"]
    assert alarm.inputs["alarmActions"] == [f"arn:aws:sns:region:{ACCOUNT}:trail-topic"]
    assert len(access.of("cloudwatch/metricAlarm:MetricAlarm")) == len(ALARMS)


def test_ckv_aws_26_topic_is_encrypted_and_has_a_reader(access: Recording) -> None:
    assert access.one("trail-topic").inputs["kmsMasterKeyId"] == f"arn:aws:kms:region:{ACCOUNT}:trail-key"
    (subscription,) = access.of("sns/topicSubscription:TopicSubscription")
    assert subscription.inputs["endpoint"] == "dba@example.com"


@pytest.mark.parametrize("name", ["host-writer", "restore-reader"])
def test_instances_carry_the_identity_and_no_stored_key(access: Recording, name: str) -> None:
    assert access.one(f"{name}-profile").inputs["role"] == f"erp-prod-{name}"
    trust = access.one(f"{name}-role").document("assumeRolePolicy")
    assert [s["Principal"] for s in trust["Statement"]] == [{"Service": "ec2.amazonaws.com"}]
    assert access.of("iam/accessKey:AccessKey") == access.of("iam/user:User") == []


def test_hosts_alone_take_on_the_side_reader_and_nothing_else(access: Recording) -> None:
    hosts = [access.outputs["host_writer_role_arn"], access.outputs["restore_reader_role_arn"]]
    role = access.one("side-reader-role")
    trust = role.document("assumeRolePolicy")["Statement"]
    assert [(one["Principal"], one["Action"]) for one in trust] == [({"AWS": hosts}, ["sts:AssumeRole"])]
    assert "side-reader-profile" not in {resource.name for resource in access.resources}
    own = f"arn:aws:iam::{ACCOUNT}:role/erp-prod-side-reader"
    for name in ("host-writer", "restore-reader"):
        allowed = access.one(f"{name}-policy").document("policy")["Statement"]
        assert [one["Resource"] for one in allowed if "sts:AssumeRole" in one["Action"]] == [own]
    # Taking it on gives a thief of the writer's keys nothing that the writer may not do.
    read = {"s3:GetBucketVersioning", "s3:GetBucketLocation", "s3:GetObject", "s3:GetObjectVersion"}
    reader = access.one("side-reader-policy").document("policy")["Statement"]
    actions = {action for one in reader if one["Effect"] == "Allow" for action in one["Action"]}
    assert actions == {*read, "s3:ListBucket", "s3:ListBucketVersions", "kms:Decrypt"}
    assert "kit/" not in str(reader)


@pytest.mark.parametrize("name", ["auditor", "break-glass"])
def test_ckv_aws_60_61_people_need_a_second_factor(access: Recording, name: str) -> None:
    role = access.one(f"{name}-role")
    assert role.document("assumeRolePolicy")["Statement"] == [
        {
            "Sid": "AllowPeopleWithMfa",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": ["sts:AssumeRole"],
            "Condition": {
                "Bool": {"aws:MultiFactorAuthPresent": "true"},
                "NumericLessThan": {"aws:MultiFactorAuthAge": "3600"},
            },
        }
    ]
    assert role.inputs["maxSessionDuration"] == 3600


def test_two_stacks_do_not_collide(access: Recording) -> None:
    staging = record_access("staging", "erp-generic-backups-staging")

    def names(recording: Recording) -> set[str]:
        return {
            f"{r.type} {r.inputs[key]}"
            for r in recording.resources
            for key in ("name", "bucket")
            if r.type.startswith("aws:") and "Policy" not in r.type and isinstance(r.inputs.get(key), str)
        }

    assert len(names(access)) > 15
    # Settings of a bucket name it too; everything else has a name of its own.
    assert names(access) & names(staging) == set()


def test_outputs(access: Recording) -> None:
    assert access.outputs["host_writer_instance_profile"] == "erp-prod-host-writer"
    assert access.outputs["restore_reader_instance_profile"] == "erp-prod-restore-reader"
    assert access.outputs["passphrase_parameter"] == "/pgdr/erp-prod/repository-2/passphrase"
    assert set(access.outputs) == {
        "alarm_topic_arn",
        "auditor_role_arn",
        "break_glass_role_arn",
        "host_writer_instance_profile",
        "host_writer_role_arn",
        "passphrase_parameter",
        "restore_reader_instance_profile",
        "restore_reader_role_arn",
        "side_reader_role_arn",
        "trail_arn",
    }
