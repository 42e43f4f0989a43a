"""Logical archives: one dump a schema and one of the whole database, and how long each copy stays."""

from __future__ import annotations

from typing import Literal

from pgdr.policy.base import AbsolutePath, BucketName, Int, Region, Section, described
from pgdr.policy.cron import Cron
from pgdr.policy.repository import ObjectLock
from pgdr.policy.units import Duration

StorageClass = Literal["STANDARD", "STANDARD_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"]


class LocalArchives(Section):
    """Archives on the backup volume."""

    path: AbsolutePath = described("Folder of the archives.", "/backups/postgres", default="/backups/postgres")
    retention: Duration = described("How long an archive stays; the last verified one always does.", "7d")


class ArchiveSlot(Section):
    """One row of the long-term plan: archives under one prefix of the bucket."""

    retention: Duration = described("How long an archive stays.", "12w")
    storage_class: StorageClass = described(
        "S3 class that its objects move to. GLACIER and DEEP_ARCHIVE need a thaw of hours before a restore.",
        "STANDARD_IA",
        default="STANDARD",
    )


class CloudArchives(Section):
    """Archives in the bucket of an S3 repository, under ``archive/daily/`` and so on."""

    repository: Int = described("Id of the S3 repository whose bucket holds them.", 2, ge=1, le=256)
    daily: ArchiveSlot = described("archive/daily/", {"retention": "30d", "storage_class": "STANDARD"})
    weekly: ArchiveSlot | None = described(
        "archive/weekly/", {"retention": "12w", "storage_class": "STANDARD_IA"}, default=None
    )
    monthly: ArchiveSlot | None = described(
        "archive/monthly/", {"retention": "12mo", "storage_class": "GLACIER"}, default=None
    )
    annual: ArchiveSlot | None = described(
        "archive/annual/", {"retention": "7y", "storage_class": "DEEP_ARCHIVE"}, default=None
    )

    @property
    def slots(self) -> dict[str, ArchiveSlot]:
        """The slots in use by name, the shortest interval first."""
        named = {"daily": self.daily, "weekly": self.weekly, "monthly": self.monthly, "annual": self.annual}
        return {name: slot for name, slot in named.items() if slot is not None}


class ConfigurationBackups(Section):
    """Copies of the host's configuration: PostgreSQL, pgBackRest, cron, pgdr."""

    retention: Duration = described("How long a copy stays.", "30d")


class Offsite(Section):
    """The tertiary copy: the monthly archive in another account or on another medium."""

    schedule: Cron = described("When it is made.", "0 6 1 * *")
    retention: Duration = described("How long it stays.", "7y")
    bucket: BucketName | None = described(
        "Bucket of the copy, in another account. Left out: infra/storage makes none, the copy goes elsewhere.",
        "erp-generic-backups-offsite",
        default=None,
    )
    region: Region | None = described(
        "Region of that bucket. Left out: the region of the archives' own bucket.", "us-west-2", default=None
    )
    storage_class: StorageClass = described(
        "S3 class that its objects move to.", "DEEP_ARCHIVE", default="DEEP_ARCHIVE"
    )
    object_lock: ObjectLock | None = described(
        "Lock of that bucket. In mode compliance nobody can shorten it: only where the law asks for it.",
        {"mode": "compliance", "days": 2557},
        default=None,
    )


class Archives(Section):
    """Logical archives. Used by `pgdr archive` and `pgdr expire` and infra/storage."""

    local: LocalArchives = described("Archives on the backup volume.", {"retention": "7d"})
    cloud: CloudArchives | None = described(
        "Archives in the cloud.", {"repository": 2, "daily": {"retention": "30d"}}, default=None
    )
    configuration: ConfigurationBackups | None = described(
        "Copies of the host's configuration.", {"retention": "30d"}, default=None
    )
    offsite: Offsite | None = described(
        "The tertiary copy.", {"schedule": "0 6 1 * *", "retention": "7y"}, default=None
    )
