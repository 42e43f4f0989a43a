"""``pgdr kit`` against an S3 API (moto's): history by versions, hidden kits found, refusals in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from pgdr.cli.main import main
from pgdr.errors import ExitCode

ROOT = Path(__file__).resolve().parents[3]
BUCKET = "erp-generic-backups-prod"
Kit = Callable[..., int]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server of its own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the server, with the versioned bucket of production's policy."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("PGDR_S3_ENDPOINT_URL", endpoint)
    client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    yield client
    for one in client.list_object_versions(Bucket=BUCKET).get("Versions", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])
    for one in client.list_object_versions(Bucket=BUCKET).get("DeleteMarkers", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Production's policy, with path style: moto has no host name for each bucket."""
    document = yaml.safe_load((ROOT / "inventories/production/group_vars/all/policy.yml").read_text(encoding="utf-8"))
    document["recovery_policy"]["repositories"][1]["uri_style"] = "path"
    file = tmp_path / "policy.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What playbooks/kit.yml has put together."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "inputs.yml").write_text("database_owner: erp_owner\n", encoding="utf-8")
    return made


def _put(folder: Path, policy: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["kit", "put", str(folder), f"--policy={policy}", "--output=json"]) == ExitCode.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_kit_is_stored_when_it_changed_and_every_version_comes_back(
    bucket: Any, policy: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _put(folder, policy, capsys)
    assert (first["changed"], first["key"]) == (True, "kit/erp/kit.tar")
    assert _put(folder, policy, capsys)["changed"] is False
    (folder / "inputs.yml").write_text("database_owner: other\n", encoding="utf-8")
    assert _put(folder, policy, capsys)["changed"] is True
    assert main(["kit", "fetch", str(tmp_path / "new"), f"--policy={policy}"]) == ExitCode.OK
    assert "other" in (tmp_path / "new" / "inputs.yml").read_text(encoding="utf-8")
    argv = ["kit", "fetch", str(tmp_path / "old"), f"--policy={policy}", f"--version={first['version']}"]
    assert main(argv) == ExitCode.OK
    assert "erp_owner" in (tmp_path / "old" / "inputs.yml").read_text(encoding="utf-8")


def test_a_kit_that_a_thief_has_hidden_is_found(
    bucket: Any, policy: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A writer's stolen key can put a delete marker over it, and no more."""
    _put(folder, policy, capsys)
    bucket.delete_object(Bucket=BUCKET, Key="kit/erp/kit.tar")
    assert main(["kit", "fetch", str(tmp_path / "new"), f"--policy={policy}"]) == ExitCode.OK
    assert _put(folder, policy, capsys)["changed"] is True


def test_what_is_not_there_is_said_in_one_line(
    bucket: Any, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kit", "fetch", str(tmp_path / "new"), f"--policy={policy}"]) == ExitCode.REFUSED
    assert f"{BUCKET} holds no kit" in capsys.readouterr().err
    # The replica's bucket does not exist here.
    assert main(["kit", "fetch", str(tmp_path / "new"), f"--policy={policy}", "--replica"]) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "erp-generic-backups-prod-replica" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_server_that_does_not_answer_is_unreachable(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("PGDR_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    assert main(["kit", "list", f"--policy={policy}"]) == ExitCode.UNREACHABLE
    assert capsys.readouterr().err.count("\n") == 1
