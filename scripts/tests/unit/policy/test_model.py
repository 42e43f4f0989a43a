"""The shape of the policy: names, strictness, and a schema that explains itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pgdr.policy import Policy, PolicyError, parse_policy
from pgdr.policy.base import Section

Spoiled = Callable[[Mapping[str, Any]], dict[str, Any]]
SchemaProblems = Callable[[object], list[str]]


def _sections(base: type[BaseModel] = Section) -> Iterator[type[BaseModel]]:
    for section in base.__subclasses__():
        yield section
        yield from _sections(section)


@pytest.mark.parametrize("section", list(_sections()), ids=lambda section: section.__name__)
def test_every_key_explains_itself(section: type[BaseModel]) -> None:
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name} has no description"
        assert field.examples, f"{section.__name__}.{name} has no example"


def test_the_sound_policy_is_taken(document: dict[str, Any], schema_problems: SchemaProblems) -> None:
    policy = parse_policy(document)
    assert [repository.type for repository in policy.repositories] == ["posix", "s3"]
    assert policy.s3_repositories[0].effective_endpoint == "s3.us-east-1.amazonaws.com"
    assert schema_problems(document) == []


@pytest.mark.parametrize(("path", "value"), [("key_age_warning", "90d"), ("longest_key_age", "2w")])
def test_people_are_told_of_a_key_before_it_is_too_old(spoiled: Spoiled, path: str, value: str) -> None:
    with pytest.raises(PolicyError, match=r"key_age_warning .* is not shorter than longest_key_age"):
        parse_policy(spoiled({f"compliance.{path}": value}))


@pytest.mark.parametrize("account", ["210987654321", ""])
def test_a_role_of_aws_and_one_of_a_server_without_accounts_are_taken(spoiled: Spoiled, account: str) -> None:
    role = f"arn:aws:iam::{account}:role/erp-side-reader"
    assert parse_policy(spoiled({"repositories.1.reader_role": role})).s3_repositories[0].reader_role == role


def test_a_policy_cannot_be_changed(document: dict[str, Any]) -> None:
    policy = parse_policy(document)
    with pytest.raises(ValidationError):
        policy.objectives.rpo = policy.objectives.rto


def test_the_policy_that_is_shown_is_the_same_policy(document: dict[str, Any], schema_problems: SchemaProblems) -> None:
    policy = parse_policy(document)
    shown = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert parse_policy(shown) == policy
    assert schema_problems(shown) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("repositories.1.reader_role", "erp-side-reader"),
        ("repositories.1.reader_role", "arn:aws:iam::12:role/reader"),
        ("repositories.1.reader_role", "arn:aws:iam::210987654321:user/reader"),
        ("repositories.1.reader_role", "arn:aws:iam::210987654321:role/a b"),
        ("cluster.name", "ERP"),
        ("cluster.name", "erp prod"),
        ("cluster.name", "erp-prod\n"),
        ("cluster.stanza", "erp;rm"),
        ("cluster.stanza", "../erp"),
        ("cluster.stanza", "-erp"),
        ("cluster.database", "erp generic"),
        ("cluster.database", 'erp"'),
        ("cluster.database", "a" * 64),
        ("cluster.postgresql_version", 14),
        ("cluster.postgresql_version", 19),
        ("cluster.postgresql_version", "16"),
        ("cluster.port", True),
        ("cluster.port", "5432"),
        ("cluster.data_directory", "pgdata"),
        ("cluster.data_directory", "/data/../etc"),
        ("cluster.data_directory", "/data dir"),
        ("version", 2),
        ("environment", "prod"),
        ("objectives.rpo", 900),
        ("objectives.rto", "4 hours"),
        ("schedule.full", "@daily"),
        ("schemas", []),
        ("schemas.0", "a\nb"),
        ("schemas.0", "a\u0000b"),
        ("schemas.0", ""),
        ("schemas.0", "pg_toast"),
        ("schemas.0", "information_schema"),
        ("schemas.0", "é" * 32),
        ("repositories", []),
        ("repositories.0.id", 0),
        ("repositories.0.id", 257),
        ("repositories.0.path", "/"),
        ("repositories.0.retention.full", "36h"),
        ("repositories.0.cipher", "aes-128"),
        ("repositories.1.bucket", "Backups"),
        ("repositories.1.bucket", "a.b"),
        ("repositories.1.endpoint", "https://s3"),
        ("repositories.1.endpoint", "s3:443"),
        ("repositories.1.endpoint", "key:secret@s3"),
        ("repositories.1.port", 70_000),
        ("repositories.1.kms_key_id", "arn:aws:kms:us-east-1:123456789012:key/abc"),
        ("repositories.1.kms_key_id", "arn:aws:kms:us-east-1:000000000000:key/abc"),
        ("repositories.1.kms_key_id", "xxxxxxxx-xxxx"),
        ("repositories.1.verify_tls", "yes"),
        ("repositories.1.versions", 101),
        ("repositories.1.object_lock.mode", "legal"),
        ("backup_volume.device", "/tmp/disk"),  # noqa: S108 - a path that must be refused
        ("backup_volume.minimum_capacity", "500"),
        ("wal.max_wal_senders", 2),
        ("notification.channels.0.secret_name", "https://hooks.example.com/x"),
        ("recovery.smoke_queries.0.sql", "DELETE FROM auth.users"),
        ("recovery.smoke_queries.0.sql", "SELECT 1; DROP TABLE x"),
        ("recovery.application.health_url", "https://user:pw@example.com/"),
        ("recovery.dns", {"zone": "example.com", "record": "erp.example.org"}),
        ("recovery.dns", {"zone": "example.com", "record": "badexample.com"}),
    ],
)
def test_a_wrong_value_is_refused_by_its_own_key(spoiled: Spoiled, path: str, value: object) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_policy(spoiled({path: value}))
    [finding] = refused.value.findings
    expected = "recovery_policy." + "".join(
        f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".")
    ).removeprefix(".")
    assert finding.path == expected
    assert "\n" not in finding.message


@pytest.mark.parametrize(
    "name", ["sales", "Ventas 2024", 'x"; DROP', "a*", "ñandú", "50%", "a" * 63, "é" * 31, "public"]
)
def test_a_schema_may_have_any_name_that_postgresql_takes(
    spoiled: Spoiled, schema_problems: SchemaProblems, name: str
) -> None:
    document = spoiled({"schemas": [name]})
    assert parse_policy(document).schemas == (name,)
    assert schema_problems(document) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("objectives.rpo", "15 minutes"),
        ("schedule.full", "@daily"),
        ("cluster.stanza", "erp;rm"),
        ("repositories.1.typo", 1),
        ("typo", 1),
        ("repositories.0.type", "azure"),
        ("repositories.0.bucket", "a-bucket"),
    ],
)
def test_the_schema_refuses_what_the_model_refuses(
    spoiled: Spoiled, schema_problems: SchemaProblems, path: str, value: object
) -> None:
    document = spoiled({path: value})
    with pytest.raises(PolicyError):
        parse_policy(document)
    assert schema_problems(document)


def test_an_endpoint_in_china_has_its_own_domain(spoiled: Spoiled) -> None:
    policy: Policy = parse_policy(spoiled({"repositories.1.region": "cn-north-1"}))
    assert policy.s3_repositories[0].effective_endpoint == "s3.cn-north-1.amazonaws.com.cn"
