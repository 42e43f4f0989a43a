"""The ERP's side of a disaster: makes the sample, writes, and knows what must be there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import psycopg

from drill.play import ROOT
from drill.proof import Proof, prove, read_tables
from erp.ledger import Ledger, surviving_transactions
from lab.api import Lab
from pgdr.errors import OperationFailedError

_DATABASE, _OWNER = "erp_generic", "erp_owner"


class ErpClient:
    """A client of the ERP database of a lab, outside of its hosts.

    Args:
        lab: the lab.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.ledger = lab.folder / "ledger.jsonl"
        self.reference = lab.folder / "reference.json"
        self._load: subprocess.Popen[bytes] | None = None

    def dsn(self, host: str) -> str:
        """A connection string without the password: that one must not stand in an argument list."""
        return f"host={self._lab.host_ip(host)} dbname={_DATABASE} user={_OWNER} connect_timeout=10"

    def _environment(self) -> dict[str, str]:
        passfile = self._passfile()
        return {**os.environ, "PGPASSFILE": str(passfile), "PYTHONPATH": f"{ROOT / 'molecule' / 'resources'}"}

    def _passfile(self) -> Path:
        passfile = self._lab.folder / "pgpass"
        passfile.touch(mode=0o600)
        passfile.write_text(f"*:*:{_DATABASE}:{_OWNER}:{self._lab.secret('erp-password').strip()}\n", encoding="ascii")
        return passfile

    def create(self, host: str, megabytes: int) -> None:
        """Make the sample.

        Raises:
            OperationFailedError: it failed.
        """
        log = self._lab.folder / "erp.log"
        with log.open("wb") as sink:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "erp",
                    "create",
                    "--dsn",
                    self.dsn(host),
                    f"--size-mb={megabytes}",
                    "--recreate",
                ],
                check=False,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        if done.returncode != 0:
            raise OperationFailedError(f"erp create ended with {done.returncode}", remedy=f"see {log}")

    def start_load(self, host: str, *, connections: int, rate: float) -> None:
        """Begin to write; until :meth:`stop_load`, or until the server goes away."""
        self.ledger.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "erp", "load", "--dsn", self.dsn(host), "--ledger", str(self.ledger)]
        argv += [f"--connections={connections}", f"--rate={rate:g}"]
        with (self._lab.folder / "load.log").open("wb") as sink:
            self._load = subprocess.Popen(
                argv, env=self._environment(), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )

    @property
    def writes(self) -> bool:
        """Whether the load still runs."""
        return self._load is not None and self._load.poll() is None

    def pause(self) -> None:
        """Have the load stand still, in the middle of transactions as well, so that two looks see the same rows."""
        if self._load is not None:
            self._load.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        if self._load is not None:
            self._load.send_signal(signal.SIGCONT)

    def stop_load(self, seconds: float = 30) -> None:
        """End the load."""
        if self._load is None:
            return
        if self._load.poll() is None:
            self._load.send_signal(signal.SIGTERM)
        try:
            self._load.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._load.kill()
            self._load.wait()

    def committed(self) -> int:
        """How many transactions were acknowledged so far."""
        return self.ledger.read_bytes().count(b'"committed"') if self.ledger.exists() else 0

    def fingerprint(self, host: str, path: Path) -> Path:
        """Have the host sum up every table, and keep the result.

        Raises:
            OperationFailedError: it failed.
        """
        argv = ["runuser", "-u", "postgres", "--", "pgdr", "fingerprint", "--output=json"]
        done = self._lab.run(host, argv, check=False)
        if done.returncode != 0:
            raise OperationFailedError(f"pgdr fingerprint failed on {host}: {done.stderr.strip()}")
        path.write_text(done.stdout, encoding="utf-8")
        return path

    def surviving(self, host: str) -> frozenset[UUID]:
        """Transactions of the load that the database holds."""
        with psycopg.connect(self.dsn(host), passfile=str(self._passfile())) as connection:
            return surviving_transactions(connection, Ledger.read(self.ledger))

    def prove(self, host: str, reached: str) -> Proof:
        """Compare every table with reference and ledger."""
        restored = self.fingerprint(host, self._lab.folder / "restored.json")
        return prove(
            read_tables(self.reference),
            read_tables(restored),
            Ledger.read(self.ledger),
            self.surviving(host),
            reached,
        )
