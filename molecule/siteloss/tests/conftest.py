"""What the tests of this disaster share. They follow each other: application, loss, rebuild, the new home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from drill.client import ErpClient
from drill.expect import Notes
from drill.host import Host
from drill.play import ROOT, environment
from lab.api import Lab

FILES = Path(__file__).parents[1] / "files"


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
    return Lab.load(os.environ.get("PGDR_LAB") or os.environ.get("MOLECULE_SCENARIO_NAME") or "site-lost")


@pytest.fixture(scope="session")
def db1(lab: Lab) -> Host:
    """The host that is protected, and lost."""
    return Host(lab, "db1")


@pytest.fixture(scope="session")
def dr1(lab: Lab) -> Host:
    """The empty host in the other place."""
    return Host(lab, "dr1")


@pytest.fixture(scope="session")
def app1(lab: Lab) -> Host:
    """The application's host, with its program."""
    host = Host(lab, "app1")
    program = (FILES / "erp-app").read_text(encoding="utf-8")
    host.run("install", "-m", "0755", "/dev/stdin", "/usr/local/bin/erp-app", input=program)
    return host


class Plays:
    """Runs a playbook to its end and says what it said."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def run(self, playbook: str, extra: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
        """Run a playbook, named from the top of the repository, against the lab's inventory."""
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", playbook]
        argv += ["-e", json.dumps(dict(extra))]
        return subprocess.run(
            argv,
            check=False,
            cwd=ROOT,
            env=environment(self.lab.name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    def error(self, playbook: str, extra: Mapping[str, object]) -> str:
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


@pytest.fixture(scope="session")
def notes(lab: Lab) -> Notes:
    """What is known of this disaster."""
    return Notes.of(lab)


@pytest.fixture(scope="session")
def erp(lab: Lab) -> ErpClient:
    """The client of the ERP database."""
    return ErpClient(lab)


@pytest.fixture(scope="session")
def fetched(lab: Lab) -> Callable[..., Path]:
    """Fetches the kit as a person would: with the keys of the bucket, and the policy of the checkout."""

    def fetch(name: str, *, replica: bool = False) -> Path:
        folder = lab.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        argv = [str(Path(sys.executable).parent / "pgdr"), "kit", "fetch", str(folder)]
        argv += [f"--policy={ROOT / 'inventories/lab/group_vars/all/policy.yml'}", *(["--replica"] if replica else [])]
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": lab.s3.key,
            "AWS_SECRET_ACCESS_KEY": lab.s3.key_secret,
            "PGDR_S3_ENDPOINT_URL": lab.replica_url if replica else lab.s3.url,
            "PGDR_S3_CA_FILE": str(lab.s3.ca),
        }
        done = subprocess.run(argv, check=False, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return folder

    return fetch
