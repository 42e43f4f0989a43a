"""The erasure ledger leaves its host: what a rebuilt one gets back, and what it refuses to open with.

moto plays S3 (AWS cannot be had); the ledger is written, fetched and replayed by the commands on a real server.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml
from scripts.tests.integration.bucket import BUCKET

from pgdr.cli.main import main
from pgdr.errors import ExitCode, NotProvenError
from pgdr.hostconfig import HostConfig
from pgdr.policy.load import load_policy
from pgdr.recovery.model import PhaseTime, RecoveryState
from pgdr.recovery.verify import require_proven
from pgdr.surgery.opening import kept_check
from pgdr.surgery.shipping import ledger_checks, ship_pending

if TYPE_CHECKING:
    from scripts.tests.integration.surgery.conftest import Pair, PairFactory

ROOT = Path(__file__).parents[4]
PREFIX = "journal/erp/erasures/"
MINE = "select count(*) from shop.orders where tenant_id = 1"


class Machine:
    """A host with its two files; another one has a state of its own."""

    def __init__(self, folder: Path, config: HostConfig, capture: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self.file = folder / f"{config.state_directory.parent.name}.yml"
        self.file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        policy = yaml.safe_load((ROOT / "inventories/production/group_vars/all/policy.yml").read_text())
        policy["recovery_policy"]["tenancy"] = {"column": "tenant_id"}
        self.policy = folder / "policy.yml"
        self.policy.write_text(yaml.safe_dump(policy))
        self._capture = capture

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command; its exit code and all that it said."""
        self._capture.readouterr()
        code = main(["--config", str(self.file), *arguments])
        return code, "".join(self._capture.readouterr())

    def erase(self, tenant: str) -> tuple[int, str]:
        return self.run("tenant", "erase", tenant, "--confirm", tenant, "--policy", str(self.policy))

    def erasures(self, *arguments: str) -> tuple[int, str]:
        return self.run("erasures", *arguments, "--policy", str(self.policy))

    def open(self) -> tuple[int, str]:
        """What dr-restore.yml does before it opens the service."""
        return self.erasures("replay", "--before-opening")

    @property
    def checks(self) -> list[tuple[str, str]]:
        """What the status says of the ledger."""
        found = ledger_checks(self.config, load_policy(self.policy))
        return [(str(check.level), check.message) for check in found]

    def take_key(self, text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return self.run("erasures", "key", "--take")


@pytest.fixture
def pair(new_pair: PairFactory, shop: str) -> Pair:
    return new_pair(shop)


@pytest.fixture
def old(pair: Pair, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Machine:
    """The host of before."""
    return Machine(tmp_path, pair.cluster.host(tmp_path / "old", pair.live), capfd)


@pytest.fixture
def new(pair: Pair, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Machine:
    """The host after a disaster: its database is the past, and it knows of no erasure."""
    return Machine(tmp_path, pair.cluster.host(tmp_path / "new", pair.past), capfd)


@pytest.fixture
def escrowed(old: Machine, new: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Brings the ledger's key to the new host, as the recovery kit does."""

    def bring() -> None:
        key = (old.config.state_directory / "erasures.key").read_text()
        assert new.take_key(key, monkeypatch) == (0, "the key of the erasure ledger was taken\n")
        assert new.take_key(key, monkeypatch) == (0, "the key of the erasure ledger is there\n")

    return bring


def _keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", [])]


def test_a_lost_host_erases_again_what_the_past_brings_back(
    pair: Pair, old: Machine, new: Machine, s3: Any, escrowed: Callable[[], None]
) -> None:
    assert old.checks == []
    code, said = old.erase("1")
    assert code == 0, said
    assert _keys(s3) == [f"{PREFIX}00000001.json", f"{PREFIX}00000002.json"]
    stored = b"".join(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in _keys(s3))
    assert stored == (old.config.state_directory / "erasures.jsonl").read_bytes()
    assert old.checks[0][0] == "green"
    escrowed()
    code, said = new.open()
    assert code == 0, said
    assert "2 entries of the ledger came from the bucket" in said
    assert "erasure 1: 166 rows removed again" in said
    assert pair.value(MINE, pair.past) == 0
    assert pair.value("select count(*) from shop.orders where tenant_id = 2", pair.past) == 30
    # Nothing more to do, and the new host goes on with the same chain.
    assert new.open() == (
        0,
        "0 entries of the ledger came from the bucket\n1 erasures in the ledger, 0 subjects removed again\n",
    )
    assert new.erase("2")[0] == 0
    assert len(_keys(s3)) == 4
    code, said = old.erasures("ship")
    assert code == ExitCode.NOT_PROVEN
    assert "has erasures up to entry 4, this host up to 2" in said


def test_hidden_and_overwritten_entries_are_found_all_the_same(
    pair: Pair, old: Machine, new: Machine, s3: Any, escrowed: Callable[[], None]
) -> None:
    """What a thief of the host's credentials can do."""
    old.erase("1")
    first, second = _keys(s3)
    s3.put_object(Bucket=BUCKET, Key=first, Body=b"{}")
    s3.delete_object(Bucket=BUCKET, Key=second)
    escrowed()
    code, said = new.open()
    assert code == 0, said
    assert pair.value(MINE, pair.past) == 0


def test_an_entry_that_is_missing_keeps_the_service_closed(
    pair: Pair, old: Machine, new: Machine, s3: Any, escrowed: Callable[[], None]
) -> None:
    old.erase("1")
    first = _keys(s3)[0]
    version = s3.head_object(Bucket=BUCKET, Key=first)["VersionId"]
    s3.delete_object(Bucket=BUCKET, Key=first, VersionId=version)
    escrowed()
    code, said = new.open()
    assert code == ExitCode.NOT_PROVEN
    assert "lacks entry 1 of 2" in said
    assert "do not open" in said
    assert not (new.config.state_directory / "erasures.jsonl").exists()
    assert pair.value(MINE, pair.past) == 30
    # The host that wrote it puts it back.
    assert old.erasures("ship")[0] == 0
    assert new.open()[0] == 0
    assert pair.value(MINE, pair.past) == 0


def test_without_the_key_or_with_another_one_the_service_stays_closed(
    pair: Pair, old: Machine, new: Machine, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.erase("1")
    # As a person would who set the host up anew: it has a key, and it is the wrong one.
    assert new.run("erasures", "key") == (0, "the key of the erasure ledger was made\n")
    code, said = new.open()
    assert code == ExitCode.NOT_PROVEN
    assert "was written with another key" in said
    (new.config.state_directory / "erasures.key").unlink()
    code, said = new.open()
    assert code == ExitCode.NOT_PROVEN
    assert "erasures.key is missing" in said
    assert new.take_key("ab" * 32, monkeypatch)[0] == ExitCode.NOT_PROVEN
    assert new.take_key("no key", monkeypatch)[0] == ExitCode.REFUSED
    assert pair.value(MINE, pair.past) == 30
    assert new.take_key((old.config.state_directory / "erasures.key").read_text(), monkeypatch)[0] == 0
    assert new.open()[0] == 0
    assert pair.value(MINE, pair.past) == 0


def test_a_bucket_that_fails_is_told_and_made_up_for(pair: Pair, old: Machine, aws: None) -> None:
    """The erasure is done; its copy is not: an exit code, a red finding, and the next look of cron."""
    code, said = old.erase("1")
    assert code == ExitCode.UNREACHABLE
    assert "the tenant is erased, but its entry in the erasure ledger is on this host only" in said
    assert pair.value(MINE) == 0
    [(level, message)] = old.checks
    assert level == "red"
    assert message.startswith("2 entries of the erasure ledger are on this host only: ")
    ship_pending(old.config, load_policy(old.policy))
    assert old.checks[0][0] == "red"
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    # The first thing that cron's look does, whatever else is wrong with this host (it has no pgBackRest).
    assert old.run("watch", "--policy", str(old.policy))[0] == ExitCode.CONFIG
    assert old.checks == [("green", f"all 2 entries of the erasure ledger are in s3://{BUCKET}/{PREFIX}")]
    assert len(_keys(client)) == 2


def test_a_second_ledger_is_refused_before_anything_is_erased(pair: Pair, old: Machine, new: Machine, s3: Any) -> None:
    old.erase("1")
    code, said = new.erase("2")
    assert code == ExitCode.NOT_PROVEN
    assert "has erasures up to entry 2, this host up to 0" in said
    # One that is as long, and another's.
    shutil.rmtree(new.config.state_directory)
    shutil.copytree(old.config.state_directory, new.config.state_directory)
    for name in ("erasures.jsonl", "erasures.head"):
        (new.config.state_directory / name).unlink()
    for key in _keys(s3):
        for version in s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]:
            s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version["VersionId"])
    (new.config.state_directory / "erasures.key").unlink()
    assert new.erase("2")[0] == 0
    code, said = old.erasures("ship")
    assert code == ExitCode.NOT_PROVEN
    assert "entry 2 of the erasure ledger is another one" in said
    before = pair.image()
    assert old.erase("2")[0] == ExitCode.NOT_PROVEN
    assert pair.image() == before


def test_a_recovery_is_not_proven_before_the_ledger_was_replayed(
    old: Machine, new: Machine, s3: Any, escrowed: Callable[[], None]
) -> None:
    """On the recovered cluster: a replay that was before its promotion is one of another cluster."""

    def promoted_now() -> RecoveryState:
        phase = PhaseTime(name="promote", started_at=datetime.now(UTC), seconds=1)
        return RecoveryState.model_construct(phases=[phase])

    old.erase("1")
    escrowed()
    first = promoted_now()
    assert not kept_check(new.config, first, fatal=True).ok
    new.open()
    check = kept_check(new.config, first, fatal=True)
    assert (check.ok, check.detail) == (True, "1 erasures in the ledger, 1 subjects removed again")
    second = promoted_now()
    with pytest.raises(NotProvenError, match="was not replayed before the cluster opened"):
        require_proven([kept_check(new.config, second, fatal=True)])
    new.open()
    assert kept_check(new.config, second, fatal=True).detail == "1 erasures in the ledger, 0 subjects removed again"


def test_where_nobody_was_erased_no_server_is_asked(new: Machine, s3: Any) -> None:
    changed = new.config.model_copy(update={"socket_directory": Path("/nonexistent")})
    new.file.write_text(yaml.safe_dump(changed.model_dump(mode="json")))
    code, said = new.erasures("replay", "--before-opening", "--output", "json")
    assert code == 0, said
    assert json.loads(said) == {"fetched": 0, "replayed": {"erasures": 0, "removed": {}}}
    assert new.run("erasures", "key")[0] == 0
    assert new.checks == []


def test_a_cluster_that_does_not_run_and_was_not_recovered_is_refused(
    old: Machine, new: Machine, s3: Any, escrowed: Callable[[], None]
) -> None:
    old.erase("1")
    escrowed()
    changed = new.config.model_copy(update={"socket_directory": Path("/nonexistent")})
    new.file.write_text(yaml.safe_dump(changed.model_dump(mode="json")))
    code, said = new.open()
    assert code == ExitCode.REFUSED
    assert "no recovery that has come to its end" in said
