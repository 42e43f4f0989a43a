"""No secret of the lab is where it does not belong: logs, journal, recovery files, command lines, output of plays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drill import leaks
from drill.host import Host
from drill.play import ROOT
from drill.watcher import ArgumentWatcher
from lab.api import Lab

# Where a secret may be: it is made there, or a program needs it from there.
BELONGS = {"secrets", "ssh", "tls", "s3", "pgpass"}


@pytest.fixture(scope="module")
def secrets(lab: Lab) -> list[str]:
    """What must not be found."""
    return leaks.planted(lab)


def local_files(lab: Lab) -> Iterator[Path]:
    """All that this scenario wrote on this machine."""
    for path in sorted(lab.folder.iterdir()):
        if path.is_file() and path.name not in BELONGS:
            yield path
    yield from sorted((ROOT / ".lab" / "test").glob("molecule-disaster*"))
    if "MOLECULE_EPHEMERAL_DIRECTORY" in os.environ:
        yield Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ansible.log"


def test_the_search_finds_a_planted_secret(dr1: Host, secrets: list[str]) -> None:
    """Otherwise the tests below would prove nothing."""
    dr1.run("tee", "/var/log/planted.log", input=f"password={secrets[0]}\n")
    assert leaks.in_files(dr1, secrets, "/var/log") == ["/var/log/planted.log"]
    dr1.run("rm", "/var/log/planted.log")


def test_no_secret_in_any_file_of_the_host(dr1: Host, secrets: list[str]) -> None:
    """Logs of the system, of PostgreSQL, pgBackRest, apt and pgdr; journal, recovery state, temporary files."""
    assert leaks.in_files(dr1, secrets, *leaks.ON_HOST) == []


def test_no_secret_in_the_systems_journal(dr1: Host, secrets: list[str]) -> None:
    """What cron, systemd and our own units said."""
    assert not leaks.in_journal(dr1, secrets)


def test_secrets_are_kept_where_only_their_owner_reads_them(dr1: Host, secrets: list[str]) -> None:
    """They are on the host, in the file that pgBackRest reads, and in that with the keys of side instances."""
    places = ["/etc/pgbackrest/conf.d/credentials.conf", "/etc/pgbackrest/reader-credentials.conf"]
    assert sorted(leaks.in_files(dr1, secrets, "/etc")) == places
    assert dr1.run("stat", "-c", "%a %U", *places).stdout.splitlines() == ["600 postgres"] * 2


def test_no_secret_in_any_command_line(lab: Lab, secrets: list[str], arguments: dict[str, ArgumentWatcher]) -> None:
    """Watched on all machines while backups, archiving, recoveries and plays ran."""
    for name, watcher in arguments.items():
        seen = watcher.file.read_text(encoding="utf-8", errors="replace")
        assert not leaks.in_text(seen, secrets), watcher.file
        if name in ("db1", "dr1"):
            assert "archive-push" in seen
            assert "backup" in seen
    assert "restore" in arguments["dr1"].file.read_text(encoding="utf-8", errors="replace")
    assert "ansible-playbook" in arguments["control"].file.read_text(encoding="utf-8", errors="replace")


def test_no_secret_in_what_plays_and_molecule_said(lab: Lab, secrets: list[str]) -> None:
    """Every log of this scenario on this machine."""
    files = list(local_files(lab))
    assert [file for file in files if file.name == "recovered.log"]
    found = [str(file) for file in files if leaks.in_text(file.read_text(encoding="utf-8", errors="replace"), secrets)]
    assert found == []
