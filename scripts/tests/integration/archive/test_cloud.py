"""Archives in a bucket: moto plays S3 (AWS cannot be had); what it stores and refuses is looked at, never a call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml

from pgdr.archive import bucket
from pgdr.archive.names import label_of
from pgdr.errors import ExitCode, UnreachableError

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site

BUCKET = "erp-archives"
SLOTS = {
    "cloud": {
        "repository": 2,
        "daily": {"retention": "30d"},
        "weekly": {"retention": "12w"},
        "monthly": {"retention": "12mo", "storage_class": "GLACIER"},
        "annual": {"retention": "7y", "storage_class": "DEEP_ARCHIVE"},
    }
}


@pytest.fixture
def s3(aws: None) -> Any:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def cloud_site(s3: Any, make_site: Callable[..., Site]) -> Site:
    return make_site(**SLOTS)


def _keys(s3: Any, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def test_a_host_that_was_recovered_from_the_replica_copies_its_archives_there(cloud_site: Site, s3: Any) -> None:
    """Where pgBackRest archives, archives go: the first region may be gone."""
    path = cloud_site.folder / "policy.yml"
    policy = yaml.safe_load(path.read_text())
    policy["recovery_policy"]["repositories"][1]["replica"] = {"region": "us-west-2", "bucket": "erp-archives-copy"}
    path.write_text(yaml.safe_dump(policy))
    s3.create_bucket(Bucket="erp-archives-copy")
    engine = cloud_site.folder / "pgbackrest.conf"
    engine.write_text(
        "[global]\nrepo2-type=s3\nrepo2-s3-bucket=erp-archives-copy\nrepo2-s3-region=us-west-2\n"
        "repo2-s3-endpoint=s3.us-west-2.amazonaws.com\n[erp]\npg1-path=/x\n"
    )
    host = yaml.safe_load((cloud_site.folder / "host.yml").read_text())
    (cloud_site.folder / "host.yml").write_text(yaml.safe_dump({**host, "pgbackrest_config": str(engine)}))
    label = cloud_site.ask("archive")["uploaded"][0]["label"]
    assert _keys(s3, "archive/") == []
    there = s3.list_objects_v2(Bucket="erp-archives-copy", Prefix=f"archive/daily/erp/{label}/")
    assert any(item["Key"].endswith("manifest.json") for item in there["Contents"])
    assert {item["label"] for item in cloud_site.ask("archives", "list", "--cloud")["archives"]} == {label}
    # At home again, archives go home again; what was copied meanwhile is made up for.
    engine.write_text(engine.read_text().replace("erp-archives-copy", BUCKET).replace("us-west-2", "us-east-1"))
    assert [item["label"] for item in cloud_site.ask("archives", "upload")["uploaded"]] == [label]
    assert _keys(s3, f"archive/daily/erp/{label}/") != []


def test_archive_is_copied_promoted_and_fetched_back_to_the_byte(cloud_site: Site, s3: Any) -> None:
    made = cloud_site.ask("archive")
    label, folder = made["label"], Path(made["folder"])
    assert made["uploaded"][0]["promoted"] == ["weekly", "monthly", "annual"]
    sums = {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }
    for slot in ("daily", "weekly", "monthly", "annual"):
        prefix = f"archive/{slot}/erp/{label}/"
        stored = {
            key.removeprefix(prefix): hashlib.sha256(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
            for key in _keys(s3, prefix)
        }
        # Once each content: a schema's rows are the full dump's.
        assert set(stored.values()) == set(sums.values())
        assert len(stored) < len(sums)
        assert stored.items() <= sums.items()
    head = s3.head_object(Bucket=BUCKET, Key=f"archive/daily/erp/{label}/manifest.json", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"]
    tags = s3.get_object_tagging(Bucket=BUCKET, Key=f"archive/daily/erp/{label}/manifest.json")["TagSet"]
    assert {"Key": "pgdr:cluster", "Value": "erp-test"} in tags
    listed = cloud_site.ask("archives", "list", "--cloud")["archives"]
    assert {(item["slot"], item["label"]) for item in listed} == {
        (slot, label) for slot in ("daily", "weekly", "monthly", "annual")
    }
    folder.rename(folder.with_name("elsewhere"))
    cloud_site.ask("archives", "fetch", label)
    back = {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }
    assert {name: digest for name, digest in back.items() if name != "fetched"} == sums
    assert all(name.samefile(next(folder.glob(f"full_*/{name.name}"))) for name in folder.glob("sales_*/*.gz"))
    assert cloud_site.run("archives", "verify", label) == 0
    assert "already" in cloud_site.refused("archives", "fetch", label)


def test_second_archive_of_a_week_is_not_promoted_again(cloud_site: Site, s3: Any) -> None:
    first = cloud_site.ask("archive")
    # As if it had been made a minute ago: labels count seconds.
    moment = datetime.strptime(first["label"], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    older = label_of(moment - timedelta(seconds=30))
    for key in _keys(s3, "archive/"):
        s3.copy_object(Bucket=BUCKET, CopySource={"Bucket": BUCKET, "Key": key}, Key=key.replace(first["label"], older))
        s3.delete_object(Bucket=BUCKET, Key=key)
    again = cloud_site.ask("archives", "upload", first["label"])
    assert again["uploaded"][0]["promoted"] == []


def test_upload_that_broke_off_goes_on_and_sends_only_what_is_missing(
    cloud_site: Site, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PART_SIZE", 5 * 1024 * 1024)
    cloud_site.execute(
        "create table sales.big as select string_agg(md5(random()::text), '') from generate_series(1, 700000)"
        " group by random() < 0.5"
    )
    made = cloud_site.ask("archive", "--local-only")
    files = json.loads((Path(made["folder"]) / "manifest.json").read_text())["files"]
    assert sum(entry["size"] > bucket.PART_SIZE for entry in files.values()) == 2
    original = bucket.Bucket._put_parts

    def broken(self: bucket.Bucket, key: str, path: Path, digest: str, sent: Any) -> None:
        def stop(_count: int) -> None:
            raise UnreachableError("the line is cut")

        original(self, key, path, digest, stop)

    with monkeypatch.context() as cut:
        cut.setattr(bucket.Bucket, "_put_parts", broken)
        cloud_site.refused("archives", "upload", code=ExitCode.UNREACHABLE)
    assert cloud_site.ask("archives", "list", "--cloud")["archives"] == []
    started = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert started
    again = cloud_site.ask("archives", "upload")["uploaded"][0]
    assert again["sent_files"] < again["files"]
    # The parts that had arrived were used: no upload is left over.
    assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    assert cloud_site.ask("archives", "upload")["uploaded"] == []
    Path(made["folder"]).rename(Path(made["folder"]).with_name("elsewhere"))
    cloud_site.ask("archives", "fetch", made["label"])


def test_file_that_rotted_on_the_volume_does_not_reach_the_cloud(cloud_site: Site) -> None:
    made = cloud_site.ask("archive", "--local-only")
    victim = max(Path(made["folder"]).rglob("*.gz"), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)
    line = cloud_site.refused("archives", "upload", code=ExitCode.NOT_PROVEN)
    assert victim.name in line
    assert cloud_site.ask("archives", "list", "--cloud")["archives"] == []


def test_object_that_rotted_in_the_cloud_is_refused(cloud_site: Site, s3: Any) -> None:
    made = cloud_site.ask("archive")
    victim = next(key for key in _keys(s3, "archive/daily/") if key.endswith(".gz"))
    s3.put_object(Bucket=BUCKET, Key=victim, Body=b"something else")
    folder = Path(made["folder"])
    folder.rename(folder.with_name("elsewhere"))
    line = cloud_site.refused("archives", "fetch", made["label"], "--slot", "daily", code=ExitCode.NOT_PROVEN)
    assert "another checksum" in line
    assert not folder.exists()


def test_frozen_archive_is_thawed_first(cloud_site: Site, s3: Any) -> None:
    made = cloud_site.ask("archive")
    for key in _keys(s3, "archive/annual/"):
        s3.copy_object(Bucket=BUCKET, CopySource={"Bucket": BUCKET, "Key": key}, Key=key, StorageClass="DEEP_ARCHIVE")
    folder = Path(made["folder"])
    folder.rename(folder.with_name("elsewhere"))
    command = ("archives", "fetch", made["label"], "--slot", "annual")
    line = cloud_site.refused(*command, code=ExitCode.UNREACHABLE)
    assert "is being thawed, ready at" in line
    assert not folder.exists()
    # moto thaws at once.
    cloud_site.ask(*command)
    assert cloud_site.run("archives", "verify", made["label"]) == 0


def test_archive_that_is_not_there_is_refused(cloud_site: Site) -> None:
    assert "no archive 20200101_000000" in cloud_site.refused("archives", "fetch", "20200101_000000")


def test_bucket_that_is_missing_does_not_cost_the_local_archive(cloud_site: Site, s3: Any) -> None:
    s3.delete_bucket(Bucket=BUCKET)
    cloud_site.refused("archive")
    assert len(cloud_site.ask("archives", "list")["archives"]) == 1
    s3.create_bucket(Bucket=BUCKET)
    assert len(cloud_site.ask("archive")["uploaded"]) == 2


def test_monthly_archive_is_copied_to_the_other_account_once(s3: Any, make_site: Callable[..., Site]) -> None:
    other = boto3.client("s3", region_name="us-west-2")
    other.create_bucket(Bucket="erp-offsite", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    offsite = {"schedule": "0 6 1 * *", "retention": "7y", "bucket": "erp-offsite", "region": "us-west-2"}
    site = make_site(**SLOTS, offsite=offsite)
    assert "no monthly archive" in site.refused("archives", "offsite")
    label = site.ask("archive")["label"]
    assert site.ask("archives", "offsite") == {"bucket": "erp-offsite", "copied": [label]}
    ours = {k: s3.head_object(Bucket=BUCKET, Key=k)["ETag"] for k in _keys(s3, "archive/monthly/")}
    theirs = [item["Key"] for item in other.list_objects_v2(Bucket="erp-offsite")["Contents"]]
    assert {key: other.head_object(Bucket="erp-offsite", Key=key)["ETag"] for key in theirs} == ours
    assert site.ask("archives", "offsite")["copied"] == []
