"""Hosts of a real lab: they are machines with systemd, cron and ssh, and they can be destroyed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from lab import lifecycle
from lab.hosts import VOLUMES, volume_name
from lab.paths import REPOSITORY, LabPaths
from lab.podman import LABEL, inspect, names_with_label, podman
from lab.state import all_names
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from lab.api import Lab

_RESOURCES = REPOSITORY / "molecule/resources"


_CRON_PROOF = "/run/lab-test/cron-ran"


def _container_ids(lab: Lab) -> dict[str, str]:
    found = {name: inspect("container", name) for name in names_with_label("container", lab.name)}
    return {name: container["Id"] for name, container in found.items() if container is not None}


def test_hosts_are_machines(lab: Lab) -> None:
    for host in ("db1", "dr1"):
        assert lab.run(host, ["systemctl", "is-system-running"]).stdout == "running\n"
        assert lab.run(host, ["hostname"]).stdout == f"{host}\n"
        assert lab.run(host, ["systemctl", "is-active", "cron", "ssh"]).stdout == "active\nactive\n"
        assert lab.run(host, ["sh", "-c", "command -v postgres psql"], check=False).stdout == ""


def test_hosts_find_each_other_by_name(lab: Lab) -> None:
    for name, address in (("dr1", lab.host_ip("dr1")), ("s3", lab.host_ip("s3")), ("s3.lab", lab.host_ip("s3"))):
        assert lab.run("db1", ["getent", "ahostsv4", name]).stdout.split()[0] == address


def test_hosts_trust_the_s3_server_by_the_systems_own_authorities(lab: Lab) -> None:
    code = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"
    for name in ("s3", "s3.lab", lab.host_ip("s3")):
        assert lab.run("db1", ["python3", "-c", code, f"https://{name}:443/"]).stdout == "200\n"


def test_host_keys_are_checked(lab: Lab) -> None:
    argv = ["ssh", "-F", str(lab.ssh_config), "-o", "UserKnownHostsFile=/dev/null", "db1", "true"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = lab.state
    containers = _container_ids(lab)
    lifecycle.up(lab.name, ["db1"])
    assert lab.state == before
    assert len(containers) == 3
    assert _container_ids(lab) == containers


def test_a_killed_host_is_gone_and_its_successor_is_empty(lab: Lab) -> None:
    lab.add_host("db2")
    address = lab.host_ip("db2")
    for path in VOLUMES.values():
        lab.run("db2", ["touch", f"{path}/precious"])
    host_key = (LabPaths(lab.name).ssh / "host-db2.pub").read_text()

    lab.kill_host("db2")
    assert "db2" not in lab.hosts
    assert inspect("container", lab.container("db2")) is None
    assert [name for name in names_with_label("volume", lab.name) if "db2" in name] == []
    assert "db2" not in lab.ssh_config.read_text() + LabPaths(lab.name).known_hosts.read_text()
    with pytest.raises(RefusedError):
        lab.kill_host("db2")

    lab.add_host("db2")
    assert lab.host_ip("db2") != address
    assert (LabPaths(lab.name).ssh / "host-db2.pub").read_text() != host_key
    for path in VOLUMES.values():
        assert lab.run("db2", ["ls", path]).stdout == ""
    assert lab.run("db1", ["getent", "ahostsv4", "db2"]).stdout.split()[0] == lab.host_ip("db2")
    lab.kill_host("db2")


def test_volumes_belong_to_one_host(lab: Lab) -> None:
    expected = {volume_name(lab.name, host, volume) for host in lab.hosts for volume in VOLUMES}
    assert set(names_with_label("volume", lab.name)) == expected


@pytest.mark.parametrize("seconds", [0.9, 1.6])
def test_up_can_be_killed_and_run_again_beside_another_lab(lab: Lab, seconds: float) -> None:
    name = f"k{os.getpid()}"
    up = [sys.executable, "-m", "lab", "up", name, "--no-s3", "--host", "db1"]
    try:
        with subprocess.Popen(
            up, cwd=_RESOURCES, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as first:
            time.sleep(seconds)
            os.killpg(first.pid, signal.SIGKILL)
        subprocess.run(up, cwd=_RESOURCES, check=True, capture_output=True)
        other = type(lab).load(name)
        assert other.run("db1", ["systemctl", "is-system-running"]).stdout == "running\n"
        assert other.state.subnet != lab.state.subnet
        assert other.run("db1", ["test", "-e", "/etc/ssl/certs/pgdr-lab.pem"]).returncode == 0
        (other.folder / "report.json").write_text("{}")
    finally:
        lifecycle.down(name)
    assert name not in all_names()
    for kind in ("container", "volume", "network"):
        assert names_with_label(kind, name) == []
    # What others keep in the lab's folder is not the lab's to remove.
    leftover = [path.name for path in LabPaths(name).folder.iterdir()]
    (LabPaths(name).folder / "report.json").unlink()
    LabPaths(name).folder.rmdir()
    assert leftover == ["report.json"]


def test_what_another_checkout_left_is_not_built_on(able: None) -> None:
    """Its disks hold a cluster and a repository under secrets that are gone."""
    name = f"o{os.getpid()}"
    left = volume_name(name, "db1", "pgdata")
    podman("volume", "create", f"--label={LABEL}={name}", left)
    try:
        with pytest.raises(RefusedError, match=f"another checkout made.*{left}"):
            lifecycle.up(name, ["db1"], with_s3=False)
        assert names_with_label("network", name) == []
        assert name not in all_names()
    finally:
        assert lifecycle.down(name)
    assert names_with_label("volume", name) == []


def test_secrets_are_the_owners_alone_and_nowhere_else(lab: Lab) -> None:
    paths = LabPaths(lab.name)
    secret_values = list(lab.secrets().values())
    assert len(secret_values) == 9
    assert {file.stat().st_mode & 0o777 for file in paths.secrets.iterdir()} == {0o600}
    shown = paths.state.read_text() + repr(lab.s3)
    for container in names_with_label("container", lab.name):
        shown += str(inspect("container", container))
    assert [value for value in secret_values if value in shown] == []


def test_cron_runs_jobs(lab: Lab) -> None:
    deadline = time.monotonic() + 70
    while lab.run("db1", ["test", "-s", _CRON_PROOF], check=False).returncode != 0:
        assert time.monotonic() < deadline, "cron ran nothing within a minute"
        time.sleep(1)
    assert lab.run("db1", ["stat", "-c", "%U", _CRON_PROOF]).stdout == "nobody\n"
