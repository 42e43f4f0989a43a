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
from lab.paths import LabPaths
from pgdr.errors import NotProvenError

HOST = "db1"
#: How often cron looks in this lab; a policy's default is five minutes.
WATCH_SECONDS = 60
#: WAL that waits for longer is told; the policy of the lab says five minutes.
LAG_SECONDS = 120
#: How long the dead-man's switch waits for a call: two looks and a bit.
SILENCE_SECONDS = 150
#: Where faults keep their own files on the host; postgres may read it.
PLACE = "/var/tmp/faults"  # noqa: S108 - on the lab's host, which is thrown away
_RECEIVED = "/var/tmp/faults-received.jsonl"  # noqa: S108 - on the lab's host, which is thrown away
_RECEIVER = Path(__file__).with_name("receiver.py")
_PROXY = Path(__file__).with_name("proxy.py")
_SETTLE = 240.0

_PREPARE = f"""
import yaml, pathlib
path = pathlib.Path("/etc/pgdr/policy.yml")
policy = yaml.safe_load(path.read_text())
inner = policy.get("recovery_policy", policy)
inner["notification"] = {{"channels": [
    {{"name": "first", "secret_name": "first_url"}}, {{"name": "second", "secret_name": "second_url"}}],
    "dead_man": {{"secret_name": "dead_man_url"}}}}
if "faults" not in inner["schemas"]:
    inner["schemas"].append("faults")
inner["wal"]["lag_alert"] = "{LAG_SECONDS}s"
path.write_text(yaml.safe_dump(policy))
cron = pathlib.Path("/etc/cron.d/erp-backup")
lines = cron.read_text().splitlines()
lines = ["* * * * * " + line.split(" ", 5)[5] if " watch /" in line else line for line in lines]
# Other jobs are started by the faults themselves: one that cron begins in the middle would be another fault.
lines = [line for line in lines if "/erp-backup-job " not in line or " watch /" in line or " heartbeat /" in line]
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
        #: What a step leaves for a later one of the same fault.
        self.kept: dict[str, str] = {}
        #: When the fault really was there, where that is later than the first step of making it.
        self.began: float | None = None

    def prepare(self) -> None:
        """Start the receiver, point the channels to it and have cron look each minute."""
        self.write("/root/receiver.py", _RECEIVER.read_text(encoding="utf-8"))
        self.shell(
            f"systemctl stop faults-receiver 2>/dev/null; rm -f {_RECEIVED}; mkdir -p {PLACE}; chmod 755 {PLACE}"
        )
        self.shell(
            "systemd-run --quiet --unit=faults-receiver /usr/bin/python3 /root/receiver.py "
            f"{_RECEIVED} {SILENCE_SECONDS} 18080 18081 18082"
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
        text += "dead_man_url: http://127.0.0.1:18082/\n"
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

    def well(self, *arguments: str) -> None:
        """Run pgdr, which must end well.

        Raises:
            NotProvenError: it did not.
        """
        done = self.pgdr(*arguments)
        self.expect(done.returncode == 0, f"pgdr {' '.join(arguments)} ends well: {done.stderr[-500:]}")

    def job(self, name: str, *command: str) -> int:
        """Run a command as cron runs the job of that name, its failure told included; return its status."""
        argv = ["runuser", "-u", "postgres", "--", "/usr/local/libexec/erp-backup-job", name, *command]
        return self.lab.run(HOST, argv, check=False, timeout=900.0).returncode

    def expect(self, holds: object, what: str) -> None:
        """Go on only where something holds.

        Raises:
            NotProvenError: it does not.
        """
        if not holds:
            raise NotProvenError(f"not so: {what}")

    def begins(self) -> None:
        """The fault is there from now on."""
        self.began = self.clock()

    def until(self, condition: str, seconds: float = 60.0) -> None:
        """Wait on the host, looking many times a second, until a shell line is true there.

        Raises:
            NotProvenError: it never is.
        """
        late = f"[ $(date +%s) -lt $(({int(self.clock())} + {seconds:.0f})) ] || exit 1"
        line = f"until {condition}; do {late}; sleep 0.1; done"
        done = self.lab.run(HOST, ["sh", "-c", line], check=False, timeout=seconds + 60)
        self.expect(done.returncode == 0, f"within {seconds:.0f} s: {condition}")

    def in_background(self, unit: str, *command: str, config: str = "") -> None:
        """Start a command of postgres as a unit of its own, so that all of its processes can be reached."""
        environment = [f"--setenv=PGDR_CONFIG={config}"] if config else []
        self.shell(f"systemctl reset-failed {unit} 2>/dev/null", check=False)
        argv = ["systemd-run", "--quiet", f"--unit={unit}", "--uid=postgres", *environment, *command]
        self.lab.run(HOST, argv)

    def signal(self, unit: str, name: str) -> None:
        """Send a signal to all processes of a unit."""
        self.lab.run(HOST, ["systemctl", "kill", f"--signal={name}", "--kill-whom=all", unit])

    def faketime(self) -> None:
        """Have the program that shows others another time."""
        self.shell("command -v faketime >/dev/null || apt-get install --yes --quiet faketime >/dev/null 2>&1")

    def misbehave(self, **plan: object) -> None:
        """Have the S3 server misbehave on its way to this host, see ``proxy.py``."""
        if "faults-proxy" not in self.shell("systemctl list-units --plain --no-legend faults-proxy.service"):
            self.write("/root/proxy.py", _PROXY.read_text(encoding="utf-8"))
            certificate = (LabPaths(self.lab.name).s3 / "server.pem").read_text(encoding="utf-8")
            self.write("/root/proxy.pem", certificate)
            self.shell(
                f"systemd-run --quiet --unit=faults-proxy /usr/bin/python3 /root/proxy.py {PLACE}/plan.json "
                f"/root/proxy.pem /usr/local/share/ca-certificates/pgdr-lab.crt {self.lab.host_ip('s3')}"
            )
            self.until("ss -Hltn sport = 443 | grep -q .")
        self.write(f"{PLACE}/plan.next", json.dumps(plan))
        self.shell(f"mv {PLACE}/plan.next {PLACE}/plan.json")
        # A container's hosts file is mounted: it can be written, and not replaced.
        self.shell("grep -q ' s3$' /etc/hosts || echo '127.0.0.1 s3' >> /etc/hosts")

    def behave(self) -> None:
        """The S3 server is reached directly again."""
        self.shell(
            f"rm -f {PLACE}/plan.json; grep -v ' s3$' /etc/hosts > {PLACE}/hosts; cat {PLACE}/hosts > /etc/hosts"
        )

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

    def level(self, findings: str) -> str:
        """The worst level of some findings by their keys, ``green`` where there are none."""
        wanted = [finding.partition(":") for finding in findings.split()]
        levels = [
            check["level"]
            for check in (self.status()["checks"] if wanted else [])
            for name, _, repository in wanted
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
