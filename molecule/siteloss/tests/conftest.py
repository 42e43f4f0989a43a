"""What the tests of this disaster share. They follow each other: application, loss, rebuild, the new home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drill.client import ErpClient
from drill.expect import Notes
from drill.host import Host
from drill.play import ROOT
from drill.steps import Plays, pytest_configure, pytest_runtest_makereport  # noqa: F401 - pytest's hooks
from lab.api import Lab

FILES = Path(__file__).parents[1] / "files"


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


@pytest.fixture(scope="session")
def plays(lab: Lab) -> Plays:
    """What runs playbooks."""
    return Plays(lab, ROOT, seconds=900)


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
