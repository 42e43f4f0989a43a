"""Backups with the real pgBackRest, where one is installed that knows PostgreSQL 16 (2.46 or newer).

`PGDR_TEST_PGBACKREST` names another program than the one on the PATH; `make test` gives the one of the lab's hosts.
Where there is none these tests are skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pgdr import backup
from pgdr.archiving import prove_archiving
from pgdr.backup import BackupListener, back_up
from pgdr.cli.main import main
from pgdr.errors import BusyError, ExitCode, OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.faults import PgBackRestRefusedError
from pgdr.postgres import advisory

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Site


def _entries(host: HostConfig) -> list[tuple[str, object]]:
    return [(entry.result, entry.details.get("repository")) for entry in Journal(host.journal_path).entries()]


def _file(host: HostConfig, folder: Path) -> str:
    path = folder / "host.yml"
    path.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    return str(path)


def _running(*words: str) -> list[str]:
    """Command lines of running processes that hold all these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(word in line for word in words):
                found.append(line)
    return found


# The tests build on each other's backups, in this order; each also holds alone.


def test_the_first_incremental_becomes_a_full_one(
    site: Site, host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = _file(host, tmp_path)
    assert main(["--config", config, "backup", "incr", "--output", "json"]) == 0
    out, err = capfd.readouterr()
    results = json.loads(out)["repositories"]
    assert [(r["repository"], r["type"], r["promoted"]) for r in results] == [(1, "full", True), (2, "full", True)]
    assert "incr backup has been changed to full" in err
    client = PgBackRest(host)
    for result in results:
        assert client.info().find(result["label"], result["repository"]) is not None
    assert _entries(host) == [("ok", 1), ("ok", 2)]
    assert main(["--config", config, "backup", "incr"]) == 0
    out, _ = capfd.readouterr()
    assert out.count("incr backup") == 2
    assert "no full backup" not in out
    assert main(["--config", config, "info", "--output", "json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert [len(repo["backups"]) for repo in document["repositories"]] == [2, 2]
    assert document["repositories"][0]["recoverable"]["from_backup"] == results[0]["label"]
    text = host.journal_path.read_text() + out + err + json.dumps(document)
    assert not any(secret in text for secret in site.secrets)


def test_what_can_be_restored_is_shown_though_the_journal_cannot_be_read(
    host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    back_up(host, "full", repository=1)
    whole = host.journal_path.read_bytes()
    host.journal_path.write_bytes(b"no entry\n" + whole)
    capfd.readouterr()
    code = main(["--config", _file(host, tmp_path), "info", "--repo", "1", "--output", "json"])
    out, err = capfd.readouterr()
    assert code == ExitCode.FAILED
    document = json.loads(out)
    assert document["repositories"][0]["backups"]
    assert document["restore_points"] is None
    assert "the restore points are not known" in err
    assert err.count("\n") == 1
    host.journal_path.write_bytes(whole)


def test_a_damaged_database_makes_a_backup_that_is_not_proven(site: Site, host: HostConfig) -> None:
    """Two pages of one file: pgBackRest 2.55.1 dies of them."""
    good = back_up(host, "full", repository=1).repositories[0]
    client = PgBackRest(host)
    before = client.info(1).labels(1)
    assert good.label in before
    site.cluster.execute("create table broken as select g from generate_series(1, 5000) g; checkpoint")
    relative = site.cluster.value("select pg_relation_filepath('broken')")
    with (site.cluster.data / relative).open("r+b") as file:
        for block in (3, 9):
            file.seek(8192 * block + 4000)
            file.write(b"XXXXXXXX")
    report = back_up(host, "full", repository=1)
    bad = report.repositories[0]
    assert report.exit_code is ExitCode.NOT_PROVEN
    assert bad.damaged_files == (relative,)
    assert relative in bad.message
    if client.version() == (2, 55, 1):
        assert bad.warnings[0] == "pgBackRest died of signal 11 and was run again without its warnings"
    assert client.info(1).labels(1) == before | {bad.label}
    assert _entries(host)[-1] == ("not proven", 1)
    site.cluster.execute("drop table broken; checkpoint")
    again = back_up(host, "full", repository=1).repositories[0]
    assert again.exit_code is ExitCode.OK
    assert client.info(1).labels(1) == before | {bad.label, again.label}


def test_an_engine_that_dies_again_is_one_line_and_claims_nothing(
    site: Site, host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "dies"
    engine.write_text(
        '#!/bin/sh\nfor word; do [ "$word" != backup ] || kill -SEGV $$; done\n'
        + f'exec {site.folder}/pgbackrest "$@"\n'
    )
    engine.chmod(0o755)
    before = PgBackRest(host).info(1).labels(1)
    broken = host.model_copy(update={"pgbackrest_binary": engine})
    assert main(["--config", _file(broken, tmp_path), "backup", "incr", "--repo", "1"]) == ExitCode.FAILED
    said = capfd.readouterr().err
    assert "backup to repository 1: pgBackRest was ended by signal 11" in said
    assert "whether damaged files bring it about: pgdr corruption examine" in said
    assert PgBackRest(host).info(1).labels(1) == before
    assert _entries(host) == [("failed", 1)]
    assert back_up(host, "incr", repository=1).exit_code is ExitCode.OK


def test_a_failing_repository_does_not_stop_the_other(site: Site, host: HostConfig, tmp_path: Path) -> None:
    (site.folder / "repo1" / "backup").rename(site.folder / "repo1" / "moved")
    try:
        report = back_up(host, "incr")
    finally:
        (site.folder / "repo1" / "moved").rename(site.folder / "repo1" / "backup")
    assert [item.result for item in report.repositories] == ["refused", "ok"]
    assert report.exit_code is ExitCode.FAILED
    assert "stanza" in report.repositories[0].message
    assert _entries(host) == [("refused", 1), ("ok", 2)]


def test_a_wrong_passphrase_is_refused_and_not_shown(site: Site, host: HostConfig) -> None:
    site.configure(secrets=("planted-wrong", site.secrets[1]))
    report = back_up(host, "full", repository=1)
    assert report.exit_code is ExitCode.REFUSED
    assert "passphrase is wrong" in report.repositories[0].message
    assert "planted" not in host.journal_path.read_text()
    with pytest.raises(PgBackRestRefusedError, match="passphrase is wrong"):
        PgBackRest(host).check()


def test_pgbackrests_own_lock_is_busy_for_one_and_a_wait_for_the_other(
    site: Site, host: HostConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `kill -9` of pgdr, pgBackRest may still run: our lock is free, its own is not."""
    monkeypatch.setattr(backup, "_ENGINE_RETRY", 0.3)
    waits: list[float] = []

    class Listener(BackupListener):
        def waiting(self, holder: object, waited: float) -> None:
            waits.append(waited)

    path = site.folder / "lock" / "erp-backup-1.lock"
    with path.open("a+") as lock:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert back_up(host, "incr", repository=1).exit_code is ExitCode.BUSY
        timer = threading.Timer(1.5, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        timer.start()
        report = back_up(host, "full", repository=1, wait=30, listener=Listener())
        timer.join()
    assert report.exit_code is ExitCode.OK
    assert waits
    assert _entries(host) == [("busy", 1), ("ok", 1)]


def test_a_second_host_gives_way_although_its_own_locks_are_free(
    site: Site, host: HostConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks of pgdr and of the engine are files of one host; the lock of the cluster is in the cluster."""
    monkeypatch.setattr(advisory, "_POLL", 0.2)
    waiting = threading.Event()

    class Listener(BackupListener):
        def waiting(self, holder: object, waited: float) -> None:
            waiting.set()

    with ExitStack() as elsewhere:
        elsewhere.enter_context(advisory.backup_lock(host, wait=0, on_wait=lambda: None))
        with pytest.raises(BusyError, match="another pgdr backs this cluster up since 20"):
            back_up(host, "incr", repository=1)

        def end_it() -> None:
            waiting.wait(30)
            elsewhere.close()

        end = threading.Thread(target=end_it)
        end.start()
        report = back_up(host, "full", repository=1, wait=60, listener=Listener())
        end.join()
    assert report.exit_code is ExitCode.OK
    assert waiting.is_set()
    assert _entries(host) == [("busy", None), ("ok", 1)]


def test_a_signal_ends_the_engine_and_is_recorded(site: Site, host: HostConfig, tmp_path: Path) -> None:
    """Without start-fast the engine waits minutes for a checkpoint: time to be interrupted in."""
    site.cluster.execute("insert into t select g, '' from generate_series(1, 100000) g")
    site.configure(start_fast="n")
    config = _file(host, tmp_path)
    ours = subprocess.Popen(
        [sys.executable, "-m", "pgdr.cli.main", "--config", config, "backup", "full"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    started = "select count(*) from pg_stat_activity where application_name like 'pgBackRest%'"
    while site.cluster.value(started) == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    lines = _running(str(site.folder), "--type=full")
    assert lines
    assert not any(secret in line for line in lines for secret in site.secrets)
    ours.send_signal(signal.SIGTERM)
    _, stderr = ours.communicate(timeout=30)
    assert ours.returncode == ExitCode.FAILED
    assert stderr.endswith("pgdr: error: interrupted by SIGTERM (run it again)\n")
    assert _entries(host) == [("interrupted", 1)]  # and nothing was begun in the second
    assert not _running(str(site.folder), "--type=full")
    site.configure()
    assert back_up(host, "incr").exit_code is ExitCode.OK


def test_only_configured_repositories(host: HostConfig) -> None:
    with pytest.raises(RefusedError, match=r"repository 7 is not configured \(configured: 1, 2\)"):
        back_up(host, "full", repository=7)
    assert _entries(host) == [("refused", None)]


def test_a_disk_that_is_read_only_does_not_hold_up_the_other_repository(
    site: Site, host: HostConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs

    def mounted(path: str | Path) -> os.statvfs_result:
        found = list(real(path))
        if str(path) == str(site.folder / "repo1"):
            found[8] |= os.ST_RDONLY
        return os.statvfs_result(found)

    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", mounted)
        report = back_up(host, "incr")
    assert [item.exit_code for item in report.repositories] == [ExitCode.REFUSED, ExitCode.OK]
    assert "repo1 is on a file system that is read-only (dmesg says why" in report.repositories[0].message
    assert _entries(host) == [("refused", 1), ("ok", 2)]


def test_a_journal_that_cannot_be_written_does_not_stop_a_backup(host: HostConfig) -> None:
    host.journal_path.mkdir()
    report = back_up(host, "incr", repository=2)
    assert report.repositories[0].result == "ok"
    assert "cannot write" in report.journal_error
    assert report.exit_code is ExitCode.CONFIG


def test_archiving_is_proven_for_one_repository(site: Site, host: HostConfig) -> None:
    first = prove_archiving(host, 1)
    second = prove_archiving(host, 2)
    assert first.segment < second.segment
    PgBackRest(host).check()
    # A command that stores nothing and reports success: what pg_stat_archiver takes for archived.
    command = site.cluster.value("show archive_command")
    site.cluster.configure({"archive_command": "'/bin/true'"})
    site.cluster.execute("select pg_reload_conf(), pg_sleep(0.5)")
    try:
        with pytest.raises(OperationFailedError, match=r"did not arrive in repository 2 within 2 s"):
            prove_archiving(host, 2, timeout=2)
    finally:
        site.cluster.configure({"archive_command": f"'{command}'"})
        site.cluster.execute("select pg_reload_conf()")
