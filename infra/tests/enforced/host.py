"""A database host with PostgreSQL and pgBackRest, whose configuration holds one identity's keys."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.api import Lab
from tests.enforced.store import BUCKET, Enforced

_CONF = """\
[global]
repo1-type=s3
repo1-path={path}
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
{more}[{stanza}]
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

    @contextmanager
    def restored(self, who: str) -> Iterator[int]:
        """Restore the cluster beside itself to the end of its WAL, and return its port."""
        target, bin_folder, port = "/var/lib/postgresql/restored", f"/usr/lib/postgresql/{self.version}/bin", 5555
        self.shell(f"rm -rf {target}")
        self.pgbackrest(who, f"--stanza=erp --pg1-path={target} --archive-mode=off --target-timeline=latest restore")
        self.shell(
            f"cp /etc/postgresql/{self.version}/main/pg_hba.conf {target}/; "
            f"{bin_folder}/pg_ctl -D {target} -w -t 60 -l /tmp/restored.log "
            f"-o '-p {port} -c config_file=/dev/null -c data_directory={target} -c hba_file={target}/pg_hba.conf "
            f"-c unix_socket_directories=/var/run/postgresql' start"
        )
        try:
            self.shell(
                "for i in $(seq 100); do "
                f"[ \"$(psql -p {port} -XAtqc 'select pg_is_in_recovery()')\" = f ] && break; sleep 0.2; done"
            )
            yield port
        finally:
            self.shell(f"{bin_folder}/pg_ctl -D {target} -m immediate stop; tail -50 /tmp/restored.log")

    @property
    def data(self) -> str:
        """The cluster's data directory."""
        return f"/var/lib/postgresql/{self.version}/main"


def configure(
    host: Host, enforced: Enforced, who: str, *, path: str, stanza: str = "erp", name: str = "", more: str = ""
) -> None:
    """Write an identity's configuration."""
    key, secret = enforced.keys[who]
    text = _CONF.format(bucket=BUCKET, key=key, secret=secret, stanza=stanza, data=host.data, path=path, more=more)
    file = f"/etc/pgbackrest/{name or who}.conf"
    host.lab.run("db1", ["install", "-D", "-m", "0640", "-g", "postgres", "/dev/stdin", file], input=text)


def install(lab: Lab) -> Host:
    """Install PostgreSQL and pgBackRest, and start a cluster that archives as the host-writer."""
    done = lab.run("db1", ["sh", "-c", _INSTALL], check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Host(lab, done.stdout.strip().splitlines()[-1])
