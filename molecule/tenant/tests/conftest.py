"""What the tests of one tenant's accident share: a host, the ERP under load, and plays."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from drill.client import ErpClient
from drill.host import Host
from drill.play import ROOT
from drill.steps import Plays, pytest_configure, pytest_runtest_makereport  # noqa: F401 - pytest's hooks
from lab.api import Lab

SAMPLE_MEGABYTES = 40


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


@pytest.fixture(scope="session")
def plays(lab: Lab) -> Plays:
    """What runs playbooks."""
    return Plays(lab, ROOT / "playbooks", seconds=600)
