"""The drill itself: one disaster from the first package to the proven row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from rich.console import Console

from drill.play import ROOT, lab_folder, run_play
from drill.proof import Proof, prove, read_tables
from drill.report import DrillReport
from drill.timeline import Phase, Timeline
from erp.ledger import Ledger, surviving_transactions
from lab.api import Lab
from pgdr.errors import NotProvenError, OperationFailedError

_SOURCE, _TARGET = "db1", "dr1"
_CLUSTER = "erp-lab"
_DATABASE, _OWNER = "erp_generic", "erp_owner"


@dataclass(frozen=True)
class Size:
    """How big a drill is.

    Attributes:
        megabytes: of the ERP sample.
        load_seconds: of writing after the last backup, before the disaster.
        connections: of the load generator.
        rate: transactions a second that it tries to commit; a busy shop, not a benchmark of the lab's disk.
    """

    megabytes: int = 300
    load_seconds: float = 75.0
    connections: int = 4
    rate: int = 150


class Drill:
    """One drill in one lab.

    Args:
        lab: name of the lab.
        size: how big.
        console: where progress is shown.
    """

    def __init__(self, lab: str, size: Size, console: Console) -> None:
        self._name = lab
        self._size = size
        self._time = Timeline(console)
        self._folder = lab_folder(lab)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._ledger = self._folder / "ledger.jsonl"
        self._ledger.unlink(missing_ok=True)

    def run(self) -> tuple[DrillReport, Proof]:
        """Run it.

        Raises:
            PgdrError: a step failed, or the data could not be proven.
        """
        with self._time.phase("build the lab: db1, an empty dr1, an S3 server"):
            lab = Lab.up(self._name, [_SOURCE, _TARGET])
        with self._time.phase("protect db1: playbooks/site.yml") as note:
            run_play(self._name, "site.yml", note=note)
        with self._time.phase(f"load the ERP sample, {self._size.megabytes} MB"):
            self._erp("create", "--dsn", self._dsn(lab, _SOURCE), f"--size-mb={self._size.megabytes}")
        with self._time.phase("fingerprint every table: the reference"):
            reference = self._fingerprint(lab, _SOURCE, "reference.json")
        with self._load(lab) as load:
            with self._time.phase("full backup under load") as note:
                run_play(self._name, "backup.yml", {"backup_type": "full"}, note)
            with self._time.phase("incremental backup under load") as note:
                run_play(self._name, "backup.yml", {"backup_type": "incr"}, note)
            with self._time.phase(f"load for {self._size.load_seconds:.0f} s more"):
                time.sleep(self._size.load_seconds)
                if load.poll() is not None:
                    raise OperationFailedError(f"the load generator ended early, see {self._folder / 'load.log'}")
            disaster = datetime.now(UTC)
            with self._time.phase("destroy db1: kill, volumes gone"):
                lab.kill_host(_SOURCE)
        return self._recover(lab, reference, disaster)

    def _recover(self, lab: Lab, reference: Path, disaster: datetime) -> tuple[DrillReport, Proof]:
        evidence = self._folder / "evidence"
        report_file = evidence / "recovery.json"
        report_file.unlink(missing_ok=True)
        with self._time.phase("bring it back on dr1, and judge it: playbooks/dr-drill.yml") as note:
            run_play(
                self._name,
                "dr-drill.yml",
                {
                    "cluster_restore_confirm": _CLUSTER,
                    "disaster_time": disaster.isoformat(),
                    "drill_directory": evidence,
                    # db1 is gone: all that a real recovery does is tried, archiving again included.
                    "drill_real": "true",
                },
                note,
            )
        recovery = json.loads(report_file.read_text(encoding="utf-8"))
        with self._time.phase("prove the data: every table against reference and ledger"):
            restored = self._fingerprint(lab, _TARGET, "restored.json")
            ledger = Ledger.read(self._ledger)
            surviving = self._surviving(lab, ledger)
            proof = prove(read_tables(reference), read_tables(restored), ledger, surviving, recovery["reached"])
        proven = datetime.now(UTC)
        last = proof.last_surviving_commit_at
        report = DrillReport(
            rto_seconds=round((proven - disaster).total_seconds(), 1),
            rpo_seconds=round((disaster - last).total_seconds(), 1) if last else -1.0,
            phases=[*self._time.phases, *_recovery_phases(recovery)],
            tables_compared=proof.tables_compared,
            rows_compared=proof.rows_compared,
            fingerprints_match=proof.fingerprints_match,
            rows_lost_after_last_archive=proof.rows_lost,
            transactions_survived=proof.transactions_survived,
            transactions_lost=proof.transactions_lost,
            backup_label=recovery["backup_label"],
            target=f"{recovery['target']} ({recovery['target_lsn']})",
            reached=recovery["reached"],
            faults=proof.faults if last else [*proof.faults, "no transaction of the load survived"],
        )
        report.write(self._folder / "report.json")
        return report, proof

    def _dsn(self, lab: Lab, host: str) -> str:
        # libpq takes the password from PGPASSFILE: it must not stand in an argument list.
        return f"host={lab.host_ip(host)} dbname={_DATABASE} user={_OWNER} connect_timeout=10"

    def _environment(self) -> dict[str, str]:
        password = (lab_folder(self._name) / "secrets" / "erp-password").read_text(encoding="ascii").strip()
        passfile = self._folder / "pgpass"
        passfile.touch(mode=0o600)
        passfile.write_text(f"*:*:{_DATABASE}:{_OWNER}:{password}\n", encoding="ascii")
        path = f"{ROOT / 'molecule' / 'resources'}"
        return {**os.environ, "PGPASSFILE": str(passfile), "PYTHONPATH": path}

    def _erp(self, *arguments: str) -> None:
        log = self._folder / "erp.log"
        with log.open("w", encoding="utf-8") as sink:
            done = subprocess.run(
                [sys.executable, "-m", "erp", *arguments],
                check=False,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        if done.returncode != 0:
            raise OperationFailedError(f"erp {arguments[0]} ended with {done.returncode}", remedy=f"see {log}")

    @contextmanager
    def _load(self, lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
        argv = [sys.executable, "-m", "erp", "load", "--dsn", self._dsn(lab, _SOURCE), "--ledger", str(self._ledger)]
        argv += [f"--connections={self._size.connections}", f"--rate={self._size.rate}"]
        with (self._folder / "load.log").open("wb") as sink:
            child = subprocess.Popen(
                argv, env=self._environment(), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def _fingerprint(self, lab: Lab, host: str, name: str) -> Path:
        done = lab.run(host, ["runuser", "-u", "postgres", "--", "pgdr", "fingerprint", "--output=json"])
        if done.returncode != 0:
            raise OperationFailedError(f"pgdr fingerprint failed on {host}: {done.stderr.strip()}")
        path = self._folder / name
        path.write_text(done.stdout, encoding="utf-8")
        return path

    def _surviving(self, lab: Lab, ledger: Ledger) -> frozenset[UUID]:
        passfile = self._environment()["PGPASSFILE"]
        with psycopg.connect(self._dsn(lab, _TARGET), passfile=passfile) as connection:
            return surviving_transactions(connection, ledger)


def _recovery_phases(recovery: dict[str, object]) -> list[Phase]:
    """The phases inside the recovery, as the play and the host measured them."""
    found = []
    for key in ("phases", "host_phases"):
        items = recovery[key]
        if isinstance(items, list):
            found += [Phase(str(item["name"]), float(item["seconds"]), recovery=True) for item in items]
    return found


def require_proven(report: DrillReport) -> None:
    """Fail the drill when the data is not proven.

    Raises:
        NotProvenError: with every fault.
    """
    if report.faults:
        raise NotProvenError("; ".join(report.faults[:10]), remedy="the report has all")
