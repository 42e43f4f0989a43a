"""A production with pgBackRest and everything that pgdr needs on a host: for tests of the whole chain."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml

from pgdr.hostconfig import HostConfig
from pgdr.side import manage

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Site

_WRAPPER = """\
#!/bin/sh
# A recovery in place names no folder of its own, a side instance does.
spool="${{4:-{etc}/..}}/spool"
locks="${{4:+$4/lock-files}}"
exec {engine} --config={etc}/pgbackrest.conf --config-path={etc} --stanza=erp --archive-async --pg1-path="$PWD" \\
    --spool-path="$spool" --lock-path="${{locks:-{etc}/../lock}}" "--repo=$1" archive-get "$2" "$3"
"""


@dataclass
class World:
    """A production with a past: marks were written, and moments between them noted."""

    site: Site
    host: HostConfig
    config: Path
    user: int
    targets: dict[str, list[str]] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)

    def pgdr(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run pgdr to its end."""
        done = self.begin(*arguments)
        out, err = done.communicate(timeout=150)
        assert done.returncode == expect, f"{arguments}: {done.returncode}: {out}{err}"
        return subprocess.CompletedProcess(arguments, done.returncode, out, err)

    @property
    def command(self) -> list[str]:
        """``pgdr`` as the cluster's owner, as on a host; it needs nothing of its caller's environment."""
        owner = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        path = os.pathsep.join(path for path in sys.path if path)
        values = {"PATH": os.environ["PATH"], "PGUSER": "postgres", "LC_ALL": "C.UTF-8", "HOME": "/tmp"}  # noqa: S108
        given = [f"{name}={value}" for name, value in {**values, "PYTHONPATH": path}.items()]
        argv = ["env", "--ignore-environment", *given, python_of_owner(), "-m", "pgdr.cli.main"]
        return [*(owner if os.geteuid() == 0 else []), *argv, "--config", str(self.config)]

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin to run pgdr."""
        return subprocess.Popen(
            [*self.command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd="/",
        )

    def mark(self, what: str) -> int:
        """Write a row and return its transaction."""
        with self.site.cluster.connect("erp") as connection:
            row = connection.execute(
                "insert into marks (what) values (%s) returning id, pg_current_xact_id()::text", (what,)
            ).fetchone()
        assert row is not None
        self.marks[what] = row[0]
        return int(row[1])

    def archive(self) -> None:
        closed = self.site.cluster.value("select pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + 60
        while self.site.cluster.value("select coalesce(last_archived_wal, '') from pg_stat_archiver") < closed:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def connect(self, name: str, database: str = "erp") -> psycopg.Connection[Any]:
        found = manage.connection(self.host, name, database)
        return psycopg.connect(found.conninfo, autocommit=True)

    def rows(self, name: str) -> set[str]:
        with self.connect(name) as connection:
            return {row[0] for row in connection.execute("select what from marks").fetchall()}


def python_of_owner() -> str:
    """An interpreter that the cluster's owner may run: root's own may lie in a closed home."""
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    if os.geteuid() != 0:
        return sys.executable
    if not system.exists():
        pytest.skip(f"as root these tests need {system}: the cluster's owner may not run {sys.executable}")
    return str(system)


def policy_in(folder: Path, floor: str, shared: Sequence[dict[str, str]] = ()) -> Path:
    """The lab's policy, with another floor for side instances."""
    source = yaml.safe_load(Path("inventories/lab/group_vars/all/policy.yml").read_text())
    source["recovery_policy"]["side_instances"] = {"disk_floor": floor}
    source["recovery_policy"]["recovery"].pop("smoke_queries")  # they ask the ERP
    source["recovery_policy"]["tenancy"] = {"column": "tenant_id", "shared": list(shared)}
    path = folder / f"policy-{floor}.yml"
    path.write_text(yaml.safe_dump(source))
    return path


def owned(site: Site, name: str) -> Path:
    """A folder of the cluster's owner."""
    folder = site.cluster.folder / name
    folder.mkdir(mode=0o700)
    owner = site.cluster.folder.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    return folder


def world_of(site: Site, database: str, shared: Sequence[dict[str, str]] = ()) -> World:
    """Make a host of a site: its files belong to the cluster's owner."""
    folder = site.folder / "host"
    folder.mkdir()
    wrapper = site.folder / "restore-wal"
    wrapper.write_text(_WRAPPER.format(engine=site.folder / "pgbackrest", etc=site.folder / "etc"))
    wrapper.chmod(0o755)
    policy = policy_in(folder, "100MiB", shared)
    host = site.host(folder, database, restore_command_wrapper=wrapper, policy_path=policy)
    owner = site.cluster.folder.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    config = folder / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    return World(site, host, config, owner.st_uid)
