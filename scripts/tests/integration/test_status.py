"""`pgdr status` against the real pgBackRest: faults turn it red, cured it turns green."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pgdr import heartbeat, s3
from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.locks import operation_lock
from pgdr.pgbackrest import client
from pgdr.pgbackrest.client import PgBackRest
from pgdr.policy.load import load_policy
from pgdr.proof.look import now
from pgdr.proof.marks import Proven, record_archive_proven, record_proven
from pgdr.shipping.journal import ship_journal
from pgdr.status import recent
from pgdr.status.recent import known_file
from pgdr.surgery.ledger import Ledger

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import ClusterFactory, Site

_POLICY = Path(__file__).resolve().parents[3] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
# What a machine for tests has not: a time server, anybody to tell, and a disk that is surely empty enough.
_LAB = {"clock-sync", "notify", "disk", "disk-1", "disk-2"}
Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def host(made_site: Site, tmp_path_factory: pytest.TempPathFactory) -> HostConfig:
    """A full in both repositories, verified and proven."""
    made_site.configure()
    host = made_site.host(tmp_path_factory.mktemp("state"))
    folder = host.state_directory.parent
    (folder / "host.yml").write_text(yaml.safe_dump(host.model_dump(mode="json")))
    return host


@pytest.fixture
def run(host: HostConfig, capfd: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, Any]:
        heartbeat.beat(host)
        config = str(host.state_directory.parent / "host.yml")
        policy = ["--policy", str(_POLICY)] if arguments[0] in {"status", "verify", "expire"} else []
        # The lab's policy names archives that this site does not have.
        policy += ["--no-archives"] if arguments[0] == "verify" else []
        code = main(["--config", config, *arguments, *policy])
        out, err = capfd.readouterr()
        return code, json.loads(out) if "json" in arguments else out + err

    return command


def _bad(document: dict[str, Any]) -> dict[str, str]:
    keys = {c["name"] if c["repository"] is None else f"{c['name']}:{c['repository']}": c for c in document["checks"]}
    return {key: check["level"] for key, check in keys.items() if check["level"] != "green" and key not in _LAB}


def test_a_host_without_a_backup_is_red(host: HostConfig, run: Run, made_site: Site) -> None:
    heartbeat.initialise(host)
    code, document = run("status", "--output", "json")
    assert (code, document["level"]) == (ExitCode.NOT_PROVEN, "red")
    assert {"repository:1", "repository:2"} <= set(_bad(document))
    text = next(check["text"] for check in document["checks"] if check["name"] == "repository")
    assert "holds no backup" in text
    assert "endangers every recovery from this repository (take a full backup)" in text


def test_a_proven_host_is_green_and_says_what_it_could_do(host: HostConfig, run: Run, made_site: Site) -> None:
    assert run("backup", "full")[0] == 0
    assert run("verify", "--output", "json")[0] == 0
    label = PgBackRest(host).info(1).backups(1)[-1].label
    record_proven(host, Proven(1, label, now(), 10.0, 10_000_000, 1.0, 10**8))
    record_archive_proven(host, "20261124_030000", now(), 10.0, 10_000_000)
    code, document = run("status", "--output", "json")
    assert (code, _bad(document)) == (0, {})
    first = document["repositories"][0]
    assert (first["backups"], first["verified"], first["wanted_days"], first["filled"]) == (1, label, 7, False)
    assert first["begins"] <= first["ends"]
    assert 0 <= document["rpo_seconds"] < 60
    size = PgBackRest(host).info(1).backups(1)[-1].info.size
    assert document["rto_estimate_seconds"] == pytest.approx(size / 1_000_000, abs=3)
    assert document["proven"]["backup"] == label
    code, text = run("status")
    assert code == 0
    assert f"last proven by a restore: {label}" in text
    # What only spares questions is asked anew where it is damaged.
    for cache in ("far", "wal", "space", "journal-copy"):
        (host.state_directory / f"{cache}.json").write_text("{]")
    code, document = run("status", "--output", "json")
    assert (code, _bad(document)) == (0, {})
    code, text = run("status", "--monitor")
    assert text.startswith(("PGDR OK - ", "PGDR WARNING - "))
    assert "rpo=" in text


def test_an_erasure_that_has_not_left_the_host_is_red(host: HostConfig, run: Run, made_site: Site) -> None:
    ledger = Ledger(host)
    ledger.intend(ledger.subject("4711"), "core.tenants.id", ("1", "here.1"), 3)
    try:
        code, document = run("status", "--output", "json")
        assert (code, _bad(document)) == (ExitCode.NOT_PROVEN, {"erasure-ledger": "red"})
        assert any("1 entries of the erasure ledger are on this host only" in c["text"] for c in document["checks"])
    finally:
        for path in host.state_directory.glob("erasures*"):
            path.unlink()


def test_a_second_look_lists_only_what_is_new(host: HostConfig, run: Run, made_site: Site) -> None:
    run("status", "--output", "json")
    before = known_file(host).read().repositories[1]
    made_site.cluster.execute("select pg_create_restore_point('x'), pg_switch_wal()")
    PgBackRest(host).check()
    _code, document = run("status", "--output", "json")
    assert known_file(host).read().repositories[1] == before
    assert document["repositories"][0]["segments"] > before.segments
    full = len([n for n in PgBackRest(host).list_files("archive/erp/16-1", 1, recurse=True) if "-" in n[20:]])
    assert document["repositories"][0]["segments"] == full


def test_a_new_hole_is_red_at_once_and_green_when_cured(host: HostConfig, run: Run, made_site: Site) -> None:
    archive = made_site.folder / "repo1/archive/erp/16-1/0000000100000000"
    newest = sorted(path for path in archive.iterdir() if "-" in path.name)[-2]
    aside = made_site.folder / newest.name
    newest.rename(aside)
    code, document = run("status", "--output", "json")
    assert code == ExitCode.NOT_PROVEN
    assert _bad(document) == {"wal-hole:1": "red"}
    [check] = [c for c in document["checks"] if c["name"] == "wal-hole" and c["level"] == "red"]
    assert newest.name[:24] in check["text"]
    assert check["since"] is not None
    code, text = run("status", "--monitor")
    assert (code, text.split(" - ")[0]) == (2, "PGDR CRITICAL")
    assert run("status", "--output", "json")[1]["checks"][0]["since"] == check["since"]  # since then, not since now
    aside.rename(newest)
    assert _bad(run("status", "--output", "json")[1]) == {}


def test_an_old_hole_that_verify_found_is_amber_once_a_full_was_taken_after_it(
    host: HostConfig, run: Run, made_site: Site
) -> None:
    first = PgBackRest(host).info(1).backups(1)[0]
    archive = made_site.folder / "repo1/archive/erp/16-1/0000000100000000"
    old = sorted(p for p in archive.iterdir() if "-" in p.name and p.name[:24] > str(first.archive.stop))[0]
    aside = made_site.folder / old.name
    old.rename(aside)
    assert _bad(run("status", "--output", "json")[1]) == {}  # older than what is known to be whole
    assert run("verify", "--repo", "1", "--no-repair", "--output", "json")[0] == ExitCode.NOT_PROVEN
    # The verification itself ended badly, too, and nobody has run it again.
    assert _bad(run("status", "--output", "json")[1]) == {"wal-hole:1": "red", "job-verify": "amber"}
    assert run("backup", "full", "--repo", "1")[0] == 0
    _code, document = run("status", "--output", "json")
    assert _bad(document) == {"wal-hole:1": "amber", "job-verify": "amber"}
    newest = PgBackRest(host).info(1).backups(1)[-1]
    assert document["repositories"][0]["begins"] == newest.stopped.isoformat(timespec="seconds")
    aside.rename(old)
    assert _bad(run("status", "--output", "json")[1]) == {"job-verify": "amber"}
    assert run("verify", "--output", "json")[0] == 0
    assert _bad(run("status", "--output", "json")[1]) == {}


def test_what_only_a_full_read_shows_stays_until_the_next(host: HostConfig, run: Run, made_site: Site) -> None:
    index = made_site.folder / "repo1/backup/erp/backup.info"
    saved = index.read_bytes()
    index.write_bytes(saved[:50])
    run("verify", "--output", "json")
    index.write_bytes(saved)
    assert "backup-info:1" in _bad(run("status", "--output", "json")[1])
    run("verify", "--output", "json")
    assert _bad(run("status", "--output", "json")[1]) == {}


def test_wal_that_waits_is_red_before_the_rpo_is_broken_and_drains(
    host: HostConfig, run: Run, made_site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A policy of a few seconds: what takes minutes on a host takes seconds here."""
    policy = yaml.safe_load(_POLICY.read_text())
    policy["recovery_policy"]["wal"].update({"archive_timeout": "1s", "lag_alert": "2s"})
    policy["recovery_policy"]["objectives"]["rpo"] = "4s"
    short = tmp_path / "policy.yml"
    short.write_text(yaml.safe_dump(policy))
    config = str(host.state_directory.parent / "host.yml")

    def levels() -> dict[str, str]:
        main(["--config", config, "status", "--policy", str(short), "--output", "json"])
        return _bad(json.loads(capfd.readouterr().out))

    command = made_site.cluster.value("show archive_command")
    made_site.cluster.configure({"archive_command": "'/bin/false'"})
    made_site.cluster.execute("select pg_reload_conf(), pg_sleep(0.3)")
    try:
        made_site.cluster.execute("select pg_create_restore_point('x'), pg_switch_wal()")
        made_site.cluster.execute("select pg_create_restore_point('y'), pg_sleep(2.5)")
        found = levels()
        assert found["archiving"] == "amber"
        time.sleep(2.5)
        found = levels()
        assert (found["archiving"], found["rpo:1"], found["rpo:2"]) == ("red", "red", "red")
    finally:
        made_site.cluster.configure({"archive_command": f"'{command}'"})
        made_site.cluster.execute("select pg_reload_conf()")
    deadline = time.monotonic() + 90  # the archiver waits a minute after three failures
    while _bad(run("status", "--output", "json")[1]) and time.monotonic() < deadline:
        time.sleep(2)
    assert _bad(run("status", "--output", "json")[1]) == {}


def test_a_missing_repository_and_a_stopped_server_are_said_and_the_rest_is_shown(
    host: HostConfig, run: Run, made_site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    (made_site.folder / "repo1").rename(made_site.folder / "away")
    try:
        code, document = run("status", "--output", "json")
    finally:
        (made_site.folder / "away").rename(made_site.folder / "repo1")
    assert code != 0
    assert "repository:1" in _bad(document)
    assert document["repositories"][1]["backups"] == 1
    config = str(host.state_directory.parent / "host.yml")
    made_site.cluster.stop()
    try:
        code = main(["--config", config, "status", "--policy", str(_POLICY), "--output", "json"])
    finally:
        made_site.cluster.start()
    document = json.loads(capfd.readouterr().out)
    assert code == ExitCode.UNREACHABLE
    assert _bad(document)["server"] == "red"
    assert document["repositories"][1]["backups"] == 1


def test_another_cluster_on_the_same_stanza_is_red_and_its_backup_refused(
    host: HostConfig, run: Run, made_site: Site, new_cluster: ClusterFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    """And a server of 18 before programs of 16, which could not dump it."""
    other = new_cluster(18)
    path = host.state_directory.parent / "other.yml"
    changes = {"port": other.port, "socket_directory": str(other.folder), "data_directory": str(other.data)}
    path.write_text(yaml.safe_dump({**host.model_dump(mode="json"), **changes}))
    try:
        main(["--config", str(path), "status", "--policy", str(_POLICY), "--output", "json"])
        document = json.loads(capfd.readouterr().out)
        assert {name: _bad(document).get(name) for name in ("identity:1", "identity:2", "programs")} == {
            "identity:1": "red",
            "identity:2": "red",
            "programs": "red",
        }
        texts = " ".join(check["text"] for check in document["checks"] if check["level"] == "red")
        assert f"belongs to {made_site.cluster.value('select system_identifier from pg_control_system()')}" in texts
        assert "pg_dump 16" in texts
        config = made_site.folder / "etc" / "pgbackrest.conf"
        moved = config.read_text().replace(f"pg1-path={made_site.cluster.data}", f"pg1-path={other.data}")
        socket = f"pg1-socket-path={made_site.cluster.folder}"
        config.write_text(moved.replace(socket, f"pg1-socket-path={other.folder}"))
        assert main(["--config", str(path), "backup", "full"]) == ExitCode.REFUSED
        assert "not the one that this stanza belongs to" in capfd.readouterr().err
    finally:
        made_site.configure()
        path.unlink()
    assert run("backup", "full")[0] == 0
    assert _bad(run("status", "--output", "json")[1]) == {}


def test_a_killed_backup_is_red_until_the_next_and_leaves_nothing(host: HostConfig, run: Run, made_site: Site) -> None:
    config = str(host.state_directory.parent / "host.yml")
    command = [sys.executable, "-m", "pgdr.cli.main", "--config", config, "backup", "full", "--repo", "1"]
    latest = made_site.folder / "repo1/backup/erp"
    before = {path.name for path in latest.iterdir() if path.name.startswith("20")}
    child = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while {path.name for path in latest.iterdir() if path.name.startswith("20")} <= before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    _code, document = run("status", "--output", "json")
    assert _bad(document) == {"killed": "red"}
    assert "full backup (process" in next(check["text"] for check in document["checks"] if check["name"] == "killed")
    code, text = run("backup", "full", "--repo", "1")
    assert code == 0, text
    assert _bad(run("status", "--output", "json")[1]) == {}
    folders = {path.name for path in latest.iterdir() if path.name.startswith("20")}
    assert folders == PgBackRest(host).info(1).labels(1)


def test_a_job_that_always_gives_way_is_red_until_it_has_run(host: HostConfig, run: Run) -> None:
    levels = []
    with operation_lock(host, "full backup"):
        for _ in range(3):
            assert run("backup", "incr", "--repo", "1")[0] == ExitCode.BUSY
            levels.append(_bad(run("status", "--output", "json")[1]))
    assert levels == [{}, {"gave-way-incremental": "amber"}, {"gave-way-incremental": "red"}]
    assert run("backup", "incr", "--repo", "1")[0] == 0
    assert _bad(run("status", "--output", "json")[1]) == {}


@contextmanager
def _stalled() -> Iterator[int]:
    """A server that takes connections and never says a word; yields its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


def _third(port: int) -> str:
    """A third repository, there."""
    place = f"repo3-type=s3\nrepo3-s3-endpoint=127.0.0.1\nrepo3-storage-port={port}\nrepo3-s3-uri-style=path\n"
    place += "repo3-s3-bucket=hangs\nrepo3-s3-region=us-east-1\nrepo3-path=/r\n"
    return f"{place}repo3-s3-key=a\nrepo3-s3-key-secret=b\n"


def test_a_store_that_is_away_is_said_within_a_minute_and_hides_no_other(
    host: HostConfig, run: Run, made_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pgBackRest alone knocks at a closed door for nine minutes, and answers for nobody meanwhile."""
    monkeypatch.setattr(client, "_ANSWER_TIMEOUT", 3.0)
    config = host.pgbackrest_config
    before = config.read_text()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        config.write_text(before.replace("[erp]\n", f"{_third(closed.getsockname()[1])}[erp]\n"))
        try:
            code, document = run("info", "--output", "json")
            plan = run("recover", "plan", "--repo", "3")
            hold = run("hold", "add", "20261124-020000F", "--reason", "x", "--repo", "3")
        finally:
            config.write_text(before)
    assert code == ExitCode.UNREACHABLE
    assert [len(one["backups"]) > 0 for one in document["repositories"]] == [True, True, False]
    assert "no answer within 3 s" in document["repositories"][2]["status"]["meaning"]
    for code, said in (plan, hold):
        assert (code, "no answer within 3 s" in said) == (ExitCode.UNREACHABLE, True), said


def test_a_store_that_never_answers_does_not_hold_up_the_status(
    host: HostConfig, run: Run, made_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person waits a little more than usual, a monitor for one patience: nothing waits behind anything else."""

    def timed(*arguments: str) -> tuple[float, int, Any]:
        began = time.monotonic()
        code, said = run("status", *arguments)
        return time.monotonic() - began, code, said

    usual = min(timed()[0] for _ in range(2))
    config = host.pgbackrest_config
    before = config.read_text()
    with _stalled() as port:
        config.write_text(before.replace("[erp]\n", f"{_third(port)}[erp]\n"))
        # As if it had always answered like the others.
        with known_file(host).change() as state:
            state.repositories[3], state.seconds[3] = state.repositories[1], 0.3
        try:
            seconds, code, said = timed()
            monkeypatch.setattr(recent, "_PATIENCE", 4.0)
            longer, _code, document = timed("--output", "json")
        finally:
            config.write_text(before)
            with known_file(host).change() as state:
                del state.repositories[3], state.seconds[3]
    assert code == ExitCode.UNREACHABLE, said
    assert "it does not answer: pgbackrest did not end within 1.5 s, and usually it takes 0.3 s" in said
    # Questions in series would be 20 s for each of pgBackRest's, and 3 s for its clock.
    assert 1.5 <= seconds < usual + 2.5, (usual, seconds)
    assert _bad(document) == {"repository:3": "red"}
    assert 4.0 <= longer < usual + 6.5, (usual, longer)
    assert run("status")[0] == 0


def test_a_store_that_never_answers_is_told_after_one_patience(
    host: HostConfig,
    made_site: Site,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The copy of the journal, the looks at kit, replica and clock, and pgBackRest's questions wait for it together."""
    policy = yaml.safe_load(_POLICY.read_text())
    path = tmp_path / "policy.yml"
    host = made_site.host(tmp_path)
    (tmp_path / "host.yml").write_text(yaml.safe_dump(host.model_dump(mode="json")))
    argv = ["--config", str(tmp_path / "host.yml"), "watch", "--policy", str(path)]
    monkeypatch.setattr(s3, "_HURRIED_SECONDS", 3.0)
    monkeypatch.setattr(recent, "_PATIENCE", 6.0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    before = host.pgbackrest_config.read_text()
    with _stalled() as port:
        second = policy["recovery_policy"]["repositories"][1]
        second |= {"key_type": "auto", "endpoint": "127.0.0.1", "port": port, "verify_tls": False, "ca_file": None}
        second["replica"] |= {"endpoint": "127.0.0.1", "port": port}
        path.write_text(yaml.safe_dump(policy))
        host.pgbackrest_config.write_text(before.replace("[erp]\n", f"{_third(port)}[erp]\n"))
        try:
            began = time.monotonic()
            ship_journal(host, load_policy(path))
            one = time.monotonic() - began
            code = main(argv)
            seconds = time.monotonic() - began - one
        finally:
            host.pgbackrest_config.write_text(before)
    said = capfd.readouterr().err
    assert (code, "RED erp-lab: repository, repository 3" in said) == (0, True), said
    assert one >= 6, one  # it does hang: both tries
    # One after the other they would wait for journal, kit and pgBackRest: twice both tries, and the patience.
    assert seconds < one + 9, (one, seconds)


def test_a_limit_past_which_wal_is_thrown_away_is_red(host: HostConfig, run: Run, made_site: Site) -> None:
    extra = made_site.folder / "etc" / "conf.d" / "tuning.conf"
    extra.write_text("[global:archive-push]\narchive-push-queue-max=1GiB\n")
    try:
        _code, document = run("status", "--output", "json")
    finally:
        extra.unlink()
    assert _bad(document) == {"wal-queue": "red"}
    assert any("archive-push-queue-max=1GiB is set" in check["text"] for check in document["checks"])
    assert _bad(run("status", "--output", "json")[1]) == {}


def _checksum(sections: dict[str, list[tuple[str, str]]]) -> str:
    """pgBackRest's checksum of an index: SHA-1 of it written as JSON."""
    text = ",".join(
        f'"{name}":{{' + ",".join(f'"{key}":{value}' for key, value in lines) + "}" for name, lines in sections.items()
    )
    return hashlib.sha1(f"{{{text}}}".encode(), usedforsecurity=False).hexdigest()


def _with_backups(text: str, count: int) -> str:
    """An index that lists so many backups: the newest one again and again, an hour apart."""
    body, _, end = text.rpartition("\n[backrest]\nbackrest-checksum=")
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in body.splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif "=" in line:
            key, _, value = line.partition("=")
            lines.append((key, value))
    assert end.strip() == f'"{_checksum(sections)}"'
    current = sections["backup:current"]
    label, value = current[-1]
    for hour in range(1, count + 1 - len(current)):
        made = datetime.strptime(label[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC) - timedelta(hours=hour)
        current.append((f"{made:%Y%m%d-%H%M%S}F", value))
    current.sort()
    written = [f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in lines) for name, lines in sections.items()]
    return "\n".join([*written, f'[backrest]\nbackrest-checksum="{_checksum(sections)}"\n'])


def test_four_hundred_backups_and_fifty_thousand_segments_take_less_than_two_seconds(
    host: HostConfig, run: Run, made_site: Site
) -> None:
    """A real repository with 400 sets in its index and 196 full folders of WAL."""
    client = PgBackRest(host)
    owner = made_site.cluster.folder.stat()
    root = made_site.folder / "repo1/archive/erp/16-1"
    for folder in range(0x100, 0x100 + 196):
        path = root / f"00000000{folder:08X}"  # a timeline before the first: nobody's, but listed all the same
        path.mkdir()
        os.chown(path, owner.st_uid, owner.st_gid)
        for segment in range(256):
            (path / f"{path.name}{segment:08X}-{'0' * 40}.lz4").touch()
    index = _with_backups(client.read_file("backup/erp/backup.info", 1), 400)
    for name in ("backup.info", "backup.info.copy"):
        subprocess.run(client.command("--repo=1", "repo-put", f"backup/erp/{name}"), input=index.encode(), check=True)
    assert len(client.info(1).labels(1)) == 400
    run("status", "--output", "json")
    config = str(host.state_directory.parent / "host.yml")
    argv = [sys.executable, "-m", "pgdr.cli.main", "--config", config, "status", "--policy", str(_POLICY)]
    assert len(client.list_files("archive/erp/16-1", 1, recurse=True)) > 50_000
    # Processor time, its children's included: what it takes on a machine that does nothing else.
    seconds, wall = [], []
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.monotonic() - began)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "400 sets" in done.stdout
    logging.getLogger(__name__).info("status: processor %s s, wall %s s", seconds, wall)
    assert min(seconds) < 2.0, f"processor {seconds}, wall {wall}"
