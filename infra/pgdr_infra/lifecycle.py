"""Lifecycle rules, one prefix each. Pure: from a policy to plain values.

A live pgBackRest repository has no rule that moves or removes current objects: pgBackRest could not read what such a
rule has touched (its issues 1829 and 1230). Rules on overlapping prefixes add up, and the one that removes wins:
therefore the info files, whose newest versions are kept whatever their age, lie below no other rule that removes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgdr.policy import Policy
from pgdr.policy.archives import Offsite
from pgdr.policy.cloud import (
    ABORT_UPLOAD_DAYS,
    Layout,
    bucket_layout,
    replica_expire_days,
    transition_days,
)
from pgdr.policy.repository import S3Repository


@dataclass(frozen=True)
class Rule:
    """What happens to objects below a prefix. Days are counted by S3 and rounded up to midnight UTC.

    Attributes:
        name: name of the rule.
        prefix: where it acts; empty for the whole bucket.
        expire_days: age at which a current object gets a delete marker.
        transition: age in days and storage class that a current object moves to.
        noncurrent_days: days after which a version that was overwritten or hidden is removed.
        newer_versions: that many noncurrent versions are kept whatever their age.
        abort_days: age at which an unfinished upload is removed.
    """

    name: str
    prefix: str
    expire_days: int | None = None
    transition: tuple[int, str] | None = None
    noncurrent_days: int | None = None
    newer_versions: int | None = None
    abort_days: int | None = None


def bucket_rules(policy: Policy, repository: S3Repository) -> list[Rule]:
    """Return the rules of the bucket that pgBackRest writes to."""
    return [*_repository_rules(policy, repository, expire_days=None), *_kept_rules(policy, repository)]


def replica_rules(policy: Policy, repository: S3Repository) -> list[Rule]:
    """Return the rules of the copy.

    Removals are not replicated, so the copy forgets by itself: backups and WAL (never the info files) some days after
    pgBackRest has removed them from the bucket.
    """
    days = replica_expire_days(policy, repository)
    return [*_repository_rules(policy, repository, expire_days=days), *_kept_rules(policy, repository)]


def _repository_rules(policy: Policy, repository: S3Repository, *, expire_days: int | None) -> list[Rule]:
    layout, days = bucket_layout(policy, repository), repository.noncurrent_days
    # Labels of backups begin with the year, archive ids with PostgreSQL's version; info files with a letter.
    return [
        Rule("abort-uploads", "", abort_days=ABORT_UPLOAD_DAYS),
        Rule("repository-backups", f"{layout.backups}2", expire_days=expire_days, noncurrent_days=days),
        Rule("repository-history", f"{layout.backups}backup.history/", noncurrent_days=days),
        Rule("repository-wal", f"{layout.wal}1", expire_days=expire_days, noncurrent_days=days),
        Rule(
            "repository-backup-info",
            f"{layout.backups}backup.info",
            noncurrent_days=days,
            newer_versions=repository.versions,
        ),
        Rule(
            "repository-archive-info",
            f"{layout.wal}archive.info",
            noncurrent_days=days,
            newer_versions=repository.versions,
        ),
    ]


def _kept_rules(policy: Policy, repository: S3Repository) -> list[Rule]:
    layout, days = bucket_layout(policy, repository), repository.noncurrent_days
    rules = _archive_rules(policy, repository, layout)
    configuration = policy.archives.configuration if policy.archives else None
    if configuration is not None:
        rules.append(
            Rule(
                "configuration",
                layout.configuration,
                expire_days=configuration.retention.days,
                noncurrent_days=days,
            )
        )
    # Without the kit nobody recovers: the current one has no age.
    rules.append(Rule("kit", layout.kit, noncurrent_days=days, newer_versions=repository.versions))
    rules.append(Rule("journal", layout.journal, noncurrent_days=days))
    return rules


def _archive_rules(policy: Policy, repository: S3Repository, layout: Layout) -> list[Rule]:
    cloud = policy.archives.cloud if policy.archives else None
    if cloud is None or cloud.repository != repository.id:
        return []
    rules = []
    for name, slot in cloud.slots.items():
        after = transition_days(slot.storage_class)
        rules.append(
            Rule(
                f"archive-{name}",
                layout.archive(name),
                expire_days=slot.retention.days,
                transition=None if after is None else (after, slot.storage_class),
                noncurrent_days=repository.noncurrent_days,
            )
        )
    return rules


def tertiary_rules(offsite: Offsite) -> list[Rule]:
    """Return the rules of the copy in another account."""
    after = transition_days(offsite.storage_class)
    return [
        Rule("abort-uploads", "", abort_days=ABORT_UPLOAD_DAYS),
        Rule(
            "offsite",
            "archive/",
            expire_days=offsite.retention.days,
            transition=None if after is None else (after, offsite.storage_class),
            noncurrent_days=1,
        ),
    ]


def log_rules(days: int) -> list[Rule]:
    """Return the rules of a bucket with logs.

    Args:
        days: how long they are kept.
    """
    return [
        Rule("abort-uploads", "", abort_days=ABORT_UPLOAD_DAYS),
        Rule("logs", "", expire_days=days, noncurrent_days=1),
    ]
