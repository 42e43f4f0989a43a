"""``pgdr kit`` against an S3 API (moto's): history by versions, hidden kits found, refusals in one line."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from scripts.tests.integration.bucket import BUCKET, make

from pgdr.cli.main import main
from pgdr.errors import ExitCode

ROOT = Path(__file__).resolve().parents[3]
Put = Callable[[dict[str, Any]], Any]


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
    make(client)
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
def parts(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What playbooks/kit.yml hands over; the host's part is what this machine says of itself."""
    authority = tmp_path / "it's a ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")
    assert main(["kit", "ask", str(authority)]) == ExitCode.OK
    host = json.loads(capsys.readouterr().out)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / f"{host['release']}.tar").write_bytes(b"wheels")
    texts = {"policy.yml": policy.read_text(encoding="utf-8"), "inputs.yml": "database_owner: erp_owner\n"}
    return {"host": host, "wheelhouse_cache": str(cache), "texts": texts}


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Put:
    """Hands parts to ``pgdr kit put`` and returns what it did."""

    def handed(parts: dict[str, Any]) -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(parts)))
        capsys.readouterr()
        assert main(["kit", "put", "--output=json"]) == ExitCode.OK
        return json.loads(capsys.readouterr().out)

    return handed


def test_a_kit_is_stored_when_it_changed_and_every_version_comes_back(
    bucket: Any, policy: Path, parts: dict[str, Any], put: Put, tmp_path: Path
) -> None:
    first = put(parts)
    assert (first["changed"], first["key"]) == (True, "kit/erp/kit.tar")
    assert put(parts)["changed"] is False
    parts["texts"]["inputs.yml"] = "database_owner: other\n"
    assert put(parts)["changed"] is True
    assert main(["kit", "fetch", str(tmp_path / "new"), f"--policy={policy}"]) == ExitCode.OK
    assert "other" in (tmp_path / "new" / "inputs.yml").read_text(encoding="utf-8")
    argv = ["kit", "fetch", str(tmp_path / "old"), f"--policy={policy}", f"--version={first['version']}"]
    assert main(argv) == ExitCode.OK
    assert "erp_owner" in (tmp_path / "old" / "inputs.yml").read_text(encoding="utf-8")
    assert (tmp_path / "old" / "wheelhouse" / f"{parts['host']['release']}.tar").read_bytes() == b"wheels"
    (kept,) = [json.loads(file.read_text()) for file in (tmp_path / "old" / "files").iterdir()]
    assert kept["path"].endswith("it's a ca.pem")
    assert base64.b64decode(kept["content"]).startswith(b"-----BEGIN")


def test_a_kit_that_a_thief_has_hidden_is_found(
    bucket: Any, policy: Path, parts: dict[str, Any], put: Put, tmp_path: Path
) -> None:
    """A writer's stolen key can put a delete marker over it, and no more."""
    put(parts)
    bucket.delete_object(Bucket=BUCKET, Key="kit/erp/kit.tar")
    assert main(["kit", "fetch", str(tmp_path / "new"), f"--policy={policy}"]) == ExitCode.OK
    assert put(parts)["changed"] is True


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


def test_what_makes_no_kit_is_refused_in_one_line_without_a_secret(
    bucket: Any, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = parts["host"]
    elsewhere = {**parts, "host": {**host, "release": "0.1.0-py3.13-x86_64"}}
    outside = {**parts, "texts": {**parts["texts"], "../x": ""}}
    wrong = {**parts, "texts": {"secrets.yml": ["hush-hush"]}}
    for handed, said in (
        ("", "no JSON document"),
        (json.dumps(elsewhere), "0.1.0-py3.13-x86_64.tar is not on this machine"),
        (json.dumps(outside), "'../x' is no file name"),
        (json.dumps(wrong), "texts.secrets.yml: Input should be a valid string"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(handed))
        capsys.readouterr()
        assert main(["kit", "put"]) == ExitCode.CONFIG
        heard = capsys.readouterr().err
        assert said in heard
        assert "hush" not in heard
        assert heard.count("\n") == 1
    assert "Versions" not in bucket.list_object_versions(Bucket=BUCKET)


def test_a_file_that_a_rebuild_needs_and_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kit", "ask", "/nowhere/ca.pem"]) == ExitCode.FAILED
    assert "cannot read /nowhere/ca.pem: No such file" in capsys.readouterr().err
