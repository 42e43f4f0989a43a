"""The protected host, its bucket and the bucket's copy; then the data centre is lost while the copy lags."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drill.client import ErpClient
from drill.expect import Notes
from drill.host import Host
from drill.running import until
from lab.api import Lab

SAMPLE_MEGABYTES = 25
KIT = "kit/erp/kit.tar"
TENANT = "SELECT count(*) FROM core.tenants WHERE id = '{0}'"
LEDGER = "journal/erp/erasures/"
HELD_FOR = "litigation 2026-17, 'Müller'"


@pytest.fixture(scope="module")
def replicated(lab: Lab, db1: Host, erp: ErpClient, notes: Notes) -> str:
    """A sample with a full backup, whole in both zones; returns the label of the set."""
    if "replicated" not in notes:
        lab.start_replica()
        erp.create("db1", SAMPLE_MEGABYTES)
        db1.pgdr("backup", "full")
        db1.switch_wal()
        until("all WAL is archived", lambda: not db1.waiting_segments(), 120)
        notes["replicated"] = db1.info(2)["backup"][-1]["label"]
        notes["held_for"] = HELD_FOR
        db1.pgdr("hold", "add", notes["replicated"], "--reason", HELD_FOR)
        db1.pgdr("journal", "ship")
        lab.wait_for_replica()
    return notes["replicated"]


def test_the_kit_is_stored_once_and_again_only_when_something_changes(lab: Lab, plays: Any) -> None:
    """site.yml stored it; the same content is not stored again, encrypted secrets included; a change is."""

    def versions() -> int:
        found = lab.boto3_client(admin=True).list_object_versions(Bucket=lab.s3.bucket, Prefix=KIT)
        return len(found.get("Versions", []))

    before = versions()
    assert before >= 1
    same = plays.run("playbooks/kit.yml", {})
    assert same.returncode == 0, same.stdout
    assert versions() == before
    changed = plays.run("playbooks/kit.yml", {"server_settings": {"listen_addresses": "*", "work_mem": "8MB"}})
    assert changed.returncode == 0, changed.stdout
    assert versions() == before + 1


def test_nothing_secret_is_readable_in_the_kit(lab: Lab, db1: Host, fetched: Any, notes: Notes) -> None:
    """The passphrase in escrow is in no kit; the other secrets only encrypted."""
    folder = fetched("kit-look")
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".tar"}
    assert len(texts) >= 5
    ledger_key = db1.run("cat", "/var/lib/pgdr/erasures.key").stdout.strip()
    names = ("cipher-pass-1", "cipher-pass-2", "erp-password", "s3-key-secret")
    for name, text in [*((name, lab.secret(name).strip()) for name in names), ("erasures.key", ledger_key)]:
        secret = text.encode()
        assert not [path for path, content in texts.items() if secret in content], name
    escrow = lab.folder / "secrets" / "cipher-pass-2"
    program = str(Path(sys.executable).parent / "ansible-vault")
    argv = [program, "view", f"--vault-password-file={escrow}", str(folder / "secrets.yml")]
    opened = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert lab.secret("cipher-pass-1").strip() in opened
    assert ledger_key in opened
    assert lab.secret("cipher-pass-2").strip() not in opened


def test_a_drill_that_fails_is_in_journal_status_and_report_with_its_reason(
    lab: Lab, db1: Host, plays: Any, fetched: Any
) -> None:
    """What is in escrow does not open the kit: better learned now. The play can write nothing then."""
    kit, escrow = fetched("kit-drill"), lab.folder / "escrow-of-another"
    escrow.touch(mode=0o600)
    escrow.write_text("not the passphrase", encoding="ascii")
    given = {"kit_directory": str(kit), "escrow_file": str(escrow), "drill_record_host": "db1"}
    error = plays.error("playbooks/dr-drill.yml", **given, drill_directory=str(lab.folder / "drill-of-march"))
    assert str(escrow) in error, error
    *_, entry = [
        json.loads(line)
        for line in db1.run("cat", "/var/lib/pgdr/journal.jsonl").stdout.splitlines()
        if '"operation":"drill"' in line
    ]
    reason = entry["details"]["message"]
    assert (entry["result"], entry["details"]["drill"], str(escrow) in reason) == ("failed", "drill-of-march", True)
    status = json.loads(db1.pgdr("status", "--output", "json", check=False).stdout)
    drill = next(check for check in status["checks"] if check["name"] == "drill")
    assert (drill["level"], reason in drill["text"]) == ("amber", True), drill
    report = json.loads(db1.pgdr("report", "--output", "json").stdout)
    assert (report["trend"][-1]["result"], report["trend"][-1]["findings"]) == ("failed", [reason])


@pytest.mark.step
def test_every_version_arrives_in_the_other_zone(lab: Lab, replicated: str) -> None:
    """Objects with their versions, the lock and the bucket's policy: the copy is protected as the original is."""
    replica = lab.replica_client()
    key = f"pgbackrest/backup/erp/{replicated}/backup.manifest"
    head = replica.head_object(Bucket=lab.s3.bucket, Key=key)
    with pytest.raises(replica.exceptions.ClientError, match="AccessDenied"):
        replica.delete_object(Bucket=lab.s3.bucket, Key=key, VersionId=head["VersionId"])
    # Each version brings its own lock along; Ceph 18 leaves the default rule of the bucket behind.
    owner = lab.replica_client(admin=True)
    until_when = owner.head_object(Bucket=lab.s3.bucket, Key=key)["ObjectLockRetainUntilDate"]
    assert (until_when - datetime.now(UTC)).days >= 33
    with pytest.raises(owner.exceptions.ClientError, match="forbidden by object lock"):
        owner.delete_object(Bucket=lab.s3.bucket, Key=key, VersionId=head["VersionId"])


@pytest.mark.step
def test_the_data_centre_is_lost_while_the_replica_lags(
    lab: Lab, db1: Host, erp: ErpClient, replicated: str, notes: Notes
) -> None:
    """Work is archived that the copy never gets, and a backup set of which it has only the list; then all is gone."""
    if "disaster_at" in notes:
        return
    db1.sql("CREATE TABLE public.replicated AS SELECT 1 AS one")
    db1.switch_wal()
    until("all WAL is archived", lambda: not db1.waiting_segments(), 120)
    lab.wait_for_replica()
    notes["last_replicated"] = datetime.now(UTC).isoformat()
    lab.set_replica_lag(frozen=True)
    db1.sql("CREATE TABLE public.archived_at_home_only AS SELECT 1 AS one")
    db1.switch_wal()
    db1.pgdr("backup", "full", "--repo", "2")
    until("all WAL is archived", lambda: not db1.waiting_segments(), 120)
    unfinished = db1.info(2)["backup"][-1]["label"]
    assert unfinished != replicated
    notes["unfinished"] = unfinished
    _copy_the_list(lab, unfinished)
    # The replica's past still has this tenant; of the ledger it has the second entry and not yet the first.
    erased = db1.sql("SELECT max(id::text) FROM core.tenants")
    db1.pgdr("tenant", "erase", erased, "--confirm", erased)
    assert db1.sql(TENANT.format(erased)) == "0"
    notes["erased"] = erased
    first, second = _ledger(lab)
    notes["ledger_entry"] = first[1].decode()
    lab.replica_client(admin=True).put_object(Bucket=lab.s3.bucket, Key=second[0], Body=second[1])
    notes["disaster_at"] = datetime.now(UTC).isoformat()
    lab.kill_host("db1")
    lab.stop_s3()
    assert lab.hosts == ["app1", "dr1"]


def _ledger(lab: Lab) -> list[tuple[str, bytes]]:
    """The entries of the erasure ledger in the bucket: keys and contents."""
    home = lab.boto3_client(admin=True)
    keys = [one["Key"] for one in home.list_objects_v2(Bucket=lab.s3.bucket, Prefix=LEDGER)["Contents"]]
    return [(key, home.get_object(Bucket=lab.s3.bucket, Key=key)["Body"].read()) for key in keys]


def _copy_the_list(lab: Lab, label: str) -> None:
    """What replication does in no order: the newest list of backups and the set's manifest come first."""
    home, away = lab.boto3_client(admin=True), lab.replica_client(admin=True)
    base = "pgbackrest/backup/erp"
    names = [f"{base}/backup.info", f"{base}/backup.info.copy"]
    names += [f"{base}/{label}/backup.manifest", f"{base}/{label}/backup.manifest.copy"]
    for name in names:
        body = home.get_object(Bucket=lab.s3.bucket, Key=name)["Body"].read()
        away.put_object(Bucket=lab.s3.bucket, Key=name, Body=body)
    listed = away.list_objects_v2(Bucket=lab.s3.bucket, Prefix=f"{base}/{label}/bundle")
    assert listed["KeyCount"] == 0, json.dumps(listed, default=str)
