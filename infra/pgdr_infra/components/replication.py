"""Replication of a bucket to another region: versions, encrypted ones included; removals never."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_aws import iam, s3

from pgdr_infra.components.vault import BackupVault
from pgdr_infra.documents.buckets import Keyed, replication_policy, replication_trust
from pgdr_infra.documents.statement import dumps

# What S3 promises with replication time control.
_TIME_CONTROL_MINUTES = 15


@dataclass(frozen=True)
class ReplicationArgs:
    """From where to where.

    Attributes:
        source: the bucket that pgBackRest writes to.
        source_bucket: its name.
        source_region: its region.
        target: the copy.
        target_bucket: its name.
        target_region: its region.
        account: the account of both.
        role: name of the role that S3 takes on.
        time_control: whether to pay for replication time control.
        tags: tags of the role.
    """

    source: BackupVault
    source_bucket: str
    source_region: str
    target: BackupVault
    target_bucket: str
    target_region: str
    account: str
    role: str
    time_control: bool
    tags: dict[str, str]


class Replication(pulumi.ComponentResource):
    """The rule, and the role with which S3 follows it.

    A removal is not replicated, so that a thief who hides everything here has hidden nothing there.
    """

    def __init__(self, name: str, args: ReplicationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:storage:Replication", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = iam.Role(
            f"{name}-role",
            name=args.role,
            assume_role_policy=dumps(replication_trust(args.account)),
            tags=args.tags,
            opts=child,
        )

        def policy(keys: list[str]) -> str:
            source = Keyed(args.source_bucket, args.source_region, keys[0])
            return dumps(replication_policy(source, Keyed(args.target_bucket, args.target_region, keys[1])))

        allowed = iam.RolePolicy(
            f"{name}-policy",
            name="replicate",
            role=role.name,
            policy=pulumi.Output.all(args.source.key_arn, args.target.key_arn).apply(policy),
            opts=child,
        )
        minutes = s3.BucketReplicationConfigRuleDestinationReplicationTimeTimeArgs(minutes=_TIME_CONTROL_MINUTES)
        s3.BucketReplicationConfig(
            f"{name}-rule",
            bucket=args.source.bucket.name,
            role=role.arn,
            rules=[
                s3.BucketReplicationConfigRuleArgs(
                    id="everything",
                    status="Enabled",
                    priority=0,
                    filter=s3.BucketReplicationConfigRuleFilterArgs(prefix=""),
                    delete_marker_replication=s3.BucketReplicationConfigRuleDeleteMarkerReplicationArgs(
                        status="Disabled"
                    ),
                    source_selection_criteria=s3.BucketReplicationConfigRuleSourceSelectionCriteriaArgs(
                        sse_kms_encrypted_objects=s3.BucketReplicationConfigRuleSourceSelectionCriteriaSseKmsEncryptedObjectsArgs(
                            status="Enabled"
                        )
                    ),
                    destination=s3.BucketReplicationConfigRuleDestinationArgs(
                        bucket=args.target.bucket.arn,
                        encryption_configuration=s3.BucketReplicationConfigRuleDestinationEncryptionConfigurationArgs(
                            replica_kms_key_id=args.target.key_arn
                        ),
                        replication_time=s3.BucketReplicationConfigRuleDestinationReplicationTimeArgs(
                            status="Enabled", time=minutes
                        )
                        if args.time_control
                        else None,
                        metrics=s3.BucketReplicationConfigRuleDestinationMetricsArgs(
                            status="Enabled",
                            event_threshold=s3.BucketReplicationConfigRuleDestinationMetricsEventThresholdArgs(
                                minutes=_TIME_CONTROL_MINUTES
                            ),
                        )
                        if args.time_control
                        else None,
                    ),
                )
            ],
            opts=pulumi.ResourceOptions.merge(
                child,
                pulumi.ResourceOptions(
                    depends_on=[args.source.bucket.versioning, args.target.bucket.versioning, allowed]
                ),
            ),
        )
        self.register_outputs({})
