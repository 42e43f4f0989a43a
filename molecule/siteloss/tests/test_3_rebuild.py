"""The company comes back from the checkout, the kit, the replica and the passphrase in escrow, nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from drill.expect import Notes
from drill.host import Host
from drill.play import ROOT
from lab.api import Lab

ZONE, RECORD, OLD = "example.com", "erp.example.com", "198.51.100.7"
PHASES = [
    "reachable",
    "base",
    "plan",
    "restore and replay",
    "erasures",
    "open",
    "arm",
    "verify",
    "application",
    "health",
    "dns",
    "notify",
    "evidence",
]
ROWS = (
    "SELECT (SELECT count(*) FROM core.tenants WHERE id = '{0}')"
    " + (SELECT count(*) FROM sales.orders WHERE tenant_id = '{0}')"
)
BIN = Path(sys.executable).parent
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def dns() -> Iterator[tuple[str, Any, str]]:
    """Route 53 with the service's name pointing to the lost place: endpoint, client, zone."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "route53",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - moto takes anything
    )
    zone = client.create_hosted_zone(Name=ZONE, CallerReference="siteloss")["HostedZone"]["Id"]
    record = {"Name": RECORD, "Type": "A", "TTL": 300, "ResourceRecords": [{"Value": OLD}]}
    client.change_resource_record_sets(
        HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    )
    yield endpoint, client, zone
    server.stop()


class Rebuild:
    """A control node that has a fresh checkout, a kit and the escrow; no inventory of the lab, no package index."""

    def __init__(self, lab: Lab, folder: Path, kit: Path, endpoint: str) -> None:
        self.lab = lab
        self.checkout = folder / "checkout"
        if not self.checkout.exists():
            git = shutil.which("git") or "git"
            subprocess.run([git, "clone", "--quiet", str(ROOT), str(self.checkout)], check=True, capture_output=True)
        self.kit = kit
        self.home = folder
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            **AWS,
            "AWS_ENDPOINT_URL_ROUTE_53": endpoint,
            "HOME": str(folder),
            "PIP_INDEX_URL": "https://127.0.0.1:9/nowhere",
            "UV_INDEX_URL": "https://127.0.0.1:9/nowhere",
            "PIP_CONFIG_FILE": os.devnull,
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONPATH": str(self.checkout / "scripts" / "src"),
        }
        escrow = folder / "escrow"
        escrow.touch(mode=0o600)
        escrow.write_text(lab.secret("cipher-pass-2"), encoding="ascii")
        self.escrow = escrow
        access = {
            "ansible_user": "root",
            "ansible_ssh_common_args": f"-F {lab.ssh_config}",
            "ansible_control_path": f"{lab.folder}/cp/%%n",
        }
        groups = {"recovery_target": {"hosts": {"dr1": {}}}, "recovery_application": {"hosts": {"app1": {}}}}
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"vars": access, "children": groups}}), encoding="utf-8")
        self.report = folder / "report.json"

    def play(self, *options: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        """Run dr-restore.yml of the checkout."""
        given = {
            "kit_directory": str(self.kit),
            "escrow_file": str(self.escrow),
            "cluster_restore_confirm": "erp-lab",
            "cluster_restore_report_file": str(self.report),
            **extra,
        }
        argv = [str(BIN / "ansible-playbook"), "-i", str(self.inventory), "playbooks/dr-restore.yml", *options]
        return subprocess.run(
            [*argv, "-e", json.dumps(given)],
            check=False,
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )


def _error(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("[ERROR]: ")]
    assert done.returncode != 0, done.stdout
    assert len(lines) == 1, done.stdout + done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def rebuild(lab: Lab, fetched: Any, dns: tuple[str, Any, str], notes: Notes) -> Rebuild:
    """What is left after the disaster; the kit comes out of the replica."""
    assert "disaster_at" in notes
    kit = fetched("kit", replica=True)
    policy = yaml.safe_load((kit / "policy.yml").read_text(encoding="utf-8"))
    folder = lab.folder / "rebuild"
    folder.mkdir(exist_ok=True)
    made = Rebuild(lab, folder, kit, dns[0])
    assert policy["recovery_policy"]["cluster"]["name"] == "erp-lab"
    return made


def test_the_wrong_passphrase_is_refused_before_any_host_is_touched(rebuild: Rebuild, dr1: Host) -> None:
    wrong = rebuild.home / "wrong"
    wrong.write_text("not the passphrase of this kit", encoding="ascii")
    error = _error(rebuild.play(escrow_file=str(wrong)))
    assert "does not open the secrets" in error
    assert not dr1.exists("/etc/pgbackrest")


def test_no_site_is_built_without_pulumi(rebuild: Rebuild) -> None:
    error = _error(rebuild.play("--tags", "provision"))
    assert "pulumi is not on this machine" in error
    assert "Nothing was built" in error


@pytest.fixture(scope="module")
def wanted(lab: Lab, notes: Notes) -> dict[str, Any]:
    """What the play is told."""
    return {
        "restore_source": "replica",
        "disaster_time": notes["disaster_at"],
        "service_address": lab.host_ip("app1"),
        "move_dns": True,
        "dns_failover_zone": ZONE,
        "dns_failover_record": RECORD,
        "dns_failover_ttl": 45,
        "application_kind": "systemd",
        "application_unit": "erp-app.service",
        "application_unit_file": str(Path(__file__).parents[1] / "files" / "erp-app.service"),
        "application_environment": {"DATABASE_HOST": lab.host_ip("dr1")},
        "application_health_url": "http://localhost:8080/health",
        "application_health_seconds": 60,
    }


@pytest.mark.step
def test_with_an_erasure_missing_the_service_stays_closed(
    rebuild: Rebuild, wanted: dict[str, Any], lab: Lab, dr1: Host, notes: Notes
) -> None:
    """Of the ledger the replica has the second entry and not the first: nobody knows who must not come back."""
    if "ledger_refused" in notes:
        return
    done = rebuild.play(**wanted)
    (lab.folder / "rebuild-refused.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    error = _error(done)
    assert "lacks entry 1 of 2" in error
    assert "do not open the service" in error
    assert not dr1.answers()
    assert not [line for line in dr1.commands() if "bin/postgres" in line]
    key = "journal/erp/erasures/00000001.json"
    lab.replica_client(admin=True).put_object(Bucket=lab.s3.bucket, Key=key, Body=notes["ledger_entry"].encode())
    notes["ledger_refused"] = error


@pytest.fixture(scope="module")
def rebuilt(
    rebuild: Rebuild, wanted: dict[str, Any], lab: Lab, dr1: Host, app1: Host, notes: Notes
) -> tuple[str, dict[str, Any]]:
    """The rebuild itself: what the play said, and its report. It takes up what the refused one left."""
    assert "ledger_refused" in notes
    done = rebuild.play(**wanted)
    (lab.folder / "rebuild.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout, json.loads(rebuild.report.read_text(encoding="utf-8"))


@pytest.mark.step
def test_every_phase_is_measured_and_shown(rebuilt: tuple[str, dict[str, Any]]) -> None:
    said, report = rebuilt
    assert [phase["name"] for phase in report["phases"]] == PHASES
    assert report["phases_off"] == ["provision"]
    assert sum(phase["seconds"] for phase in report["phases"]) <= report["rto_seconds"] + 1
    assert "not asked for provision" in said
    assert "all phases" in said


def test_the_plan_says_how_far_the_replica_is_behind(rebuilt: tuple[str, dict[str, Any]], notes: Notes) -> None:
    """The end of the archive is the replica's own; the set that is not whole there was passed over, with its reason."""
    said, report = rebuilt
    assert "repository 2, its replica" in said
    assert "of work before the disaster are not in this archive" in said
    assert f"backup set {notes['unfinished']} is not whole in the replica" in said
    assert report["backup_label"] == notes["replicated"]
    lost = datetime.fromisoformat(notes["disaster_at"]) - datetime.fromisoformat(notes["last_replicated"])
    assert report["rpo_seconds"] >= lost.total_seconds() - 1


def test_the_data_is_what_the_replica_had(rebuilt: tuple[str, dict[str, Any]], dr1: Host) -> None:
    _, report = rebuilt
    assert dr1.sql("SELECT one FROM public.replicated") == "1"
    assert dr1.sql("SELECT to_regclass('public.archived_at_home_only') IS NULL") == "t"
    smoke = [check for check in report["checks"] if check["name"].startswith("smoke query")]
    assert len(smoke) == 3
    assert all(check["ok"] for check in smoke)


def test_who_was_erased_did_not_come_back(rebuilt: tuple[str, dict[str, Any]], dr1: Host, notes: Notes) -> None:
    """The backup is older than the erasure: the play removed the tenant again, and says so; all others are there."""
    said, report = rebuilt
    assert "rows removed again" in said
    (check,) = [check for check in report["checks"] if check["name"] == "erasures"]
    assert check["detail"] == "1 erasures in the ledger, 1 subjects removed again"
    assert dr1.sql(ROWS.format(notes["erased"])) == "0"
    assert dr1.sql("SELECT count(*) FROM core.tenants") == "49"
    (one,) = json.loads(dr1.pgdr("erasures", "list", "--output", "json").stdout)
    assert one["state"] == "done"
    # The host goes on with the same ledger, in the place that is left.
    assert "the ledger is there" in dr1.pgdr("erasures", "ship").stdout


def test_what_was_held_on_the_lost_host_is_held_on_the_new_one(
    rebuilt: tuple[str, dict[str, Any]], dr1: Host, notes: Notes
) -> None:
    (hold,) = json.loads(dr1.pgdr("hold", "list", "--output", "json").stdout)
    assert (hold["label"], hold["reason"]) == (notes["replicated"], notes["held_for"])
    assert hold["host"].startswith("db1-")
    done = dr1.pgdr("expire", "--wait", "5m", "--output", "json", check=False)
    (place,) = [one for one in json.loads(done.stdout)["places"] if one["place"] == "repository 2"]
    (kept,) = [copy for copy in place["copies"] if copy["label"] == notes["replicated"]]
    assert (kept["keep"], any(notes["held_for"] in reason for reason in kept["reasons"])) == (True, True), kept


def test_the_application_serves_from_the_recovered_database(
    rebuilt: tuple[str, dict[str, Any]], lab: Lab, app1: Host
) -> None:
    assert lab.host_ip("dr1") in app1.run("cat", "/etc/default/application").stdout
    assert app1.run("systemctl", "is-active", "erp-app.service").stdout.strip() == "active"


def test_the_name_points_to_the_new_place_and_the_way_home_is_kept(
    rebuilt: tuple[str, dict[str, Any]], lab: Lab, dr1: Host, dns: tuple[str, Any, str]
) -> None:
    _, client, zone = dns
    records = client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    moved = next(one for one in records if one["Type"] == "A")
    assert (moved["TTL"], moved["ResourceRecords"]) == (45, [{"Value": lab.host_ip("app1")}])
    lines = dr1.run("cat", "/var/lib/pgdr/journal.jsonl").stdout.splitlines()
    noted = [entry for entry in map(json.loads, lines) if entry["operation"] == "play dns"]
    assert noted[-1]["details"]["old"]["values"] == [OLD]
    assert dr1.pgdr("journal", "verify").returncode == 0


def test_the_release_came_out_of_the_kit(rebuilt: tuple[str, dict[str, Any]], rebuild: Rebuild, dr1: Host) -> None:
    release = Path(dr1.run("readlink", "/opt/pgdr/venv").stdout.strip()).name
    assert release in {path.stem for path in (rebuild.kit / "wheelhouse").iterdir()}
    assert not (rebuild.checkout / ".cache").exists()


def test_archiving_goes_on_in_the_place_that_is_left(rebuilt: tuple[str, dict[str, Any]], dr1: Host) -> None:
    """The replica takes the repository's place: new WAL and a full backup of the new timeline go there."""
    assert "repo2-storage-port=444" in dr1.run("cat", "/etc/pgbackrest/pgbackrest.conf").stdout
    segment = dr1.switch_wal()
    assert segment.startswith("00000002")
