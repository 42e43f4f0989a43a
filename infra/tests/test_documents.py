"""Every policy document of production, whole.

The files in documents/ are the reviewed text; a difference is a change of who may do what. After a review:
``python -m pytest infra/tests/test_documents.py --write-documents``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recorder import COMMON, INFRA, PASSPHRASE, Recording, record, store_outputs

DOCUMENTS = Path(__file__).parent / "documents"
_KEYS = ("policy", "assumeRolePolicy")


def _documents(*recordings: Recording) -> dict[str, Any]:
    found = {}
    for recording in recordings:
        for resource in recording.resources:
            for key in _KEYS:
                if resource.type.startswith("aws:") and key in resource.inputs:
                    found[resource.name if key == "policy" else f"{resource.name}-trust"] = resource.document(key)
    return found


@pytest.fixture(scope="module")
def made(
    storage: Recording, access: Recording, site: Recording, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return {**_documents(storage, access, site), **_with_offsite_copy(tmp_path_factory.mktemp("offsite"))}


def _with_offsite_copy(folder: Path) -> dict[str, Any]:
    """Return what is different where the policy names a bucket in another account."""
    document = yaml.safe_load((INFRA.parent / "inventories/production/group_vars/all/policy.yml").read_text())
    document["recovery_policy"]["archives"]["offsite"].update(
        bucket="erp-generic-backups-offsite", region="eu-central-1"
    )
    (folder / "policy.yml").write_text(yaml.safe_dump(document))
    config = {**COMMON, "pgdr:policy": str(folder / "policy.yml"), "pgdr:tertiaryAccount": "310987654321"}
    bucket = "erp-generic-backups-prod"
    tertiary = {
        "bucket": "erp-generic-backups-offsite",
        "region": "eu-central-1",
        "kms_key_arn": "arn:aws:kms:eu-central-1:310987654321:key/tertiary",
    }
    stacks = {"organization/pgdr-storage/prod": {**store_outputs(bucket), "tertiary": tertiary}}
    made = _documents(
        record("storage", "prod", config),
        record("access", "prod", {**config, "pgdr:repositoryPassphrase": PASSPHRASE}, stacks),
    )
    kept = {"tertiary-policy", "tertiary-key", "tertiary-logs-policy"}
    return {name: made[name] for name in kept} | {"host-writer-with-offsite-policy": made["host-writer-policy"]}


NAMES = sorted(path.stem for path in DOCUMENTS.glob("*.json"))


def test_every_document_is_reviewed(made: dict[str, Any], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write-documents"):
        for name, document in made.items():
            text = json.dumps(document, indent=2) + "\n"
            (DOCUMENTS / f"{name}.json").write_text(text, encoding="utf-8")
    assert sorted(made) == sorted(path.stem for path in DOCUMENTS.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_document_is_what_was_reviewed(made: dict[str, Any], name: str) -> None:
    assert made[name] == json.loads((DOCUMENTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_ckv_aws_62_63_286_287_288_289_290_355_nothing_is_allowed_without_bounds(
    made: dict[str, Any], name: str
) -> None:
    """No "everything", and no everybody: what is allowed to all is bounded by a condition or a named principal."""
    for statement in made[name]["Statement"]:
        if statement["Effect"] == "Deny":
            continue
        assert statement["Action"] not in ("*", ["*"]), statement["Sid"]
        assert all(action != "*" and not action.endswith(":*") for action in statement["Action"]) or "Condition" in (
            statement
        ), statement["Sid"]
        if statement.get("Principal") in ("*", {"AWS": "*"}):
            assert "Condition" in statement, statement["Sid"]


@pytest.mark.parametrize(
    "name",
    ["store-policy", "store-logs-policy", "replica-policy", "replica-logs-policy", "trail-policy", "tertiary-policy"],
)
def test_fsbp_s3_5_cis_2_1_1_ckv_aws_70_379_tls_1_2_only(made: dict[str, Any], name: str) -> None:
    conditions = [s["Condition"] for s in made[name]["Statement"] if s["Effect"] == "Deny" and s["Action"] == ["s3:*"]]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert {"NumericLessThan": {"s3:TlsVersion": "1.2"}} in conditions
