"""A side instance beside production reads with keys that can do no more, on a server that enforces it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml
from botocore.exceptions import ClientError
from scripts.tests.integration.chain import World, world_of

# Fixtures: clusters that archive with the real engine, made for this file as for those of pgdr.
from scripts.tests.integration.conftest import (  # noqa: F401
    new_cluster,
    new_site,
    postgres_binaries,
    postgres_folder,
)

from lab import engine
from lab.paths import LabPaths
from pgdr.errors import ExitCode
from pgdr.pgbackrest.repositories import READER_FILE, AccessKey, access_key
from pgdr.policy.cloud import Layout
from pgdr.side import store as instances
from tests.enforced.store import BUCKET, LAYOUT, SIDE_READER, Enforced, identity_policies

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import SiteFactory

_LAYOUT = Layout(repository="side/", stanza="erp")
_WHO = ("host-writer", "side-reader")
_OBJECT = f"{_LAYOUT.backups}backup.info"


@dataclass
class Beside:
    """Production with its only repository in the bucket.

    Attributes:
        world: production and pgdr on its host.
        target: a moment to look at.
    """

    world: World
    enforced: Enforced
    target: list[str]

    @property
    def reader_file(self) -> Path:
        """Where the role pgbackrest puts keys that can only read."""
        return self.world.host.pgbackrest_config.parent / READER_FILE

    def give(self, pair: tuple[str, str]) -> None:
        """Have the host know a key that can only read."""
        self.reader_file.write_text(f"[global]\nrepo1-s3-key={pair[0]}\nrepo1-s3-key-secret={pair[1]}\n")
        self.world.site.owned(self.reader_file)
        self.reader_file.chmod(0o600)

    def name_role(self, role: str | None) -> None:
        """Have the policy name a role that reads."""
        path = self.world.host.policy_path
        policy = yaml.safe_load(path.read_text())
        policy["recovery_policy"]["repositories"][0].pop("reader_role", None)
        if role is not None:
            policy["recovery_policy"]["repositories"][0]["reader_role"] = role
        path.write_text(yaml.safe_dump(policy))

    def status(self) -> str:
        """What the status says of it; the host is in no good state otherwise."""
        out, err = self.world.begin(
            "status", "--output", "json", "--policy", str(self.world.host.policy_path)
        ).communicate(timeout=60)
        assert out, err
        (told,) = [check["message"] for check in json.loads(out)["checks"] if check["name"] == "side-reader"]
        return str(told)

    @contextmanager
    def started(self, *more: str) -> Iterator[tuple[Path, str]]:
        """Have a side instance for a block of work: its folder, and what was said when it started."""
        done = self.world.pgdr("side", "start", "--uncapped", *self.target, *more)
        try:
            yield self.world.host.state_directory / "side" / "past", done.stderr
        finally:
            self.world.pgdr("side", "stop", "past")


@pytest.fixture(scope="session")
def postgres_archives() -> Iterator[None]:
    """Have the engine of the lab's hosts, before anybody asks for a cluster that archives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGDR_TEST_PGBACKREST", str(engine.ensure()))
        yield


@pytest.fixture(scope="module")
def beside(postgres_archives: None, enforced: Enforced, new_site: SiteFactory) -> Iterator[Beside]:  # noqa: F811 - a fixture, see above
    site = new_site(16, compress="zst")
    site.cluster.create_database("erp")
    site.cluster.execute("create table marks (id int generated always as identity primary key, what text)", "erp")
    for who in _WHO:
        enforced.put_policy(who, identity_policies(_LAYOUT)[who], missing_is_listed=True)
    url = urlsplit(enforced.lab.s3.url)
    authority = site.folder / "etc" / "ca.pem"
    shutil.copy(LabPaths(enforced.lab.name).ca, authority)
    authority.chmod(0o644)
    config = site.folder / "etc" / "pgbackrest.conf"
    kept = [line for line in config.read_text().splitlines() if not re.match(r"repo\d", line)]
    where = [
        *("repo1-type=s3", "repo1-path=/side", f"repo1-s3-bucket={BUCKET}", f"repo1-s3-endpoint={url.hostname}"),
        *(f"repo1-storage-port={url.port or 443}", "repo1-s3-region=us-east-1", "repo1-s3-uri-style=path"),
        *(f"repo1-storage-ca-file={authority}", "repo1-cipher-type=aes-256-cbc", "repo1-bundle=y"),
        "repo1-retention-full=9999999",
    ]
    config.write_text("\n".join([kept[0], *where, *kept[1:]]) + "\n")
    key, secret = enforced.keys["host-writer"]
    (config.parent / "conf.d" / "credentials.conf").write_text(
        f"[global]\nrepo1-cipher-pass=planted-cipher\nrepo1-s3-key={key}\nrepo1-s3-key-secret={secret}\n"
    )
    world = world_of(site, "erp")
    policy = yaml.safe_load(world.host.policy_path.read_text())
    bucket = next(one for one in policy["recovery_policy"]["repositories"] if one["type"] == "s3")
    bucket |= {
        "id": 1, "path": "/side", "bucket": BUCKET, "endpoint": url.hostname, "port": url.port or 443,
        "region": "us-east-1", "uri_style": "path", "ca_file": str(authority), "key_type": "shared",
    }  # fmt: skip
    policy["recovery_policy"]["repositories"] = [bucket]
    world.host.policy_path.write_text(yaml.safe_dump(policy))
    _engine(world, "stanza-create")
    _engine(world, "--type=full", "backup")
    world.mark("there")
    lsn = site.cluster.value("select pg_current_wal_insert_lsn()::text")
    world.mark("not there")
    world.archive()
    yield Beside(world, enforced, ["--target-lsn", lsn])
    for name in instances.names(world.host):
        world.begin("side", "stop", name).communicate(timeout=60)
    site.cluster.stop("immediate")
    for who in _WHO:
        enforced.put_policy(who, identity_policies(LAYOUT)[who])


def _engine(world: World, *arguments: str) -> None:
    host = world.host
    options = [f"--config={host.pgbackrest_config}", f"--config-path={host.pgbackrest_config.parent}", "--stanza=erp"]
    _run([str(host.pgbackrest_binary), *options, *arguments])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def _key_in(folder: Path) -> AccessKey:
    file = folder / "reader" / "pgbackrest.conf"
    assert file.stat().st_mode & 0o777 == 0o600
    found = access_key(file, "erp", 1)
    assert found is not None
    return found


def _require_that_it_only_reads(enforced: Enforced, key: AccessKey) -> None:
    """What somebody could do who found it."""
    client = enforced.client(key.key, key.secret, key.token)
    assert client.get_object(Bucket=BUCKET, Key=_OBJECT)["Body"].read()
    deeds: list[Callable[[], object]] = [
        lambda: client.put_object(Bucket=BUCKET, Key=_OBJECT, Body=b"x"),
        lambda: client.put_object(Bucket=BUCKET, Key=f"{_LAYOUT.wal}16-1/new", Body=b"x"),
        lambda: client.delete_object(Bucket=BUCKET, Key=_OBJECT),
    ]
    for deed in deeds:
        with pytest.raises(ClientError, match="AccessDenied"):
            deed()


def _require_nothing_of(folder: Path, secrets: tuple[str, ...]) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [one for one in secrets if one.encode() in content], path


def test_without_a_reader_it_says_that_the_hosts_own_key_is_used(beside: Beside) -> None:
    with beside.started("--no-wait") as (_, said):
        assert "with the host's own key" in said
        assert "reader_key in pgbackrest_secrets" in beside.status()


def test_a_key_that_can_only_read_is_all_that_it_has(beside: Beside) -> None:
    beside.give(beside.enforced.keys["side-reader"])
    with beside.started() as (folder, said):
        assert "own key" not in said
        assert beside.status() == "side instances read it with the reader's key"
        assert beside.world.rows("past") == {"there"}
        key = _key_in(folder)
        assert (key.key, key.secret) == beside.enforced.keys["side-reader"]
        _require_nothing_of(folder, beside.enforced.keys["host-writer"])
        _require_that_it_only_reads(beside.enforced, key)
    assert not folder.exists()


def test_a_wrong_key_is_one_line_and_leaves_nothing(beside: Beside) -> None:
    beside.give((beside.enforced.keys["side-reader"][0], "not its secret"))
    done = beside.world.pgdr("side", "start", "--uncapped", *beside.target, expect=ExitCode.UNREACHABLE)
    (line,) = done.stderr.strip().splitlines()
    assert "with the reader's key" in line
    assert "pgBackRest 39" in line
    assert "reader_key in pgbackrest_secrets" in line
    assert instances.names(beside.world.host) == []
    assert [path for path in beside.world.host.run_directory.rglob("*") if path.name.startswith("asking-")] == []


def test_a_restore_that_outlives_its_key_goes_on_with_the_next(beside: Beside) -> None:
    """The server takes the key away while pgBackRest restores; it reads its configuration only once."""
    first, second = (beside.enforced.new_key("side-reader") for _ in range(2))
    beside.give(first)
    program = beside.world.site.folder / "pgbackrest"
    normal, gate = program.read_text(), beside.world.site.folder / "run"
    restores, taken = gate / "restores", gate / "taken"
    wait = f'case " $* " in *" restore "*) echo x >>{restores}; while [ ! -e {taken} ]; do sleep 0.1; done;; esac\n'
    program.write_text(normal.replace("\n", f"\n{wait}", 1))
    try:
        begun = beside.world.begin("side", "start", "--uncapped", *beside.target)
        deadline = time.monotonic() + 60
        while not restores.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        beside.enforced.remove_key("side-reader", first[0])
        beside.give(second)
        taken.touch()
        out, err = begun.communicate(timeout=120)
        assert begun.returncode == 0, out + err
        assert beside.world.rows("past") == {"there"}
        assert restores.read_text().count("x") == 2
        assert _key_in(beside.world.host.state_directory / "side" / "past").key == second[0]
    finally:
        program.write_text(normal)
        beside.world.begin("side", "stop", "past").communicate(timeout=60)


def test_a_role_gives_it_keys_for_an_hour(beside: Beside) -> None:
    """The server's own STS: the host's key takes the role on, and the role only reads."""
    beside.reader_file.unlink(missing_ok=True)
    beside.enforced.have_role(SIDE_READER, trusted="host-writer", policy=identity_policies(_LAYOUT)["side-reader"])
    beside.name_role(SIDE_READER)
    try:
        with beside.started() as (folder, said):
            assert "own key" not in said
            assert beside.world.rows("past") == {"there"}
            key = _key_in(folder)
            assert key.token
            _require_nothing_of(folder, beside.enforced.keys["host-writer"])
            _require_that_it_only_reads(beside.enforced, key)
        beside.name_role(f"{SIDE_READER}-of-another")
        done = beside.world.pgdr("side", "start", "--uncapped", *beside.target, expect=ExitCode.REFUSED)
        (line,) = done.stderr.strip().splitlines()
        assert "may not take on" in line
        assert instances.names(beside.world.host) == []
    finally:
        beside.name_role(None)
