"""State that cannot be read is one line and a finding, never a traceback: a status is asked on the worst of days."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgdr.errors import ConfigError
from pgdr.hostconfig import HostConfig
from pgdr.policy import load_policy
from pgdr.shipping.check import journal_copy_check
from pgdr.shipping.copy import entries_in
from pgdr.statefile import State, StateFile

_POLICY = Path(__file__).resolve().parents[3] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"


def test_a_chain_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        entries_in(tmp_path)


def test_the_copy_of_a_journal_that_cannot_be_read_is_not_judged(tmp_path: Path) -> None:
    host = HostConfig.model_construct(cluster_name="erp", state_directory=tmp_path)
    host.journal_path.mkdir()
    assert journal_copy_check(host, load_policy(_POLICY), datetime.now(UTC)) == []


def test_a_damaged_file_says_what_to_do_with_this_one(tmp_path: Path) -> None:
    path = tmp_path / "far.json"
    path.write_text("")
    with pytest.raises(ConfigError) as caught:
        StateFile(path, State).read()
    assert caught.value.remedy == "move it away: pgdr makes it anew"
