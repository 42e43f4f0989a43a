"""The old primary comes back as a standby by the runbook's own commands, and takes over when the new host is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from drill.client import ErpClient
from drill.play import ROOT
from drill.running import until
from lab.api import Lab

PLAY = "promote-standby.yml"
HEADING = "**The old primary comes back as a standby**"
THIS = {
    "17/main": "16/main",
    "@17-main": "@16-main",
    "erp": "STANZA",
    "dr1": "NEW_PRIMARY",
    "replicator": "REPLICATION_ROLE",
}


def _commands() -> str:
    """What the runbook has a person type, with the names of this lab."""
    text = (ROOT / "playbooks" / "README.md").read_text(encoding="utf-8").partition(HEADING)[2].split("```")[1]
    for ours, theirs in THIS.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    return text


@pytest.mark.step
def test_the_old_primary_follows_the_new_one(db1: Any, dr1: Any, erp: ErpClient) -> None:
    typed, as_root, start = _commands().partition("sudo ")
    assert as_root
    db1.postgres("bash", "-euc", typed)
    db1.run("bash", "-euc", start)
    until("the old primary streams", lambda: dr1.followers == 1, 60)
    assert db1.is_standby
    assert erp.writes


@pytest.fixture(scope="module")
def lost_at(lab: Lab, erp: ErpClient) -> str:
    """When the new primary's host was destroyed, under load."""
    moment = datetime.now(UTC).isoformat()
    lab.kill_host("dr1")
    until("the client lost its server", lambda: not erp.writes, 60)
    return moment


@pytest.mark.step
def test_a_primary_whose_host_is_lost_is_not_passed_over_without_consent(
    plays: Any, db1: Any, lost_at: str, examined: None
) -> None:
    consent = {"restore_confirm": "erp-lab", "primary_unreachable": "erp-prod"}
    error = plays.error(PLAY, standby="db1", primary="dr1", **consent)
    assert "dr1 cannot be fenced" in error
    assert "It may be alive" in error
    assert db1.is_standby


@pytest.mark.step
def test_with_consent_it_takes_over_and_says_what_may_be_lost(
    plays: Any, db1: Any, erp: ErpClient, lost_at: str
) -> None:
    consent = {"primary_unreachable": "erp-lab", "disaster_time": lost_at}
    said = " ".join(plays.succeed(PLAY, standby="db1", primary="dr1", **consent).split())
    assert "did not send is lost" in said
    kept = db1.entry("standby promote")
    assert (kept["result"], kept["details"]["proven"], kept["details"]["timeline"]) == ("ok", False, 3)
    assert 0 < kept["times"]["rto"] < 600
    assert 0 <= kept["details"]["rpo_seconds"] < 60
    # What is lost, if anything is, lies behind what it said it had replayed.
    assert erp.prove("db1", kept["details"]["replayed"]).faults == []
    assert not db1.is_standby
    segment = db1.switch_wal()
    assert segment.startswith("00000003")
    for repository in (1, 2):
        until(f"{segment} is archived", lambda repository=repository: segment in db1.segments(repository), 60, poll=1)
