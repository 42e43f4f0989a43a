"""No secret is where somebody could read it: the values that the lab planted are looked for by their text."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from testinfra.host import Host

CREDENTIALS = "/etc/pgbackrest/conf.d/credentials.conf"
READER = "/etc/pgbackrest/reader-credentials.conf"
# Everything that a program may have written a secret into, and the argument lists of all that runs.
PLACES = {
    "logs": "find /var/log /var/spool/cron /var/tmp /tmp /run/pgdr -xdev -type f -size -50M -exec cat {} +",
    "systemd's journal": "journalctl --no-pager --output=json",
    "pgdr's journal and state": "find /var/lib/pgdr -type f -exec cat {} +",
    "configuration": f"find /etc -xdev -type f ! -path {CREDENTIALS} ! -path {READER} -exec cat {{}} +",
    "argument lists": "cat /proc/[0-9]*/cmdline 2>/dev/null; true",
    "the server's environment": "runuser -u postgres -- sh -c 'cat /proc/$(head -1 ~/17/main/postmaster.pid)/environ'",
    "homes": "find /root /var/lib/postgresql -maxdepth 2 -name '.*' -type f -exec cat {} +",
}


@dataclass(frozen=True)
class Planted:
    """The lab's secrets. Their values are no part of its text, so that a test that fails does not print them."""

    values: dict[str, bytes] = field(repr=False)

    def found_in(self, text: bytes) -> list[str]:
        """Names of those that stand in a text."""
        return sorted(name for name, value in self.values.items() if value in text)


@pytest.fixture
def planted(lab: Path) -> Planted:
    """All secrets of the lab, also those that no host should ever have seen."""
    values = {path.name: path.read_bytes().strip() for path in (lab / "secrets").iterdir()}
    assert {"s3-key", "s3-key-secret", "cipher-pass-1", "cipher-pass-2", "erp-password"} <= values.keys()
    assert min(len(value) for value in values.values()) >= 12
    return Planted(values)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (CREDENTIALS, ["cipher-pass-1", "cipher-pass-2", "s3-key", "s3-key-secret"]),
        (READER, ["s3-reader-key", "s3-reader-key-secret"]),
    ],
)
def test_secrets_are_in_files_that_only_postgres_reads(
    host: Host, planted: Planted, path: str, names: list[str]
) -> None:
    file = host.file(path)
    assert (file.user, file.group, file.mode) == ("postgres", "postgres", 0o600)
    # The search of the tests below finds what is there: here it does.
    assert planted.found_in(file.content) == names


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_in(host: Host, planted: Planted, place: str) -> None:
    done = host.run(PLACES[place])
    assert done.stdout_bytes, f"nothing was read: {done.stderr}"
    assert planted.found_in(done.stdout_bytes) == []


def test_no_secret_is_in_what_ansible_said(planted: Planted) -> None:
    suite_log = Path(__file__).resolve().parents[3] / ".lab" / "test" / "molecule-protect.log"
    logs = [Path(os.environ.get("ANSIBLE_LOG_PATH", "/nonexistent")), suite_log]
    text = b"".join(path.read_bytes() for path in logs if path.exists())
    if not text:
        pytest.skip("not run by molecule: there is no output to look into")
    assert planted.found_in(text) == []


def test_the_servers_log_has_no_statement_with_a_password(host: Host) -> None:
    lines = host.check_output("cat /var/log/postgresql/*.log").upper().splitlines()
    assert [line for line in lines if "PASSWORD" in line and "PASSWORD AUTHENTICATION FAILED" not in line] == []
