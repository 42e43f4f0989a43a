"""The commands: consent, exit codes, journal, lock, and what a kill leaves."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml
from scripts.tests.integration.bucket import BUCKET

from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.files import write_atomically
from pgdr.journal import Journal
from pgdr.locks import operation_lock
from pgdr.surgery import images

if TYPE_CHECKING:
    from scripts.tests.integration.surgery.conftest import Pair, PairFactory

ROOT = Path(__file__).parents[4]


class Host:
    """A host with its two files."""

    def __init__(self, pair: Pair, folder: Path, **tenancy: Any) -> None:
        self.pair = pair
        self.config = folder / "host.yml"
        self.config.write_text(yaml.safe_dump(pair.host.model_dump(mode="json")))
        policy = yaml.safe_load((ROOT / "inventories/production/group_vars/all/policy.yml").read_text())
        policy["recovery_policy"]["tenancy"] = {"column": "tenant_id", **tenancy}
        policy["recovery_policy"]["archives"]["local"]["path"] = str(folder)
        self.policy = folder / "policy.yml"
        self.policy.write_text(yaml.safe_dump(policy))

    def argv(self, *arguments: str) -> list[str]:
        """The arguments of ``pgdr``."""
        return ["--config", str(self.config), *arguments, "--policy", str(self.policy)]

    def restore(self, *more: str) -> list[str]:
        """The arguments of a restore of tenant 1."""
        return self.argv("tenant", "restore", "1", "--source-database", self.pair.past, *more)

    @property
    def results(self) -> list[tuple[str, str]]:
        """Operations and results in the journal."""
        journal = Journal(self.pair.host.journal_path)
        assert journal.verify().problem is None
        return [(entry.operation, entry.result) for entry in journal.entries()]


@pytest.fixture
def host(new_pair: PairFactory, shop: str, tmp_path: Path) -> Host:
    return Host(new_pair(shop), tmp_path)


def test_plan_consent_restore_and_undo(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    pair = host.pair
    pair.run("delete from shop.lines; update shop.customers set email = email || '!' where tenant_id = 1")
    damaged = pair.image()
    assert main(host.restore("--plan")) == 0
    out = capfd.readouterr().out
    assert "shop.lines" in out
    assert "60" in out
    assert main(host.restore("--plan", "--output", "json")) == 0
    plan = json.loads(capfd.readouterr().out)
    assert plan["changes"] == 70
    assert plan["ready"] is True
    assert main(host.restore()) == ExitCode.REFUSED
    assert main(host.restore("--confirm", "2")) == ExitCode.REFUSED
    assert "type --confirm 1" in capfd.readouterr().err
    assert pair.image() == damaged
    assert main(host.restore("--confirm", "1", "--output", "json")) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["outcome"]["changed"] == 80  # a replaced row counts twice: out and in
    assert pair.value("select count(*) from shop.lines") == 60
    assert main(["--config", str(host.config), "tenant", "operations", "--output", "json"]) == 0
    (operation,) = json.loads(capfd.readouterr().out)
    assert (operation["operation"], operation["state"]) == (report["operation"], "committed")
    name = report["operation"]
    # A kill right after the commit loses the mark: the server knows.
    (pair.host.state_directory / "surgery" / name / "committed").unlink()
    assert main(["--config", str(host.config), "tenant", "operations", "--output", "json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["state"] == "committed"
    assert main(host.argv("tenant", "restore", "--undo", name, "--confirm", name)) == 0
    assert pair.image() == damaged
    assert main(host.argv("tenant", "restore", "--undo", "../x", "--confirm", "../x")) == ExitCode.REFUSED
    assert host.results == [("tenant restore", "ok"), ("tenant restore undo", "ok")]


def test_what_an_undo_needs_outlives_a_manifest_that_cannot_be_read(
    host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    host.pair.run("delete from shop.lines")
    assert main(host.restore("--confirm", "1", "--output", "json")) == 0
    name = json.loads(capfd.readouterr().out)["operation"]
    folder = host.pair.host.state_directory / "surgery" / name
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text("{]")
    assert main(host.argv("cleanup", "--output", "json")) == 0
    assert json.loads(capfd.readouterr().out)["leftovers"] == []
    assert main(host.argv("tenant", "operations", "--output", "json")[:-2]) == 0
    assert [(one["operation"], one["state"]) for one in json.loads(capfd.readouterr().out)] == [(name, "unknown")]
    (folder / "manifest.json").write_text(manifest)
    assert main(host.restore("--undo", name, "--confirm", name)) == 0


def test_a_disk_that_is_full_rolls_back_or_leaves_the_answer_to_the_server(
    host: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = host.pair
    pair.run("delete from shop.lines")
    damaged = pair.image()
    for full in ("manifest.json", "committed"):

        def write(path: Path, text: str, mode: int, full: str = full) -> None:
            if path.name == full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write_atomically(path, text, mode)

        monkeypatch.setattr(images, "write_atomically", write)
        code = main(host.restore("--confirm", "1"))
        err = capfd.readouterr().err
        if full == "manifest.json":
            assert (code, pair.image()) == (ExitCode.CONFIG, damaged)
            assert "No space left on device (free space on its disk, then run again; nothing was changed)" in err
        else:
            assert (code, pair.image() == damaged) == (0, False)
    assert main(host.argv("tenant", "operations", "--output", "json")[:-2]) == 0
    assert sorted(one["state"] for one in json.loads(capfd.readouterr().out)) == ["aborted", "committed"]


def test_a_damaged_image_is_not_believed(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    host.pair.run("delete from shop.lines")
    assert main(host.restore("--confirm", "1", "--output", "json")) == 0
    name = json.loads(capfd.readouterr().out)["operation"]
    (file,) = (host.pair.host.state_directory / "surgery" / name).glob("*.after.copy.zst")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    before = host.pair.image()
    assert main(host.argv("tenant", "restore", "--undo", name, "--confirm", name)) == ExitCode.NOT_PROVEN
    assert "is not the file that was written" in capfd.readouterr().err
    assert host.pair.image() == before


def test_refusals_have_their_codes(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(host.argv("tenant", "restore", "9", "--source-database", host.pair.past)) == ExitCode.REFUSED
    assert main(host.argv("tenant", "restore", "1", "--source-database", "no such")) == ExitCode.REFUSED
    assert main(host.argv("tenant", "restore", "1", "--source-service", "no such")) == ExitCode.REFUSED
    assert main(host.restore("--source-service", "other")) == ExitCode.USAGE
    assert main(host.restore("--mode", "sideways")) == ExitCode.USAGE
    host.pair.run("delete from shop.lines")
    with operation_lock(host.pair.host, "backup full"):
        assert main(host.restore("--confirm", "1")) == ExitCode.BUSY
    assert "backup full" in capfd.readouterr().err
    assert host.pair.value("select count(*) from shop.lines") == 0


def test_erase_and_replay(host: Host, capfd: pytest.CaptureFixture[str], aws: None) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    assert main(host.argv("tenant", "erase", "1", "--confirm", "one")) == ExitCode.REFUSED
    assert host.pair.value("select count(*) from shop.orders where tenant_id = 1") == 30
    assert main(host.argv("tenant", "erase", "1", "--confirm", "1")) == 0
    assert host.pair.value("select count(*) from shop.orders where tenant_id = 1") == 0
    assert host.pair.value("select count(*) from shop.orders where tenant_id = 2") == 30
    capfd.readouterr()
    assert main(host.argv("tenant", "erase", "1", "--proof", "--output", "json")) == 0
    (proof,) = json.loads(capfd.readouterr().out)
    # Seven years of annual archives are what lasts longest in the production policy.
    assert proof["places"][-1]["place"] == "logical archives, offsite"
    assert proof["last_backup_expires"] > proof["erased_at"]
    replay = host.argv("erasures", "replay", "--database", host.pair.past)
    assert main([*replay, "--plan"]) == 0
    assert "166 rows would be removed again" in capfd.readouterr().out
    assert main(replay) == 0
    assert "erasure 1: 166 rows removed again" in capfd.readouterr().out
    assert host.pair.value("select count(*) from shop.orders where tenant_id = 1", host.pair.past) == 0


def _start(host: Host) -> subprocess.Popen[bytes]:
    # The same interpreter, a process of its own: it is killed without a chance to tidy up.
    return subprocess.Popen(
        [sys.executable, "-m", "pgdr.cli.main", *host.restore("--confirm", "1")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts/src")},
    )


def _wait_for(host: Host, query: str) -> None:
    """Wait until a session of ours does something."""
    until = time.monotonic() + 30
    statement = f"select count(*) from pg_stat_activity where application_name = 'pgdr surgery' and {query}"
    while not host.pair.value(statement):
        assert time.monotonic() < until, query
        time.sleep(0.01)


def _gone(host: Host) -> None:
    until = time.monotonic() + 30
    while host.pair.value("select count(*) from pg_stat_activity where application_name = 'pgdr surgery'"):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("moment", "removal"),
    [
        ("query ilike 'copy%'", ["tenant", "operations", "--remove-aborted"]),
        ("state = 'idle in transaction'", ["cleanup"]),
        ("query like '%pg_sleep%'", ["cleanup"]),
    ],
)
def test_a_kill_leaves_live_data_as_before(
    new_pair: PairFactory,
    shop: str,
    tmp_path: Path,
    moment: str,
    removal: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = new_pair(shop)
    host = Host(pair, tmp_path, hooks=[{"name": "slow", "sql": "select pg_sleep(3)"}])
    pair.run("delete from shop.lines; update shop.customers set email = email || '!' where tenant_id = 1")
    damaged = pair.image()
    process = _start(host)
    _wait_for(host, moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _gone(host)
    assert pair.image() == damaged
    assert main(["--config", str(host.config), "tenant", "operations", "--output", "json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert {one["state"] for one in listed} <= {"aborted"}
    monkeypatch.setenv("PGDR_POLICY", str(host.policy))
    assert main(["--config", str(host.config), "cleanup", "--plan", "--output", "json"]) == 0
    left = json.loads(capfd.readouterr().out)["leftovers"]
    assert [one["name"] for one in left if one["kind"] == "image"] == [one["operation"] for one in listed]
    assert main(["--config", str(host.config), *removal]) == 0
    assert not list((pair.host.state_directory / "surgery").glob("*"))
    # Safe to run again: nothing of the first run is in the way.
    assert main(host.restore("--confirm", "1")) == 0
    assert pair.image() == {**pair.image(pair.past), "shop.lines": pair.image()["shop.lines"]}
    assert pair.value("select count(*) from shop.lines") == 60


def test_a_server_that_dies_leaves_live_data_as_before(
    new_cluster: Any, new_pair: PairFactory, shop: str, tmp_path: Path
) -> None:
    cluster = new_cluster(16, settings={"fsync": "on"})
    pair = new_pair(shop, cluster=cluster)
    host = Host(pair, tmp_path, hooks=[{"name": "slow", "sql": "select pg_sleep(30)"}])
    pair.run("delete from shop.lines")
    damaged = pair.image()
    process = _start(host)
    _wait_for(host, "query like '%pg_sleep%'")
    cluster.stop("immediate")
    assert process.wait(30) == ExitCode.UNREACHABLE
    cluster.start()
    assert pair.image() == damaged
