"""One lab for all tests that need a lab, where this machine can run one; elsewhere they are skipped and say why."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lab import doctor, lifecycle
from lab.api import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def able() -> None:
    """Skip, in one line that names what is missing, where systemd containers cannot run."""
    missing = doctor.diagnose().missing
    if missing:
        pytest.skip(f"this machine cannot run the lab; missing: {', '.join(check.name for check in missing)}")


@pytest.fixture(scope="session")
def lab(able: None) -> Iterator[Lab]:
    """Two hosts and the S3 server, under a name of this process's own."""
    name = f"t{os.getpid()}"
    # Numbers of processes come again, and a killed run leaves its lab.
    lifecycle.down(name)
    try:
        made = Lab.up(name, ["db1", "dr1"], s3_memory="512MiB")
        # Here and not in its test: cron wakes up each minute, and the other tests use the time until then.
        made.run("db1", ["install", "-d", "-o", "nobody", "/run/lab-test"])
        line = "* * * * * nobody date > /run/lab-test/cron-ran\n"
        made.run("db1", ["tee", "/etc/cron.d/lab-test"], input=line)
        yield made
    finally:
        lifecycle.down(name)
