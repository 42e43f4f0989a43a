"""The load against a real server that is killed: what survived must be exactly what the ledger says."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from erp.cli.main import main
from erp.database import Connection, connect
from erp.ledger import Change, Ledger, SurvivorReport, compare_checksums, expected_checksums, surviving_transactions
from erp.ledger_writer import LedgerWriter
from erp.load.business import KINDS
from erp.load.catalog import read_tenants
from erp.load.worker import Worker, is_lost
from erp.tests.cluster import Cluster
from erp.tests.conftest import Sample
from erp.tests.fingerprint import fingerprint
from pgdr.errors import ExitCode
from pgdr.fingerprint import take
from pgdr.fingerprint_model import Fingerprint
from pgdr.hostconfig import HostConfig

RESOURCES = Path(__file__).parents[2]
SCRIPTS = RESOURCES.parents[1] / "scripts" / "src"


@contextmanager
def _load(dsn: str, ledger: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The load as users run it, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "erp", "load", "--dsn", dsn, "--ledger", str(ledger), *options],
        env={**os.environ, "PYTHONPATH": f"{RESOURCES}{os.pathsep}{SCRIPTS}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_for(ledger: Path, commits: int, seconds: float = 30) -> None:
    """Wait until the ledger has so many commits."""
    deadline = time.monotonic() + seconds
    while not ledger.exists() or ledger.read_bytes().count(b'"committed"') < commits:
        assert time.monotonic() < deadline, f"fewer than {commits} commits within {seconds} s"
        time.sleep(0.05)


def _wait_for_unwritten(cluster: Cluster, size: int = 64 * 1024, seconds: float = 30) -> None:
    """Wait until so many bytes of WAL are in memory only: anybody's flush, such as a vacuum's, writes all of them."""
    deadline = time.monotonic() + seconds
    question = b"SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()"
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as connection:
        while (row := connection.execute(question).fetchone()) is None or row[0] < size:
            assert time.monotonic() < deadline, f"less than {size} bytes unwritten within {seconds} s"
            time.sleep(0.01)


def _prove(cluster: Cluster, database: str, sample: Sample, path: Path, reached: str | None = None) -> SurvivorReport:
    """Compare the database with what the ledger says of it; the one statement that all of this is about."""
    ledger = Ledger.read(path)
    with connect(cluster.dsn(database), application="test") as connection:
        surviving = surviving_transactions(connection, ledger)
    expected = expected_checksums(sample.fingerprint, ledger, surviving)
    assert compare_checksums(expected, fingerprint(cluster.dsn(database))) == []
    return ledger.compare_survivors(surviving, reached)


@pytest.mark.parametrize("role", ["erp_user", "erp_owner"])
def test_server_killed_under_load(cluster: Cluster, database: str, sample: Sample, tmp_path: Path, role: str) -> None:
    ledger = tmp_path / "ledger"
    with _load(cluster.dsn(database, role), ledger) as load:
        _wait_for(ledger, 200)
        time.sleep(random.uniform(0.2, 1.2))  # noqa: S311 - any moment will do
        cluster.kill()
        output, _ = load.communicate(timeout=30)
    cluster.start()

    assert load.returncode == 0, output
    assert "the server went away" in output
    report = _prove(cluster, database, sample, ledger)
    assert report.survived >= 200
    # The server had written each commit to its disk before it answered.
    assert report.lost == ()
    assert report.explained
    kinds = {one.kind for one in Ledger.read(ledger).committed}
    assert kinds == {kind.name for kind in KINDS}


def test_commits_lost_with_the_server_are_found(
    cluster: Cluster, database: str, sample: Sample, tmp_path: Path
) -> None:
    """A server that answers before it has written loses the last commits, as one that is restored does."""
    ledger = tmp_path / "ledger"
    cluster.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    cluster.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    cluster.execute("ALTER SYSTEM SET wal_writer_flush_after = '100MB'")
    cluster.execute("SELECT pg_reload_conf()")
    try:
        with _load(cluster.dsn(database, "erp_owner"), ledger) as load:
            _wait_for(ledger, 300)
            _wait_for_unwritten(cluster)
            cluster.kill()
            load.communicate(timeout=30)
    finally:
        cluster.start()
        cluster.execute("ALTER SYSTEM RESET ALL")
        cluster.execute("SELECT pg_reload_conf()")
    reached = re.findall(r"redo done at ([0-9A-F]+/[0-9A-F]+)", (cluster.data / "server.log").read_text())[-1]

    report = _prove(cluster, database, sample, ledger, reached)

    assert report.lost
    assert report.rows_lost > len(report.lost)
    assert report.first_lost_commit_time is not None
    assert report.explained
    # Had recovery said that it came further, each of them would be a loss that must not be.
    further = Ledger.read(ledger).compare_survivors([], "FFFFFFFF/0")
    # (Of a commit that the server answered with its last breath, the position could not be asked any more.)
    assert set(further.lost_before_reached_lsn) >= {one for one in report.lost if one.lsn is not None}
    assert not further.explained


def test_load_killed_itself(cluster: Cluster, database: str, sample: Sample, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with _load(cluster.dsn(database, "erp_owner"), ledger) as load:
        _wait_for(ledger, 200)
        load.send_signal(signal.SIGKILL)
        load.wait(timeout=10)
    _wait_for_nobody(cluster, database)

    report = _prove(cluster, database, sample, ledger)

    assert report.lost == ()
    assert report.explained


def _wait_for_nobody(cluster: Cluster, database: str) -> None:
    """Wait until the server has noticed that its clients are gone."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        deadline = time.monotonic() + 20
        while connection.execute(query, (database,)).fetchone() != (0,):
            assert time.monotonic() < deadline, "backends of the killed load are still there"
            time.sleep(0.05)


def test_reconnect_goes_on_after_an_outage(cluster: Cluster, database: str, sample: Sample, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with _load(cluster.dsn(database, "erp_owner"), ledger, "--reconnect", "--rate", "150") as load:
        _wait_for(ledger, 50)
        # Sent away one by one, as by an administrator ...
        cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'erp load'")
        _wait_for(ledger, ledger.read_bytes().count(b'"committed"') + 50)
        # ... and all at once.
        cluster.kill()
        time.sleep(1)
        assert load.poll() is None
        before = ledger.read_bytes().count(b'"committed"')
        cluster.start()
        _wait_for(ledger, before + 100)
        load.terminate()
        output, _ = load.communicate(timeout=30)

    assert load.returncode == 0, output
    assert "told to stop" in output
    assert _prove(cluster, database, sample, ledger).explained


def test_a_row_changed_behind_the_ledgers_back_is_found(
    cluster: Cluster, database: str, sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger"
    options = ["--seconds", "1", "--connections", "2"]
    assert main(["load", "--dsn", cluster.dsn(database, "erp_user"), "--ledger", str(ledger), *options]) == 0
    assert "the time is over" in capsys.readouterr().out
    _prove(cluster, database, sample, ledger)

    # One cent in one row; the number of rows is as it was, and no trigger tells.
    cluster.execute("ALTER TABLE financial.journal_lines DISABLE TRIGGER ALL", database)
    cluster.execute(
        "UPDATE financial.journal_lines SET debit = debit + 0.01"
        " WHERE ctid = (SELECT ctid FROM financial.journal_lines WHERE debit > 0 LIMIT 1)",
        database,
    )

    read = Ledger.read(ledger)
    with connect(cluster.dsn(database), application="test") as connection:
        surviving = surviving_transactions(connection, read)
    expected = expected_checksums(sample.fingerprint, read, surviving)
    mismatches = compare_checksums(expected, fingerprint(cluster.dsn(database)))
    assert [mismatch.table for mismatch in mismatches] == ["financial.journal_lines"]


def test_the_hosts_own_fingerprint_goes_with_the_ledger(
    cluster: Cluster, database: str, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pgdr fingerprint` gives references that can be reckoned with: same tables, same names, same sums."""
    monkeypatch.setenv("PGUSER", "postgres")
    host = HostConfig(
        stanza="erp",
        cluster_name="erp-test",
        database=database,
        postgresql_version=16,
        data_directory=cluster.data,
        bin_directory=cluster.data,
        socket_directory=cluster.folder,
    )
    before = _tables(take(host))
    assert before == sample.fingerprint
    ledger = tmp_path / "ledger"
    assert main(["load", "--dsn", cluster.dsn(database, "erp_user"), "--ledger", str(ledger), "--seconds", "1"]) == 0

    after = _tables(take(host))

    read = Ledger.read(ledger)
    survivors = [one.txn_id for one in read.committed]
    assert after != before
    assert compare_checksums(expected_checksums(before, read, survivors), after) == []


def _tables(found: Fingerprint) -> dict[str, dict[str, int]]:
    """As they are in the JSON of the command."""
    tables: dict[str, dict[str, int]] = found.model_dump(mode="json", include={"tables"})["tables"]
    return {name: {key: figures[key] for key in ("rows", "sum0", "sum1")} for name, figures in tables.items()}


class _CheckedLedger(LedgerWriter):
    """Asks the server what the transaction really touched, before it commits."""

    connection: Connection
    checked: set[str]

    def begin(self, txn_id: UUID, kind: str, xid: int, orders: tuple[int, ...], changes: dict[str, Change]) -> None:
        assert self.connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        rows = self.connection.execute(
            "SELECT n.nspname || '.' || c.relname, sum(s.n_tup_ins - s.n_tup_del)::bigint,"
            " sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del)::bigint"
            " FROM pg_stat_xact_user_tables s JOIN pg_class c ON c.oid = coalesce(pg_partition_root(s.relid), s.relid)"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0 GROUP BY 1"
        ).fetchall()
        assert {table: net for table, net, _ in rows} == {table: change.rows for table, change in changes.items()}
        assert all(0 < changes[table].touched <= tuples for table, _, tuples in rows)
        self.checked.add(kind)
        super().begin(txn_id, kind, xid, orders, changes)


def test_every_table_that_a_transaction_touches_is_measured(cluster: Cluster, database: str, tmp_path: Path) -> None:
    with connect(cluster.dsn(database, "erp_owner"), application="test") as connection:
        tenants = read_tenants(connection)
    ledger = _CheckedLedger(tmp_path / "ledger", uuid4(), seed=1)
    with ledger:
        ledger.checked = set()
        worker = Worker(0, uuid4(), 1, tenants, ledger)
        by_name = {kind.name: kind for kind in KINDS}
        for name in ("order",) * 8 + ("invoice", "payment", "invoice", "stock", "delete"):
            # The statistics of a transaction are only its own on a new connection.
            with connect(cluster.dsn(database, "erp_owner"), application="test") as connection:
                ledger.connection = connection
                worker.transact(connection, by_name[name])
        assert ledger.checked == set(by_name)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.CrashShutdown(), True),
        (psycopg.errors.DeadlockDetected(), False),
        (psycopg.errors.DiskFull(), False),
    ],
)
def test_a_servers_goodbye_leaves_a_commit_in_doubt(cluster: Cluster, error: psycopg.Error, *, lost: bool) -> None:
    """It may arrive before the connection is seen to be closed."""
    with connect(cluster.dsn(), application="test") as connection:
        assert is_lost(connection, error) is lost


def test_rate_is_kept(cluster: Cluster, database: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    begun = time.monotonic()

    arguments = ["--ledger", str(ledger), "--rate", "40", "--seconds", "2"]
    assert main(["load", "--dsn", cluster.dsn(database, "erp_owner"), *arguments]) == 0

    seconds = time.monotonic() - begun
    assert 20 <= len(Ledger.read(ledger).committed) <= 40 * seconds + 1


def test_load_refuses_what_is_not_the_sample(
    cluster: Cluster, empty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["load", "--ledger", str(tmp_path / "ledger"), "--seconds", "1"]

    assert main([*arguments, "--dsn", cluster.dsn(empty, "erp_owner")]) == ExitCode.REFUSED
    assert "no finished ERP sample (run `erp create` first)" in capsys.readouterr().err
    assert main([*arguments, "--dsn", "host=/nowhere"]) == ExitCode.UNREACHABLE
    assert len(capsys.readouterr().err.splitlines()) == 1
    # More connections than the server has.
    assert main([*arguments, "--dsn", cluster.dsn("postgres"), "--connections", "101"]) == ExitCode.USAGE
    capsys.readouterr()
    cluster.execute(f"ALTER DATABASE {empty} CONNECTION LIMIT 2")
    assert main([*arguments, "--dsn", cluster.dsn(empty, "erp_owner")]) == ExitCode.UNREACHABLE
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "ledger").exists()


def test_a_refused_transaction_ends_the_load_with_its_reason(
    cluster: Cluster, database: str, sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.execute("ALTER TABLE sales.orders ADD CONSTRAINT no_more CHECK (id < 0) NOT VALID", database)
    ledger = tmp_path / "ledger"

    code = main(["load", "--dsn", cluster.dsn(database, "erp_owner"), "--ledger", str(ledger), "--seconds", "20"])

    assert code == ExitCode.FAILED
    assert 'violates check constraint "no_more"' in capsys.readouterr().err.splitlines()[-1]
    _prove(cluster, database, sample, ledger)
