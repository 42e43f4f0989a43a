"""Logical archives proven: on the volume by checksum and full read, in the cloud by the server's own checksums."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import Field

from pgdr.archive.bucket import StoredObject
from pgdr.archive.cloud import Cloud, CloudArchive
from pgdr.archive.local import LocalArchive, LocalStore
from pgdr.archive.model import Manifest, parse_manifest
from pgdr.archive.names import MANIFEST
from pgdr.archive.verify import check_files
from pgdr.archive.verify import verify as read_whole
from pgdr.errors import ExitCode, NotProvenError, PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import Policy
from pgdr.proof.findings import record
from pgdr.proof.look import now
from pgdr.proof.usual import ago
from pgdr.statefile import State, StateFile
from pgdr.supervise import InterruptedOperationError

#: Name of the look in the findings.
LOOK = "archives"
# An object does not change; each is asked for again once in this time.
_AGAIN = timedelta(days=30)
_ENDANGERS = "every restore from it: a database, a schema, a table, a tenant"
Tell = Callable[[str], None]


class CloudLooks(State):
    """When each copy in the cloud was last found whole, by ``slot/label``."""

    whole: dict[str, datetime] = Field(default_factory=dict)


def verify_archives(config: HostConfig, policy: Policy, tell: Tell = lambda _line: None) -> list[Check]:
    """Verify all archives that the policy has; what cannot be done is a finding.

    Args:
        config: this host.
        policy: says where they are.
        tell: is told what is read.

    Raises:
        InterruptedOperationError: a signal came.
    """
    if policy.archives is None:
        return []
    checks = [_on_volume(config, LocalStore(Path(policy.archives.local.path)), tell)]
    if policy.archives.cloud is not None:
        checks.append(_in_cloud(config, policy, tell))
    dated = record(config, LOOK, checks, now())
    return [dated[check.key] for check in checks]


def _on_volume(config: HostConfig, store: LocalStore, tell: Tell) -> Check:
    began, damaged = time.monotonic(), list[str]()
    try:
        archives = store.archives()
        for item in reversed(archives):
            tell(f"reading archive {item.label}")
            try:
                _one(config, item)
            except NotProvenError as error:
                damaged.append(error.message)
    except InterruptedOperationError:
        raise
    except PgdrError as error:
        return _not_done("archives", error)
    if damaged:
        return Check(
            "archives",
            Level.RED,
            "; ".join(damaged[:3]) + (f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""),
            endangers=_ENDANGERS,
            remedy="pgdr archives fetch LABEL brings the cloud's copy; pgdr archive makes a new one",
        )
    return green(
        "archives", f"{len(archives)} archives on the volume are whole, read in {ago(time.monotonic() - began)}"
    )


def _one(config: HostConfig, item: LocalArchive) -> None:
    """Read an archive to its last row once; after that its checksums say whether it is the same."""
    if item.verified_at is None:
        read_whole(config, item, wait=3600.0)
        return
    try:
        check_files(item.folder, item.manifest())
    except NotProvenError:
        item.unmark_verified()
        raise


def _in_cloud(config: HostConfig, policy: Policy, tell: Tell) -> Check:
    problems, unknown, looked = list[str](), 0, 0
    at = now()
    try:
        cloud = Cloud(config, policy)
        found = cloud.archives()
        with StateFile(config.state_directory / "cloud-archives.json", CloudLooks, cache=True).change() as looks:
            names = {f"{item.slot}/{item.label}": item for item in found}
            looks.whole = {name: seen for name, seen in looks.whole.items() if name in names}
            for name, item in names.items():
                if name in looks.whole and at - looks.whole[name] < _AGAIN:
                    continue
                tell(f"asking for the checksums of {name}")
                bad, without = examine(cloud, item)
                looked, unknown = looked + 1, unknown + without
                if bad:
                    problems += bad
                else:
                    looks.whole[name] = at
    except InterruptedOperationError:
        raise
    except PgdrError as error:
        return _not_done("archives-cloud", error)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        return Check(
            "archives-cloud",
            Level.RED,
            "; ".join(problems[:3]) + more,
            endangers=_ENDANGERS,
            remedy="an older version of the object may be whole; pgdr archive makes a new copy",
        )
    missing = f"; for {unknown} objects the server tells none, their size and their note are right" if unknown else ""
    return green("archives-cloud", f"{len(found)} copies in the cloud, {looked} held against checksums now{missing}")


def examine(cloud: Cloud, item: CloudArchive) -> tuple[list[str], int]:
    """Hold the objects of one copy against its manifest.

    Args:
        cloud: where it is.
        item: the copy.

    Returns:
        What is wrong, and for how many objects the server knows no checksum of the whole.
    """
    prefix = cloud.prefix(item.slot, item.label)
    manifest = _manifest(cloud, item, prefix)
    there = {entry.key.removeprefix(prefix): entry for entry in item.objects}
    if manifest is None:
        # In a cold class it cannot be read without a thaw; that all objects hold something can be seen.
        empty = [name for name, entry in there.items() if entry.size == 0]
        return [f"{item.slot}/{item.label}: {name} is empty" for name in empty[:3]], len(there)
    problems, unknown = list[str](), 0
    for name, what in _objects(cloud, manifest, there, prefix):
        if what:
            problems.append(f"{item.slot}/{item.label}: {name} {what}")
        else:
            unknown += 1
    return problems, unknown


def _manifest(cloud: Cloud, item: CloudArchive, prefix: str) -> Manifest | None:
    head = cloud.bucket.head(prefix + MANIFEST)
    if head is None or not head.readable:
        return None
    return parse_manifest(cloud.bucket.read(prefix + MANIFEST), f"{item.slot}/{item.label}")


def _objects(
    cloud: Cloud, manifest: Manifest, there: dict[str, StoredObject], prefix: str
) -> Iterator[tuple[str, str]]:
    """Yield what differs; an empty text says that the server knows no checksum of the object."""
    for name, entry in manifest.stored.items():
        if name not in there:
            yield name, "is missing"
            continue
        head = cloud.bucket.head(prefix + name)
        if head is None or head.size != entry.size:
            yield name, f"has {head.size if head else 0} bytes instead of {entry.size}"
        elif head.digest and head.digest != entry.sha256:
            yield name, "was uploaded with another checksum"
        elif not head.checksum:
            yield name, ""
        elif head.checksum != entry.sha256:
            yield name, "has another checksum on the server"


def _not_done(name: str, error: PgdrError) -> Check:
    unreachable = error.exit_code in (ExitCode.UNREACHABLE, ExitCode.BUSY)
    return Check(
        name,
        Level.AMBER if unreachable else Level.RED,
        f"the archives could not be verified: {error.message}",
        endangers="the belief that they can be restored",
        remedy=error.remedy or "pgdr verify",
        code=error.exit_code,
    )
