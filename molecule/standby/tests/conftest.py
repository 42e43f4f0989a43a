"""What the tests of a failover share: two hosts, the ERP under load, and plays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from drill.client import ErpClient
from drill.host import Host
from drill.play import ROOT
from drill.running import until
from drill.steps import Plays, pytest_configure, pytest_runtest_makereport  # noqa: F401 - pytest's hooks
from lab.api import Lab

SAMPLE_MEGABYTES = 40


class Server(Host):
    """A host of the pair, and what it says of its own part in it."""

    @property
    def is_standby(self) -> bool:
        """Whether it follows another."""
        return self.sql("SELECT pg_is_in_recovery()", "postgres") == "t"

    @property
    def followers(self) -> int:
        """How many standbys stream from it."""
        return int(self.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "postgres"))

    def entry(self, operation: str) -> dict[str, Any]:
        """The newest entry of its journal about an operation."""
        lines = self.run("cat", "/var/lib/pgdr/journal.jsonl").stdout.splitlines()
        found: dict[str, Any] = [one for one in map(json.loads, lines) if one["operation"] == operation][-1]
        return found


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of this scenario, made by molecule's create."""
    return Lab.load(os.environ.get("PGDR_LAB") or os.environ.get("MOLECULE_SCENARIO_NAME") or "standby")


@pytest.fixture(scope="session")
def db1(lab: Lab) -> Server:
    """The first primary."""
    return Server(lab, "db1")


@pytest.fixture(scope="session")
def dr1(lab: Lab) -> Server:
    """Its standby."""
    return Server(lab, "dr1")


@pytest.fixture(scope="session")
def erp(lab: Lab, db1: Server) -> Iterator[ErpClient]:
    """The ERP: summed up, and then under a light load."""
    client = ErpClient(lab)
    client.create("db1", SAMPLE_MEGABYTES)
    client.fingerprint("db1", client.reference)
    client.start_load("db1", connections=2, rate=20)
    until("the load commits", lambda: client.committed() > 20, 60)
    yield client
    client.stop_load()


@pytest.fixture(scope="session")
def plays(lab: Lab) -> Plays:
    """What runs playbooks."""
    return Plays(lab, ROOT / "playbooks", seconds=300)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standby was examined a minute ago: no play of this test does it again, nor prepares its host."""
    monkeypatch.setenv("ANSIBLE_SKIP_TAGS", "prepare,examine")
