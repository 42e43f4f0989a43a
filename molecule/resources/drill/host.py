"""A host of the lab as a test sees it: its database, its recovery, its files."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.api import Lab

RECOVERY = "/var/lib/pgdr/recovery"
DATA = "/var/lib/postgresql/17/main"
_BIN = "/usr/lib/postgresql/17/bin"
_RESTLESS = re.compile(rf"^{re.escape(DATA)}/[^/]+/")
# What a refusal must leave as it was.
KEPT = ("/var/lib/postgresql", "/etc/postgresql", RECOVERY)


class Host:
    """One host of a lab.

    Args:
        lab: the lab.
        name: the host's name.
    """

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def run(self, *argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program as root."""
        return self.lab.run(self.name, argv, check=check, **options)

    def postgres(self, *argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program as the backup user."""
        return self.run("runuser", "-u", "postgres", "--", *argv, check=check, **options)

    def pgdr(self, *argv: str, check: bool = True, config: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``pgdr``, with another host configuration where one is named."""
        named = [f"--config={config}"] if config else []
        return self.postgres("pgdr", *named, *argv, check=check)

    def sql(self, query: str, database: str = "erp_generic") -> str:
        """Ask the database over its own socket, as its superuser."""
        done = self.postgres("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-", input=query)
        return done.stdout.strip()

    def switch_wal(self) -> str:
        """End the present WAL segment, which gets a record if it has none, and return its name."""
        self.sql("SELECT pg_logical_emit_message(false, 'drill', 'a record for the segment')")
        return self.sql("SELECT pg_walfile_name(pg_switch_wal())")

    def answers(self) -> bool:
        """Whether a server takes connections at the usual place."""
        return self.run("pg_isready", "-q", check=False).returncode == 0

    def info(self, repository: int) -> dict[str, Any]:
        """What pgBackRest says of one repository."""
        done = self.postgres(
            "pgbackrest", "--stanza=erp", f"--repo={repository}", "--output=json", "--log-level-stderr=off", "info"
        )
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found

    def segments(self, repository: int) -> list[str]:
        """Names of the archived WAL segments of one repository, in order."""
        done = self.postgres(
            "pgbackrest",
            f"--repo={repository}",
            "--log-level-stderr=off",
            "repo-ls",
            "--recurse",
            "--output=json",
            "archive/erp",
        )
        paths = (Path(path).name for path, what in json.loads(done.stdout).items() if what["type"] == "file")
        return sorted(name[:24] for name in paths if len(name) > 24 and name[24] == "-")

    def waiting_segments(self) -> list[str]:
        """Segments that PostgreSQL has not got rid of yet."""
        done = self.run("find", f"{DATA}/pg_wal/archive_status", "-name", "*.ready", "-printf", "%f\n")
        return sorted(done.stdout.split())

    def state(self) -> dict[str, Any] | None:
        """The state of the newest recovery."""
        done = self.run("cat", f"{RECOVERY}/state.json", check=False)
        if done.returncode != 0 or not done.stdout:
            return None
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def control(self, data: str = DATA) -> dict[str, str]:
        """The control file of a cluster."""
        done = self.run("env", "LC_ALL=C", f"{_BIN}/pg_controldata", "-D", data)
        pairs = (line.partition(":") for line in done.stdout.splitlines())
        return {label.strip(): value.strip() for label, _, value in pairs}

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return self.run("test", "-e", path, check=False).returncode == 0

    def commands(self) -> list[str]:
        """The command line of every process."""
        return self.run("ps", "-e", "-o", "args=", "-ww").stdout.splitlines()

    def tree(self, *, running: bool = False, paths: Sequence[str] = KEPT) -> list[str]:
        """What data, configuration and recovery state look like: one line a file.

        Args:
            running: a server works there and writes: only names, kinds and owners then, and of its folders only that
                they are there.
            paths: where to look.
        """
        form = "%p %y %u %m\n" if running else "%p %y %u %m %i %s %T@\n"
        done = self.run("find", *paths, "-printf", form, check=False)
        lines = sorted(done.stdout.splitlines())
        if running:
            # What a server keeps in its folders comes and goes as it likes: its caches, segments, temporary files.
            lines = [line for line in lines if not _RESTLESS.match(line)]
            lines.append(self.run("cat", f"{DATA}/postmaster.pid", check=False).stdout)
        return lines
