"""`pgdr rehearse` on real servers and the real pgBackRest: what is right is proven, what is not is named."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml

from lab import tls
from pgdr.errors import ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.client import PgBackRest
from pgdr.proof.findings import findings_file
from pgdr.proof.marks import marks_file
from pgdr.side import store

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Site, SiteFactory

_TABLES = """
create role erp_owner;
create schema sales authorization erp_owner;
create table sales.partners (id int generated always as identity primary key, name text unique);
create table sales."Orders; drop" (id bigserial primary key, partner_id int references sales.partners, what text);
insert into sales.partners (name) select 'partner ' || g from generate_series(1, 50) g;
insert into sales."Orders; drop" (partner_id, what) select g % 50 + 1, md5(g::text) from generate_series(1, 5000) g;
alter table sales.partners owner to erp_owner;
"""


@dataclass
class World:
    """A production with two backups, heartbeats between them and an archive."""

    site: Site
    host: HostConfig
    config: Path

    def pgdr(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.site.begin(self.config, *arguments)
        out, err = done.communicate(timeout=150)
        assert done.returncode == expect, f"{arguments}: {done.returncode}: {out}{err}"
        return subprocess.CompletedProcess(arguments, done.returncode, out, err)

    @property
    def policy(self) -> list[str]:
        return ["--policy", str(self.host.policy_path)]

    def rehearse(self, *arguments: str, expect: int = 0) -> tuple[dict[str, Any], str]:
        """Run it and return its document and what it said."""
        done = self.pgdr("rehearse", *self.policy, "--output", "json", *arguments, expect=expect)
        document: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return document, done.stderr

    def nothing_is_left(self) -> None:
        assert store.names(self.host) == []
        assert list((self.host.run_directory / "side").glob("*")) == []
        assert self.servers() == []

    def servers(self, part: str = "") -> list[str]:
        """Processes of this world's throw-away servers: another test run on this machine has its own."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                # Each of a server's processes works in its data directory, and says its name.
                at_home = (path / "cwd").readlink().is_relative_to(self.host.state_directory)
            except OSError:
                continue
            if at_home and f"pgdr-side-rehearsal{part}" in line:
                found.append(line)
        return found


def _policy(folder: Path, name: str, **changes: Any) -> Path:
    source = yaml.safe_load(Path("inventories/lab/group_vars/all/policy.yml").read_text())
    wanted = source["recovery_policy"]
    wanted["side_instances"] = {"disk_floor": "100MiB"}
    wanted["schemas"] = ["sales"]
    wanted["tenancy"] = None
    wanted["archives"] = {"local": {"path": str(folder / "archives"), "retention": "7d"}}
    wanted["recovery"]["smoke_queries"] = [
        {"name": "partners", "sql": "SELECT count(*) FROM sales.partners", "expected": 50}
    ]
    wanted |= changes
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(source))
    return path


@pytest.fixture(scope="module")
def world(new_site: SiteFactory) -> World:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "20"})
    site.cluster.create_database("erp")
    site.cluster.execute(_TABLES, "erp")
    folder = site.folder / "host"
    (folder / "archives").mkdir(parents=True)
    host = site.host(
        folder, "erp", restore_command_wrapper=site.restore_wrapper(), policy_path=_policy(folder, "policy")
    )
    site.owned(folder)
    config = folder / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    world = World(site, host, config)
    world.pgdr("heartbeat", "--init")
    world.pgdr("backup", "full")
    _life(world)
    world.pgdr("backup", "incr")
    _life(world)
    world.pgdr("archive", *world.policy)
    return world


def _life(world: World) -> None:
    """Some time passes: more than the second in which a backup's end is told."""
    for _ in range(2):
        time.sleep(0.8)
        world.site.cluster.execute("insert into sales.\"Orders; drop\" (what) values ('later')", "erp")
        world.pgdr("heartbeat")
    world.site.archived()


def test_all_three_are_restored_looked_through_and_proven(world: World) -> None:
    document, said = world.rehearse()
    assert "no systemd" in said
    assert (document["result"], document["exit_code"]) == ("ok", 0)
    parts = {part["part"]: part for part in document["parts"]}
    newest = PgBackRest(world.host).info(2).backups(1)
    assert {name: part["outcome"] for name, part in parts.items()} == dict.fromkeys(parts, "ok"), document
    assert set(parts) == {"backup", "point", "archive"}
    rows = world.site.cluster.value('select count(*) from sales."Orders; drop"', "erp") + 50
    assert parts["backup"]["rows"] == parts["archive"]["rows"] == rows
    # The moment is drawn at random: it may lie behind the last row.
    assert 5050 <= parts["point"]["rows"] <= rows
    assert parts["backup"]["checksum"] == parts["archive"]["checksum"]
    same = parts["point"]["checksum"] == parts["backup"]["checksum"]
    assert same == (parts["point"]["rows"] == rows)
    for part in parts.values():
        checks = {check["name"]: check for check in part["checks"]}
        for name in ("tables", "sequences", "foreign keys", "constraints", "extensions", "smoke query partners"):
            assert checks[name]["ok"], checks[name]
        # The wheel has no contrib modules: that is told, and not taken for a proof.
        assert not checks["pg_amcheck"]["ok"]
        assert "not installed" in checks["pg_amcheck"]["detail"]
    ledger = next(check for check in parts["backup"]["checks"] if check["name"] == "heartbeat ledger")
    assert ledger["ok"]
    assert ledger["detail"].startswith("4 beats, all as production wrote them")
    assert {"restore files", "replay WAL", "open", "look", "remove"} <= parts["backup"]["seconds"].keys()
    assert {"make a server", "checksums", "restore", "proof", "look", "remove"} <= parts["archive"]["seconds"].keys()
    marks = marks_file(world.host).read()
    mark = marks.of(parts["backup"]["repository"], parts["backup"]["label"])
    assert parts["backup"]["label"] == PgBackRest(world.host).info().backups(parts["backup"]["repository"])[-1].label
    assert mark.proven is not None
    # The moment was drawn: it may have been reached from the same set.
    assert mark.by == "rehearsal"
    assert mark.point in {part["target"] for part in parts.values() if part["label"] == parts["backup"]["label"]}
    assert mark.restore_seconds
    assert marks.newest_archive() is not None
    assert newest is not None
    last = [entry for entry in Journal(world.host.journal_path).entries() if entry.operation == "rehearse"][-1]
    assert (last.result, last.details["requested"], last.details["backup_label"]) == (
        "ok",
        "all",
        parts["backup"]["label"],
    )
    world.nothing_is_left()
    status = json.loads(world.pgdr("status", *world.policy, "--output", "json").stdout)
    checks = {check["name"]: check for check in status["checks"]}
    assert {checks[name]["level"] for name in ("job-rehearsal", "proven", "proven-archive", "rehearsal-point")} == {
        "green"
    }
    # The moment may have been reached from a newer set, in the other repository.
    assert status["proven"]["backup"] in {parts["backup"]["label"], parts["point"]["label"]}


def test_a_damaged_backup_is_named_and_not_proven(world: World) -> None:
    newest = PgBackRest(world.host).info(1).backups(1)[-1]
    full = (newest.prior or newest.label) if newest.type != "full" else newest.label
    bundle = max((world.site.folder / "repo1/backup/erp" / full / "bundle").iterdir(), key=lambda p: p.stat().st_size)
    whole = bundle.read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    try:
        document, said = world.rehearse("--only", "backup", "--repo", "1", expect=ExitCode.NOT_PROVEN)
    finally:
        bundle.write_bytes(whole)
    [part] = document["parts"]
    assert (part["outcome"], part["label"]) == ("not proven", newest.label)
    assert f"backup {newest.label} of repository 1" in said
    assert "checksum" in said or "corruption" in said, said
    mark = marks_file(world.host).read().of(1, newest.label)
    assert mark.proven is None
    assert mark.damaged
    finding = findings_file(world.host).read().looks["rehearse"].findings["rehearsal-backup"]
    assert finding.level == "red"
    assert newest.label in finding.message
    world.nothing_is_left()
    # Whole again, it is proven again, and the finding is over.
    world.rehearse("--only", "backup", "--repo", "1")
    assert marks_file(world.host).read().of(1, newest.label).good
    assert findings_file(world.host).read().looks["rehearse"].findings["rehearsal-backup"].level == "green"


def test_killed_in_the_middle_nothing_stays(world: World) -> None:
    for cure in (["cleanup", *world.policy], ["rehearse", *world.policy, "--only", "backup"]):
        running = world.site.begin(world.config, "rehearse", *world.policy, "--only", "backup")
        _wait_for(world.servers)
        os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=30)
        assert store.names(world.host) == ["rehearsal-backup"]
        world.pgdr(*cure)
        world.nothing_is_left()


def test_told_to_end_it_removes_all_by_itself(world: World) -> None:
    running = world.site.begin(world.config, "rehearse", *world.policy, "--only", "archive")
    _wait_for(lambda: world.servers("-archive"))
    os.kill(running.pid, signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == ExitCode.FAILED
    assert "interrupted by SIGTERM" in said
    world.nothing_is_left()
    last = list(Journal(world.host.journal_path).entries())[-1]
    assert (last.operation, last.result, last.details["requested"]) == ("rehearse", "failed", "archive")


def test_what_is_wrong_in_the_data_is_named(world: World) -> None:
    """A smoke query that only other data can answer: restored well, and not what it should be."""
    queries = [{"name": "partners", "sql": "SELECT count(*) FROM sales.partners", "expected": 51}]
    other = _policy(world.config.parent, "strict", recovery={"smoke_queries": queries})
    _, said = world.rehearse("--only", "archive", "--policy", str(other), expect=ExitCode.NOT_PROVEN)
    assert "smoke query partners: 50, expected 51" in said
    world.nothing_is_left()


def test_refused_before_anything_is_written(world: World) -> None:
    small = _policy(world.config.parent, "small", side_instances={"disk_floor": "900TiB"})
    host = world.host.model_copy(update={"policy_path": small})
    config = world.config.with_name("small-host.yml")
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    here = World(world.site, host, config)
    _, said = here.rehearse("--only", "backup", "--only", "archive", expect=ExitCode.REFUSED)
    assert said.count("not enough disk") == 2
    assert "--only" in world.pgdr("rehearse", *world.policy, "--only", "x'y", expect=ExitCode.USAGE).stderr
    _, said = world.rehearse("--only", "backup", "--repo", "9", expect=ExitCode.REFUSED)
    assert "repository 9 is not configured" in said
    _, said = world.rehearse("--only", "point", "--point", "2020-01-01", expect=ExitCode.REFUSED)
    assert "has no offset" in said
    done = world.pgdr("side", "start", "--uncapped", "--name", "rehearsal-x", "--target-lsn", "0/1", expect=4)
    assert "are those of rehearsals" in done.stderr
    world.nothing_is_left()


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_another_host_rehearses_and_this_one_keeps_what_it_proved(world: World, tmp_path: Path) -> None:
    """What playbooks/rehearse.yml does: no production there to compare with, and its marks would be nobody's."""
    folder = world.site.cluster.folder / "elsewhere"
    for name in ("state", "run", "data"):
        (folder / name).mkdir(parents=True)
    changed = {
        "state_directory": str(folder / "state"),
        "run_directory": str(folder / "run"),
        "data_directory": str(folder / "data"),
        "socket_directory": str(folder),
    }
    config = folder / "host.yml"
    config.write_text(yaml.safe_dump({**world.host.model_dump(mode="json"), **changed}))
    world.site.owned(folder)
    command = ["rehearse", *world.policy, "--output", "json", "--only", "backup", "--repo", "2", "--uncapped"]
    # A fault of production's own, which nobody there can be asked about.
    world.site.cluster.execute("select setval('sales.\"Orders; drop_id_seq\"', 7)", "erp")
    world.site.archived()
    running = world.site.begin(config, *command)
    out, err = running.communicate(timeout=150)
    world.site.cluster.execute("select setval('sales.\"Orders; drop_id_seq\"', 100000)", "erp")
    assert running.returncode == 0, err
    assert "nobody could ask production, which may have it too: sales.Orders; drop_id_seq stands at 7" in err
    [part] = json.loads(out)["parts"]
    ledger = next(check for check in part["checks"] if check["name"] == "heartbeat ledger")
    assert (ledger["ok"], ledger["fatal"], "nothing to compare with" in ledger["detail"]) == (False, False, True)
    assert part["rows"] > 5050

    result = tmp_path / "rehearsal.json"
    result.write_text(out)
    world.site.owned(result)
    tmp_path.chmod(0o755)
    marks_file(world.host).path.unlink(missing_ok=True)
    assert "--host NAME" in world.pgdr("rehearse", *world.policy, "--record", str(result), expect=ExitCode.USAGE).stderr
    for name in ("/etc/passwd", "/no"):
        world.pgdr("rehearse", *world.policy, "--record", name, "--host", "dr1", expect=ExitCode.CONFIG)
    stranger = json.loads(out)
    stranger["parts"][0]["label"] = "20200101-000000F"
    _record(world, stranger, ExitCode.REFUSED)
    assert marks_file(world.host).read().sets == {}
    assert part["label"] in _record(world, json.loads(out), ExitCode.OK)
    mark = marks_file(world.host).read().of(2, part["label"])
    assert (mark.proven is not None, mark.by, mark.restore_seconds) == (
        True,
        "rehearsal",
        part["seconds"]["restore files"],
    )
    last = [entry for entry in Journal(world.host.journal_path).entries() if entry.operation == "rehearse"][-1]
    assert (last.result, last.details["rehearsed_on"], last.details["requested"]) == ("ok", "dr1", "backup")
    # And what it found wrong is this host's finding.
    bad = json.loads(out)
    bad["parts"][0] |= {"outcome": "not proven", "message": "a table is empty", "exit_code": 5}
    _record(world, bad, ExitCode.NOT_PROVEN)
    finding = findings_file(world.host).read().looks["rehearse"].findings["rehearsal-backup"]
    assert (finding.level, "a table is empty" in finding.message) == ("red", True)
    world.nothing_is_left()


@pytest.fixture
def bucket(world: World) -> Iterator[tuple[Path, Any]]:
    """The archives in a bucket that moto serves to other processes, and a host elsewhere that can reach only that."""
    folder = world.site.cluster.folder / "cloud"
    for name in ("state", "run", "data"):
        (folder / name).mkdir(parents=True)
    authority, key = folder / "ca.pem", folder / "ca.key"
    tls.ensure_authority("test", authority, key)
    (folder / "server.pem").write_bytes(tls.issue(["s3"], ["127.0.0.1"], certificate=authority, key_file=key))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server += ["-c", str(folder / "server.pem"), "-k", str(folder / "server.pem")]
    repository = {
        "id": 2,
        "type": "s3",
        "path": "/pgbackrest",
        "bucket": "erp-archives",
        "region": "us-east-1",
        "endpoint": "127.0.0.1",
        "port": port,
        "uri_style": "path",
        "ca_file": str(authority),
        "key_type": "shared",
        "retention": {"full": "30d"},
        "cipher": "aes-256-cbc",
    }
    lab = yaml.safe_load(Path("inventories/lab/group_vars/all/policy.yml").read_text())["recovery_policy"]
    repositories = [lab["repositories"][0], repository]
    archives = {"retention": "7d", "path": str(folder.parent / "site/host/archives")}
    cloud = {"repository": 2, "daily": {"retention": "30d"}, "weekly": {"retention": "12w"}}
    _policy(folder, "here", repositories=repositories, archives={"local": archives, "cloud": cloud})
    archives = {**archives, "path": "/nowhere"}
    policy = _policy(folder, "elsewhere", repositories=repositories, archives={"local": archives, "cloud": cloud})
    engine = folder / "pgbackrest.conf"
    engine.write_text("[global]\nrepo2-s3-key=a\nrepo2-s3-key-secret=b\n")
    changed = {"pgbackrest_config": engine, "policy_path": policy, "socket_directory": folder}
    changed |= {f"{name}_directory": folder / name for name in ("state", "run", "data")}
    host = world.host.model_copy(update=changed)
    config = folder / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    world.site.owned(folder)
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            _wait_for(lambda: _answers(port))
            client = boto3.client(
                "s3",
                endpoint_url=f"https://127.0.0.1:{port}",
                verify=str(authority),
                region_name="us-east-1",
                aws_access_key_id="a",
                aws_secret_access_key="b",  # noqa: S106 - moto takes anything
            )
            client.create_bucket(Bucket="erp-archives")
            yield config, client
        finally:
            running.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_archive_is_rehearsed_out_of_the_bucket_on_a_host_that_has_nothing(
    world: World, bucket: tuple[Path, Any]
) -> None:
    config, s3 = bucket
    folder = config.parent
    here = World(world.site, world.host, config)
    here.pgdr("archives", "upload", "--policy", str(folder / "here.yml"))
    elsewhere = HostConfig.model_validate(yaml.safe_load(config.read_text()))
    there = World(world.site, elsewhere, config)
    command = ["--only", "archive", "--archive-from", "cloud"]
    # A younger one whose upload was broken off is none yet.
    s3.put_object(Bucket="erp-archives", Key="archive/daily/erp/20991231_000000/full/toc.dat", Body=b"x")
    document, said = there.rehearse(*command)
    [part] = document["parts"]
    assert (part["outcome"], part["rows"]) == (
        "ok",
        world.site.cluster.value('select count(*) from sales."Orders; drop"', "erp") + 50,
    )
    assert part["place"] == f"s3://erp-archives/archive/daily/erp/{part['label']}/"
    assert f"fetching archive {part['label']} from {part['place']}" in said
    assert "fetch" in part["seconds"]
    assert next(check for check in part["checks"] if check["name"] == "manifest")["ok"]
    there.nothing_is_left()
    # This host takes the result: the archive is its own, and its own schedule's rehearsal stays due.
    assert part["label"] in _record(world, document, ExitCode.OK)
    assert marks_file(world.host).read().newest_archive() is not None
    document["parts"][0]["label"] = "20200101_000000"
    _record(world, document, ExitCode.REFUSED)

    # Too little room is said before anything is fetched.
    text = yaml.safe_load((folder / "elsewhere.yml").read_text())
    text["recovery_policy"]["side_instances"] = {"disk_floor": "900TiB"}
    (folder / "small.yml").write_text(yaml.safe_dump(text))
    config.with_name("small-host.yml").write_text(
        yaml.safe_dump({**yaml.safe_load(config.read_text()), "policy_path": str(folder / "small.yml")})
    )
    small = World(world.site, elsewhere, config.with_name("small-host.yml"))
    _, said = small.rehearse(*command, expect=ExitCode.REFUSED)
    assert "not enough disk" in said
    assert "fetching" not in said

    # Killed while it works, it leaves what the next one removes.
    fetched = folder / "state/side/rehearsal-archive/archive"
    running = world.site.begin(config, "rehearse", *there.policy, *command)
    _wait_for(fetched.exists)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=30)
    assert fetched.exists()
    _, said = there.rehearse(*command)
    assert "removed what a killed rehearsal left: rehearsal-archive" in said
    there.nothing_is_left()

    # What rotted in the bucket is not proven, and named.
    key = max(s3.list_objects_v2(Bucket="erp-archives", Prefix=part["place"][18:])["Contents"], key=lambda o: o["Size"])
    s3.put_object(Bucket="erp-archives", Key=key["Key"], Body=b"x" * key["Size"])
    _, said = there.rehearse(*command, expect=ExitCode.NOT_PROVEN)
    assert f"{key['Key']} has another checksum than when it was written" in said
    there.nothing_is_left()
    assert "archive-from" in world.pgdr("rehearse", *world.policy, "--archive-from", "x'y", expect=2).stderr


def _record(world: World, document: dict[str, Any], expect: int) -> str:
    done = subprocess.run(
        [*world.site.command(world.config), "rehearse", *world.policy, "--record", "-", "--host", "dr1"],
        check=False,
        input=json.dumps(document),
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout
