"""The record of who did what, where nobody can change it, and the alarms that it raises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import cloudtrail, cloudwatch, iam, sns

from pgdr_infra.components.bucket import Lock, SecureBucket, SecureBucketArgs
from pgdr_infra.components.key import EncryptionKey, EncryptionKeyArgs
from pgdr_infra.documents import trail as documents
from pgdr_infra.documents.buckets import Guardians, trail_bucket_policy
from pgdr_infra.documents.keys import trail_key_policy
from pgdr_infra.documents.statement import dumps
from pgdr_infra.lifecycle import log_rules

_ALARM_WINDOW_SECONDS = 300


@dataclass(frozen=True)
class TrailArgs:
    """What is recorded and who is told.

    Attributes:
        trail: name of the trail; its log group is named after it.
        region: the trail's home region.
        guardians: of the account.
        watched: names of the buckets whose object events are recorded.
        bucket: name of the trail's bucket.
        log_bucket: bucket for the access logs of the trail's own bucket.
        lock: lock of the trail's bucket.
        days: how long the record is kept.
        alarms: what wakes somebody up.
        emails: addresses that are told.
        tags: tags.
    """

    trail: str
    region: str
    guardians: Guardians
    watched: Sequence[str]
    bucket: str
    log_bucket: pulumi.Input[str]
    lock: Lock
    days: int
    alarms: Sequence[documents.Alarm]
    emails: Sequence[str]
    tags: dict[str, str]

    @property
    def arn(self) -> str:
        """ARN of the trail, known before it exists."""
        return f"arn:aws:cloudtrail:{self.region}:{self.guardians.account}:trail/{self.trail}"


# CloudWatch keeps a log group for one of these numbers of days only.
_LOG_GROUP_DAYS = (365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


def log_group_days(days: int) -> int:
    """Return the shortest time that CloudWatch offers and that is not shorter."""
    return next((offered for offered in _LOG_GROUP_DAYS if offered >= days), _LOG_GROUP_DAYS[-1])


class Trail(pulumi.ComponentResource):
    """A trail of all regions with its digests, object events of the backup buckets, and alarms.

    Attributes:
        arn: the trail's ARN.
        bucket: name of its bucket.
        key_arn: the key that encrypts it.
        topic_arn: where alarms go.
    """

    arn: pulumi.Output[str]
    bucket: pulumi.Output[str]
    key_arn: pulumi.Output[str]
    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: TrailArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:access:Trail", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self._protected = pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(protect=True))
        key = EncryptionKey(
            name,
            EncryptionKeyArgs(
                description=f"Encrypts the trail {args.trail}, its log group and its alarms",
                alias=args.trail,
                policy=trail_key_policy(args.guardians, args.region, args.arn),
                tags=args.tags,
            ),
            self._child,
        )
        self.key_arn = key.arn
        store = SecureBucket(
            name,
            SecureBucketArgs(
                bucket=args.bucket,
                policy=trail_bucket_policy(args.bucket, args.arn, args.guardians),
                rules=log_rules(args.days),
                tags=args.tags,
                key_arn=key.arn,
                lock=args.lock,
                log_bucket=args.log_bucket,
            ),
            self._child,
        )
        self.bucket = store.name
        group = self._log_group(name, args)
        self.arn = self._trail(name, args, store, group)
        self.topic_arn = self._topic(name, args)
        for alarm in args.alarms:
            self._alarm(name, args, alarm, group)
        self.register_outputs({"arn": self.arn, "topic_arn": self.topic_arn})

    def _log_group(self, name: str, args: TrailArgs) -> cloudwatch.LogGroup:
        return cloudwatch.LogGroup(
            f"{name}-log-group",
            name=f"/pgdr/{args.trail}",
            kms_key_id=self.key_arn,
            retention_in_days=log_group_days(args.days),
            tags=args.tags,
            opts=self._protected,
        )

    def _trail(self, name: str, args: TrailArgs, store: SecureBucket, group: cloudwatch.LogGroup) -> pulumi.Output[str]:
        role = iam.Role(
            f"{name}-role",
            name=f"{args.trail}-to-logs",
            assume_role_policy=dumps(documents.trail_to_logs_trust()),
            tags=args.tags,
            opts=self._child,
        )
        allowed = iam.RolePolicy(
            f"{name}-role-policy",
            name="add-to-log-group",
            role=role.name,
            policy=group.arn.apply(lambda arn: dumps(documents.trail_to_logs_policy(arn.removesuffix(":*")))),
            opts=self._child,
        )
        selector = cloudtrail.TrailAdvancedEventSelectorArgs
        field = cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs
        trail = cloudtrail.Trail(
            f"{name}-trail",
            name=args.trail,
            s3_bucket_name=store.name,
            kms_key_id=self.key_arn,
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            enable_logging=True,
            cloud_watch_logs_group_arn=group.arn.apply(lambda arn: f"{arn.removesuffix(':*')}:*"),
            cloud_watch_logs_role_arn=role.arn,
            advanced_event_selectors=[
                selector(name="management", field_selectors=[field(field="eventCategory", equals=["Management"])]),
                selector(
                    name="backup-objects",
                    field_selectors=[
                        field(field="eventCategory", equals=["Data"]),
                        field(field="resources.type", equals=["AWS::S3::Object"]),
                        field(field="resources.ARN", starts_withs=documents.data_event_arns(args.watched)),
                    ],
                ),
            ],
            tags=args.tags,
            opts=pulumi.ResourceOptions.merge(
                self._protected, pulumi.ResourceOptions(depends_on=[store.policy, allowed])
            ),
        )
        return trail.arn

    def _topic(self, name: str, args: TrailArgs) -> pulumi.Output[str]:
        topic = sns.Topic(
            f"{name}-topic",
            name=f"{args.trail}-alarms",
            kms_master_key_id=self.key_arn,
            tags=args.tags,
            opts=self._child,
        )
        account = args.guardians.account
        sns.TopicPolicy(
            f"{name}-topic-policy",
            arn=topic.arn,
            policy=topic.arn.apply(lambda arn: dumps(documents.topic_policy(arn, account))),
            opts=self._child,
        )
        for address in args.emails:
            sns.TopicSubscription(
                f"{name}-{address}", topic=topic.arn, protocol="email", endpoint=address, opts=self._child
            )
        return topic.arn

    def _alarm(self, name: str, args: TrailArgs, alarm: documents.Alarm, group: cloudwatch.LogGroup) -> None:
        metric, namespace = f"{args.trail}-{alarm.name}", "pgdr"
        cloudwatch.LogMetricFilter(
            f"{name}-{alarm.name}-filter",
            name=metric,
            log_group_name=group.name,
            pattern=alarm.pattern,
            metric_transformation={"name": metric, "namespace": namespace, "value": "1"},
            opts=self._child,
        )
        cloudwatch.MetricAlarm(
            f"{name}-{alarm.name}-alarm",
            name=metric,
            alarm_description=alarm.description,
            namespace=namespace,
            metric_name=metric,
            statistic="Sum",
            period=_ALARM_WINDOW_SECONDS,
            evaluation_periods=1,
            threshold=alarm.threshold,
            comparison_operator="GreaterThanOrEqualToThreshold",
            # No such event is what every day looks like.
            treat_missing_data="notBreaching",
            alarm_actions=[self.topic_arn],
            tags=args.tags,
            opts=self._child,
        )
