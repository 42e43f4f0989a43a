"""What follows from a policy, so that two places can never disagree: pure functions, plain results.

The result is made of dictionaries, lists, text and numbers only: Ansible, Pulumi and ``json.dumps`` take it as it
is. Keys that have no value are left out, never ``None``.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from pgdr.policy.archives import ArchiveSlot
from pgdr.policy.cron import Cron
from pgdr.policy.jobs import Job, cron_jobs, late_after
from pgdr.policy.model import Policy
from pgdr.policy.repository import Repository, S3Repository


class RepositoryInput(TypedDict):
    """A repository as the role `pgbackrest` takes it."""

    id: int
    type: str
    path: str
    cipher: str
    bucket: NotRequired[str]
    region: NotRequired[str]
    endpoint: NotRequired[str]
    port: NotRequired[int]
    uri_style: NotRequired[str]
    verify_tls: NotRequired[bool]
    ca_file: NotRequired[str]
    key_type: NotRequired[str]
    kms_key_id: NotRequired[str]


class PostgresqlInput(TypedDict):
    """What the role `postgresql` needs to know."""

    version: int
    source: str
    cluster: str
    data_directory: str
    port: int
    database: str
    settings: dict[str, str | int]


class PgbackrestInput(TypedDict):
    """What the role `pgbackrest` needs to know."""

    stanza: str
    data_directory: str
    repositories: list[RepositoryInput]
    replicas: list[RepositoryInput]


class BackupVolumeInput(TypedDict):
    """What the role `backup_volume` needs to know."""

    path: str
    minimum_gb: int
    filesystem: str
    device: NotRequired[str]


class HostFacts(TypedDict):
    """The part of /etc/pgdr/host.yml that the policy decides; the rest are its model's defaults."""

    stanza: str
    cluster_name: str
    database: str
    postgresql_version: int
    postgresql_cluster: str
    data_directory: str
    bin_directory: str
    port: int


class LifecycleRule(TypedDict):
    """What happens to current objects below a prefix of the bucket."""

    prefix: str
    expire_days: int
    storage_class: str


class ObjectLockInput(TypedDict):
    """Default lock of a bucket."""

    mode: str
    days: int


class ReplicaInput(TypedDict):
    """Copy of a bucket."""

    region: str
    bucket: str


class ObjectStorage(TypedDict):
    """What infra/storage makes of one S3 repository."""

    repository: int
    bucket: str
    region: str
    repository_prefix: str
    noncurrent_days: int
    lifecycle: list[LifecycleRule]
    info_versions: NotRequired[int]
    object_lock: NotRequired[ObjectLockInput]
    replica: NotRequired[ReplicaInput]
    kms_key_id: NotRequired[str]


class Alerts(TypedDict):
    """Thresholds in seconds. ``max_age`` has one entry for each job that is scheduled."""

    rto: int
    rpo: int
    wal_lag: int
    max_age: dict[str, int]


class DnsInput(TypedDict):
    """What the role `dns_failover` moves."""

    zone: str
    record: str
    ttl: int


class RecoveryInput(TypedDict):
    """What a recovery does beyond the data; what the policy does not name is left out."""

    health_url: NotRequired[str]
    dns: NotRequired[DnsInput]


class Derived(TypedDict):
    """All that follows from a policy."""

    environment: str
    cluster_name: str
    postgresql: PostgresqlInput
    pgbackrest: PgbackrestInput
    backup_volume: BackupVolumeInput
    host_config: HostFacts
    jobs: list[Job]
    object_storage: list[ObjectStorage]
    alerts: Alerts
    recovery: RecoveryInput


def derive(policy: Policy) -> Derived:
    """Return all that follows from a policy."""
    return Derived(
        environment=policy.environment,
        cluster_name=policy.cluster.name,
        postgresql=postgresql_input(policy),
        pgbackrest=PgbackrestInput(
            stanza=policy.cluster.stanza,
            data_directory=data_directory(policy),
            repositories=[repository_input(repository) for repository in policy.repositories],
            replicas=[repository_input(copy) for one in policy.s3_repositories if (copy := one.as_replica())],
        ),
        backup_volume=backup_volume_input(policy),
        host_config=host_facts(policy),
        jobs=cron_jobs(policy),
        object_storage=[object_storage(policy, repository) for repository in policy.s3_repositories],
        alerts=alerts(policy),
        recovery=recovery_input(policy),
    )


def data_directory(policy: Policy) -> str:
    """Return the cluster's data directory: the policy's, or Debian's."""
    cluster = policy.cluster
    debian = f"/var/lib/postgresql/{cluster.postgresql_version}/{cluster.postgresql_cluster}"
    return cluster.data_directory or debian


def repository_input(repository: Repository) -> RepositoryInput:
    """Return a repository as the role `pgbackrest` takes it."""
    result = RepositoryInput(
        id=repository.id,
        type=repository.type,
        path=repository.path,
        cipher=repository.cipher,
    )
    if isinstance(repository, S3Repository):
        result["bucket"] = repository.bucket
        result["region"] = repository.region
        result["endpoint"] = repository.effective_endpoint
        result["uri_style"] = repository.uri_style
        result["verify_tls"] = repository.verify_tls
        result["key_type"] = repository.key_type
        if repository.port is not None:
            result["port"] = repository.port
        if repository.ca_file is not None:
            result["ca_file"] = repository.ca_file
        if repository.kms_key_id is not None:
            result["kms_key_id"] = repository.kms_key_id
    return result


def postgresql_input(policy: Policy) -> PostgresqlInput:
    """Return what the role `postgresql` needs to know."""
    cluster, wal = policy.cluster, policy.wal
    return PostgresqlInput(
        version=cluster.postgresql_version,
        source=cluster.package_source,
        cluster=cluster.postgresql_cluster,
        data_directory=data_directory(policy),
        port=cluster.port,
        database=cluster.database,
        settings={
            "wal_level": "replica",
            "archive_mode": "on",
            # The stanza's name is an allow-listed word: nothing in it has a meaning to the shell.
            "archive_command": f"pgbackrest --stanza={cluster.stanza} archive-push %p",
            "archive_timeout": f"{wal.archive_timeout.seconds}s",
            "max_wal_senders": wal.max_wal_senders,
            "wal_keep_size": wal.keep_size.postgresql,
        },
    )


def backup_volume_input(policy: Policy) -> BackupVolumeInput:
    """Return what the role `backup_volume` needs to know."""
    volume = policy.backup_volume
    result = BackupVolumeInput(
        path=volume.path, minimum_gb=volume.minimum_capacity.gigabytes, filesystem=volume.filesystem
    )
    if volume.device is not None:
        result["device"] = volume.device
    return result


def host_facts(policy: Policy) -> HostFacts:
    """Return the keys of /etc/pgdr/host.yml that the policy decides."""
    cluster = policy.cluster
    return HostFacts(
        stanza=cluster.stanza,
        cluster_name=cluster.name,
        database=cluster.database,
        postgresql_version=cluster.postgresql_version,
        postgresql_cluster=cluster.postgresql_cluster,
        data_directory=data_directory(policy),
        bin_directory=f"/usr/lib/postgresql/{cluster.postgresql_version}/bin",
        port=cluster.port,
    )


def object_storage(policy: Policy, repository: S3Repository) -> ObjectStorage:
    """Return what infra/storage makes of one S3 repository.

    The repository's own prefix has no rule for current objects: pgBackRest removes what it no longer needs, and
    what a rule of age moved or removed it could not read.
    """
    cloud = policy.archives.cloud if policy.archives else None
    slots = cloud.slots if cloud is not None and cloud.repository == repository.id else {}
    result = ObjectStorage(
        repository=repository.id,
        bucket=repository.bucket,
        region=repository.region,
        repository_prefix=f"{repository.path.strip('/')}/",
        noncurrent_days=repository.noncurrent_days,
        lifecycle=[_lifecycle_rule(name, slot) for name, slot in slots.items()],
    )
    if repository.versions is not None:
        result["info_versions"] = repository.versions
    if repository.object_lock is not None:
        result["object_lock"] = ObjectLockInput(mode=repository.object_lock.mode, days=repository.object_lock.days)
    if repository.replica is not None:
        result["replica"] = ReplicaInput(region=repository.replica.region, bucket=repository.replica.bucket)
    if repository.kms_key_id is not None:
        result["kms_key_id"] = repository.kms_key_id
    return result


def _lifecycle_rule(slot_name: str, slot: ArchiveSlot) -> LifecycleRule:
    return LifecycleRule(
        prefix=f"archive/{slot_name}/", expire_days=slot.retention.days, storage_class=slot.storage_class
    )


def alerts(policy: Policy) -> Alerts:
    """Return the thresholds that monitoring watches."""
    schedule, recovery = policy.schedule, policy.recovery
    jobs: dict[str, Cron | None] = {
        "full": schedule.full,
        "incremental": schedule.incremental,
        "heartbeat": schedule.heartbeat,
        "archive": schedule.archive,
        "verify": schedule.verify,
        "archive-verify": schedule.verify if policy.archives is not None else None,
        "expire": schedule.expire,
        "rehearsal": schedule.rehearsal,
        "configuration": schedule.configuration,
    }
    max_age = {name: late_after(cron.longest_gap) for name, cron in jobs.items() if cron is not None}
    if recovery.drill_interval is not None:
        max_age["drill"] = recovery.drill_interval.seconds
    return Alerts(
        rto=policy.objectives.rto.seconds,
        rpo=policy.objectives.rpo.seconds,
        wal_lag=policy.wal.lag_alert.seconds,
        max_age=max_age,
    )


def recovery_input(policy: Policy) -> RecoveryInput:
    """Return what dr-restore.yml does beyond the data."""
    recovery = policy.recovery
    result = RecoveryInput()
    if recovery.application is not None:
        result["health_url"] = recovery.application.health_url
    if recovery.dns is not None:
        dns = recovery.dns
        result["dns"] = DnsInput(zone=dns.zone, record=dns.record, ttl=dns.ttl.seconds)
    return result
