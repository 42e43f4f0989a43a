"""A hold outlives the host where it was typed: the journals in the bucket bring it to whoever comes after.

moto plays S3 (AWS cannot be had).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scripts.tests.integration.bucket import BUCKET
from scripts.tests.integration.test_journal_copy import POLICY, PREFIX, Machine

from pgdr.errors import ExitCode
from pgdr.retention import holds
from pgdr.retention.inherit import known_file
from pgdr.shipping import machine

LABEL, OTHER = "20261101-020000F", "20261108-020000F"
Made = Callable[[str], Machine]


@pytest.fixture
def made(s3: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Made:
    """Hosts of one cluster, each a machine of its own; the one that was asked for last is where commands run."""
    hosts: dict[str, Machine] = {}

    def make(name: str) -> Machine:
        number = tmp_path / f"machine-id-{name}"
        number.write_text(f"{name}\n")
        monkeypatch.setattr(machine, "MACHINE_ID", number)
        if name not in hosts:
            hosts[name] = Machine(tmp_path / name, capfd)
        return hosts[name]

    return make


@pytest.fixture
def lost(made: Made) -> Machine:
    """A host that held two sets, released one, and is gone."""
    host = made("old")
    host.work("ok")
    for label, reason in ((LABEL, "litigation 'Müller; drop'"), (OTHER, "audit")):
        holds.add(host.config, label, reason, datetime.now(UTC), place="repository 2")
    holds.release(host.config, OTHER, "closed")
    host.look()
    return host


def _held(host: Machine) -> list[tuple[str, str, str]]:
    return [(one.label, one.place, one.reason) for one in holds.holds_file(host.config).read().holds]


def test_a_rebuilt_host_holds_what_the_lost_one_held(lost: Machine, made: Made) -> None:
    new = made("new")
    new.work("ok")
    assert _held(new) == []
    code, said = new.run("hold", "fetch", "--policy", str(POLICY))
    assert (code, "1 holds came from other hosts, 0 were released" in said, LABEL in said) == (0, True, True)
    assert _held(new) == [(LABEL, "repository 2", "litigation 'Müller; drop'")]
    [entry] = [entry for entry in new.journal.entries() if entry.operation == "hold fetch"]
    assert LABEL in entry.details["added"][0]
    # Again, and with all that was known gone: nothing comes twice.
    for _ in range(2):
        code, said = new.run("hold", "fetch", "--policy", str(POLICY), "--output", "json")
        assert (code, json.loads(said)) == (0, {"added": [], "released": []})
        known_file(new.config).path.unlink()
    assert len(_held(new)) == 1


def test_what_is_released_on_one_host_does_not_come_back_on_another(lost: Machine, made: Made) -> None:
    new = made("new")
    new.run("hold", "fetch", "--policy", str(POLICY))
    assert new.run("hold", "release", LABEL, "--reason", "case closed")[0] == 0
    new.run("hold", "fetch", "--policy", str(POLICY))
    assert _held(new) == []
    new.look()
    third = made("third")
    assert third.run("hold", "fetch", "--policy", str(POLICY))[0] == 0
    assert _held(third) == []


def test_news_of_a_living_host_are_read_and_what_was_typed_here_is_released_here(lost: Machine, made: Made) -> None:
    standby = made("standby")
    holds.add(standby.config, OTHER, "of the standby's own", datetime.now(UTC))
    standby.run("hold", "fetch", "--policy", str(POLICY))
    standby.look()
    primary = made("primary")
    primary.run("hold", "fetch", "--policy", str(POLICY))
    assert {label for label, _, _ in _held(primary)} == {LABEL, OTHER}
    for label in (LABEL, OTHER):
        assert primary.run("hold", "release", label, "--reason", "closed")[0] == 0
    primary.look()
    code, said = made("standby").run("hold", "fetch", "--policy", str(POLICY), "--output", "json")
    assert (code, [one["label"] for one in json.loads(said)["released"]]) == (0, [LABEL])
    assert [label for label, _, _ in _held(standby)] == [OTHER]


def test_nothing_is_removed_while_holds_may_be_unknown(
    lost: Machine, made: Made, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [key, *_] = [
        item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX)["Contents"] if item["Key"][-6] == "4"
    ]
    s3.put_object(Bucket=BUCKET, Key=key.replace("00000004", "00000005"), Body=b'{"planted": true}\n')
    new = made("new")
    new.work("ok")
    code, said = new.run("expire", "--policy", str(POLICY))
    assert code == ExitCode.NOT_PROVEN
    assert "is not known, so nothing is removed" in said
    assert "not looked up yet: pgdr hold fetch" in new.run("expire", "--plan", "--policy", str(POLICY))[1]
    journal = key.split("/")[-2]
    code, said = new.run("hold", "fetch", "--leave-out", "0123456789abcdef", "--policy", str(POLICY))
    assert (code, "no journal 0123456789abcdef of another host" in said) == (ExitCode.REFUSED, True)
    # What stands before the break came all the same.
    assert [label for label, _, _ in _held(new)] == [LABEL]
    assert f"pgdr hold fetch --leave-out {journal}" in new.run("hold", "fetch", "--policy", str(POLICY))[1]
    assert new.run("hold", "fetch", "--leave-out", journal, "--policy", str(POLICY))[0] == 0
    assert new.run("hold", "fetch", "--policy", str(POLICY))[0] == 0
    # From now on a bucket that is away for a while stops nothing: what was known counts.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    code, said = new.run("expire", "--policy", str(POLICY))
    assert "is not known" not in said
    assert "what other hosts hold is that of 20" in said
