"""Reading a policy file: every problem is one line that names the place and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgdr.errors import ConfigError, ExitCode
from pgdr.policy import PolicyError, load_policy, parse_policy

Spoiled = Callable[[Mapping[str, Any]], dict[str, Any]]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a policy file."""

    def write(text: str) -> Path:
        path = tmp_path / "policy.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def _lines(document: object) -> list[str]:
    with pytest.raises(PolicyError) as refused:
        parse_policy(document)
    assert refused.value.exit_code is ExitCode.CONFIG
    return [str(finding) for finding in refused.value.findings]


def test_a_file_is_read(file: Callable[[str], Path], document: dict[str, Any]) -> None:
    path = file(yaml.safe_dump({"recovery_policy": document}))
    assert load_policy(path) == parse_policy(document)


def test_another_key_can_hold_the_policy(file: Callable[[str], Path], document: dict[str, Any]) -> None:
    path = file(yaml.safe_dump({"policy": document | {"typo": 1}}))
    with pytest.raises(PolicyError, match=r"policy\.yml: policy\.typo: unknown key"):
        load_policy(path, key="policy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recovery_policy: {a: 1, b: 2, a: 3}", r"policy\.yml:1:31: key 'a' stands twice"),
        ("recovery_policy:\n  a: 1\n  b: {c: 1}\n  b: {d: 1}\n", r"policy\.yml:4:3: key 'b' stands twice"),
        ("recovery_policy:\n  a: [1\n", r"policy\.yml:3:1: expected ',' or ']'"),
        ("recovery_policy:\n\ta: 1\n", r"policy\.yml:2:1: found character '\\t'"),
        ("recovery_policy: !!python/name:os.system\n", r"policy\.yml:1:18: could not determine a constructor"),
        ("a: \x07", r"policy\.yml: .*special characters"),
        ("", r"no key 'recovery_policy'"),
        ("- 1", r"no key 'recovery_policy'"),
        ("policy: {}", r"no key 'recovery_policy'"),
    ],
)
def test_what_is_no_policy_file_is_refused_with_line_and_column(
    file: Callable[[str], Path], text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_policy(file(text))
    assert refused.value.exit_code is ExitCode.CONFIG
    assert "\n" not in str(refused.value)


def test_a_key_that_slipped_out_of_the_policy_is_not_lost_silently(
    file: Callable[[str], Path], document: dict[str, Any]
) -> None:
    path = file(yaml.safe_dump({"recovery_policy": document, "notification": {}}))
    with pytest.raises(PolicyError, match="notification: does not belong here"):
        load_policy(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no policy at .*/absent\.yml \(name the file"):
        load_policy(tmp_path / "absent.yml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        load_policy(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.yml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_policy(path)


def test_a_misspelt_key_is_answered_with_the_right_one(spoiled: Spoiled) -> None:
    assert _lines(spoiled({"repositories.1.retention": {"full": "30d", "ful": "7d"}})) == [
        "recovery_policy.repositories[1].retention.ful: unknown key; did you mean 'full'?"
    ]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("objectives.rp", "1m", "recovery_policy.objectives.rp: unknown key; did you mean 'rpo'?"),
        ("shedule", {}, "recovery_policy.shedule: unknown key; did you mean 'schedule'?"),
        (
            "repositories.1.buket",
            "x",
            "recovery_policy.repositories[1].buket: unknown key; did you mean 'bucket'?",
        ),
        (
            "archives.cloud.weekly.storage",
            "x",
            "recovery_policy.archives.cloud.weekly.storage: unknown key; did you mean 'storage_class'?",
        ),
        (
            "repositories.1.kms_key",
            "x",
            "recovery_policy.repositories[1].kms_key: unknown key; did you mean 'kms_key_id'?",
        ),
        ("objectives.zzz", 1, "recovery_policy.objectives.zzz: unknown key (known here: rpo, rto)"),
        (
            "tenancy.shared.0.schemas",
            1,
            "recovery_policy.tenancy.shared[0].schemas: unknown key; did you mean 'schema'?",
        ),
        ("objectives.rpo", ..., "recovery_policy.objectives.rpo: missing (such as: 15m)"),
        (
            "repositories.1.bucket",
            ...,
            "recovery_policy.repositories[1].bucket: missing (such as: erp-generic-backups-prod)",
        ),
        ("repositories.1.type", ..., "recovery_policy.repositories[1]: missing key 'type' (posix or s3)"),
        (
            "repositories.1.type",
            "azure",
            "recovery_policy.repositories[1]: type 'azure' is not supported yet (use posix or s3)",
        ),
        (
            "repositories.1.type",
            "gcs",
            "recovery_policy.repositories[1]: type 'gcs' is not supported yet (use posix or s3)",
        ),
        (
            "environment",
            "prod",
            "recovery_policy.environment: must be 'production', 'staging', 'recovery' or 'lab', not 'prod'",
        ),
        ("objectives.rpo", 900, "recovery_policy.objectives.rpo: must be text such as '4h', not 900"),
        ("objectives", None, "recovery_policy.objectives: must be a mapping of keys, not nothing"),
        ("schemas", "auth", "recovery_policy.schemas: must be a list, not 'auth'"),
        ("cluster.port", {"a": 1}, "recovery_policy.cluster.port: must be a whole number, not a mapping"),
        ("backup_volume", ..., "recovery_policy.backup_volume: missing (such as: {'minimum_capacity': '500GB'})"),
        ("schemas", [], "recovery_policy.schemas: must have at least 1, not a list"),
        ("cluster.port", "5432", "recovery_policy.cluster.port: must be a whole number, not '5432'"),
        ("cluster.port", 0, "recovery_policy.cluster.port: must be at least 1, not 0"),
        ("cluster.port", 99_999, "recovery_policy.cluster.port: must be at most 65535, not 99999"),
        ("cluster.stanza", 5, "recovery_policy.cluster.stanza: must be text, not 5"),
        (
            "repositories.1.verify_tls",
            "yes",
            "recovery_policy.repositories[1].verify_tls: must be true or false, not 'yes'",
        ),
    ],
)
def test_each_problem_is_one_line_with_key_and_remedy(spoiled: Spoiled, path: str, value: object, line: str) -> None:
    assert _lines(spoiled({path: value})) == [line]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("repositories.1", "cipher_pass"),
        ("repositories.1", "s3_key"),
        ("repositories.1", "s3_key_secret"),
        ("repositories.1", "secret_access_key"),
        ("cluster", "password"),
        ("cluster", "postgres_password"),
        ("notification.channels.0", "webhook_url"),
        ("notification.channels.0", "token"),
    ],
)
def test_a_secret_is_sent_to_the_vault_and_never_shown(spoiled: Spoiled, path: str, key: str) -> None:
    [line] = _lines(spoiled({f"{path}.{key}": "hunter2-hunter2"}))
    assert line.endswith(
        f".{key}: looks like a secret (move it to vault.yml of the inventory; the policy is no place for secrets)"
    )
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("key", "value"),
    [("storage_class", "GLACIER"), ("transitions", [{"after": "30d"}]), ("lifecycle", {}), ("expiration", "365d")],
)
def test_a_live_repository_has_no_storage_class_and_no_rule_of_age(spoiled: Spoiled, key: str, value: object) -> None:
    [line] = _lines(spoiled({f"repositories.1.{key}": value}))
    assert line.startswith(f"recovery_policy.repositories[1].{key}: not allowed here (pgBackRest cannot read")


@pytest.mark.parametrize("key", ["wal", "archive", "incremental", "diff"])
def test_wal_and_increments_have_no_retention_of_their_own(spoiled: Spoiled, key: str) -> None:
    [line] = _lines(spoiled({f"repositories.0.retention.{key}": "7d"}))
    assert line.startswith(f"recovery_policy.repositories[0].retention.{key}: not allowed here (pgBackRest keeps")


def test_one_policy_is_for_one_version_of_postgresql(spoiled: Spoiled) -> None:
    [line] = _lines(spoiled({"cluster.postgresql_versions": [16, 17]}))
    assert "one policy protects one cluster" in line


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{{ stanza }}", "is a template"),
        ("{% if x %}", "is a template"),
        ("CHANGEME", "is a placeholder"),
        ("change-me", "is a placeholder"),
        ("<kms key>", "is a placeholder"),
        ("TODO", "is a placeholder"),
    ],
)
def test_what_is_not_filled_in_yet_is_said_once(spoiled: Spoiled, value: str, message: str) -> None:
    [line] = _lines(spoiled({"repositories.1.kms_key_id": value}))
    assert line.startswith("recovery_policy.repositories[1].kms_key_id: ")
    assert message in line


def test_a_secret_in_an_innocent_place_is_found_and_not_shown(spoiled: Spoiled) -> None:
    planted = "AKIA" + "ABCDEFGHIJKLMNOP"
    [line] = _lines(spoiled({"repositories.1.kms_key_id": planted}))
    assert "holds a secret" in line
    assert planted not in line


def test_all_problems_are_told_at_once(spoiled: Spoiled) -> None:
    lines = _lines(spoiled({"objectives.rpo": ..., "repositories.1.typo": 1, "schemas.0": "pg_x", "typo": 1}))
    assert [line.split(": ", 1)[0] for line in sorted(lines)] == [
        "recovery_policy.objectives.rpo",
        "recovery_policy.repositories[1].typo",
        "recovery_policy.schemas[0]",
        "recovery_policy.typo",
    ]


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_what_is_no_mapping_is_no_policy(document: object) -> None:
    [line] = _lines(document)
    assert line.startswith("recovery_policy: must be a mapping of keys, not ")


def test_a_long_value_is_not_shown_whole(spoiled: Spoiled) -> None:
    [line] = _lines(spoiled({"environment": "x" * 500}))
    assert len(line) < 200
