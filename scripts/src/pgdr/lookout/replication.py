"""How far the bucket's copy in another region is behind: the age of the oldest object that is not there.

Only what is written once and never again is compared: WAL, whose key carries its checksum. Listed is the newest folder
of WAL, and the ones before it as long as the copy holds nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pgdr.archive.bucket import Bucket
from pgdr.archive.inuse import in_use
from pgdr.errors import PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.policy.cloud import bucket_layout
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.proof.usual import ago
from pgdr.s3 import client_of, explained

CHECK = "replication"
AMBER_AFTER, RED_AFTER = 300.0, 600.0
_DANGER = "every change since then, if the bucket or its region is lost"
_MOST_FOLDERS = 8


@dataclass(frozen=True)
class Lag:
    """How far a copy is behind.

    Attributes:
        missing: how many of the objects that were looked at are not in it.
        oldest: the one that was stored first.
        since: when that was, by the bucket's clock.
        state: what S3 says of it: ``PENDING``, ``FAILED``, or nothing.
    """

    missing: int = 0
    oldest: str = ""
    since: datetime | None = None
    state: str = ""

    def seconds(self, now: datetime) -> float:
        """The age of the oldest missing object; 0 where none is missing."""
        return max((now - self.since).total_seconds(), 0.0) if self.since else 0.0


def measure(config: HostConfig, policy: Policy, repository: S3Repository) -> Lag | None:
    """Compare a bucket with its copy; ``None`` where there is none, or where the copy is what this host works with.

    Raises:
        PgdrError: one of them does not answer, or refuses.
    """
    copy = repository.as_replica()
    if copy is None or in_use(config, repository).bucket != repository.bucket or in_use(config, repository) == copy:
        return None
    here = Bucket(client_of(config, repository, hurried=True), repository.bucket)
    there = Bucket(client_of(config, copy, hurried=True), copy.bucket)
    return compare(here, there, bucket_layout(policy, repository).wal)


def compare(here: Bucket, there: Bucket, wal: str) -> Lag:
    """Compare the newest WAL in two buckets.

    Raises:
        PgdrError: one of them does not answer, or refuses.
    """
    missing: dict[str, datetime] = {}
    for folder in _newest_folders(here, wal):
        stored = _times(here, folder)
        copied = {item.key for item in there.keys(folder)}
        missing |= {key: at for key, at in stored.items() if key not in copied}
        if copied:
            break  # older ones went before these
    if not missing:
        return Lag()
    oldest = min(missing, key=lambda key: (missing[key], key))
    with explained(here.name, oldest):
        head = here.client.head_object(Bucket=here.name, Key=oldest)
    return Lag(len(missing), oldest, missing[oldest], str(head.get("ReplicationStatus", "")))


def _newest_folders(bucket: Bucket, wal: str) -> Sequence[str]:
    archives = bucket.folders(wal)
    if not archives:
        return []
    # 9.6-1 < 16-1 < 16-2: the stanza's newest cluster.
    newest = max(archives, key=lambda name: tuple(float(part) for part in name.split("-")))
    names = sorted((name for name in bucket.folders(f"{wal}{newest}/") if len(name) == 16), reverse=True)
    return [f"{wal}{newest}/{name}/" for name in names[:_MOST_FOLDERS]]


def _times(bucket: Bucket, prefix: str) -> dict[str, datetime]:
    with explained(bucket.name, prefix):
        pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=prefix)
        return {item["Key"]: item["LastModified"] for page in pages for item in page.get("Contents", [])}


def judge(lag: Lag, repository: S3Repository, now: datetime) -> Check:
    """Say what a lag means."""
    replica = repository.replica
    place = f"s3://{replica.bucket} in {replica.region}" if replica else "the copy"
    behind = lag.seconds(now)
    if behind <= AMBER_AFTER:
        return green(CHECK, f"{place} holds what the bucket held {ago(behind)} ago", repository.id)
    said = f"; S3 says {lag.state}" if lag.state else ""
    return Check(
        CHECK,
        Level.RED if behind > RED_AFTER else Level.AMBER,
        f"{place} lacks {lag.missing} WAL objects, {lag.oldest.rpartition('/')[2]} for {ago(behind)}{said}",
        repository.id,
        since=lag.since,
        endangers=_DANGER,
        remedy=f"aws s3api get-bucket-replication --bucket {repository.bucket}; pulumi preview in infra/storage; "
        "alarms of S3's own replication metrics",
    )


def unknown(error: PgdrError, repository: S3Repository) -> Check:
    """Say that nobody knows."""
    return Check(
        CHECK,
        Level.AMBER,
        f"nobody knows how far the copy of the bucket is behind: {error.message}",
        repository.id,
        endangers=_DANGER,
        remedy=error.remedy or "network, credentials and endpoint of repositories.N.replica in the policy",
    )
