"""Wrong uses: each is refused in one line, the primary works on, and the standby stays one."""

from __future__ import annotations

from typing import Any

from drill.client import ErpClient

PLAY = "promote-standby.yml"
FOUR_MEGABYTES = "SELECT count(pg_logical_emit_message(false, 'lag', repeat('x', 1000000))) FROM generate_series(1, 4)"


def test_with_another_name_nothing_is_changed(plays: Any, dr1: Any, erp: ErpClient) -> None:
    """The whole line, as all others of this file only what is behind the examination."""
    error = plays.error(PLAY, standby="dr1", restore_confirm="erp-prod")
    assert "erp-prod is not the name of this cluster; nothing was changed" in error
    assert erp.writes
    assert dr1.is_standby


def test_without_consent_nothing_is_changed(plays: Any, dr1: Any, erp: ErpClient, examined: None) -> None:
    assert "nothing is not the name of this cluster; nothing was changed" in plays.error(PLAY, standby="dr1")
    assert erp.writes
    assert dr1.is_standby


def test_a_standby_that_is_none_is_refused(plays: Any, erp: ErpClient, examined: None) -> None:
    consent = {"restore_confirm": "erp-lab"}
    assert "is no host of this inventory" in plays.error(PLAY, standby="db9", **consent)
    assert "The primary is not known" in plays.error(PLAY, standby="db1", **consent)
    assert "dr1 is a standby itself" in plays.error(PLAY, standby="db1", primary="dr1", **consent)
    assert erp.writes


def test_a_standby_that_lags_is_refused_with_figures(
    plays: Any, db1: Any, dr1: Any, erp: ErpClient, examined: None
) -> None:
    dr1.sql("SELECT pg_wal_replay_pause()", "postgres")
    db1.sql(FOUR_MEGABYTES)
    error = plays.error(PLAY, standby="dr1", most_behind=2**20, restore_confirm="erp-lab")
    assert "MiB of WAL behind" in error
    assert erp.writes
    assert dr1.is_standby
    # The promotion resumes it by itself: see the next file.
