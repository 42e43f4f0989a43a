"""Archives in verify, expire and hold: damage is named wherever it is, and what people hold stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from pgdr import hostconfig
from pgdr.archive.names import label_of
from pgdr.errors import ExitCode
from pgdr.health import Check
from pgdr.policy.load import load_policy
from pgdr.proof.archives import verify_archives
from pgdr.proof.findings import findings_file
from pgdr.proof.marks import marks_file, record_archive_proven
from pgdr.retention.archives import ArchivesPlace
from pgdr.retention.expire import Expired, expire

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site

_CLOUD = {"cloud": {"repository": 2, "daily": {"retention": "30d"}, "annual": {"retention": "7y"}}}
_BUCKET = "erp-archives"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=_BUCKET)
        yield client


def _verified(site: Site) -> dict[str, Check]:
    host, policy = hostconfig.load(site.folder / "host.yml"), load_policy(site.folder / "policy.yml")
    return {check.name: check for check in verify_archives(host, policy)}


def _expired(site: Site, *, plan_only: bool = False) -> Expired:
    host, policy = hostconfig.load(site.folder / "host.yml"), load_policy(site.folder / "policy.yml")
    assert policy.archives is not None
    [result] = expire(host, [ArchivesPlace(host, policy.archives, marks_file(host).read())], plan_only=plan_only)
    return result


def _aged(site: Site, days: int) -> Path:
    folder = Path(site.ask("archive")["folder"])
    old = folder.with_name(label_of(datetime.now(UTC) - timedelta(days=days)))
    folder.rename(old)
    return old


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_on_the_volume_each_is_read_whole_once_and_by_checksum_from_then_on(site: Site) -> None:
    folder = Path(site.ask("archive")["folder"])
    assert str(_verified(site)["archives"].level) == "green"
    assert (folder / "verified.json").exists()
    biggest = max((path for path in folder.rglob("*.dat*")), key=lambda path: path.stat().st_size)
    whole = biggest.read_bytes()
    _flip(biggest)
    red = _verified(site)["archives"]
    assert str(red.level) == "red"
    assert f"archive {folder.name} is damaged" in red.message
    assert not (folder / "verified.json").exists()
    host = hostconfig.load(site.folder / "host.yml")
    assert findings_file(host).read().looks["archives"].findings["archives"].level == "red"
    biggest.write_bytes(whole)
    assert str(_verified(site)["archives"].level) == "green"


def test_in_the_cloud_what_differs_from_the_manifest_is_named(make_site: Callable[..., Site], s3: Any) -> None:
    site = make_site(**_CLOUD)
    label = site.ask("archive")["label"]
    found = _verified(site)["archives-cloud"]
    assert str(found.level) == "green"
    assert "2 copies in the cloud, 2 held against checksums now" in found.message
    # Known to be whole, they are not asked for again for a month.
    assert "0 held against checksums now" in _verified(site)["archives-cloud"].message
    host = hostconfig.load(site.folder / "host.yml")
    looks = host.state_directory / "cloud-archives.json"
    prefix = f"archive/annual/erp/{label}/"
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=_BUCKET, Prefix=prefix)["Contents"]]
    victim = next(key for key in keys if key.endswith("toc.dat"))
    content = s3.get_object(Bucket=_BUCKET, Key=victim)["Body"].read()
    for wrong, said in (
        (content[:-1], f"bytes instead of {len(content)}"),
        (content[:-1] + bytes([content[-1] ^ 1]), "has another checksum on the server"),
    ):
        s3.put_object(Bucket=_BUCKET, Key=victim, Body=wrong, ChecksumAlgorithm="SHA256")
        looks.unlink()
        red = _verified(site)["archives-cloud"]
        assert str(red.level) == "red"
        assert f"annual/{label}: {victim.removeprefix(prefix)}" in red.message
        assert said in red.message
    s3.delete_object(Bucket=_BUCKET, Key=victim)
    looks.unlink()
    assert "is missing" in _verified(site)["archives-cloud"].message


def test_expiry_keeps_the_last_good_one_what_is_held_and_what_is_young(site: Site) -> None:
    oldest, held, proven = _aged(site, 40), _aged(site, 30), _aged(site, 20)
    young = Path(site.ask("archive")["folder"])
    assert (
        site.run(
            "hold", "add", held.name, "--reason", "it's 'litigation' 7", "--policy", str(site.folder / "policy.yml")
        )
        == 0
    )
    # Nobody has read or restored any: nothing goes.
    assert _expired(site).removed == ()
    host = hostconfig.load(site.folder / "host.yml")
    record_archive_proven(host, proven.name, datetime.now(UTC), 1.0, 1)
    planned = _expired(site, plan_only=True)
    assert planned.plan is not None
    assert [copy.label for copy in planned.plan.doomed] == [oldest.name]
    assert oldest.exists()
    assert _expired(site).removed == (oldest.name,)
    assert not oldest.exists()
    assert held.exists()
    assert proven.exists()
    assert young.exists()
    # `pgdr archive` itself removes what is past its time, and knows of the hold too.
    (proven / "verified.json").write_text('{"at": "2026-01-01T00:00:00+00:00"}')
    assert site.ask("archive")["expired"] == []
    assert held.exists()
    # Each stands alone: with a younger good one nothing older is needed.
    record_archive_proven(host, young.name, datetime.now(UTC), 1.0, 1)
    assert _expired(site).removed == (proven.name,)
    assert site.run("hold", "release", held.name, "--reason", "closed") == 0
    assert _expired(site).removed == (held.name,)


def test_only_what_is_there_can_be_held(site: Site) -> None:
    site.ask("archive")
    policy = ("--policy", str(site.folder / "policy.yml"))
    refused = site.refused("hold", "add", "20200101_000000", "--reason", "x", *policy, code=ExitCode.REFUSED)
    assert "no archive 20200101_000000" in refused
    refused = site.refused("hold", "add", "20200101_000000", "--repo", "1", "--reason", "x", *policy)
    assert "is an archive, and in no repository" in refused
