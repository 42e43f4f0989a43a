"""The lab in which faults are made: a protected host whose alerts go to a real receiver on its loopback."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.api import Lab

HOST = "db1"
#: How often cron looks in this lab; a policy's default is five minutes.
WATCH_SECONDS = 60
#: WAL that waits for longer is told; the policy of the lab says five minutes.
LAG_SECONDS = 120
_RECEIVED = "/var/tmp/faults-received.jsonl"  # noqa: S108 - on the lab's host, which is thrown away
_RECEIVER = Path(__file__).with_name("receiver.py")
_SETTLE = 240.0

_PREPARE = f"""
import yaml, pathlib
path = pathlib.Path("/etc/pgdr/policy.yml")
policy = yaml.safe_load(path.read_text())
inner = policy.get("recovery_policy", policy)
inner["notification"] = {{"channels": [
    {{"name": "first", "secret_name": "first_url"}}, {{"name": "second", "secret_name": "second_url"}}]}}
inner["wal"]["lag_alert"] = "{LAG_SECONDS}s"
path.write_text(yaml.safe_dump(policy))
cron = pathlib.Path("/etc/cron.d/erp-backup")
lines = cron.read_text().splitlines()
lines = ["* * * * * " + line.split(" ", 5)[5] if " watch /" in line else line for line in lines]
cron.write_text("\\n".join(lines) + "\\n")
"""


@dataclass(frozen=True)
class Heard:
    """One message as the receiver got it."""

    at: float
    title: str
    body: str


class Ground:
    """One lab with its receiver.

    Args:
        lab: a lab whose host is protected.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def prepare(self) -> None:
        """Start the receiver, point the channels to it and have cron look each minute."""
        self.write("/root/receiver.py", _RECEIVER.read_text(encoding="utf-8"))
        self.shell(f"systemctl stop faults-receiver 2>/dev/null; rm -f {_RECEIVED}")
        self.shell(
            f"systemd-run --quiet --unit=faults-receiver /usr/bin/python3 /root/receiver.py {_RECEIVED} 18080 18081"
        )
        self.channels(first=18080)
        self.python(_PREPARE)
        self.sql("create schema if not exists faults; create table if not exists faults.rows (id int, what text)")
        self.sql(
            "create table if not exists faults.page as select g as id, repeat('x', 200) as what"
            " from generate_series(1, 2000) g"
        )

    def channels(self, *, first: int) -> None:
        """Write the addresses of both channels; a port on which nobody listens is a dead one."""
        text = f"first_url: json://127.0.0.1:{first}/\nsecond_url: json://127.0.0.1:18081/\n"
        self.write("/etc/pgdr/notification.yml", text)
        self.shell("chown postgres:postgres /etc/pgdr/notification.yml; chmod 600 /etc/pgdr/notification.yml")

    def shell(self, line: str, *, check: bool = True, timeout: float = 600.0) -> str:
        """Run a shell line on the host as root; it is this harness's own text."""
        return self.lab.run(HOST, ["sh", "-c", line], check=check, timeout=timeout).stdout

    def python(self, text: str) -> None:
        """Run Python on the host, with pgdr's libraries."""
        self.lab.run(HOST, ["/opt/pgdr/venv/bin/python", "-"], input=text)

    def write(self, path: str, content: str) -> None:
        """Write a file on the host."""
        self.lab.run(HOST, ["tee", path], input=content)

    def sql(self, statement: str, database: str = "erp_generic") -> str:
        """Run SQL as postgres, each statement by itself."""
        argv = ["runuser", "-u", "postgres", "--", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database]
        return self.lab.run(HOST, argv, input=statement + ";\n").stdout.strip()

    def pgdr(self, *arguments: str, timeout: float = 900.0) -> subprocess.CompletedProcess[str]:
        """Run pgdr as postgres, whatever it ends with."""
        argv = ["runuser", "-u", "postgres", "--", "/usr/local/bin/pgdr", *arguments]
        return self.lab.run(HOST, argv, check=False, timeout=timeout)

    def job(self, name: str, *command: str) -> None:
        """Run a command as cron runs the job of that name, its failure told included."""
        argv = ["runuser", "-u", "postgres", "--", "/usr/local/libexec/erp-backup-job", name, *command]
        self.lab.run(HOST, argv, check=False, timeout=900.0)

    def heard(self) -> list[Heard]:
        """All that the receiver got."""
        lines = self.shell(f"cat {_RECEIVED} 2>/dev/null", check=False).splitlines()
        return [Heard(**json.loads(line)) for line in lines]

    def clock(self) -> float:
        """The host's clock."""
        return float(self.shell("date +%s.%N"))

    def status(self) -> dict[str, Any]:
        """What ``pgdr status`` says."""
        document: dict[str, Any] = json.loads(self.pgdr("status", "--output", "json").stdout)
        return document

    def level(self, finding: str) -> str:
        """Level of a finding by its key, ``green`` where there is none."""
        name, _, repository = finding.partition(":")
        levels = [
            check["level"]
            for check in self.status()["checks"]
            if check["name"] == name and (not repository or str(check["repository"]) == repository)
        ]
        return max(levels, key=["green", "amber", "red"].index, default="green")

    def write_rows(self, what: str, count: int = 100) -> None:
        """Commit rows whose way through a fault is followed."""
        one = f"({count}, {_literal(what)})"
        self.sql("insert into faults.rows values " + ", ".join([one] * count))  # noqa: S608 - our own words, quoted

    def archived(self, seconds: float = 120.0) -> bool:
        """Close the segment and wait until it is archived."""
        closed = self.sql("select pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + seconds
        while self.sql("select coalesce(last_archived_wal, '') from pg_stat_archiver")[8:] < closed[8:]:
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
        return True

    def rows_lost(self) -> int | None:
        """Rows that production has and a restore of the newest backup and its WAL has not; ``None`` if it failed."""
        if not self.archived():
            return None
        done = self.pgdr("rehearse", "--only", "backup", "--repo", "1", "--output", "json")
        try:
            [part] = json.loads(done.stdout)["parts"]
        except (ValueError, KeyError):
            return None
        live = json.loads(self.pgdr("fingerprint", "--output", "json").stdout)["totals"]["rows"]
        return int(live) - int(part["rows"]) if part["outcome"] == "ok" else None

    def settle(self, finding: str) -> bool:
        """Wait until a finding is no longer red."""
        deadline = time.monotonic() + _SETTLE
        while self.level(finding) == "red":
            if time.monotonic() > deadline:
                return False
            time.sleep(3)
        return True


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quoted(text: str) -> str:
    """A word for the host's shell."""
    return shlex.quote(text)
