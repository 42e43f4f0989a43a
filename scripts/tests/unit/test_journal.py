"""The journal: what was written stays, what was changed is found, several writers and crashes do no harm."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from pgdr import files
from pgdr.chain import GENESIS
from pgdr.errors import ConfigError, OperationFailedError
from pgdr.journal import Journal, SecretRefusedError


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal with five entries."""
    made = Journal(tmp_path / "journal.jsonl", "erp-test")
    for number in range(1, 6):
        made.append(operation=f"op-{number}", result="ok", details={"n": number}, times={"work": number / 3})
    return made


def _lines(journal: Journal) -> list[str]:
    return journal.path.read_text().splitlines(keepends=True)


def test_entries_carry_who_what_when_and_the_chain(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    journal.append(operation="restore", result="failed", cluster="erp-prod")
    entries = list(journal.entries())
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[0].prev_hash == GENESIS
    assert all(after.prev_hash == before.hash for before, after in pairwise(entries))
    assert entries[0].at.endswith("+00:00")
    assert entries[0].times == {"work": 0.333}
    assert entries[0].cluster == "erp-test"
    assert entries[5].cluster == "erp-prod"
    assert entries[5].actor.startswith("alice as ")
    assert entries[0].host
    found = journal.verify()
    assert (found.entries, found.problem, found.head) == (6, None, entries[5].hash)


def test_an_empty_journal_is_good(tmp_path: Path) -> None:
    found = Journal(tmp_path / "journal.jsonl").verify()
    assert (found.entries, found.problem) == (0, None)


def _edit(lines: list[str]) -> None:
    lines[2] = lines[2].replace('"ok"', '"no"')


def _edit_with_new_hash(lines: list[str]) -> None:
    """Somebody who knows how: the entry is sound by itself, the next one is not."""
    entry = json.loads(lines[2])
    entry["result"] = "no"
    del entry["hash"]
    body = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    entry["hash"] = hashlib.sha256(body.encode()).hexdigest()
    lines[2] = json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n"


def _remove(lines: list[str]) -> None:
    del lines[1]


def _reorder(lines: list[str]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def _duplicate(lines: list[str]) -> None:
    lines.insert(2, lines[1])


def _cut(lines: list[str]) -> None:
    del lines[3:]


def _cut_all(lines: list[str]) -> None:
    lines.clear()


def _garbage(lines: list[str]) -> None:
    lines[4] = "not json\n"


def _spaced(lines: list[str]) -> None:
    lines[0] = json.dumps(json.loads(lines[0])) + "\n"


def _not_a_number(lines: list[str]) -> None:
    lines[1] = lines[1].replace('"n":2', '"n":NaN')


def _torn(lines: list[str]) -> None:
    lines[4] = lines[4][:-30]


@pytest.mark.parametrize(
    ("damage", "line", "words"),
    [
        (_edit, 3, "entry 3 was edited"),
        (_edit_with_new_hash, 4, "entry 4 does not belong after the entry before it"),
        (_remove, 2, "entry 3 follows entry 1"),
        (_reorder, 2, "entry 3 follows entry 1"),
        (_duplicate, 3, "entry 2 follows entry 2"),
        (_cut, 4, "2 entries are missing at the end, up to number 5"),
        (_cut_all, 1, "5 entries are missing at the end"),
        (_garbage, 5, "not a journal entry"),
        (_spaced, 1, "not written as pgdr writes it"),
        (_not_a_number, 2, "not a journal entry"),
        (_torn, 5, "the last line is incomplete"),
    ],
)
def test_verify_names_the_first_bad_entry(
    journal: Journal, damage: Callable[[list[str]], None], line: int, words: str
) -> None:
    lines = _lines(journal)
    damage(lines)
    journal.path.write_text("".join(lines))
    problem = journal.verify().problem
    assert problem is not None
    assert problem.line == line
    assert words in problem.what


@pytest.mark.parametrize("damage", [_edit, _cut, _cut_all, _garbage])
def test_a_later_entry_does_not_hide_the_damage(journal: Journal, damage: Callable[[list[str]], None]) -> None:
    """Operations go on over a damaged journal, and the damage stays visible for ever."""
    lines = _lines(journal)
    damage(lines)
    journal.path.write_text("".join(lines))
    before = journal.verify().problem
    assert journal.append(operation="later", result="ok").seq == 6
    after = journal.verify().problem
    assert before is not None
    assert after is not None
    assert after.line == before.line


def test_the_last_entry_rewritten_is_found_by_the_head(journal: Journal) -> None:
    renamed = Journal(journal.path.with_name("other.jsonl"), "erp-test")
    for number in range(1, 6):
        renamed.append(operation=f"op-{number}", result="forged")
    journal.path.write_text("".join(_lines(renamed)))
    problem = journal.verify().problem
    assert problem is not None
    assert "the chain was rewritten" in problem.what


def test_a_torn_line_is_set_aside_and_noted(journal: Journal) -> None:
    """The crash: an entry was half written, the head still names the one before it."""
    torn = b'{"actor":"root","at":"2026-'
    with journal.path.open("ab") as file:
        file.write(torn)
    entry = journal.append(operation="next", result="ok")
    assert entry.seq == 7
    note = list(journal.entries())[5]
    assert (note.operation, note.details["repaired"]) == ("journal-repair", "incomplete last line")
    assert note.details["bytes"] == len(torn)
    assert journal.path.with_name("journal.jsonl.torn").read_bytes() == torn + b"\n"
    assert journal.verify().problem is None


def test_a_crash_between_entry_and_head_is_no_damage(journal: Journal) -> None:
    head = journal.path.with_name("journal.head")
    before = head.read_text()
    journal.append(operation="last", result="ok")
    head.write_text(before)
    assert journal.verify().problem is None
    assert journal.append(operation="next", result="ok").seq == 7
    assert journal.verify().problem is None


def test_a_disk_that_is_full_leaves_the_journal_as_it_was(journal: Journal) -> None:
    """Its last block has room for an entry, and there is none for another head: three operations come to nothing."""
    before = journal.path.read_bytes()
    in_the_way = journal.path.with_name(f".journal.head.{os.getpid()}.new")
    in_the_way.mkdir()
    for _ in range(3):
        with pytest.raises(ConfigError, match="cannot write"):
            journal.append(operation="on a full disk", result="ok")
    in_the_way.rmdir()
    assert (journal.path.read_bytes(), journal.verify().problem) == (before, None)
    assert journal.append(operation="next", result="ok").seq == 6
    assert journal.verify().problem is None


def test_a_disk_that_fills_up_within_an_entry_leaves_nothing_of_it(journal: Journal) -> None:
    before = journal.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(ConfigError, match="File too large"):
            journal.append(operation="on a full disk", result="ok")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (journal.path.read_bytes(), journal.verify().problem) == (before, None)


def test_two_crashes_between_entry_and_head_are_no_damage(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(files, "_settle", killed)
            with pytest.raises(KeyboardInterrupt):
                journal.append(operation="killed", result="ok")
        assert journal.verify().problem is None
    assert journal.append(operation="next", result="ok").seq == 7
    assert journal.verify().problem is None


def test_entries_that_pgdr_did_not_write_are_found(journal: Journal) -> None:
    head = journal.path.with_name("journal.head")
    before = head.read_text()
    for _ in range(2):
        journal.append(operation="forged", result="ok")
    head.write_text(before)
    problem = journal.verify().problem
    assert problem is not None
    assert "entries after number 5 were not written by pgdr" in problem.what


def test_a_missing_head_shows_and_is_noted(journal: Journal) -> None:
    journal.path.with_name("journal.head").unlink()
    problem = journal.verify().problem
    assert problem is not None
    assert "journal.head is missing" in problem.what
    journal.append(operation="next", result="ok")
    assert [entry.operation for entry in journal.entries()][-2:] == ["journal-repair", "next"]
    assert journal.verify().problem is None


_WRITER = """
import sys
from pathlib import Path
from pgdr.journal import Journal
journal = Journal(Path(sys.argv[1]))
for n in range(12):
    journal.append(operation=f"writer-{sys.argv[2]}", result="ok", details={"n": n})
"""


def test_eight_processes_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(number)]) for number in range(8)]
    assert [writer.wait(60) for writer in writers] == [0] * 8
    journal = Journal(path)
    assert journal.verify().problem is None
    entries = list(journal.entries())
    assert len(entries) == 96
    for number in range(8):
        mine = [entry.details["n"] for entry in entries if entry.operation == f"writer-{number}"]
        assert mine == list(range(12))


def test_long_entries_are_read_back_from_the_end(tmp_path: Path) -> None:
    """The end of the file is looked for in windows; an entry may be longer than one."""
    journal = Journal(tmp_path / "journal.jsonl")
    for size in (10, 200_000, 70_000, 10):
        journal.append(operation="big", result="ok", details={"text": "x" * size})
    head = journal.path.with_name("journal.head")
    head.unlink()
    assert journal.append(operation="after", result="ok").seq == 6
    assert [entry.seq for entry in journal.entries()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "details",
    [
        {"repo1-cipher-pass": "x"},
        {"nested": [{"s3_key_secret": "x"}]},
        {"password": "x"},
        {"s3-key": "x"},
        {"aws_secret_access_key": "x"},
        {"api_token": "x"},
    ],
)
def test_secrets_are_refused_by_their_name(journal: Journal, details: dict[str, object]) -> None:
    before = journal.path.read_bytes()
    with pytest.raises(SecretRefusedError, match="must not be written down"):
        journal.append(operation="x", result="ok", details=details)
    assert journal.path.read_bytes() == before


def test_secrets_in_texts_are_redacted(journal: Journal) -> None:
    journal.append(
        operation="x",
        result="failed",
        details={
            "error": "cannot reach https://bob:hunter2@s3/x with repo1-cipher-pass=planted1 as AKIAABCDEFGHIJKLMNOP",
            "key": "-----BEGIN RSA PRIVATE KEY-----\nMIIplanted2\n-----END RSA PRIVATE KEY-----",
        },
    )
    text = journal.path.read_text()
    for secret in ("hunter2", "planted1", "AKIAABCDEFGHIJKLMNOP", "MIIplanted2"):
        assert secret not in text
    assert "https://<redacted>@s3/x" in text


@pytest.mark.parametrize("value", [object(), b"bytes", {1: "x"}, {"x": {2}}])
def test_only_plain_values_are_taken(journal: Journal, value: object) -> None:
    with pytest.raises(TypeError):
        journal.append(operation="x", result="ok", details={"value": value})


def test_a_missing_folder_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        Journal(tmp_path / "nowhere" / "journal.jsonl").append(operation="x", result="ok")
    assert not (tmp_path / "nowhere").exists()


def test_reading_stops_at_a_line_that_is_no_entry(journal: Journal) -> None:
    with journal.path.open("a") as file:
        file.write("[]\n")
    with pytest.raises(OperationFailedError, match="line 6 is not a journal entry"):
        list(journal.entries())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another owner")
def test_what_root_writes_stays_usable_for_the_owner_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    Journal(folder / "journal.jsonl").append(operation="x", result="ok")
    owners = {path.name: path.stat().st_uid for path in folder.iterdir()}
    assert owners == {"journal.jsonl": 65534, "journal.head": 65534, "journal.lock": 65534}
    assert (folder / "journal.jsonl").stat().st_mode & 0o777 == 0o640
