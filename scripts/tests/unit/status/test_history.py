"""What the status reads in the journal: the ends of jobs, and whether anybody has written in it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.proof.look import now
from pgdr.proof.marks import marks_file, record_verified
from pgdr.status.history import read_history


@pytest.fixture
def host(tmp_path: Path) -> HostConfig:
    return HostConfig(
        stanza="erp",
        cluster_name="erp-test",
        database="erp",
        postgresql_version=17,
        data_directory=tmp_path,
        bin_directory=tmp_path,
        state_directory=tmp_path,
    )


@pytest.fixture
def journal(host: HostConfig) -> Journal:
    journal = Journal(host.journal_path, host.cluster_name)
    for number in range(3):
        journal.append(operation="verify", result="ok", details={"number": number})
    return journal


def test_an_unbroken_journal_is_no_problem(host: HostConfig, journal: Journal) -> None:
    history = read_history(host, now())
    assert history.problem == ""
    assert set(history.last_ok) == {"verify"}


def test_an_edited_entry_is_named(host: HostConfig, journal: Journal) -> None:
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text(lines[0] + lines[1].replace('"ok"', '"no"') + lines[2])
    assert "line 2: entry 2 was edited" in read_history(host, now()).problem


def test_an_end_that_was_cut_off_shows(host: HostConfig, journal: Journal) -> None:
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text(lines[0])
    assert "2 entries are missing at the end, up to number 3" in read_history(host, now()).problem


def test_a_part_of_a_rehearsal_is_not_the_scheduled_one(host: HostConfig, journal: Journal) -> None:
    journal.append(operation="rehearse", result="ok", details={"requested": "archive"})
    assert "rehearsal" not in read_history(host, now()).last_ok
    journal.append(operation="rehearse", result="ok", details={"requested": "all", "rehearsed_on": "dr1"})
    assert "rehearsal" not in read_history(host, now()).last_ok, "what cron has to do here was not done by another host"
    journal.append(operation="rehearse", result="ok", details={"requested": "all"})
    assert "rehearsal" in read_history(host, now()).last_ok
    journal.append(operation="rehearse", result="not proven", details={"requested": "all", "message": "set X"})
    assert read_history(host, now()).failed["rehearsal"][1] == "set X"


def test_a_drill_and_an_archives_verification_are_jobs_too(host: HostConfig, journal: Journal) -> None:
    journal.append(operation="drill", result="not proven", details={"message": "RTO: too long"})
    journal.append(operation="archives verify", result="ok", details={})
    history = read_history(host, now())
    assert history.failed["drill"][1] == "RTO: too long"
    assert "archive-verify" in history.last_ok


def test_what_was_done_in_the_future_does_not_count_as_done(host: HostConfig, journal: Journal) -> None:
    """A clock that was a year ahead for an hour must not say for a year that nothing is late."""
    journal.append(operation="expire", result="failed", details={"message": "no"})
    before = now() - timedelta(days=365)
    history = read_history(host, before)
    assert (history.last_ok, set(history.failed)) == ({}, {"expire"})
    assert history.ahead is not None
    assert history.ahead > before
    assert read_history(host, now()).ahead is None


def test_a_mark_of_the_future_is_none(host: HostConfig) -> None:
    ahead, past = now() + timedelta(days=300), now() - timedelta(days=1)
    record_verified(host, 1, ["20261124-020000F"], {}, ahead)
    record_verified(host, 1, ["20261123-020000F"], {}, past)
    found = marks_file(host).read().until(now())
    assert found.of(1, "20261124-020000F").verified is None
    assert found.of(1, "20261123-020000F").verified == past
