"""What the tests of this scenario ask the host with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
DATABASE = "erp_generic"


@pytest.fixture
def lab() -> Path:
    """Folder of the lab that this scenario runs in."""
    return ROOT / ".lab" / os.environ.get("PGDR_LAB", "protect")


@pytest.fixture
def psql(host: Host) -> Callable[[str], str]:
    """Ask the database over its local socket, as postgres; the answer is unaligned text."""

    def ask(statement: str) -> str:
        command = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d %s -c %s"
        return str(host.check_output(command, DATABASE, statement)).strip()

    return ask


@pytest.fixture
def repositories(host: Host) -> list[dict[str, Any]]:
    """What pgBackRest says of the stanza, from each repository."""
    answer = host.check_output("runuser -u postgres -- pgbackrest --stanza=erp --output=json info")
    (stanza,) = json.loads(answer)
    return [{**repo, "stanza": stanza} for repo in stanza["repo"]]
