"""Copy archives to the cloud and back as operations: locked, journaled, safe to run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pgdr.archive.cloud import Cloud, CloudArchive, Progress, Thaw, Uploaded
from pgdr.archive.local import FETCHED, LocalArchive, LocalStore
from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import ARCHIVES, operation_lock
from pgdr.supervise import Supervisor

_OFFSITE_WAIT = 3600.0


def upload(
    config: HostConfig,
    cloud: Cloud,
    archives: Sequence[LocalArchive],
    on_progress: Progress | None = None,
) -> list[Uploaded]:
    """Copy archives to the cloud, the oldest first.

    Args:
        config: what this host is.
        cloud: where to.
        archives: which.
        on_progress: told bytes that are safe and bytes in all of the archive at hand.

    Raises:
        PgdrError: one could not be copied; those before it are.
    """
    journal = Journal.of(config)
    done: list[Uploaded] = []
    with Supervisor(), operation_lock(config, "upload archives", scope=ARCHIVES):
        for archive in archives:
            try:
                result = cloud.upload(archive, on_progress)
            except PgdrError as error:
                details = {"archive": archive.label, "error": str(error)}
                journal.append(operation="archives upload", result="failed", details=details)
                raise
            facts: dict[str, Any] = {
                "archive": result.label,
                "bucket": cloud.bucket.name,
                "bytes": result.size,
                "promoted": list(result.promoted),
            }
            journal.append(operation="archives upload", result="ok", details=facts, times={"upload": result.seconds})
            done.append(result)
    return done


def copy_offsite(config: HostConfig, cloud: Cloud) -> tuple[str, list[str]]:
    """Copy monthly archives to the tertiary bucket; see :meth:`pgdr.archive.cloud.Cloud.copy_offsite`.

    Raises:
        PgdrError: one could not be copied; run again to go on.
    """
    journal = Journal.of(config)
    began = time.monotonic()
    try:
        with Supervisor(), operation_lock(config, "offsite copy", scope=ARCHIVES, wait=_OFFSITE_WAIT):
            bucket, labels = cloud.copy_offsite()
    except PgdrError as error:
        journal.append(operation="archives offsite", result="failed", details={"error": str(error)})
        raise
    details = {"bucket": bucket, "archives": labels}
    times = {"copy": time.monotonic() - began}
    journal.append(operation="archives offsite", result="ok", details=details, times=times)
    return bucket, labels


def fetch(
    config: HostConfig,
    cloud: Cloud,
    archive: CloudArchive,
    store: LocalStore,
    thaw: Thaw,
    *,
    on_wait: Callable[[datetime], None] | None = None,
    on_progress: Progress | None = None,
) -> LocalArchive:
    """Bring an archive back to the backup volume; see :meth:`pgdr.archive.cloud.Cloud.fetch`.

    Raises:
        PgdrError: it is not readable yet, damaged, or the bucket does not answer.
    """
    journal = Journal.of(config)
    began = time.monotonic()
    details = {"archive": archive.label, "bucket": cloud.bucket.name, "slot": archive.slot}
    try:
        with Supervisor(), operation_lock(config, f"fetch archive {archive.label}", scope=ARCHIVES):
            found = cloud.fetch(archive, store, thaw, on_wait=on_wait, on_progress=on_progress)
    except PgdrError as error:
        journal.append(operation="archives fetch", result="failed", details={**details, "error": str(error)})
        raise
    journal.append(operation="archives fetch", result="ok", details=details, times={"fetch": time.monotonic() - began})
    return found


def pending(cloud: Cloud, store: LocalStore) -> list[LocalArchive]:
    """The archives on the volume that are not in the cloud: an upload that failed is made up for."""
    there = set(cloud.labels("daily"))
    return [item for item in store.archives() if item.label not in there and not (item.folder / FETCHED).exists()]
