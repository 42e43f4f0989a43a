"""Policies of KMS keys. Administration and use are different statements: no administrator reads data by them."""

from __future__ import annotations

from pgdr_infra.documents.buckets import Guardians
from pgdr_infra.documents.statement import Document, Statement, deny, document, root_arn, unless

_ADMINISTRATION = [
    "kms:CancelKeyDeletion",
    "kms:Create*",
    "kms:Delete*",
    "kms:Describe*",
    "kms:Disable*",
    "kms:Enable*",
    "kms:Get*",
    "kms:List*",
    "kms:Put*",
    "kms:Revoke*",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:Update*",
]
_DESTRUCTION = ["kms:DeleteImportedKeyMaterial", "kms:DisableKey", "kms:ScheduleKeyDeletion"]
_USE = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]


def _administered(guardians: Guardians) -> list[Statement]:
    return [
        Statement(
            Sid="AllowAdministration",
            Effect="Allow",
            Principal={"AWS": root_arn(guardians.account)},
            Action=list(_ADMINISTRATION),
            Resource="*",
        ),
        # Without its key every backup is noise: the last resort alone may destroy one, after 30 days of waiting.
        deny("DenyDestruction", _DESTRUCTION, "*", unless([guardians.break_glass])),
    ]


def _used_through(service: str, account: str) -> Statement:
    return Statement(
        Sid=f"AllowUseThrough{service.split('.', maxsplit=1)[0].upper()}",
        Effect="Allow",
        Principal={"AWS": root_arn(account)},
        Action=list(_USE),
        Resource="*",
        Condition={"StringEquals": {"kms:CallerAccount": account, "kms:ViaService": service}},
    )


def backup_key_policy(guardians: Guardians, region: str, *, foreign_writer: str | None = None) -> Document:
    """Return the policy of a key that encrypts a bucket: usable through S3 only, by whom an identity policy allows.

    Args:
        guardians: of the account.
        region: the key's region.
        foreign_writer: ARN of a role of another account that may encrypt with it, through S3.
    """
    service = f"s3.{region}.amazonaws.com"
    statements = [*_administered(guardians), _used_through(service, guardians.account)]
    if foreign_writer is not None:
        statements.append(
            Statement(
                Sid="AllowForeignWriter",
                Effect="Allow",
                Principal={"AWS": root_arn(foreign_writer.split(":")[4])},
                Action=["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
                Resource="*",
                Condition={
                    "ArnEquals": {"aws:PrincipalArn": foreign_writer},
                    "StringEquals": {"kms:ViaService": service},
                },
            )
        )
    return document(*statements)


def secret_key_policy(guardians: Guardians, region: str) -> Document:
    """Return the policy of the key that encrypts the escrowed passphrase: usable through Parameter Store only."""
    return document(*_administered(guardians), _used_through(f"ssm.{region}.amazonaws.com", guardians.account))


def trail_key_policy(guardians: Guardians, region: str, trail_arn: str) -> Document:
    """Return the policy of the key that encrypts trail, its log group and its alarms."""
    account = guardians.account
    return document(
        *_administered(guardians),
        _used_through(f"s3.{region}.amazonaws.com", account),
        Statement(
            Sid="AllowTrail",
            Effect="Allow",
            Principal={"Service": "cloudtrail.amazonaws.com"},
            Action=["kms:DescribeKey", "kms:GenerateDataKey*"],
            Resource="*",
            Condition={"StringEquals": {"aws:SourceArn": trail_arn}},
        ),
        Statement(
            Sid="AllowLogs",
            Effect="Allow",
            Principal={"Service": f"logs.{region}.amazonaws.com"},
            Action=["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            Resource="*",
            Condition={
                "ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{region}:{account}:log-group:*"}
            },
        ),
        Statement(
            Sid="AllowAlarms",
            Effect="Allow",
            Principal={"Service": "cloudwatch.amazonaws.com"},
            Action=["kms:Decrypt", "kms:GenerateDataKey*"],
            Resource="*",
            Condition={"StringEquals": {"aws:SourceAccount": account}},
        ),
    )


def volume_key_policy(guardians: Guardians, region: str) -> Document:
    """Return the policy of the key that encrypts the volumes of a recovery site: usable through EC2 only.

    EC2 holds a grant while a volume is attached; nobody else gets one.
    """
    service, account = f"ec2.{region}.amazonaws.com", guardians.account
    return document(
        *_administered(guardians),
        _used_through(service, account),
        Statement(
            Sid="AllowGrantsToEC2",
            Effect="Allow",
            Principal={"AWS": root_arn(account)},
            Action=["kms:CreateGrant"],
            Resource="*",
            Condition={
                "Bool": {"kms:GrantIsForAWSResource": "true"},
                "StringEquals": {"kms:CallerAccount": account, "kms:ViaService": service},
            },
        ),
    )
