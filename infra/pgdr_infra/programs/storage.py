"""infra/storage: the bucket, its replica, and the offsite copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi

from pgdr.errors import ConfigError
from pgdr.policy.archives import Offsite
from pgdr.policy.cloud import evidence_days
from pgdr.policy.repository import Replica
from pgdr_infra.components.bucket import Lock
from pgdr_infra.components.replication import Replication, ReplicationArgs
from pgdr_infra.components.vault import BackupVault, BackupVaultArgs
from pgdr_infra.documents.buckets import (
    Guardians,
    backup_bucket_policy,
    break_glass_arn,
    replica_bucket_policy,
    tertiary_bucket_policy,
    trail_bucket_name,
)
from pgdr_infra.documents.statement import role_arn
from pgdr_infra.lifecycle import bucket_rules, replica_rules, tertiary_rules
from pgdr_infra.naming import tags
from pgdr_infra.providers import provider
from pgdr_infra.settings import ACCOUNT, NAMESPACE, ROLE, Settings, key_name, load_settings, optional, require

ENVIRONMENTS = ("production", "staging", "lab")


@dataclass(frozen=True)
class _Tertiary:
    """The other account of the offsite copy."""

    offsite: Offsite
    bucket: str
    region: str
    lock: Lock
    account: str
    role_arn: str


def storage(program: Path) -> None:
    """Make the backup store of a stack and export where it is.

    Args:
        program: folder of the Pulumi program.

    Raises:
        ConfigError: the configuration is wrong; nothing was made.
    """
    settings = load_settings(program, environments=ENVIRONMENTS)
    other_account = _tertiary(settings)
    home = provider(settings, settings.region)
    primary = _primary(settings, pulumi.ResourceOptions(provider=home))
    pulumi.export("bucket", settings.repository.bucket)
    pulumi.export("region", settings.region)
    pulumi.export("kms_key_arn", primary.key_arn)
    pulumi.export("log_bucket", primary.logs.name)
    replica = settings.repository.replica
    if replica is not None:
        copy = _replica(settings, replica, primary, pulumi.ResourceOptions(provider=home))
        pulumi.export("replica", _place(replica.bucket, replica.region, copy))
    if other_account is not None:
        pulumi.export("tertiary", _place(other_account.bucket, other_account.region, _offsite(settings, other_account)))


def _place(bucket: str, region: str, vault: BackupVault) -> dict[str, pulumi.Input[str]]:
    return {"bucket": bucket, "region": region, "kms_key_arn": vault.key_arn, "log_bucket": vault.logs.name}


def _writer(settings: Settings) -> str:
    """The role of the database host, which infra/access makes later: policies name it by its ARN."""
    return role_arn(settings.account, f"{settings.cluster}-host-writer")


def _lock(settings: Settings) -> Lock:
    return Lock(settings.lock.mode, settings.lock.days)


def _primary(settings: Settings, opts: pulumi.ResourceOptions) -> BackupVault:
    bucket = settings.repository.bucket
    return BackupVault(
        "store",
        BackupVaultArgs(
            bucket=bucket,
            region=settings.region,
            guardians=settings.guardians,
            policy=lambda key_arn: backup_bucket_policy(bucket, key_arn, settings.guardians),
            rules=bucket_rules(settings.policy, settings.repository),
            lock=_lock(settings),
            log_days=evidence_days(settings.policy),
            tags=tags(settings, data="backup"),
            also_logged=[trail_bucket_name(settings.account, settings.cluster)],
        ),
        opts,
    )


def _replica(settings: Settings, replica: Replica, primary: BackupVault, opts: pulumi.ResourceOptions) -> BackupVault:
    bucket = replica.bucket
    copy = BackupVault(
        "replica",
        BackupVaultArgs(
            bucket=bucket,
            region=replica.region,
            guardians=settings.guardians,
            policy=lambda key_arn: replica_bucket_policy(bucket, key_arn, settings.guardians, _writer(settings)),
            rules=replica_rules(settings.policy, settings.repository),
            lock=_lock(settings),
            log_days=evidence_days(settings.policy),
            tags=tags(settings, data="backup"),
        ),
        pulumi.ResourceOptions(provider=provider(settings, replica.region)),
    )
    Replication(
        "replication",
        ReplicationArgs(
            source=primary,
            source_bucket=settings.repository.bucket,
            source_region=settings.region,
            target=copy,
            target_bucket=bucket,
            target_region=replica.region,
            account=settings.account,
            role=f"{settings.cluster}-replication",
            time_control=replica.time_control,
            tags=tags(settings, data="none"),
        ),
        opts,
    )
    return copy


def _tertiary(settings: Settings) -> _Tertiary | None:
    """Return what the offsite copy needs, or ``None`` where the policy names no bucket for it.

    Raises:
        ConfigError: its account is missing, or is the same as the first one: one thief would reach both.
    """
    offsite = settings.policy.archives.offsite if settings.policy.archives else None
    if offsite is None or offsite.bucket is None:
        return None
    config = pulumi.Config(NAMESPACE)
    account = require(config, "tertiaryAccount", *ACCOUNT)
    if account == settings.account:
        raise ConfigError(
            f"{key_name('tertiaryAccount')}: {account} is also {key_name('account')}",
            remedy="the offsite copy belongs to another account: one thief must not reach both",
        )
    lock = offsite.object_lock
    return _Tertiary(
        offsite=offsite,
        bucket=offsite.bucket,
        region=offsite.region or settings.region,
        lock=_lock(settings) if lock is None else Lock(lock.mode, lock.days),
        account=account,
        role_arn=optional(config, "tertiaryRole", *ROLE) or "",
    )


def _offsite(settings: Settings, other: _Tertiary) -> BackupVault:
    deployer = other.role_arn or settings.deployer
    guardians = Guardians(other.account, break_glass_arn(other.account, settings.cluster), deployer)
    writer = _writer(settings)
    return BackupVault(
        "tertiary",
        BackupVaultArgs(
            bucket=other.bucket,
            region=other.region,
            guardians=guardians,
            policy=lambda key_arn: tertiary_bucket_policy(other.bucket, key_arn, guardians, writer),
            rules=tertiary_rules(other.offsite),
            lock=other.lock,
            log_days=evidence_days(settings.policy),
            tags=tags(settings, data="backup"),
            foreign_writer=writer,
        ),
        pulumi.ResourceOptions(
            provider=provider(settings, other.region, account=other.account, role_arn=other.role_arn)
        ),
    )
