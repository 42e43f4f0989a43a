"""Real pgBackRest: the writer backs up, archives and expires; the reader restores and changes nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.api import Lab
from pgdr.policy.cloud import Layout
from tests.enforced.store import BUCKET, LAYOUT, Enforced, identity_policies

# Beside the objects of the other tests.
_LAYOUT = Layout(repository="live/", stanza="erp")
_CONF = """\
[global]
repo1-type=s3
repo1-path=/live
repo1-s3-bucket={bucket}
repo1-s3-endpoint=s3
repo1-s3-region=us-east-1
repo1-s3-uri-style=path
repo1-s3-key={key}
repo1-s3-key-secret={secret}
repo1-storage-ca-file=/usr/local/share/ca-certificates/pgdr-lab.crt
repo1-retention-full=1
repo1-bundle=y
repo1-block=y
start-fast=y
log-level-console=info
log-level-file=off
archive-timeout=20
[{stanza}]
pg1-path={data}
"""
_INSTALL = """\
set -e
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql pgbackrest
version=$(ls /usr/lib/postgresql)
pg_createcluster "$version" main -- --data-checksums >/dev/null
conf=/etc/postgresql/$version/main/postgresql.conf
echo "archive_mode = on" >>"$conf"
echo "archive_command = 'pgbackrest --config=/etc/pgbackrest/host-writer.conf --stanza=erp archive-push %p'" >>"$conf"
pg_ctlcluster "$version" main start
echo "$version"
"""
_FORBIDDEN = "403 (Forbidden)"


@dataclass(frozen=True)
class Host:
    """A database host with pgBackRest.

    Attributes:
        lab: its lab.
        version: PostgreSQL's major version.
    """

    lab: Lab
    version: str

    def shell(self, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell's text as postgres."""
        done = self.lab.run("db1", ["runuser", "-u", "postgres", "--", "sh", "-c", f"cd /tmp; {text}"], check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{text}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}")
        return done

    def pgbackrest(self, who: str, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run pgBackRest with an identity's own keys."""
        return self.shell(f"pgbackrest --config=/etc/pgbackrest/{who}.conf {command}", check=check)

    def sql(self, query: str, *, port: int = 5432) -> str:
        """Ask a server."""
        return self.shell(f'psql -p {port} -XAtqc "{query}"').stdout.strip()

    @property
    def data(self) -> str:
        """The cluster's data directory."""
        return f"/var/lib/postgresql/{self.version}/main"


def _configure(host: Host, enforced: Enforced, who: str, stanza: str = "erp", name: str = "") -> None:
    key, secret = enforced.keys[who]
    text = _CONF.format(bucket=BUCKET, key=key, secret=secret, stanza=stanza, data=host.data)
    path = f"/etc/pgbackrest/{name or who}.conf"
    host.lab.run("db1", ["install", "-D", "-m", "0640", "-g", "postgres", "/dev/stdin", path], input=text)


@pytest.fixture(scope="module")
def host(enforced: Enforced) -> Iterator[Host]:
    done = enforced.lab.run("db1", ["sh", "-c", _INSTALL], check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    made = Host(enforced.lab, done.stdout.strip().splitlines()[-1])
    policies = identity_policies(_LAYOUT)
    for who in ("host-writer", "restore-reader"):
        _configure(made, enforced, who)
        enforced.put_policy(who, policies[who], missing_is_listed=True)
    made.pgbackrest("host-writer", "--stanza=erp stanza-create")
    made.pgbackrest("host-writer", "--stanza=erp check")
    made.pgbackrest("host-writer", "--stanza=erp --type=full backup")
    made.sql("create table proof as select 1 as answer")
    yield made
    for who in ("host-writer", "restore-reader"):
        enforced.put_policy(who, identity_policies(LAYOUT)[who])


def test_writer_backs_up_archives_and_expires(host: Host) -> None:
    """The second full makes the first one superfluous: expire hides it, and nothing more."""
    first = _labels(host)
    host.pgbackrest("host-writer", "--stanza=erp --type=incr backup")
    host.pgbackrest("host-writer", "--stanza=erp --type=full backup")
    host.pgbackrest("host-writer", "--stanza=erp expire")
    assert first
    assert set(first) & set(_labels(host)) == set()
    host.pgbackrest("host-writer", "--stanza=erp verify")


def _labels(host: Host) -> list[str]:
    """Return the labels of the full backups, as the reader sees them."""
    told = host.pgbackrest("restore-reader", "--stanza=erp --output=json --log-level-console=off info").stdout
    return [backup["label"] for backup in json.loads(told)[0]["backup"] if backup["type"] == "full"]


def test_what_expire_hid_is_still_there(host: Host, enforced: Enforced) -> None:
    listed = enforced.clients["restore-reader"].list_object_versions(Bucket=BUCKET, Prefix="live/backup/erp/2")
    hidden = {marker["Key"] for marker in listed["DeleteMarkers"]}
    assert hidden
    assert hidden <= {version["Key"] for version in listed["Versions"]}


def test_reader_restores_to_the_last_transaction(host: Host) -> None:
    """Replay asks for WAL and histories that do not exist: each "not there" must be told from "not allowed"."""
    host.sql("insert into proof values (2)")
    host.sql("select pg_switch_wal()")
    host.pgbackrest("host-writer", "--stanza=erp check")
    target = "/var/lib/postgresql/restored"
    host.pgbackrest(
        "restore-reader", f"--stanza=erp --pg1-path={target} --archive-mode=off --target-timeline=latest restore"
    )
    bin_folder = f"/usr/lib/postgresql/{host.version}/bin"
    host.shell(
        f"cp /etc/postgresql/{host.version}/main/pg_hba.conf {target}/; "
        f"{bin_folder}/pg_ctl -D {target} -w -t 60 -l /tmp/restored.log "
        f"-o '-p 5555 -c config_file=/dev/null -c data_directory={target} -c hba_file={target}/pg_hba.conf "
        f"-c unix_socket_directories=/var/run/postgresql' start"
    )
    try:
        host.shell(
            "for i in $(seq 100); do "
            "[ \"$(psql -p 5555 -XAtqc 'select pg_is_in_recovery()')\" = f ] && break; sleep 0.2; done"
        )
        log = host.shell("cat /tmp/restored.log").stdout
        assert host.sql("select string_agg(answer::text, ',' order by answer) from proof", port=5555) == "1,2", log
        assert _FORBIDDEN not in log
    finally:
        host.shell(f"{bin_folder}/pg_ctl -D {target} -m immediate stop; tail -50 /tmp/restored.log")


def _names(enforced: Enforced, prefix: str) -> list[tuple[str, str]]:
    """Return name and version of all that was ever below a prefix, delete markers too."""
    pages = enforced.clients["break-glass"].get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
    both = [entry for page in pages for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", []))]
    return sorted((entry["Key"], entry["VersionId"]) for entry in both)


def test_reader_neither_backs_up_nor_expires(host: Host, enforced: Enforced) -> None:
    # Two fulls with a retention of one: there is something to expire.
    host.pgbackrest("host-writer", "--stanza=erp --type=full --no-expire-auto backup")
    before = _names(enforced, _LAYOUT.backups)
    for command in ("--type=incr backup", "expire"):
        done = host.pgbackrest("restore-reader", f"--stanza=erp {command}", check=False)
        assert done.returncode != 0
        assert _FORBIDDEN in done.stdout + done.stderr, (command, done)
    assert _names(enforced, _LAYOUT.backups) == before


def test_reader_archives_nothing(host: Host, enforced: Enforced) -> None:
    forged = "00000001000000AA00000001"
    # Not in pg_wal: the server would recycle it.
    host.shell(
        f"mkdir -p forged; cp $(ls -1 {host.data}/pg_wal | grep -E '^[0-9A-F]{{24}}$' | head -1 | "
        f"sed 's#^#{host.data}/pg_wal/#') forged/{forged}"
    )
    done = host.pgbackrest("restore-reader", f"--stanza=erp archive-push /tmp/forged/{forged}", check=False)
    assert done.returncode != 0
    assert _FORBIDDEN in done.stdout + done.stderr
    assert [name for name, _ in _names(enforced, _LAYOUT.wal) if forged in name] == []


def test_writer_makes_no_other_stanza(host: Host, enforced: Enforced) -> None:
    _configure(host, enforced, "host-writer", stanza="other", name="host-writer-other")
    done = host.pgbackrest("host-writer-other", "--stanza=other stanza-create", check=False)
    assert done.returncode != 0
    assert _FORBIDDEN in done.stdout + done.stderr
    assert _names(enforced, "live/backup/other/") == _names(enforced, "live/archive/other/") == []
