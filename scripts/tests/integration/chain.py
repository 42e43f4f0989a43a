"""A production with pgBackRest and everything that pgdr needs on a host: for tests of the whole chain."""

from __future__ import annotations

import os
import subprocess
import sys
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


@dataclass
class World:
    """A production with a past: marks were written, and moments between them noted."""

    site: Site
    host: HostConfig
    config: Path
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
        """``pgdr`` as the cluster's owner, as on a host."""
        return self.site.command(self.config)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin to run pgdr."""
        return self.site.begin(self.config, *arguments)

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
        """Close the segment and wait until it is archived."""
        self.site.archived()

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
    (folder / "archives").mkdir(exist_ok=True)
    source["recovery_policy"]["archives"]["local"]["path"] = str(folder / "archives")
    source["recovery_policy"]["recovery"].pop("smoke_queries")  # they ask the ERP
    source["recovery_policy"]["tenancy"] = {"column": "tenant_id", "shared": list(shared)}
    path = folder / f"policy-{floor}.yml"
    path.write_text(yaml.safe_dump(source))
    return path


def owned(site: Site, name: str) -> Path:
    """A folder of the cluster's owner."""
    folder = site.cluster.folder / name
    folder.mkdir(mode=0o700)
    return site.owned(folder)


def world_of(site: Site, database: str, shared: Sequence[dict[str, str]] = ()) -> World:
    """Make a host of a site: its files belong to the cluster's owner."""
    folder = site.folder / "host"
    folder.mkdir()
    policy = policy_in(folder, "100MiB", shared)
    host = site.host(folder, database, restore_command_wrapper=site.restore_wrapper(), policy_path=policy)
    site.owned(folder)
    config = folder / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    return World(site, host, config)
