"""playbooks/move-dns.yml against an API of Route 53 (moto's): the name moves, the way home stays open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOK = ROOT / "playbooks" / "move-dns.yml"
BIN = Path(sys.executable).parent
ZONE, RECORD = "example.com", "erp.example.com"
OLD, NEW = "198.51.100.7", "203.0.113.11"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An AWS control plane of its own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Site:
    """A zone with the service's name in it, and a recovered host to run the play for."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": endpoint, "HOME": str(folder)}
        self.client: Any = boto3.client(
            "route53",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - moto takes anything
        )
        for zone in self.client.list_hosted_zones()["HostedZones"]:
            self._remove(zone["Id"])
        self.zone = self.client.create_hosted_zone(Name=ZONE, CallerReference=str(folder))["HostedZone"]["Id"]
        (folder / "journal").mkdir()
        config = {
            "stanza": "erp",
            "cluster_name": "erp-prod",
            "database": "erp_generic",
            "postgresql_version": 16,
            "data_directory": "/var/lib/postgresql/16/main",
            "bin_directory": "/usr/lib/postgresql/16/bin",
            "state_directory": str(folder / "journal"),
        }
        (folder / "host.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        policy = yaml.safe_load((ROOT / "inventories/recovery/group_vars/all/policy.yml").read_text(encoding="utf-8"))
        policy["recovery_policy"]["recovery"]["dns"] = {"zone": ZONE, "record": RECORD, "ttl": "45s"}
        self.variables: dict[str, Any] = {
            **policy,
            "ansible_connection": "local",
            "ansible_become": False,
            "host_pgdr": [str(BIN / "pgdr"), f"--config={folder / 'host.yml'}"],
        }

    def _remove(self, zone: str) -> None:
        for found in self.client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]:
            if found["Type"] not in ("NS", "SOA"):
                self._change("DELETE", found, zone)
        self.client.delete_hosted_zone(Id=zone)

    def _change(self, action: Any, record: Any, zone: str = "") -> None:
        self.client.change_resource_record_sets(
            HostedZoneId=zone or self.zone,
            ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]},
        )

    def put(self, **record: Any) -> None:
        """Have a record in the zone."""
        self._change("UPSERT", {"Name": RECORD, "Type": "A", **record})

    def record(self) -> dict[str, Any]:
        """The service's record as a resolver would see it."""
        found = self.client.list_resource_record_sets(HostedZoneId=self.zone)["ResourceRecordSets"]
        return dict(next(one for one in found if one["Name"].rstrip(".") == RECORD))

    def play(self, *options: str, **extra: Any) -> subprocess.CompletedProcess[str]:
        """Run the playbook as a person would."""
        inventory = self.folder / "hosts.yml"
        hosts = {"all": {"children": {"recovery_target": {"hosts": {"dr1": self.variables}}}}}
        inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
        argv = [str(BIN / "ansible-playbook"), "-i", str(inventory), str(PLAYBOOK), *options]
        for name, value in extra.items():
            argv += ["-e", f"{name}={value}"]
        return subprocess.run(
            argv, check=False, capture_output=True, text=True, cwd=ROOT, env=self.environment, timeout=300
        )

    def journal(self) -> list[dict[str, Any]]:
        """What stands in the host's journal."""
        file = self.folder / "journal" / "journal.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def site(tmp_path: Path, endpoint: str) -> Site:
    """An example site whose name points to the old place."""
    made = Site(tmp_path, endpoint)
    made.put(TTL=300, ResourceRecords=[{"Value": OLD}])
    return made


def _error(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if line.startswith("[ERROR]: ")]
    assert len(lines) == 1, done.stdout + done.stderr
    return lines[0]


def test_the_name_moves_is_kept_and_comes_home(site: Site) -> None:
    """There, there again without a change, to a third place, and home with the TTL that it had."""
    previewed = site.play("--check", service_address=NEW)
    assert previewed.returncode == 0, previewed.stdout + previewed.stderr
    assert f"old    {OLD}, TTL 300 s" in previewed.stdout
    assert site.record()["TTL"] == 300

    moved = site.play(service_address=NEW)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert f"old    {OLD}, TTL 300 s" in moved.stdout
    assert (site.record()["TTL"], site.record()["ResourceRecords"]) == (45, [{"Value": NEW}])
    assert site.journal()[-1]["details"]["old"]["values"] == [OLD]

    again = site.play(service_address=NEW)
    assert "changed=0" in again.stdout, again.stdout
    assert len(site.journal()) == 1

    third = site.play(service_address="192.0.2.99")
    assert third.returncode == 0, third.stdout + third.stderr

    home = site.play(dns_failover_back="true")
    assert home.returncode == 0, home.stdout + home.stderr
    assert (site.record()["TTL"], site.record()["ResourceRecords"]) == (300, [{"Value": OLD}])
    assert [entry["result"] for entry in site.journal()] == ["moved", "moved", "back"]

    twice = site.play(dns_failover_back="true")
    assert twice.returncode != 0
    assert "was not moved from here, or is back already" in _error(twice)


def test_an_alias_with_its_target_comes_home_too(site: Site) -> None:
    """The old place may be a load balancer: an alias has no TTL and no values of its own."""
    alias = {"HostedZoneId": "Z35SXDOTRQ7X7K", "DNSName": "erp-lb.example.net.", "EvaluateTargetHealth": True}
    site._change("DELETE", site.record())
    site.put(AliasTarget=alias)
    moved = site.play(service_address=NEW)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert site.record()["ResourceRecords"] == [{"Value": NEW}]
    home = site.play(dns_failover_back="true")
    assert home.returncode == 0, home.stdout + home.stderr
    assert site.record()["AliasTarget"] == alias


@pytest.mark.parametrize(
    ("dns", "extra", "said"),
    [
        ({"zone": "example.org", "record": "erp.example.org"}, {"service_address": NEW}, "zone example.org"),
        ({"zone": ZONE, "record": "erb.example.com"}, {"service_address": NEW}, "no record erb.example.com (A)"),
        ({"zone": ZONE, "record": RECORD}, {}, "give -e service_address=ADDRESS"),
        (
            {"zone": ZONE, "record": RECORD},
            {"service_address": "erp-dr1"},
            "erp-dr1 is nothing that a record",
        ),
        (None, {"service_address": NEW}, "The policy names no record to move"),
    ],
    ids=["zone", "record", "no target", "a name for an address", "policy"],
)
def test_what_cannot_be_moved_is_refused_in_one_line(
    site: Site, dns: dict[str, str] | None, extra: dict[str, str], said: str
) -> None:
    recovery = site.variables["recovery_policy"]["recovery"]
    recovery.pop("dns")
    if dns is not None:
        recovery["dns"] = dns
    before = site.record()
    done = site.play(**extra)
    assert done.returncode != 0
    assert said in _error(done)
    assert "No name was moved" in _error(done)
    assert site.record() == before
    assert site.journal() == []


def test_a_record_that_a_routing_policy_chooses_is_left_alone(site: Site) -> None:
    site._change("DELETE", site.record())
    site.put(TTL=60, ResourceRecords=[{"Value": OLD}], SetIdentifier="blue", Weight=10)
    done = site.play(service_address=NEW)
    assert done.returncode != 0
    assert "routing policy" in _error(done)
    assert site.record()["ResourceRecords"] == [{"Value": OLD}]
