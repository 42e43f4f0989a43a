"""The newest archive, where it lies: on the backup volume, or in the bucket, out of which it is fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pgdr.archive.cloud import Cloud, Thaw
from pgdr.archive.local import LocalStore
from pgdr.archive.model import Manifest
from pgdr.archive.run import archives_of
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import Policy
from pgdr.rehearsal.model import Shelf
from pgdr.restoring.source import Source, choose


@dataclass(frozen=True)
class Found:
    """An archive before anything of it was moved.

    Attributes:
        manifest: what it says about itself.
        place: where it is.
        bytes: what it takes on disk to have it here, beside what is restored from it.
        take: have it here, in a folder that need not be there yet.
    """

    manifest: Manifest
    place: str
    bytes: int
    take: Callable[[Path], Source]


def newest(config: HostConfig, policy: Policy, shelf: Shelf) -> Found:
    """Find the newest archive; nothing is written.

    Raises:
        RefusedError: there is none, or it cannot be read now.
        ConfigError: the policy names no bucket for archives, or this host has no key of it.
        PgdrError: the bucket does not answer.
    """
    if shelf is Shelf.CLOUD:
        return _in_cloud(config, policy)
    source = choose(LocalStore(Path(archives_of(policy).local.path)), "")
    return Found(source.manifest, str(source.archive.folder), 0, lambda _folder: source)


def _in_cloud(config: HostConfig, policy: Policy) -> Found:
    cloud = Cloud(config, policy)
    archive = cloud.newest()
    if cloud.cold(archive):
        # Who only reads cannot thaw, and a rehearsal that costs a thaw each week is nobody's wish.
        raise RefusedError(
            f"archive {archive.label} is in the class {archive.storage_class} and has to be thawed first",
            remedy=f"on the database host: pgdr archives fetch {archive.label}",
        )
    _text, manifest = cloud.manifest(archive)

    def take(folder: Path) -> Source:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        local = cloud.fetch(archive, LocalStore(folder), Thaw())
        return Source(local, local.manifest())

    return Found(manifest, cloud.address(archive), manifest.size, take)
