"""A store on a real S3 server, with the identities' own policies in force."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import doctor, lifecycle
from lab.api import Lab
from tests.enforced.host import Host, install
from tests.enforced.store import Enforced, enforce


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab of its own; where this machine cannot run one, the tests are skipped and say why."""
    missing = doctor.diagnose().missing
    if missing:
        pytest.skip(f"this machine cannot run the lab; missing: {', '.join(check.name for check in missing)}")
    name = f"e{os.getpid()}"
    # Numbers of processes come again, and a killed run leaves its lab.
    lifecycle.down(name)
    try:
        yield Lab.up(name, ["db1"], s3_memory="1GiB")
    finally:
        lifecycle.down(name)


@pytest.fixture(scope="session")
def enforced(lab: Lab) -> Enforced:
    """Buckets as infra/storage makes them, identities as infra/access makes them; the functions are the same."""
    return enforce(lab)


@pytest.fixture(scope="session")
def installed(lab: Lab) -> Host:
    """The database host, installed once."""
    return install(lab)
