"""The repositories: pgBackRest itself says that WAL arrives and that a full backup is there, in each of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from testinfra.host import Host


def test_pgbackrest_checks_every_repository(host: Host) -> None:
    done = host.run("runuser -u postgres -- pgbackrest --stanza=erp --log-level-console=info check")
    assert done.rc == 0, done.stdout + done.stderr
    assert "on repo1" in done.stdout
    assert "on repo2" in done.stdout


def test_each_repository_is_healthy_and_encrypted(repositories: list[dict[str, Any]]) -> None:
    assert [repo["key"] for repo in repositories] == [1, 2]
    for repo in repositories:
        assert repo["status"]["code"] == 0, repo["status"]
        assert repo["cipher"] == "aes-256-cbc"


def test_each_repository_holds_an_undamaged_full_backup(repositories: list[dict[str, Any]]) -> None:
    for repo in repositories:
        backups = [set_ for set_ in repo["stanza"]["backup"] if set_["database"]["repo-key"] == repo["key"]]
        full = [set_ for set_ in backups if set_["type"] == "full"]
        assert full, f"repository {repo['key']} has no full backup"
        assert not any(set_["error"] for set_ in backups)


def test_the_backup_by_hand_is_in_each_repository_and_in_the_journal(
    host: Host, repositories: list[dict[str, Any]]
) -> None:
    for repo in repositories:
        backups = [set_ for set_ in repo["stanza"]["backup"] if set_["database"]["repo-key"] == repo["key"]]
        assert [set_["type"] for set_ in backups][-1] == "incr", f"repository {repo['key']}"
    journal = host.check_output("runuser -u postgres -- pgdr journal list --output=json")
    assert "incr" in journal
    assert host.run("runuser -u postgres -- pgdr journal verify").rc == 0


def test_wal_has_arrived_and_nothing_is_failing(host: Host, psql: Callable[[str], str]) -> None:
    """What the archiver did last is a success, and each repository holds that very segment."""
    psql("SELECT pg_switch_wal()")
    deadline = time.monotonic() + 60
    query = (
        "SELECT last_archived_wal FROM pg_stat_archiver"
        " WHERE last_archived_time >= coalesce(last_failed_time, '-infinity')"
    )
    while not (segment := psql(query)) and time.monotonic() < deadline:
        time.sleep(1)
    assert segment, "the archiver failed last"
    for repo in (1, 2):
        fetch = f"pgbackrest --stanza=erp --repo={repo} archive-get {segment} /dev/null"
        done = host.run(f"cd /tmp && runuser -u postgres -- {fetch}")
        assert done.rc == 0, f"repository {repo}: {done.stdout}{done.stderr}"


def test_files_of_the_local_repository_are_unreadable_without_its_passphrase(host: Host) -> None:
    command = "find /backups/pgbackrest/archive /backups/pgbackrest/backup -type f ! -name '*.lock' | head -20"
    files = host.check_output(command).split()
    assert files
    for name in files:
        # OpenSSL's header for data that was encrypted with a passphrase.
        assert host.check_output("head -c 8 %s | tr -d '\\0'", name) == "Salted__", name


def test_the_backup_volume_belongs_to_postgres_alone(host: Host) -> None:
    for name in ("/backups", "/backups/pgbackrest", "/backups/postgres"):
        folder = host.file(name)
        assert (folder.user, folder.group, folder.mode) == ("postgres", "postgres", 0o750), name
