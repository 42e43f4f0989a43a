"""What the cases stand on: one lab, a protected cluster with the ERP sample; each made once, when first asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.host import Host
from bench.scratch import Scratch
from drill.play import ROOT, environment, lab_folder, run_play
from lab.api import Lab
from lab.hosts import CA_ON_HOST
from pgdr.errors import OperationFailedError

SOURCE, TARGET = "db1", "dr1"
DATABASE, OWNER = "erp_generic", "erp_owner"
CLUSTER, STANZA = "erp-lab", "erp"
DATA, PORT = "/var/lib/postgresql/17/main", 5432
UNIT = "postgresql@17-main"
# Each holds about one row in a hundred.
_TENANTS = 100
CLOUD = 2  # number of the S3 repository in the lab's policy
_AWS = "/etc/bench-aws"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        megabytes: of the ERP sample.
        relations: of the cluster with many small ones.
        segments: of WAL that wait to be archived.
    """

    megabytes: int = 500
    relations: int = 10_000
    segments: int = 40


@dataclass
class Ground:
    """One lab and what was made in it so far.

    Attributes:
        lab: the lab.
        size: how much is measured.
        say: shows a line of progress.
        made: file that says what the lab has already; a run that takes up a lab of before reads it.
    """

    lab: Lab
    size: Size
    say: Say
    made: Path

    @property
    def source(self) -> Host:
        """The host with the protected cluster."""
        return Host(self.lab, SOURCE)

    @property
    def target(self) -> Host:
        """The host that a recovery uses."""
        return Host(self.lab, TARGET)

    @property
    def scratch(self) -> Scratch:
        """The cluster to be thrown away, on the host with the protected one."""
        return Scratch(self.source, self.lab.secret("erp-password"))

    def protect(self) -> None:
        """Have run ``site.yml`` against the lab."""
        with self._once("protect") as first:
            if first:
                self.say("protect db1: playbooks/site.yml")
                self.play("site.yml")

    def sample(self) -> None:
        """Have the ERP sample in the protected cluster."""
        self.protect()
        with self._once(f"sample-{self.size.megabytes}") as first:
            if first:
                self.say(f"load the ERP sample, {self.size.megabytes} MB")
                sized = (f"--size-mb={self.size.megabytes}", f"--tenants={_TENANTS}")
                self.erp("create", "--dsn", self.dsn, *sized, "--recreate")

    def aws(self) -> dict[str, str]:
        """Have the command ``aws`` on the source, and return the environment that lets it reach the bucket."""
        with self._once("aws") as first:
            if first:
                self._install_aws()
        return {
            "AWS_CONFIG_FILE": f"{_AWS}/config",
            "AWS_SHARED_CREDENTIALS_FILE": f"{_AWS}/credentials",
            "AWS_CA_BUNDLE": CA_ON_HOST,
        }

    def aws_version(self) -> str:
        """Name and version of the command ``aws`` on the source."""
        return self.source.run(["aws", "--version"]).split()[0]

    def _install_aws(self) -> None:
        self.say("install awscli on db1, Debian's package")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        self.source.run(["apt-get", "update", "--quiet"], env=env)
        self.source.run(["apt-get", "install", "--yes", "--no-install-recommends", "awscli"], env=env)
        s3 = self.lab.s3
        keys = f"[default]\naws_access_key_id = {s3.key}\naws_secret_access_key = {s3.key_secret}\n"
        config = f"[default]\nregion = {s3.region}\nendpoint_url = {s3.endpoint}\ns3 =\n  addressing_style = path\n"
        self.source.write(f"{_AWS}/credentials", keys, owner="postgres", mode="0600")
        self.source.write(f"{_AWS}/config", config)

    @property
    def dsn(self) -> str:
        """How the machine of the lab reaches the protected cluster."""
        return f"host={self.source.ip} dbname={DATABASE} user={OWNER} connect_timeout=10"

    def play(self, playbook: str, **extra: object) -> float:
        """Run a playbook and return its seconds; its output is in the lab's folder."""
        return run_play(self.lab.name, playbook, extra)

    def ansible(self, *arguments: str) -> None:
        """Run an ad-hoc task of Ansible against the lab.

        Raises:
            OperationFailedError: it failed.
        """
        argv = [str(ROOT / ".venv/bin/ansible"), "-i", "inventories/lab", *arguments]
        self._child("ansible", argv, environment(self.lab.name))

    def erp(self, *arguments: str) -> str:
        """Run the ERP sample's command, with the passwords of all clusters at hand; what it said.

        Raises:
            OperationFailedError: it failed.
        """
        # A password must not stand in an argument list.
        secret = self.lab.secret("erp-password")
        passfile = lab_folder(self.lab.name) / "bench.pgpass"
        passfile.touch(mode=0o600)
        passfile.write_text(f"*:*:*:*:{secret}\n", encoding="ascii")
        env = {**os.environ, "PGPASSFILE": str(passfile), "PYTHONPATH": str(ROOT / "molecule" / "resources")}
        return self._child("erp", [sys.executable, "-m", "erp", *arguments], env)

    def _child(self, name: str, argv: list[str], env: dict[str, str]) -> str:
        log = lab_folder(self.lab.name) / f"bench-{name}.log"
        with log.open("w", encoding="utf-8") as sink:
            done = subprocess.run(
                argv, check=False, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
        if done.returncode != 0:
            raise OperationFailedError(f"{name} ended with {done.returncode}", remedy=f"see {log}")
        return log.read_text(encoding="utf-8")

    @contextmanager
    def _once(self, what: str) -> Iterator[bool]:
        """Give True the first time; what failed counts as not made."""
        made = self.made.read_text(encoding="utf-8").split() if self.made.is_file() else []
        yield what not in made
        if what not in made:
            self.made.write_text(" ".join([*made, what]), encoding="utf-8")
