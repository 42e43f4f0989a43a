"""What is recorded, and what wakes somebody up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgdr_infra.documents.statement import Document, Statement, bucket_arn, deny, document


@dataclass(frozen=True)
class Alarm:
    """A pattern of events and how many of them within five minutes alarm.

    Attributes:
        name: name of the alarm.
        pattern: CloudWatch's filter pattern for CloudTrail events.
        threshold: events within five minutes.
        description: what it means and what to do.
    """

    name: str
    pattern: str
    threshold: int
    description: str


def _any_event(names: Sequence[str]) -> str:
    return " || ".join(f'($.eventName = "{name}")' for name in names)


def _on_buckets(buckets: Sequence[str]) -> str:
    return " || ".join(f'($.requestParameters.bucketName = "{bucket}")' for bucket in buckets)


def alarms(buckets: Sequence[str], break_glass_arn: str, delete_burst: int) -> list[Alarm]:
    """Return the alarms on the backup buckets, their keys and the trail itself.

    Args:
        buckets: names of the buckets with backups.
        break_glass_arn: the role of the last resort.
        delete_burst: hiding requests within five minutes that are no longer daily business.
    """
    mine = _on_buckets(buckets)
    return [
        Alarm(
            "delete-burst",
            f"{{ ({_any_event(['DeleteObject', 'DeleteObjects'])}) && ({mine}) }}",
            delete_burst,
            "Many backups are being hidden. Revoke the host's role; the play that undeletes brings them back.",
        ),
        Alarm(
            "version-delete",
            f'{{ ($.eventName = "DeleteObject") && ($.requestParameters.versionId = "*") && ({mine}) }}',
            1,
            "Somebody tries to destroy versions of backups.",
        ),
        Alarm(
            "bucket-change",
            "{ ("
            + _any_event(
                [
                    "DeleteBucket",
                    "DeleteBucketLifecycle",
                    "DeleteBucketPolicy",
                    "DeleteBucketReplication",
                    "PutBucketEncryption",
                    "PutBucketLifecycle",
                    "PutBucketLifecycleConfiguration",
                    "PutBucketObjectLockConfiguration",
                    "PutBucketPolicy",
                    "PutBucketReplication",
                    "PutBucketVersioning",
                    "PutObjectLockConfiguration",
                    "PutPublicAccessBlock",
                ]
            )
            + f") && ({mine}) }}",
            1,
            "Somebody changed the rules of a backup bucket, or tried. Expected only while infra/storage is applied.",
        ),
        Alarm(
            "trail-change",
            "{ ($.eventSource = cloudtrail.amazonaws.com) && ("
            + _any_event(["DeleteTrail", "PutEventSelectors", "StopLogging", "UpdateTrail"])
            + ") }",
            1,
            "The record of what happens was stopped or changed.",
        ),
        Alarm(
            "key-change",
            "{ ($.eventSource = kms.amazonaws.com) && ("
            + _any_event(["DisableKey", "DisableKeyRotation", "PutKeyPolicy", "ScheduleKeyDeletion"])
            + ") }",
            1,
            "A key is being disabled or deleted; without it a backup is noise. Cancel the deletion within 30 days.",
        ),
        Alarm(
            "break-glass",
            f'{{ ($.eventName = "AssumeRole") && ($.requestParameters.roleArn = "{break_glass_arn}") }}',
            1,
            "Somebody took on the role of the last resort. Expected only during a recovery.",
        ),
    ]


def trail_to_logs_trust() -> Document:
    """Return who may take on the role that writes the trail's log group: CloudTrail."""
    return document(
        Statement(
            Sid="AllowTrail",
            Effect="Allow",
            Principal={"Service": "cloudtrail.amazonaws.com"},
            Action=["sts:AssumeRole"],
        )
    )


def trail_to_logs_policy(log_group_arn: str) -> Document:
    """Return what that role may do: add to the log group."""
    return document(
        Statement(
            Sid="AddToLogGroup",
            Effect="Allow",
            Action=["logs:CreateLogStream", "logs:PutLogEvents"],
            Resource=f"{log_group_arn}:log-stream:*",
        )
    )


def topic_policy(topic_arn: str, account: str) -> Document:
    """Return who may publish to the alarms' topic: this account's alarms, over TLS."""
    return document(
        Statement(
            Sid="AllowAlarms",
            Effect="Allow",
            Principal={"Service": "cloudwatch.amazonaws.com"},
            Action=["sns:Publish"],
            Resource=topic_arn,
            Condition={"StringEquals": {"aws:SourceAccount": account}},
        ),
        deny("DenyUnencryptedTransport", ["sns:Publish"], topic_arn, {"Bool": {"aws:SecureTransport": "false"}}),
    )


def data_event_arns(buckets: Sequence[str]) -> list[str]:
    """Return the prefixes of ARNs whose object events are recorded."""
    return [f"{bucket_arn(bucket)}/" for bucket in buckets]
