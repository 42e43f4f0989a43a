"""State that cannot be read is one line and a finding, never a traceback: a status is asked on the worst of days."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scripts.tests.unit.recovery.test_state import make_state

from pgdr.edge import exit_code
from pgdr.errors import BusyError, ConfigError, ExitCode
from pgdr.files import write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.lookout.kept import far_file
from pgdr.policy import load_policy
from pgdr.recovery.state import StateStore
from pgdr.retention.holds import holds_file
from pgdr.shipping.check import journal_copy_check
from pgdr.shipping.copy import entries_in
from pgdr.side import store
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


def test_a_journals_head_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(operation="backup", result="ok")
    (tmp_path / "journal.head").unlink()
    (tmp_path / "journal.head").mkdir()
    for ask in (journal.verify, lambda: journal.append(operation="backup", result="ok")):
        with pytest.raises(ConfigError, match=r"cannot read .*journal.head: Is a directory") as caught:
            ask()
        assert caught.value.remedy == "something else stands in its place: move that away"


def test_what_goes_wrong_while_a_state_is_changed_is_not_said_of_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError), StateFile(tmp_path / "far.json", State).change():
        raise ConnectionRefusedError
    with pytest.raises(BusyError), StateFile(tmp_path / "far.json", State).change():
        raise BusyError("another")
    with StateFile(tmp_path / "far.json", State).change():
        pass


def test_a_link_that_leads_nowhere_is_not_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    """Holds on a disk that is not mounted: nobody may take it for "nothing is held"."""
    host = HostConfig.model_construct(cluster_name="erp", state_directory=tmp_path)
    assert holds_file(host).read().holds == []
    (tmp_path / "holds.json").symlink_to("/not/mounted")
    with pytest.raises(ConfigError, match="leads nowhere") as caught:
        holds_file(host).read()
    assert "nothing is removed while it is so" in caught.value.remedy
    (tmp_path / "holds.json").unlink()
    (tmp_path / "holds.json").mkdir()
    with pytest.raises(ConfigError, match="nothing is removed while it is so"):
        holds_file(host).read()
    (tmp_path / "far.json").symlink_to("/not/mounted")
    assert far_file(host).read().at is None


@pytest.mark.parametrize("kind", ["folder", "bytes", "other"])
def test_the_state_of_a_recovery_or_of_a_side_instance_is_one_line(tmp_path: Path, kind: str) -> None:
    host = HostConfig.model_construct(
        cluster_name="erp", state_directory=tmp_path, run_directory=tmp_path, policy_path=_POLICY
    )
    for path in (tmp_path / "recovery" / "state.json", tmp_path / "side" / "past" / "state.json"):
        path.parent.mkdir(parents=True)
        if kind == "folder":
            path.mkdir()
        else:
            path.write_bytes(b"\xff\xfe" if kind == "bytes" else b"[]")
    for ask in (StateStore(tmp_path / "recovery").load, lambda: store.load(host, "past")):
        with pytest.raises(ConfigError, match=r"state\.json cannot be read: "):
            ask()
    assert list(store.states(host)) == []


def test_a_state_that_has_no_room_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "recovery").write_text("")
    with pytest.raises(ConfigError, match="cannot be read"):
        StateStore(tmp_path / "recovery").load()
    with pytest.raises(ConfigError, match="cannot write"):
        StateStore(tmp_path / "recovery").save(make_state())
    host = HostConfig.model_construct(
        cluster_name="erp", state_directory=tmp_path, run_directory=tmp_path, policy_path=_POLICY
    )
    (tmp_path / "side").write_text("")
    with pytest.raises(ConfigError, match="cannot read"):
        store.names(host)


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, ExitCode.FAILED), (errno.EPERM, ExitCode.BUG)])
def test_a_full_disk_is_no_bug_wherever_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int, code: ExitCode
) -> None:
    def broken(_: int) -> None:
        raise OSError(number, os.strerror(number))

    def work(**_: object) -> None:
        monkeypatch.setattr(os, "fsync", broken)
        write_atomically(tmp_path / "rehearsal.json", "{}")

    said: list[str] = []
    assert exit_code(work, [], name="pgdr", say=said.append) == code
    monkeypatch.undo()
    bug = "this is a bug" in capfd.readouterr().err
    assert (bug, list(tmp_path.iterdir())) == (code is ExitCode.BUG, [])
    if not bug:
        text = f"{tmp_path / 'rehearsal.json'}: No space left on device (free space on its disk, then run again)"
        assert said == [text]
