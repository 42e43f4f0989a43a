"""`pgdr expire` and `pgdr hold` against the real pgBackRest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pgdr.cli.main import main
from pgdr.errors import ConfigError, ExitCode, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.client import PgBackRest
from pgdr.proof import look
from pgdr.proof.marks import marks_file, record_verified
from pgdr.retention import expire as expire_module
from pgdr.retention import inherit

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Site

_POLICY = Path(__file__).resolve().parents[3] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def host(made_site: Site, tmp_path_factory: pytest.TempPathFactory) -> HostConfig:
    """Four fulls, the first with an increment, and WAL between them. The tests go on from each other."""
    host = made_site.host(tmp_path_factory.mktemp("state"))
    for kind in ("full", "incr", "full", "full", "full"):
        made_site.cluster.execute("insert into t select g, '' from generate_series(1, 1000) g")
        PgBackRest(host).backup(kind, 1)
        for _ in range(2):
            made_site.cluster.execute("select pg_create_restore_point('between'), pg_switch_wal()")
    PgBackRest(host).backup("full", 2)
    PgBackRest(host).check()
    return host


@pytest.fixture
def run(host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command eight days later; the policy's bucket, where other hosts' holds are, does not exist here."""
    monkeypatch.setattr(inherit, "keep_up", lambda *_: None)
    monkeypatch.setattr(expire_module, "now", lambda: look.now() + timedelta(days=8))
    config = tmp_path / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))

    def command(*arguments: str) -> tuple[int, Any]:
        policy = [] if arguments[0] == "hold" else ["--policy", str(_POLICY)]
        code = main(["--config", str(config), *arguments, *policy])
        out, err = capfd.readouterr()
        return code, json.loads(out) if "json" in arguments else out + err

    return command


def _fulls(host: HostConfig) -> list[str]:
    return [b.label for b in PgBackRest(host).info(1).backups(1) if b.type == "full"]


def _good(host: HostConfig, *labels: str) -> None:
    record_verified(host, 1, labels, {}, look.now())


def test_nothing_goes_while_nothing_is_verified(host: HostConfig, run: Run) -> None:
    before = PgBackRest(host).info(1).labels(1)
    code, document = run("expire", "--output", "json")
    assert code == 0
    assert [place["removed"] for place in document["places"]] == [[], [], []]
    assert {reason for copy in document["places"][0]["copies"] for reason in copy["reasons"]} == {
        "nothing is verified yet",
        "builds on a kept copy",
    }
    assert PgBackRest(host).info(1).labels(1) == before


def test_what_cannot_be_written_down_is_held_and_not_released(
    host: HostConfig, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = _fulls(host)[1]

    def full(*_: object, **__: object) -> None:
        raise ConfigError("cannot write journal.jsonl: No space left on device", remedy="free space")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", full)
        code, text = run("hold", "add", label, "--reason", "litigation")
        assert (code, f"{label} is held; the journal does not say so: cannot write" in text) == (ExitCode.CONFIG, True)
        assert run("hold", "release", label, "--reason", "closed")[0] == ExitCode.CONFIG
    assert [hold["label"] for hold in run("hold", "list", "--output", "json")[1]] == [label]
    assert run("hold", "release", label, "--reason", "closed")[0] == 0


def test_a_hold_needs_a_set_and_a_reason(host: HostConfig, run: Run) -> None:
    first = _fulls(host)[0]
    assert run("hold", "add", "20200101-000000F", "--reason", "x")[0] == ExitCode.REFUSED
    assert run("hold", "add", first, "--reason", " ")[0] == ExitCode.REFUSED
    code, text = run("hold", "add", first, "--reason", "litigation 2026-17")
    assert code == 0
    assert "held by" in text
    assert run("hold", "add", first, "--reason", "again")[0] == ExitCode.REFUSED
    [hold] = run("hold", "list", "--output", "json")[1]
    assert (hold["label"], hold["reason"]) == (first, "litigation 2026-17")
    assert run("hold", "release", first, "--reason", " ")[0] == ExitCode.REFUSED
    assert len(run("hold", "list", "--output", "json")[1]) == 1


def test_holds_that_cannot_be_read_stop_every_removal(host: HostConfig, run: Run) -> None:
    before = PgBackRest(host).info(1).labels(1)
    path = host.state_directory / "holds.json"
    good = path.read_text()
    path.write_text(good[:20])
    try:
        code, text = run("expire")
    finally:
        path.write_text(good)
    assert code == ExitCode.CONFIG
    assert "is not what pgdr wrote" in text
    assert "add each again before the next pgdr expire" in text
    assert PgBackRest(host).info(1).labels(1) == before


def test_the_plan_names_what_goes_and_changes_nothing(host: HostConfig, run: Run) -> None:
    fulls = _fulls(host)
    before = PgBackRest(host).info(1).labels(1)
    _good(host, fulls[0], fulls[1], fulls[2])  # the newest is not verified
    code, document = run("expire", "--plan", "--output", "json")
    assert code == 0
    kept = {copy["label"]: copy["keep"] for copy in document["places"][0]["copies"]}
    assert [kept[label] for label in fulls] == [True, False, True, True]
    assert document["places"][0]["anchor"] == fulls[2]
    assert PgBackRest(host).info(1).labels(1) == before
    assert not [entry for entry in Journal(host.journal_path).entries() if entry.details.get("removed")]


def test_what_is_past_its_time_goes_and_the_held_one_stays_restorable(host: HostConfig, run: Run) -> None:
    fulls = _fulls(host)
    increment = next(b.label for b in PgBackRest(host).info(1).backups(1) if b.type == "incr")
    code, document = run("expire", "--output", "json")
    assert code == 0
    assert document["places"][0]["removed"] == sorted([increment, fulls[1]])
    assert _fulls(host) == [fulls[0], fulls[2], fulls[3]]
    assert marks_file(host).read().wal_from == {1: fulls[2]}
    assert set(marks_file(host).read().sets[1]) == {fulls[0], fulls[2]}
    # WAL between the held set and the window is gone, the rest is whole: verify knows the difference.
    archived = PgBackRest(host).list_files("archive/erp/16-1", 1, recurse=True)
    held = PgBackRest(host).info(1).backups(1)[0]
    anchor = PgBackRest(host).info(1).backups(1)[1]
    names = sorted(name.rpartition("/")[2][:24] for name in archived if "-" in name.rpartition("/")[2])
    assert held.archive.start in names
    assert not [name for name in names if str(held.archive.stop) < name < str(anchor.archive.start)]
    code, document = run("verify", "--repo", "1", "--no-repair", "--output", "json")
    assert (code, document["level"]) == (0, "green")
    assert set(document["repositories"][0]["verified"]) == set(_fulls(host))
    entry = [e for e in Journal(host.journal_path).entries() if e.operation == "expire"][-3]
    assert (entry.result, entry.details["place"]) == ("ok", "repository 1")


def test_a_second_run_and_pgbackrests_own_expire_find_nothing(host: HostConfig, run: Run, made_site: Site) -> None:
    before = PgBackRest(host).info(1).labels(1)
    _code, document = run("expire", "--output", "json")
    newest = max(before)
    # verify marked the newest one too: the anchor moved to it, and only the one before goes.
    assert newest in PgBackRest(host).info(1).labels(1)
    assert document["places"][0]["removed"] == [sorted(before)[1]]
    left = PgBackRest(host).info(1).labels(1)
    assert run("expire", "--output", "json")[1]["places"][0]["removed"] == []
    subprocess.run(PgBackRest(host).command("--repo=1", "expire"), check=True, capture_output=True)
    assert PgBackRest(host).info(1).labels(1) == left


def test_a_released_hold_goes_and_the_last_one_never_does(host: HostConfig, run: Run) -> None:
    held, last = sorted(PgBackRest(host).info(1).labels(1))
    assert run("hold", "release", "20200101-000000F", "--reason", "x")[0] == ExitCode.REFUSED
    code, text = run("hold", "release", held, "--reason", "case closed")
    assert code == 0
    assert "litigation 2026-17" in text
    _code, document = run("expire", "--output", "json")
    assert document["places"][0]["removed"] == [held]
    assert PgBackRest(host).info(1).labels(1) == {last}
    assert run("expire", "--output", "json")[1]["places"][0]["removed"] == []
    with pytest.raises(RefusedError, match=f"{last} cannot be expired until another full backup"):
        PgBackRest(host).expire_set(1, last, keep_wal_of=1)
    assert PgBackRest(host).info(1).labels(1) == {last}
    operations = [(e.operation, e.details.get("released_because")) for e in Journal(host.journal_path).entries()]
    assert ("hold add", None) in operations
    assert ("hold release", "case closed") in operations


def test_a_repository_that_cannot_be_read_does_not_stop_the_other(host: HostConfig, run: Run, made_site: Site) -> None:
    made_site.configure(secrets=("planted-wrong", made_site.secrets[1]))
    try:
        code, document = run("expire", "--output", "json")
    finally:
        made_site.configure()
    assert code == ExitCode.REFUSED
    assert "cannot be read" in document["places"][0]["error"]
    assert document["places"][1]["error"] == ""
