"""A configuration that is wrong stops before any resource, with one line that names the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from tests.recorder import ACCOUNT, COMMON, INFRA, PASSPHRASE, Recording, record, record_access, store_outputs

Edit = Callable[[dict[str, Any]], object]
STORE = {"organization/pgdr-storage/prod": store_outputs("erp-generic-backups-prod")}


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[Edit], str]:
    """Write production's policy with a change, and return its path."""

    def write(edit: Edit) -> str:
        document = yaml.safe_load((INFRA.parent / "inventories/production/group_vars/all/policy.yml").read_text())
        edit(document["recovery_policy"])
        path = tmp_path / "policy.yml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return write


def _refusal(run: Callable[[], Recording], made: list[Any]) -> str:
    """Return the one line of a refusal; nothing may have been registered before it."""
    with pytest.raises(pulumi.RunError) as refused:
        made.append(run())
    assert made == []
    line = str(refused.value)
    assert "\n" not in line
    return line


def _s3(policy: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = policy["repositories"][1]
    return found


EDITS: list[tuple[str, Edit, str]] = [
    ("replica in the same region", lambda p: _s3(p)["replica"].update(region="us-east-1"), "replica.region: us-east-1"),
    ("lock above the erasure cap", lambda p: _s3(p)["object_lock"].update(days=91), "object_lock.days: 91 days"),
    (
        "retention below the preset",
        lambda p: (p["archives"]["cloud"]["annual"].update(retention="6y"), p["archives"].pop("offsite")),
        "archives.cloud.annual.retention: 6y",
    ),
    ("no lock", lambda p: _s3(p).pop("object_lock"), "has no object_lock"),
    ("no S3 repository", lambda p: p["repositories"].pop(), "recovery_policy.repositories"),
    ("another environment", lambda p: p.update(environment="recovery"), "pgdr:policy"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "expected"), [case[1:] for case in EDITS], ids=[case[0] for case in EDITS])
def test_a_policy_that_cannot_be_kept_makes_nothing(edited: Callable[[Edit], str], edit: Edit, expected: str) -> None:
    path = edited(edit)
    assert expected in _refusal(lambda: record("storage", "prod", {**COMMON, "pgdr:policy": path}), [])


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"pgdr:account": None}, "pgdr:account is missing"),
        ({"pgdr:account": "prod"}, "pgdr:account: 'prod'"),
        ({"pgdr:deployer": None}, "pgdr:deployer is missing"),
        ({"pgdr:policy": "nowhere.yml"}, "nowhere.yml"),
        ({"pgdr:endpoint": "http://127.0.0.1:5000"}, "pgdr:endpoint: production"),
        ({"pgdr:repository": "1"}, "no repository of type s3 with id 1"),
    ],
)
def test_a_stack_that_is_not_filled_in_makes_nothing(config: dict[str, str | None], key: str) -> None:
    assert key in _refusal(lambda: record("storage", "prod", {**COMMON, **config}), [])


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({}, "pgdr:repositoryPassphrase is missing"),
        ({"pgdr:repositoryPassphrase": "short"}, "pgdr:repositoryPassphrase: shorter than 20"),
        ({"pgdr:repositoryPassphrase": PASSPHRASE, "pgdr:alarmEmails": '["nobody"]'}, "pgdr:alarmEmails: 'nobody'"),
    ],
)
def test_access_without_its_secret_makes_nothing(config: dict[str, str], key: str) -> None:
    line = _refusal(lambda: record("access", "prod", {**COMMON, **config}, STORE), [])
    assert key in line
    assert "short'" not in line


def test_access_on_the_store_of_another_stack_is_refused() -> None:
    assert "pgdr:storageStack: its bucket is other" in _refusal_in_output(lambda: record_access("prod", "other"))


def _refusal_in_output(run: Callable[[], Recording]) -> str:
    with pytest.raises(pulumi.RunError, match="storageStack") as refused:
        run()
    return str(refused.value)


def test_offsite_copy_in_the_same_account_is_refused(edited: Callable[[Edit], str]) -> None:
    path = edited(lambda p: p["archives"]["offsite"].update(bucket="erp-generic-backups-offsite"))
    config = {**COMMON, "pgdr:policy": path}
    assert "pgdr:tertiaryAccount is missing" in _refusal(lambda: record("storage", "prod", config), [])
    same = {**config, "pgdr:tertiaryAccount": ACCOUNT}
    assert "pgdr:tertiaryAccount: " in _refusal(lambda: record("storage", "prod", same), [])


def test_offsite_copy_is_in_the_other_account_for_seven_years(edited: Callable[[Edit], str]) -> None:
    lock = {"mode": "compliance", "days": 2557}
    offsite = {"bucket": "erp-generic-backups-offsite", "region": "eu-central-1", "object_lock": lock}
    path = edited(lambda p: p["archives"]["offsite"].update(offsite))
    config = {**COMMON, "pgdr:policy": path, "pgdr:tertiaryAccount": "310987654321"}
    made = record("storage", "prod", config)
    assert made.one("tertiary-lock").inputs["rule"] == {"defaultRetention": {"mode": "COMPLIANCE", "days": 2557}}
    (other,) = [p for p in made.of("pulumi:providers:aws") if p.inputs["allowedAccountIds"] == '["310987654321"]']
    assert other.inputs["region"] == made.one("tertiary-bucket").region == "eu-central-1"
    (rule,) = [r for r in made.one("tertiary-lifecycle").inputs["rules"] if r["id"] == "offsite"]
    assert rule["expiration"] == {"days": 2557}
    assert rule["transitions"] == [{"days": 1, "storageClass": "DEEP_ARCHIVE"}]
    (allow,) = [s for s in made.one("tertiary-policy").document("policy")["Statement"] if s["Effect"] == "Allow"]
    assert allow == {
        "Sid": "AllowCopy",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": ["s3:AbortMultipartUpload", "s3:PutObject"],
        "Resource": "arn:aws:s3:::erp-generic-backups-offsite/*",
        "Condition": {"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/erp-prod-host-writer"}},
    }


def test_a_wrong_assertion_in_a_callback_fails() -> None:
    """Guards the other tests: Pulumi swallows what a callback raises unless its own test wrapper waits for it."""

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def wrong() -> pulumi.Output[None]:
        def check(value: int) -> None:
            assert value == 2

        return pulumi.Output.from_input(1).apply(check)

    with pytest.raises(AssertionError):
        wrong()
