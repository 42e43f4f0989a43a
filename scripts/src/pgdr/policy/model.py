"""The recovery policy: the one place where objectives, schedule, retention and names are stated.

The file is ``inventories/<environment>/group_vars/all/policy.yml``, its only key is ``recovery_policy``. The host
reads the same value from ``/etc/pgdr/policy.yml``; Ansible and Pulumi load it through :mod:`pgdr.policy.load`.
These models say what may be written; :mod:`pgdr.policy.checks` says what cannot be promised.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from pgdr.policy.archives import Archives
from pgdr.policy.base import (
    AbsolutePath,
    ClusterName,
    DatabaseName,
    DebianClusterName,
    DevicePath,
    HostName,
    HttpUrl,
    Identifier,
    Int,
    Label,
    SchemaName,
    SecretName,
    Section,
    SmokeSql,
    StanzaName,
    described,
)
from pgdr.policy.cron import Cron
from pgdr.policy.repository import Repository, S3Repository
from pgdr.policy.site import RecoverySite
from pgdr.policy.tenancy import Table, Tenancy
from pgdr.policy.units import Duration, Size

Environment = Literal["production", "staging", "recovery", "lab"]
Framework = Literal["gdpr", "soc2", "hipaa", "sox"]


class Cluster(Section):
    """The PostgreSQL cluster that is protected."""

    name: ClusterName = described("Name that a person types to consent to something destructive.", "erp-prod")
    stanza: StanzaName = described("pgBackRest's name for the cluster.", "erp")
    database: DatabaseName = described("The ERP database.", "erp_generic")
    postgresql_version: Literal[15, 16, 17, 18] = described("PostgreSQL's major version.", 16)
    package_source: Literal["pgdg", "distribution"] = described(
        "Where PostgreSQL and pgBackRest come from: the PostgreSQL project's packages or the distribution's.",
        "pgdg",
        default="pgdg",
    )
    postgresql_cluster: DebianClusterName = described(
        "The cluster's name in Debian's layout, /etc/postgresql/VERSION/NAME.", "main", default="main"
    )
    data_directory: AbsolutePath | None = described(
        "The cluster's data directory. Left out: Debian's, /var/lib/postgresql/VERSION/NAME.",
        "/var/lib/postgresql/16/main",
        default=None,
    )
    port: Int = described("The server's port.", 5432, default=5432, ge=1, le=65_535)


class Objectives(Section):
    """What is promised, and what every recovery is measured against."""

    rto: Duration = described("Recovery time objective: longest time until service is back.", "4h")
    rpo: Duration = described("Recovery point objective: longest stretch of work that may be lost.", "15m")


class Wal(Section):
    """Continuous archiving of the write-ahead log."""

    archive_timeout: Duration = described(
        "A segment is archived at the latest after this time, full or not.", "60s", default=Duration(60, "s")
    )
    lag_alert: Duration = described(
        "Alert when the newest archived WAL is older than this.", "5m", default=Duration(5, "m")
    )
    keep_size: Size = described("WAL kept on the host for standbys (wal_keep_size).", "1GiB", default=Size(1, "GiB"))
    max_wal_senders: Int = described(
        "Connections for replication and base backups; the requirement needs 3, PostgreSQL's default is 10.",
        10,
        default=10,
        ge=3,
        le=1000,
    )


class Schedule(Section):
    """When jobs run, as cron expressions in the host's time zone (UTC spares you the hour that comes twice).

    A job that is left out is not scheduled.
    """

    full: Cron = described("Full physical backup to every repository.", "0 2 * * *")
    incremental: Cron = described("Incremental physical backup; it yields to a full that is running.", "0 */4 * * *")
    heartbeat: Cron = described("Row that lets a recovery say how much was lost.", "* * * * *")
    watch: Cron = described(
        "Look at everything, tell people what changed, write the metrics: `pgdr watch`.",
        "*/5 * * * *",
        default=Cron.parse("*/5 * * * *"),
    )
    archive: Cron | None = described("Logical archives by schema: `pgdr archive`.", "0 3 * * *", default=None)
    verify: Cron | None = described("Verification of every repository: `pgdr verify`.", "0 4 * * *", default=None)
    expire: Cron | None = described(
        "Removal of what its retention no longer keeps: `pgdr expire`.", "0 5 * * *", default=None
    )
    rehearsal: Cron | None = described(
        "Restore of the newest backup into a throw-away instance: `pgdr rehearse`.", "0 3 * * 0", default=None
    )
    configuration: Cron | None = described(
        "Copy of the host's configuration, also made on change: `pgdr config-backup`.", "30 1 * * *", default=None
    )


class Audit(Table):
    """The application's audit table: `pgdr when` shows who changed what."""

    at_column: Identifier = described("Column with the time of the change.", "changed_at")
    table_column: Identifier = described("Column with the changed table's name, with or without schema.", "table_name")
    action_column: Identifier = described("Column with the kind of change.", "action")
    xid_column: Identifier | None = described(
        "Column with the transaction's number (txid_current(), pg_current_xact_id()).", "transaction_id", default=None
    )
    actor_column: Identifier | None = described("Column with the person or service.", "changed_by", default=None)


class BackupVolume(Section):
    """The volume for local backups."""

    path: AbsolutePath = described("Where it is mounted.", "/backups", default="/backups")
    device: DevicePath | None = described(
        "Block device. Left out: the folder is used as it is. A device that holds anything is never formatted.",
        "/dev/disk/by-id/nvme-backups",
        default=None,
    )
    filesystem: Literal["xfs"] = described("File system of the device.", "xfs", default="xfs")
    minimum_capacity: Size = described("Smallest size that is accepted.", "500GB")


class Compliance(Section):
    """What law and auditors ask for."""

    frameworks: tuple[Framework, ...] = described(
        "Presets: hipaa keeps archives 6 years and sox 7, soc2 restores monthly, gdpr caps erased data.",
        ["gdpr", "soc2", "hipaa", "sox"],
        default=(),
    )
    erasure_cap: Duration | None = described(
        "Longest time that erased data may live on in physical backups, where no single row can be removed: "
        "retention, the interval of full backups and locked versions together. GDPR's article 12 gives one month "
        "and two more. Archives are kept under their own legal ground; restores replay the erasure ledger.",
        "90d",
        default=None,
    )
    longest_key_age: Duration = described(
        "Longest time that a stored key of a bucket stays in use, counted from when this host first saw it (CIS AWS "
        "Foundations 1.14: 90 days). Keys of roles renew themselves.",
        "90d",
        default=Duration(90, "d"),
    )
    key_age_warning: Duration = described("So long before that people are told.", "14d", default=Duration(14, "d"))

    @model_validator(mode="after")
    def _told_in_time(self) -> Compliance:
        if self.key_age_warning >= self.longest_key_age:
            raise ValueError(
                f"key_age_warning ({self.key_age_warning}) is not shorter than longest_key_age ({self.longest_key_age})"
            )
        return self


class Channel(Section):
    """A way to tell people."""

    name: Label = described("Name of the channel in logs.", "ops-slack")
    secret_name: SecretName = described(
        "Name under which the vault holds the channel's URL; the URL itself is a secret.", "slack_url"
    )
    events: tuple[Literal["failure", "recovery", "digest"], ...] = described(
        "What is sent: failures at once, their end, a digest of successes.",
        ["failure", "recovery", "digest"],
        default=("failure", "recovery", "digest"),
        min_length=1,
    )


class DeadMan(Section):
    """A stranger who raises the alarm when we fall silent."""

    secret_name: SecretName = described(
        "Name under which the vault holds the URL that `pgdr watch` calls each time it has run.", "dead_man_url"
    )


class Notification(Section):
    """Who is told. Used by `pgdr notify`."""

    channels: tuple[Channel, ...] = described(
        "In this order: a channel that fails falls to the next.",
        [{"name": "ops-slack", "secret_name": "slack_url"}],
        default=(),
    )
    delete_burst: Int = described(
        "Requests within five minutes that hide objects of the backup buckets, from which on infra/access alarms. "
        "One request of pgBackRest's expire hides up to 1000 objects.",
        100,
        default=100,
        ge=1,
    )
    dead_man: DeadMan | None = described(
        "A service that alerts when it is no longer called: the only one that notices a host that is gone.",
        {"secret_name": "dead_man_url"},
        default=None,
    )


class SmokeQuery(Section):
    """A query whose answer tells that the data is there."""

    name: Label = described("Name in reports.", "users")
    sql: SmokeSql = described("Query that returns one value.", "SELECT count(*) FROM auth.users")
    minimum: Int = described("Smallest number that passes.", 1, default=1)
    expected: Int | str | None = described(
        "The exact answer, for a query whose answer never changes; minimum does not count then.", 9, default=None
    )


class Application(Section):
    """The application that uses the database. Used by the role `application`."""

    health_url: HttpUrl = described("URL that answers 200 when it serves.", "http://localhost:8080/health")


class Dns(Section):
    """The name that points to the service. Used by the role `dns_failover`."""

    zone: HostName = described("Hosted zone.", "example.com")
    record: HostName = described("Name in it that is moved to the recovered host.", "erp.example.com")
    ttl: Duration = described("How long resolvers may remember it.", "60s", default=Duration(60, "s"))

    @model_validator(mode="after")
    def _in_zone(self) -> Dns:
        if self.record != self.zone and not self.record.endswith(f".{self.zone}"):
            raise ValueError(f"record {self.record!r} is not in the zone {self.zone!r}")
        return self


class Recovery(Section):
    """What a recovery does beyond the data, and how often it is rehearsed by people."""

    drill_interval: Duration | None = described(
        "Longest time between two drills of the whole scenario: playbooks/dr-drill.yml.", "3mo", default=None
    )
    smoke_queries: tuple[SmokeQuery, ...] = described(
        "Asked after a recovery.",
        [{"name": "users", "sql": "SELECT count(*) FROM auth.users", "minimum": 1}],
        default=(),
    )
    application: Application | None = described(
        "The application.", {"health_url": "http://localhost:8080/health"}, default=None
    )
    dns: Dns | None = described(
        "The service's name.", {"zone": "example.com", "record": "erp.example.com"}, default=None
    )
    site: RecoverySite | None = described(
        "The place that infra/recovery_site builds when a data centre is lost.",
        {"region": "us-west-2", "database": {"name": "erp-dr1.example.com"}},
        default=None,
    )


class SideInstances(Section):
    """The past beside production: `pgdr side`."""

    path: AbsolutePath | None = described(
        "Folder for their files. Left out: /var/lib/pgdr/side.", "/backups/side", default=None
    )
    time_to_live: Duration = described("Removed after this time.", "24h", default=Duration(24, "h"))
    disk_floor: Size = described(
        "What must stay free on their file system: one that would need more is refused, one that grows is stopped.",
        "20GiB",
        default=Size(10, "GiB"),
    )
    first_port: Int = described("Ports are taken from this one on.", 5440, default=5440, ge=1024, le=65_000)
    cpu_percent: Int = described("CPU of each: 100 is one core.", 100, default=100, ge=5, le=100_000)
    memory: Size = described("Memory of each.", "2GiB", default=Size(2, "GiB"))
    io_weight: Int = described(
        "Share of the disk against others, where the kernel can weigh it (production has 100).", 10, default=10, ge=1
    )


class Policy(Section):
    """The recovery policy of one environment."""

    version: Literal[1] = described("Version of this format.", 1)
    environment: Environment = described("Which of the environments this is.", "production")
    cluster: Cluster = described("The cluster that is protected.", {"name": "erp-prod", "stanza": "erp"})
    objectives: Objectives = described("What is promised.", {"rto": "4h", "rpo": "15m"})
    wal: Wal = described("Continuous archiving.", {"archive_timeout": "60s"}, default=Wal())
    schedule: Schedule = described("When jobs run.", {"full": "0 2 * * *"})
    repositories: tuple[Repository, ...] = described(
        "pgBackRest's repositories; every backup and all WAL go to each.",
        [{"id": 1, "type": "posix", "path": "/backups/pgbackrest", "retention": {"full": "7d"}}],
        min_length=1,
    )
    backup_volume: BackupVolume = described("The volume for local backups.", {"minimum_capacity": "500GB"})
    schemas: tuple[SchemaName, ...] = described(
        "All schemas of the database that are archived; one that is missing here is an error there.",
        ["auth", "core", "financial"],
        min_length=1,
    )
    tenancy: Tenancy | None = described("How rows belong to tenants.", {"column": "tenant_id"}, default=None)
    audit: Audit | None = described(
        "The application's audit table.", {"schema": "system", "table": "audit_log"}, default=None
    )
    archives: Archives | None = described("Logical archives.", {"local": {"retention": "7d"}}, default=None)
    compliance: Compliance = described("Law and auditors.", {"frameworks": ["gdpr"]}, default=Compliance())
    notification: Notification = described("Who is told.", {"channels": []}, default=Notification())
    side_instances: SideInstances = described(
        "The past beside production.", {"time_to_live": "24h"}, default=SideInstances()
    )
    recovery: Recovery = described("Beyond the data.", {"drill_interval": "3mo"}, default=Recovery())

    @property
    def s3_repositories(self) -> tuple[S3Repository, ...]:
        """The repositories that are off the host."""
        return tuple(r for r in self.repositories if isinstance(r, S3Repository))
