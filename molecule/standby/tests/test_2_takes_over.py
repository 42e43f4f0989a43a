"""The primary's disk lies. One line, and the standby has its place: nothing confirmed is lost, one primary is left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from drill.client import ErpClient
from drill.host import DATA
from drill.running import until
from lab.api import Lab
from lab.podman import podman

UNIT = "postgresql@17-main"
LOG = "/var/log/postgresql/postgresql-17-main.log"
# The load does not write to it, so that the server leaves the page as the disk has it.
TABLE = "purchase.order_lines"
PAGE = 8192


@pytest.fixture(scope="module")
def damaged(db1: Any, erp: ErpClient) -> None:
    """A disk writes into the middle of a page."""
    db1.sql("CHECKPOINT")
    path = DATA + "/" + db1.sql(f"SELECT pg_relation_filepath('{TABLE}')")
    dd = ("dd", f"of={path}", "bs=1", f"seek={PAGE + 4000}", "conv=notrunc", "status=none")
    db1.run(*dd, input="a disk wrote this here")
    assert erp.writes


@pytest.mark.step
def test_one_line_has_the_standby_take_over_and_no_confirmed_row_is_lost(
    plays: Any, dr1: Any, erp: ErpClient, damaged: None, tmp_path: Path
) -> None:
    before = erp.committed()
    said = plays.succeed("dr-corruption.yml", standby="dr1", evidence_directory=str(tmp_path))
    text = " ".join(said.split())
    assert f"table {TABLE} in database erp_generic, blocks 1: its checksum is wrong" in text
    assert "no committed row is lost" in text
    until("the client lost its server", lambda: not erp.writes, 30)
    assert erp.committed() > before, "nobody worked meanwhile"
    assert list(tmp_path.glob("*.tar.gz"))
    proof = erp.prove("dr1", dr1.sql("SELECT pg_current_wal_lsn()"))
    assert (proof.faults, proof.transactions_lost) == ([], 0)
    assert proof.transactions_survived >= erp.committed()


def test_rto_and_rpo_are_said_and_kept(dr1: Any, db1: Any) -> None:
    kept = dr1.entry("standby promote")
    assert kept["result"] == "ok"
    assert kept["details"]["proven"]
    assert kept["details"]["rpo_seconds"] == 0
    assert 0 < kept["times"]["rto"] < 300
    assert db1.entry("standby fence")["result"] == "ok"


def _refusals(db1: Any) -> int:
    """How often PostgreSQL refused to start for the fence; 0 as well while the host boots."""
    found = db1.run("grep", "-c", "FATAL:.*fenced-because-a-standby-takes-its-place", LOG, check=False).stdout.strip()
    return int(found or 0)


def test_the_old_primary_stays_down_also_after_a_reboot_of_its_host(lab: Lab, db1: Any) -> None:
    assert db1.run("systemctl", "restart", UNIT, check=False).returncode != 0
    before = _refusals(db1)
    assert before
    podman("restart", "--time=5", lab.container("db1"))
    until("the rebooted host has tried to start it", lambda: _refusals(db1) > before, 60)
    assert not db1.answers()
    error = db1.pgdr("standby", "unfence", "--confirm", "erp-lab", check=False)
    assert (error.returncode, "a standby was promoted" in error.stderr) == (4, True)


@pytest.mark.step
def test_the_new_primary_archives_on_its_timeline_and_is_backed_up(dr1: Any) -> None:
    segment = dr1.switch_wal()
    assert segment.startswith("00000002")
    for repository in (1, 2):
        until(f"{segment} is archived", lambda repository=repository: segment in dr1.segments(repository), 60, poll=1)

        def backed_up(repository: int = repository) -> bool:
            newest = dr1.info(repository)["backup"][-1:]
            return bool(newest) and newest[0]["type"] == "full" and newest[0]["archive"]["stop"].startswith("00000002")

        until("the full backup of the new timeline", backed_up, 120, poll=1)


@pytest.mark.step
def test_the_same_line_again_says_that_it_is_done(plays: Any, dr1: Any, erp: ErpClient) -> None:
    erp.fingerprint("dr1", erp.reference)
    erp.start_load("dr1", connections=2, rate=20)
    until("the load commits", lambda: erp.committed() > 5, 60)
    started = dr1.sql("SELECT pg_postmaster_start_time(), timeline_id FROM pg_control_checkpoint()")
    before = erp.committed()
    said = " ".join(plays.succeed("promote-standby.yml", standby="dr1").split())
    assert re.search(r"promoted already, at [0-9A-F]+/[0-9A-F]+ on timeline 2", said)
    assert dr1.sql("SELECT pg_postmaster_start_time(), timeline_id FROM pg_control_checkpoint()") == started
    assert erp.writes
    assert erp.committed() > before
