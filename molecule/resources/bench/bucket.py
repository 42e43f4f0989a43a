"""Set a part of the versioned bucket back to what it was, so that a recovery can be repeated from the same start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

    from lab.api import Lab

_AT_ONCE = 1000


@dataclass(frozen=True)
class Snapshot:
    """All versions that existed under a prefix; nothing is copied.

    Attributes:
        lab: whose bucket it is.
        prefix: the part that is meant.
        versions: keys with the ids of their versions and delete markers.
    """

    lab: Lab
    prefix: str
    versions: frozenset[tuple[str, str]]

    @classmethod
    def take(cls, lab: Lab, prefix: str) -> Snapshot:
        """Remember what is there."""
        return cls(lab, prefix, frozenset(_versions(lab, prefix)))

    def restore(self) -> int:
        """Destroy every version that came later, as the bucket's owner, and return how many they were.

        What was deleted since comes back, because its delete marker goes; nobody can destroy a locked version, so
        nothing else is missing.
        """
        newer = [found for found in _versions(self.lab, self.prefix) if found not in self.versions]
        client = self.lab.boto3_client(admin=True)
        for first in range(0, len(newer), _AT_ONCE):
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": key, "VersionId": version} for key, version in newer[first : first + _AT_ONCE]
            ]
            client.delete_objects(
                Bucket=self.lab.s3.bucket,
                Delete={"Objects": objects, "Quiet": True},
                BypassGovernanceRetention=True,
            )
        return len(newer)


@contextmanager
def emptied(lab: Lab, *prefixes: str) -> Iterator[None]:
    """Have nothing under some prefixes, before and after: the server keeps all that it holds in memory."""
    nothing = [Snapshot(lab, prefix, frozenset()) for prefix in prefixes]
    for prefix in nothing:
        prefix.restore()
    try:
        yield
    finally:
        for prefix in nothing:
            prefix.restore()


def _versions(lab: Lab, prefix: str) -> Iterator[tuple[str, str]]:
    pages = lab.boto3_client(admin=True).get_paginator("list_object_versions")
    for page in pages.paginate(Bucket=lab.s3.bucket, Prefix=prefix):
        for found in page.get("Versions", []):
            yield found["Key"], found["VersionId"]
        for marker in page.get("DeleteMarkers", []):
            yield marker["Key"], marker["VersionId"]
