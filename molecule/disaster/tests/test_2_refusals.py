"""What the recovery refuses: a bad exit code, one line that names the thing, and nothing changed.

Some are seen through the play, as a person sees them; the others at the host command, which gives the play its line.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from drill.expect import Notes, refused, unchanged
from drill.host import DATA, Host
from drill.play import ROOT
from drill.running import RunningPlay, until
from drill.variant import Variant, variant
from lab.api import Lab

PLAY = "dr-restore.yml"
CLUSTER = "erp-lab"
# A play that reaches a host in spite of it fails with another message.
NO_HOST = {"ansible_ssh_executable": "/bin/false"}
POLICY = ROOT / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
# A file system of 1 GiB that every host of the lab has.
SMALL_DISK = "/dev/shm/main"  # noqa: S108 - not used as a temporary folder
DATA_AND_CONFIGURATION = ("/var/lib/postgresql", "/etc/postgresql")


def test_a_policy_with_an_unknown_key_touches_no_host(lab: Lab) -> None:
    """A typing error in the policy is named before any host is reached."""
    policy = yaml.safe_load(POLICY.read_text(encoding="utf-8"))
    policy["recovery_policy"]["backup_windw"] = "02:00"
    file = lab.folder / "policy-with-typo.yml"
    file.write_text(yaml.safe_dump(policy), encoding="utf-8")
    refused(RunningPlay(lab.name, PLAY, "refused-policy", NO_HOST, files=(file,)), "backup_windw", "unknown key")


def test_a_target_without_an_offset_touches_no_host(lab: Lab) -> None:
    """At three in the morning nobody knows which clock was meant."""
    play = RunningPlay(lab.name, PLAY, "refused-offset", {**NO_HOST, "target_time": "2026-11-24T14:30:00"})
    refused(play, "target_time", "2026-11-24T14:30:00", "no offset from UTC")


def test_a_disaster_time_without_an_offset_touches_no_host(lab: Lab) -> None:
    """It would be found out after the whole restore otherwise."""
    play = RunningPlay(lab.name, PLAY, "refused-disaster", {**NO_HOST, "disaster_time": "2026-11-24T14:30:00"})
    refused(play, "disaster_time", "no offset from UTC")


def test_a_host_with_a_foreign_cluster_is_left_alone(lab: Lab, dr1: Host) -> None:
    """Somebody's PostgreSQL, as its package makes it, runs on the host that was called empty."""
    dr1.run("apt-get", "update", "-q")
    dr1.run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qy", "postgresql-17", timeout=600)
    dr1.run("pg_ctlcluster", "17", "main", "start", check=False)
    until("the foreign server answers", dr1.answers, 60)
    started = dr1.sql("SELECT pg_postmaster_start_time()", "postgres")
    with unchanged(dr1, running=True):
        play = RunningPlay(lab.name, PLAY, "refused-foreign", {"cluster_restore_confirm": CLUSTER})
        refused(play, "dr1", DATA, f"not {CLUSTER}", "Nothing was changed")
    assert dr1.sql("SELECT pg_postmaster_start_time()", "postgres") == started
    assert not dr1.exists("/etc/pgbackrest")
    dr1.run("pg_dropcluster", "--stop", "17", "main")


@pytest.mark.step
def test_a_wrong_name_typed_at_the_prompt_is_no_consent(lab: Lab, dr1: Host) -> None:
    """The plan is shown, the question is asked, and the name of another cluster stops everything."""
    with unchanged(dr1, paths=DATA_AND_CONFIGURATION):
        play = RunningPlay(lab.name, PLAY, "refused-consent", terminal=True)
        play.answer("Type the name of the cluster", "erp-prod", 600)
        refused(play, "No consent", "no data was touched")
    assert "archive ends" in play.text
    assert not dr1.exists(DATA) or not dr1.run("ls", DATA).stdout


def test_nobody_at_the_terminal_is_no_consent(lab: Lab, dr1: Host) -> None:
    """A play without a terminal and without a name on its command line stops too."""
    with unchanged(dr1, paths=DATA_AND_CONFIGURATION):
        refused(RunningPlay(lab.name, PLAY, "refused-nobody"), "No consent", f"cluster_restore_confirm={CLUSTER}")


def test_a_wrong_passphrase_is_called_that(lab: Lab, dr1: Host) -> None:
    """The play says that the repository cannot be decrypted, and keeps the passphrase that works."""
    secrets = yaml.safe_load((POLICY.parent / "lab.yml").read_text(encoding="utf-8"))["pgbackrest_secrets"]
    secrets[2] |= {"cipher_pass": "this-is-not-the-passphrase-of-the-repository"}
    file = lab.folder / "wrong-passphrase.yml"
    file.write_text(yaml.safe_dump({"pgbackrest_secrets": secrets}), encoding="utf-8")
    with unchanged(dr1):
        play = RunningPlay(lab.name, PLAY, "refused-passphrase", {"cluster_restore_confirm": CLUSTER}, files=(file,))
        refused(play, "passphrase", "2")
    with variant(dr1, Variant("passphrase", {}, {"repo2-cipher-pass": "not-the-passphrase"})) as config, unchanged(dr1):
        assert "cipher passphrase is wrong" in refusal(dr1, config)


def refusal(host: Host, config: str, *options: str) -> str:
    """Have a plan refused; return its one line."""
    done = host.pgdr("recover", "plan", "--repo=2", *options, check=False, config=config)
    lines = done.stderr.strip().splitlines()
    assert done.returncode not in (0, 70), done
    assert len(lines) == 1, lines
    assert lines[0].startswith("pgdr: error: "), lines
    return lines[0]


HOST = "/etc/pgdr/host.yml"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Variant("bucket", engine={"repo2-s3-bucket": "erp-generic-backups-typo"}), ("repository 2", "bucket")),
        (Variant("path", engine={"repo2-path": "/pgbackrest-typo"}), ("repository 2", "wrong bucket or path")),
        (Variant("version", host={"postgresql_version": 16}), ("PostgreSQL 17", "16", "postgresql_version")),
        (Variant("disk", host={"data_directory": SMALL_DISK}), ("not enough disk", SMALL_DISK)),
    ],
    ids=lambda value: value.name if isinstance(value, Variant) else "",
)
def test_a_wrong_configuration_is_named(dr1: Host, wrong: Variant, words: tuple[str, ...]) -> None:
    """Wrong bucket, empty path, another major version, a disk that is too small."""
    with variant(dr1, wrong) as config, unchanged(dr1):
        line = refusal(dr1, config)
    assert not [word for word in words if word not in line], line


def test_an_unknown_backup_set_is_named_with_the_newest(dr1: Host) -> None:
    """The line says which set there is."""
    newest = dr1.info(2)["backup"][-1]["label"]
    with unchanged(dr1):
        line = refusal(dr1, HOST, "--set=20200101-000000F")
    assert "20200101-000000F" in line
    assert newest in line


def test_a_target_before_the_first_backup_is_refused(dr1: Host) -> None:
    """By time and by position; the line says how far back one can go."""
    first = dr1.info(2)["backup"][0]
    early = datetime.fromtimestamp(first["timestamp"]["start"], UTC) - timedelta(minutes=1)
    with unchanged(dr1):
        by_time = refusal(dr1, HOST, f"--target-time={early.isoformat()}")
        by_position = refusal(dr1, HOST, "--target-lsn=0/100028")
    for line in (by_time, by_position):
        assert "before the first backup" in line
        assert first["lsn"]["stop"] in line


def test_a_target_after_the_last_wal_is_refused(dr1: Host) -> None:
    """By time and by position; the line says where the archive ends."""
    with unchanged(dr1):
        by_time = refusal(dr1, HOST, f"--target-time={datetime.now(UTC).isoformat()}")
        by_position = refusal(dr1, HOST, "--target-lsn=FF/0")
    assert "after the last archived transaction" in by_time
    assert "after the last archived WAL record" in by_position


def test_another_cluster_in_the_data_directory_is_refused_on_a_prepared_host(dr1: Host) -> None:
    """The host carries our mark by now; the system identifier tells the clusters apart."""
    dr1.run("pg_createcluster", "17", "main")
    with unchanged(dr1):
        line = refusal(dr1, HOST)
    dr1.run("pg_dropcluster", "17", "main")
    assert "holds another cluster" in line
    assert str(dr1.info(2)["db"][-1]["system-id"]) in line


def test_a_hole_in_the_archive_is_known_before_the_restore(lab: Lab, dr1: Host, notes: Notes) -> None:
    """One segment is hidden in the bucket: the plan ends in front of it and says so; with it, it ends at the end."""
    hidden = dr1.segments(2)[-5]
    client, bucket = lab.boto3_client(admin=True), lab.s3.bucket
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"pgbackrest/archive/erp/17-1/{hidden[:16]}/{hidden}")
    key = listed["Contents"][0]["Key"]
    marker = client.delete_object(Bucket=bucket, Key=key)["VersionId"]
    try:
        with_hole = plan(dr1)
        line = refusal(dr1, HOST, f"--target-time={notes['disaster_at']}")
    finally:
        client.delete_object(Bucket=bucket, Key=key, VersionId=marker)
    assert with_hole["wal_end_segment"] < hidden
    assert hidden in " ".join(with_hole["warnings"])
    assert hidden in line
    whole = plan(dr1)
    assert whole["wal_end_segment"] >= notes["archived"]
    assert whole["warnings"] == []


def plan(host: Host) -> dict[str, Any]:
    """A plan that is not refused."""
    content: dict[str, Any] = yaml.safe_load(host.pgdr("recover", "plan", "--repo=2", "--output=json").stdout)
    return content
