"""Role backup_volume and real block devices: an empty one is formatted, one that holds anything never is.

The role runs in a container of the hosts' image that is given one loop device of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from lab import images
from lab.paths import REPOSITORY
from lab.podman import LABEL, environment, execute, podman, remove_containers

if TYPE_CHECKING:
    from collections.abc import Iterator

# mkfs.xfs makes nothing below 300 MB.
_BYTES = 400 * 2**20
_PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "roles": [
            {
                "role": "backup_volume",
                "backup_volume_device": "{{ device }}",
                "backup_volume_minimum_gb": 0.3,
                "backup_volume_owner": "nobody",
                "backup_volume_group": "nogroup",
            }
        ],
    }
]


def _losetup(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("losetup") or "/usr/sbin/losetup"
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)


@pytest.fixture
def device(able: None, tmp_path: Path) -> Iterator[str]:
    """A loop device over an empty file."""
    file = tmp_path / "disk"
    with file.open("wb") as disk:
        disk.truncate(_BYTES)
    made = _losetup("--find", "--show", str(file))
    if made.returncode != 0:
        pytest.skip(f"this machine has no loop devices: {made.stderr.strip()}")
    name = made.stdout.strip()
    yield name
    _losetup("--detach", name)


class Machine:
    """A container that may format and mount, and the role run on it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        podman(
            "run",
            "--detach",
            f"--name={name}",
            f"--label={LABEL}={name}",
            # Loop devices and mount(2) ask for it. No systemd in it: that would take the machine's devices for its own.
            "--privileged",
            images.ensure(images.HOST),
            "sleep",
            "infinity",
        )

    def apply(self, device: str) -> tuple[int, str]:
        """Run the role; status and all that Ansible says."""
        play, inventory = self._folder / "play.yml", self._folder / "hosts.yml"
        play.write_text(yaml.safe_dump(_PLAY))
        host = {"ansible_connection": "containers.podman.podman", "ansible_python_interpreter": "/usr/bin/python3"}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {self.name: host}}}))
        ansible = str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [ansible, f"--inventory={inventory}", f"--extra-vars={json.dumps({'device': device})}", str(play)],
            check=False,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **environment(), "ANSIBLE_ROLES_PATH": str(REPOSITORY / "roles"), "NO_COLOR": "1"},
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    def run(self, *argv: str) -> str:
        """What a program in it prints."""
        return execute(self.name, *argv).stdout.strip()

    def remove(self) -> None:
        """Remove it; its mounts end with it."""
        remove_containers(self.name)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    """Machines that are made in turn: what one leaves on the device the next one finds."""
    made: list[Machine] = []
    yield made
    for machine in made:
        machine.remove()


def _new(machines: list[Machine], folder: Path) -> Machine:
    machines.append(Machine(f"pgdr-volume-{os.getpid()}-{len(machines)}", folder))
    return machines[-1]


def test_an_empty_device_is_formatted_once_and_its_backups_are_found_by_the_next_host(
    device: str, machines: list[Machine], tmp_path: Path
) -> None:
    first = _new(machines, tmp_path)
    status, said = first.apply(device)
    assert status == 0, said
    assert first.run("findmnt", "--noheadings", "--output=SOURCE,FSTYPE", "/backups").split() == [device, "xfs"]
    assert first.run("stat", "--format=%U", "/backups/pgbackrest") == "nobody"
    execute(first.name, "tee", "/backups/pgbackrest/backup", stdin="all we have")
    status, said = first.apply(device)
    assert status == 0, said
    assert re.search(r"changed=0 ", said), said
    first.remove()

    second = _new(machines, tmp_path)
    status, said = second.apply(device)
    assert status == 0, said
    assert second.run("cat", "/backups/pgbackrest/backup") == "all we have"


def test_a_device_that_holds_anything_is_refused_and_left_as_it_was(
    device: str, machines: list[Machine], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with disk.open("r+b") as raw:
        raw.seek(4096)
        raw.write(b"a database of another kind, without a file system")
    before = disk.read_bytes()
    machine = _new(machines, tmp_path)
    status, said = machine.apply(device)
    assert status != 0
    assert f"backup_volume_device {device} holds" in said
    assert "is not formatted" in said
    execute(machine.name, "sync")
    assert disk.read_bytes() == before
