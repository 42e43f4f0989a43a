"""A real server, one sample made once, and a fresh copy of it for each test that writes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from erp.create import Created, Wanted, create
from erp.tests.cluster import Cluster, wheel_binaries
from erp.tests.fingerprint import Figures, fingerprint

SIZE_MB = 20
TENANTS = 8
_numbers = count(1)


def silent(_phase: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


def short_folder() -> Path:
    """A folder that an unprivileged server may use, with a path short enough for its socket."""
    return Path(tempfile.mkdtemp(prefix="erp-"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No inherited variable may send a test to another server."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server with the two roles; another one's binaries by ERP_TEST_BIN."""
    made = Cluster(short_folder(), Path(os.environ.get("ERP_TEST_BIN") or wheel_binaries()))
    try:
        made.start()
        made.execute("CREATE ROLE erp_owner LOGIN")
        made.execute("CREATE ROLE erp_user LOGIN")
        yield made
    finally:
        made.remove()


@dataclass(frozen=True)
class Sample:
    """The sample that all tests share; nobody may write to it."""

    database: str
    created: Created
    fingerprint: Figures


@pytest.fixture(scope="session")
def sample(cluster: Cluster) -> Sample:
    """The sample, made by a role that owns the database and nothing else."""
    cluster.execute("CREATE DATABASE sample OWNER erp_owner")
    created = create(
        Wanted(cluster.dsn("sample", "erp_owner"), size_mb=SIZE_MB, tenants=TENANTS, extensions=False), silent
    )
    return Sample("sample", created, fingerprint(cluster.dsn("sample")))


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[str]:
    """A new, empty database of the owner's."""
    name = f"empty_{next(_numbers)}"
    cluster.execute(f"CREATE DATABASE {name} OWNER erp_owner")
    yield name
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(cluster: Cluster, sample: Sample) -> Iterator[str]:
    """A copy of the sample."""
    name = f"copy_{next(_numbers)}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE {sample.database} OWNER erp_owner")
    yield name
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
