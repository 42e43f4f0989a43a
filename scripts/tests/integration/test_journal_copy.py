"""The journal leaves its host: what only the copy in the bucket shows, what it does not, and how it comes back.

moto plays S3 (AWS cannot be had); everything else is what a host has.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from scripts.tests.integration.bucket import BUCKET

from pgdr.chain import GENESIS, Entry, Head, canonical
from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.policy.load import load_policy
from pgdr.shipping import machine
from pgdr.shipping.check import journal_copy_check
from pgdr.shipping.journal import JournalCopy, copied_file, journal_copy, ship_journal

ROOT = Path(__file__).parents[3]
POLICY = ROOT / "inventories/production/group_vars/all/policy.yml"
PREFIX = "journal/erp/hosts/"


class Machine:
    """A host as far as its journal goes."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str], policy: Path = POLICY) -> None:
        state = folder / "state"
        state.mkdir(parents=True)
        self.config = HostConfig(
            stanza="erp",
            cluster_name="erp-production",
            database="erp",
            postgresql_version=16,
            data_directory=folder / "data",
            bin_directory=folder / "bin",
            state_directory=state,
            run_directory=folder / "run",
            pgbackrest_config=folder / "pgbackrest.conf",
            policy_path=policy,
        )
        self.file = folder / "host.yml"
        self.file.write_text(yaml.safe_dump(self.config.model_dump(mode="json")))
        self.policy = policy
        self.journal = Journal(self.config.journal_path, self.config.cluster_name)
        self._capture = capture

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command; its exit code and all that it said."""
        self._capture.readouterr()
        code = main(["--config", str(self.file), *arguments])
        return code, "".join(self._capture.readouterr())

    def command(self, *arguments: str) -> tuple[int, str]:
        """A command of the journal."""
        return self.run("journal", *arguments, "--policy", str(self.policy))

    def work(self, *results: str) -> None:
        """Leave entries, as operations do."""
        for result in results:
            self.journal.append(operation="backup", result=result)

    def look(self) -> None:
        """What cron does every few minutes."""
        ship_journal(self.config, load_policy(self.policy))

    def check(self, later: timedelta = timedelta(0)) -> tuple[str, str]:
        """What the status says."""
        [found] = journal_copy_check(self.config, load_policy(self.policy), datetime.now(UTC) + later)
        return str(found.level), str(found)

    @property
    def copy(self) -> JournalCopy:
        found = journal_copy(self.config, load_policy(self.policy))
        assert found is not None
        return found

    @property
    def lines(self) -> list[bytes]:
        return self.journal.lines()

    def rewrite(self, entries: list[Entry]) -> None:
        """As somebody would who knows how: a chain without a fault, and its mark."""
        head, lines = Head(), []
        for number, entry in enumerate(entries, start=1):
            unsigned = Entry(**{**entry.__dict__, "seq": number, "prev_hash": head.hash, "hash": ""})
            made = Entry(**{**unsigned.__dict__, "hash": unsigned.computed_hash()})
            lines.append(made.line().encode())
            head = Head(made.seq, made.hash)
        self.journal.path.write_bytes(b"".join(lines))
        mark = self.journal.path.with_name("journal.head")
        if entries:
            mark.write_text(canonical({"seq": head.seq, "hash": head.hash}) + "\n")
        else:
            mark.unlink()
            self.journal.path.unlink()
        assert self.journal.verify().problem is None  # the chain alone shows nothing


@pytest.fixture
def host(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Machine:
    made = Machine(tmp_path / "old", capfd)
    made.work("ok", "ok", "failed", "ok", "ok", "ok")
    return made


def _keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", [])]


def _versions(s3: Any) -> list[tuple[str, str]]:
    found = s3.list_object_versions(Bucket=BUCKET, Prefix=PREFIX)
    return [(item["Key"], item["VersionId"]) for item in found.get("Versions", [])]


def test_every_entry_leaves_the_host_once(host: Machine, s3: Any) -> None:
    assert host.check()[0] == "green"
    host.look()
    keys = _keys(s3)
    assert [key[-13:] for key in keys] == [f"{number:08d}.json" for number in range(1, 7)]
    assert b"".join(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys) == b"".join(host.lines)
    assert "all 6 entries of the journal are in s3://" in host.check()[1]
    host.work("ok")
    assert host.command("ship")[1].startswith("1 entries were copied to s3://")
    host.look()
    assert len(_versions(s3)) == 7
    code, said = host.command("verify")
    assert (code, "7 entries, unbroken" in said, said.strip().endswith("has all of them")) == (0, True, True)


def test_a_look_costs_few_requests_however_long_the_journal_is(
    host: Machine, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.work(*["ok"] * 60)
    host.look()
    copy, asked = host.copy, []
    bucket = copy._hosts.bucket
    bucket.client.meta.events.register("before-call.s3", lambda model, **_more: asked.append(model.name))
    monkeypatch.setattr(copy._hosts, "_made", bucket)
    assert copy.ship() == 0
    assert sorted(asked) == ["GetObject", "ListObjectVersions", "ListObjectVersions"]


def _edit(host: Machine) -> None:
    entries = list(host.journal.entries())
    entries[2] = Entry(**{**entries[2].__dict__, "result": "ok"})
    host.rewrite(entries)


def _remove(host: Machine) -> None:
    entries = list(host.journal.entries())
    del entries[2]
    host.rewrite(entries)


def _reorder(host: Machine) -> None:
    entries = list(host.journal.entries())
    entries[2], entries[3] = entries[3], entries[2]
    host.rewrite(entries)


def _cut(host: Machine) -> None:
    host.rewrite(list(host.journal.entries())[:2])


def _cut_and_go_on(host: Machine) -> None:
    _cut(host)
    host.work("ok", "ok")


def _begin_again(host: Machine) -> None:
    host.rewrite([])
    host.work("ok", "ok")


def _plain_edit(host: Machine) -> None:
    """Without a new hash: the chain shows it too."""
    host.journal.path.write_bytes(b"".join(host.lines).replace(b'"failed"', b'"ok"'))


def _all_gone(host: Machine) -> None:
    host.rewrite([])


def _state_too(host: Machine) -> None:
    """Everything that pgdr knows of the copy goes as well."""
    _cut(host)
    copied_file(host.config).path.unlink()


@pytest.mark.parametrize(
    ("attack", "line", "said"),
    [
        (_edit, 3, "entry 3 is another one than in"),
        (_remove, 3, "entry 3 is another one than in"),
        (_reorder, 3, "entry 3 is another one than in"),
        (_cut, 3, "entries 3 to 6 are gone"),
        (_cut_and_go_on, 3, "entry 3 is another one than in"),
        (_state_too, 3, "entries 3 to 6 are gone"),
        (_begin_again, 1, "the journal was replaced (6 entries of it are there)"),
        (_all_gone, 1, "the journal is gone: 6 entries of it are there"),
        (_plain_edit, 3, "entry 3 was edited"),
    ],
)
def test_the_first_bad_entry_is_named_and_the_journal_comes_back(
    host: Machine, s3: Any, attack: Callable[[Machine], None], line: int, said: str
) -> None:
    host.look()
    before, was = _versions(s3), host.lines
    attack(host)
    host.look()
    level, text = host.check()
    assert (level, f"from line {line} on: " in text, said in text) == ("red", True, True)
    assert "pgdr journal fetch" in text
    code, text = host.command("verify")
    assert code == ExitCode.NOT_PROVEN
    assert f"journal.jsonl, line {line}: " in text
    assert said in text
    assert host.command("ship")[0] == ExitCode.NOT_PROVEN
    assert _versions(s3) == before  # nothing of the forged one went there
    forged = host.journal.path.read_bytes() if host.journal.path.exists() else b""
    code, text = host.command("fetch")
    assert code == 0, text
    assert host.lines[:6] == was
    last = list(host.journal.entries())[-1]
    assert (last.operation, last.details["fetched"]) == ("journal-repair", 6)
    if forged:
        assert (host.config.state_directory / last.details["set_aside"]).read_bytes() == forged
    assert host.check()[0] == "green"
    assert host.command("verify")[0] == 0
    assert host.command("fetch")[0] == ExitCode.REFUSED


def test_hidden_and_overwritten_objects_still_count(host: Machine, s3: Any) -> None:
    """What a thief of the host's credentials can do in the bucket besides."""
    host.look()
    for key in _keys(s3)[:3]:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    for key in _keys(s3):
        s3.delete_object(Bucket=BUCKET, Key=key)
    _cut(host)
    code, said = host.command("verify")
    assert (code, "entries 3 to 6 are gone" in said) == (ExitCode.NOT_PROVEN, True)
    assert host.command("fetch")[0] == 0
    assert [entry.seq for entry in host.journal.entries()] == list(range(1, 8))


def test_a_rebuilt_host_begins_a_journal_and_nobody_is_woken(
    host: Machine, s3: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After dr-restore.yml: another machine, with the same name or not, whose journal is its own."""
    host.look()
    number = tmp_path / "machine-id"
    number.write_text("another\n")
    monkeypatch.setattr(machine, "MACHINE_ID", number)
    new = Machine(tmp_path / "new", capfd)
    assert new.command("verify")[0] == 0
    new.work("ok", "ok")
    new.look()
    assert new.check()[0] == "green"
    code, said = new.command("copies", "--output", "json")
    assert code == 0
    listed = {one["host"]: (one["journal"], one["entries"]) for one in json.loads(said)}
    assert sorted(entries for _name, entries in listed.values()) == [2, 6]
    # The lost host's evidence can be had, and is a whole chain.
    old = next(name for name, entries in listed.values() if entries == 6)
    target = tmp_path / "old.jsonl"
    assert new.command("fetch", old, "--to", str(target))[0] == 0
    assert target.read_bytes() == b"".join(host.lines)
    assert new.command("fetch", "0000000000000000", "--to", str(target))[0] == ExitCode.REFUSED
    assert new.command("fetch", old)[0] == ExitCode.USAGE
    assert new.command("fetch")[0] == ExitCode.REFUSED


def test_a_bucket_that_is_away_is_amber_then_red_and_made_up_for(host: Machine, aws: None) -> None:
    host.look()
    assert host.command("verify")[0] == ExitCode.REFUSED  # moto: there is no such bucket
    assert host.check() == ("green", "6 entries of the journal are on this host only, and are due to be copied")
    level, text = host.check(timedelta(hours=1))
    assert (level, "6 entries of the journal are on this host only for 60 min" in text) == ("amber", True)
    assert "NoSuchBucket" in text
    assert host.check(timedelta(hours=25))[0] == "red"
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    host.look()
    assert host.check()[0] == "green"
    level, text = host.check(timedelta(hours=2))
    assert (level, "the journal was not compared with its copy for 2.0 h" in text) == ("amber", True)


def test_a_journal_that_was_edited_is_named_also_while_the_bucket_is_away(host: Machine, aws: None) -> None:
    host.work("ok", "ok")
    code, said = host.command("verify")  # moto: there is no such bucket
    assert (code, "entries, unbroken" in said) == (ExitCode.REFUSED, True)
    host.config.journal_path.write_text(host.config.journal_path.read_text().replace('"ok"', '"no"', 1))
    code, said = host.command("verify")
    assert (code, "line 1: entry 1 was edited" in said) == (ExitCode.NOT_PROVEN, True)


def test_a_journal_whose_name_was_mistyped_is_not_an_unbroken_one(host: Machine, tmp_path: Path) -> None:
    missing = tmp_path / "journal-of-the-lost-hots.jsonl"
    for command in (["verify"], ["list"], ["show", "1"]):
        code, said = host.run("journal", *command, "--file", str(missing))
        assert (code, "there is no such file" in said) == (ExitCode.CONFIG, True)


def test_an_operation_copies_its_own_entry_and_never_fails_for_it(host: Machine, s3: Any, aws: None) -> None:
    append = ("journal", "append-internal", "--operation", "site", "--result", "ok")
    assert host.run(*append)[0] == 0
    assert len(_keys(s3)) == 7
    for key, version in _versions(s3):
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version)
    s3.delete_bucket(Bucket=BUCKET)
    assert host.run(*append)[0] == 0
    assert "NoSuchBucket" in copied_file(host.config).read().failure
    assert host.journal.verify().entries == 8


def test_an_entry_that_another_process_writes_meanwhile_is_no_cut_off_end(
    host: Machine, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.look()
    copy, real = host.copy, JournalCopy._compare

    def late(self: JournalCopy, *, thorough: bool) -> Any:
        monkeypatch.setattr(JournalCopy, "_compare", real)
        lines = host.lines
        host.work("ok")
        host.copy.ship()
        monkeypatch.setattr(self._journal, "lines", lambda: lines)
        found = real(self, thorough=thorough)
        monkeypatch.undo()
        return found

    monkeypatch.setattr(JournalCopy, "_compare", late)
    assert copy.compare().problem is None


def test_what_is_missing_in_the_bucket_is_put_back(host: Machine, s3: Any) -> None:
    host.look()
    key, version = _versions(s3)[2]
    s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version)
    code, said = host.command("verify")
    assert (code, "has 5 of them; pgdr journal ship copies the rest" in said) == (0, True)
    assert host.command("ship")[1].startswith("1 entries")
    assert len(_keys(s3)) == 6


def test_a_forged_copy_is_no_way_back_and_a_new_journal_names_it(host: Machine, s3: Any) -> None:
    """Somebody was quicker: entries that this host never wrote, with its credentials."""
    host.look()
    key = _keys(s3)[-1].replace("00000006", "00000007")
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    host.work("ok")
    host.look()
    assert "entry 7 is another one than in" in host.check()[1]
    code, said = host.command("fetch")
    assert (code, "not a journal entry" in said) == (ExitCode.NOT_PROVEN, False) or "incomplete" in said
    assert host.command("renew", "--reason", "forged", "--confirm", "erp")[0] == ExitCode.REFUSED
    kept = host.journal.path.read_bytes()
    code, said = host.command("renew", "--reason", "entry 7 was forged, incident 7", "--confirm", "erp-production")
    assert code == 0, said
    [first] = host.journal.entries()
    assert (first.prev_hash, first.operation) == (GENESIS, "journal-renew")
    assert list(first.details["before"].values()) == [7]
    assert (host.config.state_directory / first.details["set_aside"]).read_bytes() == kept
    assert host.check()[0] == "green"
    assert host.command("verify")[0] == 0
    # And that one is watched as the first was.
    host.work("ok")
    host.look()
    shutil.rmtree(host.config.state_directory)
    host.config.state_directory.mkdir()
    host.look()
    assert "the journal is gone: 2 entries of it are there" in host.check()[1]
    assert host.command("fetch")[0] == 0
    assert next(host.journal.entries()).operation == "journal-renew"


def test_without_a_bucket_in_the_policy_it_is_said(host: Machine, tmp_path: Path) -> None:
    policy = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/policy.yml").read_text())
    source = policy["recovery_policy"]
    source["repositories"] = [one for one in source["repositories"] if one["type"] == "posix"]
    source["archives"].pop("cloud", None)
    host.policy = tmp_path / "policy.yml"
    host.policy.write_text(yaml.safe_dump(policy))
    level, text = host.check()
    assert (level, "the policy names no bucket" in text) == ("amber", True)
    assert host.command("ship")[0] == ExitCode.CONFIG
    assert host.command("verify")[0] == 0


def test_the_report_says_what_the_copy_shows(host: Machine, s3: Any) -> None:
    arguments = ("report", "--no-status", "--policy", str(host.policy))
    assert "Never compared with a copy off this host" in host.run(*arguments)[1]
    host.look()
    assert "6 entries are in s3://" in host.run(*arguments)[1]
    _cut(host)
    host.look()
    code, page = host.run(*arguments)
    assert code == 0
    assert "It is not what left this host, from line 3 on: entries 3 to 6 are gone" in page
    assert "<b>BROKEN</b>" in page
    document = json.loads(host.run(*arguments, "--output", "json")[1])
    assert document["journal"]["copied"]["line"] == 3
    assert os.environ.get("AWS_ACCESS_KEY_ID")  # moto's, not somebody's


def test_a_journal_that_cannot_be_read_does_not_silence_the_look(host: Machine, s3: Any) -> None:
    with host.journal.path.open("ab") as file:
        file.write(b"nonsense\n")
    code, said = host.run("watch", "--policy", str(host.policy))
    assert (code, "line 7 is not a journal entry" in said) == (ExitCode.CONFIG, True)  # no pgBackRest on this host
    assert host.check()[0] == "red"
