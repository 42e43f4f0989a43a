"""What the tests of one disaster share: a lab, its hosts, a client, and what is known of the disaster so far.

The tests follow each other: outage, refusals, kills, the recovered cluster, a point in time, secrets. A step on which
the following ones build ends the run when it fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from drill.client import ErpClient
from drill.expect import Notes
from drill.host import Host
from drill.running import until
from drill.steps import pytest_configure, pytest_runtest_makereport  # noqa: F401 - pytest's hooks
from drill.watcher import ArgumentWatcher
from lab.api import Lab

SAMPLE_MEGABYTES = 40
# Above PostgreSQL's default, which the lab has.
RAISED_CONNECTIONS = 137


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of this scenario, made by molecule's create."""
    return Lab.load(os.environ.get("PGDR_LAB") or os.environ.get("MOLECULE_SCENARIO_NAME") or "disaster")


@pytest.fixture(scope="session")
def notes(lab: Lab) -> Notes:
    """What is known of this disaster."""
    return Notes.of(lab)


@pytest.fixture(scope="session")
def db1(lab: Lab) -> Host:
    """The host that is protected, and lost."""
    return Host(lab, "db1")


@pytest.fixture(scope="session")
def dr1(lab: Lab) -> Host:
    """The empty host."""
    return Host(lab, "dr1")


@pytest.fixture(scope="session")
def erp(lab: Lab) -> Iterator[ErpClient]:
    """The client of the ERP database."""
    client = ErpClient(lab)
    yield client
    client.stop_load()


@pytest.fixture(scope="session", autouse=True)
def arguments(lab: Lab) -> Iterator[dict[str, ArgumentWatcher]]:
    """Watch the command lines of all machines from beginning to end."""
    watchers = {host: ArgumentWatcher(lab, host) for host in lab.hosts} | {"control": ArgumentWatcher(lab)}
    until("the watchers see something", lambda: all(one.file.stat().st_size for one in watchers.values()), 60)
    yield watchers
    for watcher in watchers.values():
        watcher.stop()


@pytest.fixture(scope="session")
def sample(erp: ErpClient, db1: Host, notes: Notes) -> str:
    """Have the sample and a full backup of it in each repository, once.

    After the backup a setting is raised that a recovering server must not have lower: the backup does not know of it.
    """
    if "sample" not in notes:
        erp.create("db1", SAMPLE_MEGABYTES)
        db1.pgdr("backup", "full")
        db1.sql(f"ALTER SYSTEM SET max_connections = {RAISED_CONNECTIONS}")
        db1.run("systemctl", "restart", "postgresql@17-main")
        until("the server answers", db1.answers, 60)
        notes["sample"] = db1.sql("SELECT clock_timestamp()")
    return notes["sample"]


@pytest.fixture(scope="session")
def raised_connections() -> int:
    """What a setting was raised to after the backup."""
    return RAISED_CONNECTIONS
