"""Every version of every object of a repository, and what the repository was at any moment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pgdr.policy.cloud import Layout
from pgdr.s3 import explained

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

# DATABASE-ID / first 16 digits / segment-checksum or segment.offset.backup, or DATABASE-ID / TIMELINE.history.
_WAL = re.compile(
    r"^[^/]+/(?:[0-9A-F]{16}/)?(?P<name>[0-9A-F]{24}(?:(?:\.partial)?-[0-9a-f]+|\.[0-9A-F]{8}\.backup)|[0-9A-F]{8}\.history)(?:\.\w+)?$"
)
_LABEL = re.compile(r"^(?P<label>\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?)/")
INFO_FILES = ("backup.info", "backup.info.copy", "archive.info", "archive.info.copy")


@dataclass(frozen=True)
class Version:
    """One version of an object, or the marker that hides it.

    Attributes:
        key: of the object.
        version_id: the server's name for it.
        at: when it was stored.
        size: bytes; 0 of a marker.
        etag: the server's tag of its content.
        marker: it is a delete marker.
        latest: it is the newest of its key.
    """

    key: str
    version_id: str
    at: datetime
    size: int = 0
    etag: str = ""
    marker: bool = False
    latest: bool = False

    @property
    def second(self) -> datetime:
        """When it was stored, to the second: what the engine compares with, and all that AWS knows."""
        return self.at.replace(microsecond=0)

    def same_content(self, other: Version) -> bool:
        """Whether two versions are certainly the same bytes."""
        return not self.marker and not other.marker and (self.size, self.etag) == (other.size, other.etag)


class History:
    """All versions below a stanza's two folders.

    Args:
        layout: where they are in the bucket.
        versions: as S3 lists them: those of a key newest first, markers apart.
    """

    def __init__(self, layout: Layout, versions: Iterable[Version]) -> None:
        self.layout = layout
        self._by_key: dict[str, list[Version]] = {}
        for version in versions:
            self._by_key.setdefault(version.key, []).insert(0, version)
        for found in self._by_key.values():
            found.sort(key=lambda version: (version.at, version.latest))

    @property
    def keys(self) -> list[str]:
        """All keys that ever were, sorted."""
        return sorted(self._by_key)

    def of(self, key: str) -> list[Version]:
        """The versions of a key, oldest first."""
        return self._by_key.get(key, [])

    def current(self, key: str, moment: datetime | None = None) -> Version | None:
        """The version that was current at a moment (now without one); ``None`` where it was not there or hidden."""
        found = [version for version in self.of(key) if moment is None or version.second <= moment]
        return found[-1] if found and not found[-1].marker else None

    def label_of(self, key: str) -> str | None:
        """The backup set that an object belongs to."""
        found = _LABEL.match(key.removeprefix(self.layout.backups)) if key.startswith(self.layout.backups) else None
        return found["label"] if found else None

    def wal_of(self, key: str) -> str | None:
        """The WAL segment (24 digits) or history file that an object is."""
        found = _WAL.match(key.removeprefix(self.layout.wal)) if key.startswith(self.layout.wal) else None
        if found is None:
            return None
        name = found["name"]
        return name if name.endswith(".history") else name[:24]

    def without_sum(self, key: str) -> bool:
        """Whether it is a file of the archive whose key holds no checksum: a timeline's history, a backup's label.

        pgBackRest writes these anew with every attempt to archive them, and where one repository fails there are many.
        """
        if not key.startswith(self.layout.wal):
            return False
        found = _WAL.match(key.removeprefix(self.layout.wal))
        return found is not None and found["name"].endswith((".history", ".backup"))

    def is_info(self, key: str) -> bool:
        """Whether it is one of the files that everything else is found by."""
        return key in self.info_keys

    @property
    def info_keys(self) -> tuple[str, ...]:
        """Keys of the files that everything else is found by."""
        return tuple(
            f"{self.layout.backups if name.startswith('backup') else self.layout.wal}{name}" for name in INFO_FILES
        )

    def completed(self, label: str) -> datetime | None:
        """When a backup set was whole: its manifest is written last."""
        found = self.of(f"{self.layout.backups}{label}/backup.manifest")
        return found[0].at if found else None


def read_history(client: S3Client, bucket: str, layout: Layout) -> History:
    """Ask the bucket for all versions of a stanza's objects.

    Raises:
        RefusedError: these credentials may not list versions, or there is no such bucket.
        UnreachableError: the server does not answer.
    """
    return History(layout, [*_listed(client, bucket, layout.wal), *_listed(client, bucket, layout.backups)])


def _listed(client: S3Client, bucket: str, prefix: str) -> Iterator[Version]:
    with explained(bucket, prefix):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Versions", []):
                yield Version(
                    item["Key"],
                    item["VersionId"],
                    item["LastModified"].astimezone(UTC),
                    item["Size"],
                    item["ETag"],
                    latest=item["IsLatest"],
                )
            for mark in page.get("DeleteMarkers", []):
                yield Version(
                    mark["Key"],
                    mark["VersionId"],
                    mark["LastModified"].astimezone(UTC),
                    marker=True,
                    latest=mark["IsLatest"],
                )
