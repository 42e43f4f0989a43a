"""What the tests of one tenant's accident share: a host, the ERP under load, and plays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from drill.client import ErpClient
from drill.host import Host
from drill.play import ROOT, environment
from lab.api import Lab

SAMPLE_MEGABYTES = 40


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker that this scenario uses."""
    config.addinivalue_line("markers", "step: the tests after it build on it")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """End the run when a step fails: everything after it would fail for the same reason."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and item.get_closest_marker("step"):
        item.session.shouldfail = f"{item.name} failed, and what follows builds on it"


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of this scenario, made by molecule's create."""
    return Lab.load(os.environ.get("PGDR_LAB") or os.environ.get("MOLECULE_SCENARIO_NAME") or "tenant")


@pytest.fixture(scope="session")
def db1(lab: Lab) -> Host:
    """The host."""
    return Host(lab, "db1")


@pytest.fixture(scope="session")
def erp(lab: Lab, db1: Host) -> Iterator[ErpClient]:
    """The ERP: archived, summed up, and then under load until the end."""
    client = ErpClient(lab)
    client.create("db1", SAMPLE_MEGABYTES)
    db1.pgdr("archive")
    client.fingerprint("db1", client.reference)
    client.start_load("db1", connections=3, rate=20)
    yield client
    client.stop_load()


@pytest.fixture(scope="session")
def victim(erp: ErpClient, db1: Host) -> str:
    """A tenant that the load does not work for: it takes the first ones."""
    return db1.sql("SELECT max(id::text) FROM core.tenants")


class Plays:
    """Runs a playbook to its end."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def run(self, playbook: str, extra: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
        """Run a playbook against the lab's inventory, as a person would who cannot be asked."""
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", f"playbooks/{playbook}"]
        return subprocess.run(
            [*argv, "-e", json.dumps(dict(extra))],
            check=False,
            cwd=ROOT,
            env=environment(self._lab.name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def succeed(self, playbook: str, **extra: object) -> str:
        """Run a playbook that must succeed, with consent; what it said."""
        done = self.run(playbook, {"restore_confirm": "erp-lab", **extra})
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    def error(self, playbook: str, **extra: object) -> str:
        """Run a playbook that must fail, and return its one line."""
        done = self.run(playbook, extra)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("[ERROR]: ")]
        assert done.returncode != 0, done.stdout
        assert len(lines) == 1, done.stdout + done.stderr
        return lines[0]


@pytest.fixture(scope="session")
def plays(lab: Lab) -> Plays:
    """What runs playbooks."""
    return Plays(lab)
