"""With the real writer's keys everything is done to the repository that they allow, and the data comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from botocore.exceptions import ClientError

from lab import engine
from lab.paths import REPOSITORY, LabPaths
from pgdr.cli.main import main
from pgdr.errors import ExitCode, UnreachableError
from pgdr.policy.cloud import Layout
from pgdr.tamper.history import Version
from pgdr.tamper.versions import Place
from tests.enforced.host import Host, configure
from tests.enforced.store import BUCKET, LAYOUT, Enforced, identity_policies

_LAYOUT = Layout(repository="tampered/", stanza="erp")
_CIPHER = "repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=lab-only\n"
_FORGED = "20991231-235959F"
# The engine and many servers know whole seconds only.
_APART = timedelta(seconds=2.2)


@dataclass
class Site:
    """The host, and pgdr beside it with the host's own keys.

    Attributes:
        arguments: what every call of pgdr begins with.
    """

    host: Host
    enforced: Enforced
    arguments: list[str]
    policy: Path

    def pgdr(self, *more: str) -> int:
        """Run pgdr here: the bucket is the same from everywhere."""
        return main([*self.arguments, "repository", *more, "--repo", "1", "--policy", str(self.policy)])

    def write(self, number: int) -> None:
        """Commit a row and have it archived."""
        self.host.sql(f"insert into ledger values ({number:d})")  # noqa: S608 - a number of ours
        self.host.sql("select pg_switch_wal()")
        self.host.pgbackrest("host-writer", "--stanza=erp check")

    def keys(self) -> list[str]:
        """What a thief sees."""
        thief = self.enforced.clients["host-writer"]
        pages = [
            page
            for prefix in (_LAYOUT.wal, _LAYOUT.backups)
            for page in thief.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        ]
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def wait_a_moment(self) -> None:
        """Let the clock go on, so that what follows is later than what was, to the second."""
        since = datetime.now(UTC)
        while datetime.now(UTC) < since + _APART:
            time.sleep(0.1)


def _files(folder: Path, enforced: Enforced, data: str) -> tuple[Path, Path]:
    """What this host is, its engine's configuration and its policy."""
    lab = enforced.lab
    url = urlsplit(lab.s3.url)
    key, secret = enforced.keys["host-writer"]
    ca = LabPaths(lab.name).ca
    (folder / "pgbackrest.conf").write_text(
        f"[global]\nrepo1-type=s3\nrepo1-path=/tampered\nrepo1-s3-bucket={BUCKET}\nrepo1-s3-endpoint={url.hostname}\n"
        f"repo1-storage-port={url.port or 443}\nrepo1-s3-region=us-east-1\nrepo1-s3-uri-style=path\n"
        f"repo1-s3-key={key}\nrepo1-s3-key-secret={secret}\nrepo1-storage-ca-file={ca}\n{_CIPHER}log-level-file=off\n"
        f"lock-path={folder}/lock\nspool-path={folder}/spool\n[erp]\npg1-path={data}\n"
    )
    policy = yaml.safe_load((REPOSITORY / "inventories/lab/group_vars/all/policy.yml").read_text())
    bucket = next(one for one in policy["recovery_policy"]["repositories"] if one["type"] == "s3")
    changed = {
        "id": 1, "path": "/tampered", "bucket": BUCKET, "endpoint": url.hostname, "port": url.port or 443,
        "region": "us-east-1", "uri_style": "path", "ca_file": str(ca), "key_type": "shared", "replica": None,
        "kms_key_id": None, "object_lock": None, "cipher": "aes-256-cbc",
    }  # fmt: skip
    policy["recovery_policy"]["repositories"] = [{k: v for k, v in {**bucket, **changed}.items() if v is not None}]
    policy["recovery_policy"]["cluster"]["stanza"] = "erp"
    (folder / "policy.yml").write_text(yaml.safe_dump(policy))
    for name in ("state", "run", "log"):
        (folder / name).mkdir()
    host = {
        "stanza": "erp", "cluster_name": "erp-lab", "database": "postgres", "postgresql_version": 17,
        "data_directory": data, "bin_directory": "/usr/bin", "state_directory": str(folder / "state"),
        "run_directory": str(folder / "run"), "log_directory": str(folder / "log"),
        "pgbackrest_binary": str(engine.ensure()), "pgbackrest_config": str(folder / "pgbackrest.conf"),
    }  # fmt: skip
    (folder / "host.yml").write_text(yaml.safe_dump(host))
    return folder / "host.yml", folder / "policy.yml"


@pytest.fixture(scope="module")
def site(enforced: Enforced, installed: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tampered")
    for who in ("host-writer", "restore-reader"):
        configure(installed, enforced, who, path="/tampered", more=_CIPHER)
        enforced.put_policy(who, identity_policies(_LAYOUT)[who], missing_is_listed=True)
    config, policy = _files(folder, enforced, installed.data)
    yield Site(installed, enforced, ["--config", str(config)], policy)
    for who in ("host-writer", "restore-reader"):
        enforced.put_policy(who, identity_policies(LAYOUT)[who])


def _tamper(site: Site) -> None:
    """Everything that the writer may do: hide, overwrite, forge; what it may not do it tries as well."""
    thief = site.enforced.clients["host-writer"]
    keys = site.keys()
    assert any(key.endswith("backup.info") for key in keys)
    for number, key in enumerate(keys):
        if key.endswith((".info", ".info.copy")) or number % 3 == 0:
            thief.put_object(Bucket=BUCKET, Key=key, Body=b"Salted__pay us" if number % 2 else b"pay us")
        elif number % 3 == 1:
            thief.delete_object(Bucket=BUCKET, Key=key)
    rest = [{"Key": key} for key in keys if key.endswith("backup.manifest")]
    thief.delete_objects(Bucket=BUCKET, Delete={"Objects": rest})  # type: ignore[typeddict-item]
    thief.put_object(Bucket=BUCKET, Key=f"{_LAYOUT.backups}{_FORGED}/backup.manifest", Body=b"Salted__forged")
    version = thief.list_object_versions(Bucket=BUCKET, Prefix=keys[0])["Versions"][-1]["VersionId"]
    with pytest.raises(ClientError):
        thief.delete_object(Bucket=BUCKET, Key=keys[0], VersionId=version)


def _honest_work(site: Site) -> None:
    """Work of every kind: sets that retention removes, an increment, WAL that goes with them."""
    host = site.host
    host.pgbackrest("host-writer", "--stanza=erp stanza-create")
    host.sql("create table ledger (id int primary key)")
    site.write(1)
    for kind in ("full", "incr", "full"):
        host.pgbackrest("host-writer", f"--stanza=erp --type={kind} backup")
        site.wait_a_moment()
    host.pgbackrest("host-writer", "--stanza=erp --type=incr backup")
    # Where another repository fails, PostgreSQL asks again and again: labels and histories are written anew each time.
    label = host.shell(f"ls {host.data}/pg_wal/*.backup | tail -1").stdout.strip()
    for _ in range(2):
        site.wait_a_moment()
        host.pgbackrest("host-writer", f"--stanza=erp archive-push {label}")
    site.write(2)


def _rows(site: Site) -> str:
    """What a restore of the repository gives, with the reader's keys."""
    with site.host.restored("restore-reader") as port:
        return site.host.sql("select string_agg(id::text, ',' order by id) from ledger", port=port)


def test_everything_that_the_writer_may_do_is_undone(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    _honest_work(site)
    assert site.pgdr("examine", "--output", "json") == 0, capfd.readouterr()
    honest = json.loads(capfd.readouterr().out)
    assert not honest["tampered"]
    assert len(honest["sets_now"]) == 2
    site.wait_a_moment()
    before = datetime.now(UTC)
    _tamper(site)
    assert "error" in site.host.pgbackrest("restore-reader", "--stanza=erp info", check=False).stdout
    site.host.sql("insert into ledger values (3)")  # production lives, and cannot archive any more

    assert site.pgdr("examine", "--output", "json") == ExitCode.NOT_PROVEN
    found = json.loads(capfd.readouterr().out)
    assert before - timedelta(seconds=4) < datetime.fromisoformat(found["last_good"]) <= before
    assert found["sets_then"] == honest["sets_now"]
    assert found["sets_now"] is None
    deeds = {(one["what"], one["deed"]) for one in found["deeds"]}
    assert {("backup.info", "made unreadable"), ("WAL", "overwritten"), ("WAL", "deleted")} <= deeds
    assert any(what.startswith("set ") and deed == "deleted" for what, deed in deeds)

    as_of = ["--as-of", found["last_good"]]
    _consent_is_asked(site, as_of)
    _breaks_off(site, as_of)
    assert site.pgdr("rebuild", *as_of, "--confirm", "erp-lab") == 0
    capfd.readouterr()
    assert site.pgdr("rebuild", *as_of, "--plan", "--output", "json") == 0
    assert json.loads(capfd.readouterr().out)["hidden"] == []  # run again: nothing is left to hide
    assert _FORGED not in " ".join(site.keys())
    assert _rows(site) == "1,2"

    # Production goes on: what it could not archive drains, and a new full is taken.
    site.write(4)
    site.host.pgbackrest("host-writer", "--stanza=erp --type=full backup")
    site.host.pgbackrest("host-writer", "--stanza=erp verify")
    assert _rows(site) == "1,2,3,4"


def test_a_rebuild_is_no_theft_and_the_next_theft_is_seen(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    assert site.pgdr("examine") == 0, capfd.readouterr()
    site.wait_a_moment()
    thief = site.enforced.clients["host-writer"]
    thief.delete_object(Bucket=BUCKET, Key=f"{_LAYOUT.backups}backup.info")
    assert site.pgdr("examine") == ExitCode.NOT_PROVEN
    assert "backup.info deleted" in capfd.readouterr().out


def _breaks_off(site: Site, as_of: list[str]) -> None:
    """The network goes in the middle: the info files are not back, so nobody takes it for whole."""
    calls = count()

    def bring_back(self: Place, version: Version) -> None:
        if next(calls) >= 3:
            raise UnreachableError("the network is gone")
        original(self, version)

    original = Place.bring_back
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Place, "bring_back", bring_back)
        assert site.pgdr("rebuild", *as_of, "--confirm", "erp-lab") == ExitCode.UNREACHABLE
    assert "error" in site.host.pgbackrest("restore-reader", "--stanza=erp info", check=False).stdout


def test_the_play_looks_and_refuses_while_the_thief_can_write(site: Site) -> None:
    """What it changes was tried above; here it goes up to the plan, with the theft of the test before."""
    code, out = _play(site)
    assert code != 0
    assert "Revoke the stolen keys first" in out
    code, out = _play(site, "-e", "plan_only=true")
    assert code == 0, out
    assert "what: backup.info" in out
    assert "1 objects come back" in out


def _play(site: Site, *more: str) -> tuple[int, str]:
    """Run the play on this machine, and return its exit code and what it said."""
    path = os.pathsep.join(path for path in sys.path if path)
    given = {
        "host_pgdr": [
            *("env", f"PYTHONPATH={path}", f"PGDR_POLICY={site.policy}", sys.executable, "-m", "pgdr.cli.main"),
            *site.arguments,
        ],
        "recovery_policy": yaml.safe_load(site.policy.read_text())["recovery_policy"],
        "postgresql_data_directory": site.host.data,
        "ansible_become": False,
        "ansible_python_interpreter": sys.executable,
    }
    inventory = site.policy.with_name("hosts.ini")
    inventory.write_text("[database]\nproduction ansible_connection=local\n")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    play = "playbooks/dr-repository-tampered.yml"
    done = subprocess.run(
        [program, "-i", str(inventory), play, "-e", json.dumps(given), *more],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


def _consent_is_asked(site: Site, as_of: list[str]) -> None:
    seen = site.keys()
    assert site.pgdr("rebuild", *as_of) == ExitCode.REFUSED
    assert site.pgdr("rebuild", *as_of, "--confirm", "erp") == ExitCode.REFUSED
    assert site.pgdr("rebuild", "--as-of", "2020-01-01T00:00:00Z", "--confirm", "erp-lab") == ExitCode.REFUSED
    assert site.pgdr("rebuild", *as_of, "--plan") == 0
    assert site.keys() == seen
