"""Each rule refuses the policy that breaks its promise, and takes the one that just keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgdr.policy import Policy, PolicyError, check_policy, errors_of, require_sound
from pgdr.policy.rules_time import ARCHIVE_MARGIN_SECONDS, archiving_meets_rpo
from pgdr.policy.units import Duration

Changed = Callable[[Mapping[str, Any]], Policy]

LOCAL = {"id": 1, "type": "posix", "path": "/backups/pgbackrest", "retention": {"full": "7d"}}
S3 = {
    "id": 1,
    "type": "s3",
    "path": "/pgbackrest",
    "bucket": "erp-generic-backups-prod",
    "region": "us-east-1",
    "kms_key_id": "alias/x",
    "retention": {"full": "30d"},
}
NO_S3 = {"repositories": [LOCAL], "archives.cloud": ...}

OFFSITE = {"schedule": "0 6 1 * *", "retention": "7y", "bucket": "erp-generic-backups-offsite"}
OFFSITE_LOCK = {"mode": "compliance", "days": 2557}

# name of the case, changes to the sound policy, and all findings that they cause
BREAKS: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "archive timeout above the RPO",
        {"wal": {"archive_timeout": "20m", "lag_alert": "14m"}},
        ["error wal.archive_timeout", "warning wal.lag_alert"],
    ),
    (
        "archive timeout and margin above the RPO",
        {"objectives.rpo": "119s", "wal.lag_alert": "90s"},
        ["error wal.archive_timeout"],
    ),
    ("lag alert at the RPO", {"wal.lag_alert": "15m"}, ["error wal.lag_alert"]),
    ("lag alert as short as the archive timeout", {"wal.lag_alert": "60s"}, ["warning wal.lag_alert"]),
    ("heartbeat rarer than the RPO", {"schedule.heartbeat": "*/20 * * * *"}, ["error schedule.heartbeat"]),
    (
        "full rarer than retention",
        {"schedule.full": "0 2 1,15 * *", "compliance.erasure_cap": "120d"},
        ["error repositories[0].retention.full", "warning repositories[1].object_lock.days"],
    ),
    ("incremental in the same minute as the full", {"schedule.full": "0 4 * * *"}, ["warning schedule.incremental"]),
    (
        "archive removed before its class takes it",
        {"archives.cloud.weekly.retention": "30d"},
        ["error archives.cloud.weekly.storage_class"],
    ),
    (
        "offsite copy in the bucket itself",
        {"archives.offsite": {**OFFSITE, "bucket": "erp-generic-backups-prod"}},
        ["error archives.offsite.bucket"],
    ),
    (
        "offsite lock longer than its retention",
        {"archives.offsite": {**OFFSITE, "object_lock": {**OFFSITE_LOCK, "days": 2558}}},
        ["error archives.offsite.object_lock.days"],
    ),
    (
        "archive slot shorter than its interval",
        {"archives.cloud.weekly": {"retention": "6d"}, "archives.cloud.daily.retention": "5d"},
        ["error archives.cloud.weekly.retention"],
    ),
    (
        "rarer archives kept shorter",
        {"archives.cloud.weekly": {"retention": "3w"}},
        ["warning archives.cloud.weekly.retention"],
    ),
    ("repository id twice", {"repositories.1.id": 1, "archives.cloud.repository": 1}, ["error repositories[1].id"]),
    (
        "local path twice",
        {"repositories.1": {**LOCAL, "id": 3}, "environment": "lab", "archives.cloud": ...},
        ["error repositories[1].path"],
    ),
    ("bucket and path twice", {"repositories.0": S3}, ["error repositories[1].path"]),
    ("repository where archives are", {"repositories.1.path": "/archive/daily"}, ["error repositories[1].path"]),
    ("repository at the archives' root", {"repositories.1.path": "/archive"}, ["error repositories[1].path"]),
    (
        "repository beside the backup volume",
        {"repositories.0.path": "/srv/pgbackrest"},
        ["warning repositories[0].path"],
    ),
    (
        "archives beside the backup volume",
        {"archives.local.path": "/backups2/postgres"},
        ["warning archives.local.path"],
    ),
    ("production on its own host only", NO_S3, ["error repositories"]),
    ("recovery on its own host only", {**NO_S3, "environment": "recovery"}, ["error repositories"]),
    ("production in the clear", {"repositories.1.cipher": "none"}, ["error repositories[1].cipher"]),
    ("production in the clear on its own disk", {"repositories.0.cipher": "none"}, ["error repositories[0].cipher"]),
    ("production without TLS verification", {"repositories.1.verify_tls": False}, ["error repositories[1].verify_tls"]),
    ("production without a KMS key", {"repositories.1.kms_key_id": ...}, ["warning repositories[1].kms_key_id"]),
    (
        "lock shorter than retention",
        {"repositories.1.object_lock.days": 29},
        ["error repositories[1].object_lock.days"],
    ),
    (
        "lock shorter than the oldest full",
        {"repositories.1.object_lock.days": 30},
        ["warning repositories[1].object_lock.days"],
    ),
    (
        "lock longer than the erasure cap",
        {"repositories.1.object_lock.days": 91},
        ["error repositories[1].object_lock.days", "error repositories[1].retention.full"],
    ),
    ("erased data outlives the cap", {"compliance.erasure_cap": "65d"}, ["error repositories[1].retention.full"]),
    (
        "erased data outlives the cap on disk",
        {"compliance.erasure_cap": "90d", "repositories.0.retention.full": "90d"},
        ["error repositories[0].retention.full"],
    ),
    (
        "replica in the same region",
        {"repositories.1.replica.region": "us-east-1"},
        ["error repositories[1].replica.region"],
    ),
    (
        "replica in the same bucket",
        {"repositories.1.replica.bucket": "erp-generic-backups-prod"},
        ["error repositories[1].replica.bucket"],
    ),
    ("archives without a bucket", {"archives.cloud.repository": 3}, ["error archives.cloud.repository"]),
    ("archives in a local repository", {"archives.cloud.repository": 1}, ["error archives.cloud.repository"]),
    (
        "sox: archives kept too short",
        {"archives.cloud.annual.retention": "6y", "archives.offsite": ...},
        ["error archives.cloud.annual.retention"],
    ),
    (
        "hipaa: archives kept too short",
        {"archives.cloud.annual.retention": "5y", "archives.offsite": ..., "compliance.frameworks": ["hipaa"]},
        ["error archives.cloud.annual.retention"],
    ),
    ("hipaa: no archives off the host", {"archives": ..., "compliance.frameworks": ["hipaa"]}, ["error archives"]),
    ("gdpr without a cap", {"compliance.erasure_cap": ...}, ["error compliance.erasure_cap"]),
    ("soc2 without a restore test", {"schedule.rehearsal": ...}, ["error schedule.rehearsal"]),
    ("soc2 with rare restore tests", {"schedule.rehearsal": "0 3 1 */2 *"}, ["error schedule.rehearsal"]),
    ("schema twice", {"schemas": ["auth", "core", "auth"]}, ["error schemas"]),
    ("table of a tenant and shared", {"tenancy.shared.0": {"schema": "auth", "table": "users"}}, ["error tenancy"]),
    ("framework twice", {"compliance.frameworks": ["gdpr", "gdpr"]}, ["error compliance.frameworks"]),
    (
        "channel twice",
        {"notification.channels": [{"name": "a", "secret_name": "b"}, {"name": "a", "secret_name": "c"}]},
        ["error notification.channels"],
    ),
    (
        "smoke query twice",
        {"recovery.smoke_queries": [{"name": "a", "sql": "SELECT 1"}, {"name": "a", "sql": "SELECT 2"}]},
        ["error recovery.smoke_queries"],
    ),
    (
        "PostgreSQL that no distribution packages well",
        {"cluster.package_source": "distribution"},
        ["error cluster.package_source"],
    ),
]

# The same keys at the last value that is allowed, and freedoms that other environments have.
HOLDS: list[tuple[str, dict[str, Any]]] = [
    (
        "archive timeout and margin at the RPO",
        {"objectives.rpo": "2m", "wal": {"archive_timeout": "60s", "lag_alert": "61s"}},
    ),
    ("lag alert below the RPO", {"wal.lag_alert": "899s"}),
    ("heartbeat at the RPO", {"schedule.heartbeat": "*/15 * * * *"}),
    ("full as rare as retention", {"schedule.full": "0 2 * * 0", "repositories.1.object_lock.days": 37}),
    (
        "slot as long as its interval",
        {"archives.cloud.weekly": {"retention": "1w"}, "archives.cloud.daily.retention": "1d"},
    ),
    ("archive that spends a day in its class", {"archives.cloud.weekly.retention": "31d"}),
    ("offsite lock as long as its retention", {"archives.offsite": {**OFFSITE, "object_lock": OFFSITE_LOCK}}),
    ("the same path in another bucket", {"repositories.0": {**S3, "bucket": "other-bucket"}}),
    ("a folder that only begins like the archives'", {"repositories.1.path": "/archived"}),
    ("the lab on its own host", {**NO_S3, "environment": "lab", "compliance.frameworks": ["gdpr"]}),
    ("the lab in the clear", {"environment": "lab", "repositories.1.cipher": "none"}),
    ("the lab without TLS verification", {"environment": "lab", "repositories.1.verify_tls": False}),
    ("staging without a KMS key", {"environment": "staging", "repositories.1.kms_key_id": ...}),
    ("lock as long as the oldest full", {"repositories.1.object_lock.days": 31}),
    ("erased data at the cap", {"compliance.erasure_cap": "66d"}),
    ("no lock", {"repositories.1.object_lock": ...}),
    ("sox kept by the offsite copy", {"archives.cloud.annual": ...}),
    (
        "hipaa kept six years",
        {"archives.cloud.annual.retention": "6y", "archives.offsite": ..., "compliance.frameworks": ["hipaa"]},
    ),
    ("no frameworks, no cap", {"compliance": {}, "schedule.rehearsal": ..., "archives": ...}),
    ("soc2 with monthly restore tests", {"schedule.rehearsal": "0 3 1 * *"}),
    ("the same table name in two schemas", {"tenancy.shared.0": {"schema": "core", "table": "users"}}),
    (
        "a dot in a name is no separator",
        {
            "tenancy.tables.0": {"schema": "a.b", "table": "c", "column": "x"},
            "tenancy.shared.0": {"schema": "a", "table": "b.c"},
        },
    ),
    ("PostgreSQL 17 of the distribution", {"cluster.package_source": "distribution", "cluster.postgresql_version": 17}),
    ("no tenancy", {"tenancy": ...}),
]


@pytest.mark.parametrize(("changes", "expected"), [case[1:] for case in BREAKS], ids=[case[0] for case in BREAKS])
def test_a_broken_promise_is_found_and_nothing_else(
    changed: Changed, changes: dict[str, Any], expected: list[str]
) -> None:
    findings = check_policy(changed(changes))
    assert [f"{f.severity} {f.path.removeprefix('recovery_policy.')}" for f in findings] == expected
    assert all(finding.remedy and "\n" not in str(finding) for finding in findings)


@pytest.mark.parametrize("changes", [case[1] for case in HOLDS], ids=[case[0] for case in HOLDS])
def test_a_promise_that_is_just_kept_is_taken(changed: Changed, changes: dict[str, Any]) -> None:
    assert check_policy(changed(changes)) == []


def test_the_sound_policy_has_no_findings(changed: Changed) -> None:
    policy = changed({})
    assert check_policy(policy) == []
    assert require_sound(policy) is policy


def test_warnings_do_not_refuse_a_policy_and_errors_come_first(changed: Changed) -> None:
    warned = changed({"schedule.full": "0 4 * * *"})
    assert require_sound(warned) is warned
    both = check_policy(changed({"schedule.full": "0 4 * * *", "schemas": ["a", "a"]}))
    assert [str(finding.severity) for finding in both] == ["error", "warning"]
    assert errors_of(both) == both[:1]


def test_an_unsound_policy_is_refused_with_every_reason(changed: Changed) -> None:
    policy = changed({"schemas": ["a", "a"], "repositories.1.cipher": "none"})
    with pytest.raises(PolicyError) as refused:
        require_sound(policy, source="policy.yml")
    assert str(refused.value).splitlines() == [
        "policy.yml: recovery_policy.repositories[1].cipher: backups of production would be stored in the clear "
        "(write aes-256-cbc);",
        "recovery_policy.schemas: 'a' stands twice (remove one)",
    ]


@settings(deadline=None, max_examples=100)
@given(timeout=st.integers(1, 2_000), rpo=st.integers(1, 2_000), alert=st.integers(1, 2_000))
def test_archiving_is_refused_exactly_when_the_rpo_cannot_be_kept(timeout: int, rpo: int, alert: int) -> None:
    policy = _POLICY.model_copy(
        update={
            "objectives": _POLICY.objectives.model_copy(update={"rpo": Duration(rpo, "s")}),
            "wal": _POLICY.wal.model_copy(
                update={"archive_timeout": Duration(timeout, "s"), "lag_alert": Duration(alert, "s")}
            ),
        }
    )
    refused = {finding.path.rsplit(".", 1)[1] for finding in errors_of(archiving_meets_rpo(policy))}
    assert ("archive_timeout" in refused) == (timeout + ARCHIVE_MARGIN_SECONDS > rpo)
    assert ("lag_alert" in refused) == (alert >= rpo)


_POLICY = Policy.model_validate(
    {
        "version": 1,
        "environment": "lab",
        "cluster": {"name": "erp-lab", "stanza": "erp", "database": "erp_generic", "postgresql_version": 17},
        "objectives": {"rto": "4h", "rpo": "15m"},
        "schedule": {"full": "0 2 * * *", "incremental": "0 */4 * * *", "heartbeat": "* * * * *"},
        "repositories": [LOCAL],
        "backup_volume": {"minimum_capacity": "1GB"},
        "schemas": ["auth"],
    }
)
