"""A restore point is a name that a recovery finds again: checked, unique, journaled, listed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pgdr import restorepoint
from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.relationmap import RelationMap, relation_map

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, ClusterFactory


@pytest.fixture
def host(pg16: Cluster, tmp_path: Path) -> HostConfig:
    return pg16.host(tmp_path, pg16.create_database("points"))


def _file(host: HostConfig, tmp_path: Path) -> str:
    path = tmp_path / "host.yml"
    path.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    return str(path)


def test_is_in_wal_in_the_journal_and_known(
    pg16: Cluster, host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = _file(host, tmp_path)
    before = pg16.value("select pg_walfile_name(pg_current_wal_lsn())")
    assert main(["--config", config, "restore-point", "before release 42", "--output", "json"]) == 0
    made = json.loads(capfd.readouterr().out)
    assert made["segment"] == before
    assert pg16.value("select pg_walfile_name(pg_current_wal_insert_lsn())") > before  # closed: it can be archived
    dump = pg16.program("pg_waldump", "-r", "XLOG", str(pg16.data / "pg_wal" / made["segment"]))
    assert "RESTORE_POINT before release 42" in dump
    entry = list(Journal(host.journal_path).entries())[-1]
    assert (entry.operation, entry.result, entry.details["lsn"]) == ("restore-point", "ok", made["lsn"])
    assert [(point.name, point.lsn) for point in restorepoint.known(host)] == [("before release 42", made["lsn"])]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "cannot name a restore point"),
        (" x", "cannot name a restore point"),
        ("a\nb", "cannot name a restore point"),
        ("ü" * 32, "has 64 bytes"),
    ],
)
def test_a_name_that_cannot_be_a_target_is_refused(
    host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert main(["--config", _file(host, tmp_path), "restore-point", "--", name]) == ExitCode.REFUSED
    err = capfd.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert [entry.result for entry in Journal(host.journal_path).entries()] == ["refused"]


def test_a_point_that_the_journal_cannot_take_is_said_with_its_place(
    host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host.journal_path.with_name(f".journal.head.{os.getpid()}.new").mkdir()  # as a full disk: there is no room for it
    assert main(["--config", _file(host, tmp_path), "restore-point", "q1"]) == ExitCode.CONFIG
    err = capfd.readouterr().err
    assert "restore point 'q1' is written; the journal does not say so: cannot write" in err
    assert re.search(r"this moment is --target-lsn [0-9A-F]+/[0-9A-F]+;", err)
    assert not host.journal_path.exists()


def test_a_name_is_used_once(host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = _file(host, tmp_path)
    assert main(["--config", config, "restore-point", "ü" * 31]) == 0
    assert main(["--config", config, "restore-point", "ü" * 31]) == ExitCode.REFUSED
    assert "exists since" in capfd.readouterr().err


def test_refused_on_a_standby(new_cluster: ClusterFactory, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cluster = new_cluster(16)
    cluster.stop()
    (cluster.data / "standby.signal").touch()
    cluster.start()
    host = cluster.host(tmp_path)
    assert main(["--config", _file(host, tmp_path), "restore-point", "x"]) == ExitCode.REFUSED
    assert "is a standby" in capfd.readouterr().err
    assert restorepoint.known(host) == []


def test_files_of_the_past_are_remembered(pg16: Cluster, host: HostConfig, tmp_path: Path) -> None:
    """After TRUNCATE and DROP the catalog has forgotten the files; the host has not."""
    pg16.execute(
        "create schema sales; create table sales.orders (id int primary key, note text) partition by range (id);"
        " create table sales.orders_1 partition of sales.orders for values from (0) to (10)",
        "points",
    )
    old = pg16.value("select pg_relation_filenode('sales.orders_1')", "points")
    config = _file(host, tmp_path)
    assert main(["--config", config, "restore-point", "one"]) == 0
    pg16.execute("truncate sales.orders", "points")
    assert main(["--config", config, "heartbeat", "--init"]) == 0
    assert not relation_map(host).due()
    assert main(["--config", config, "restore-point", "two"]) == 0
    new = pg16.value("select pg_relation_filenode('sales.orders_1')", "points")
    pg16.execute("drop table sales.orders", "points")
    assert main(["--config", config, "restore-point", "three"]) == 0
    found = {item.filenode: item for item in RelationMap(host.state_directory / "relations.sqlite").relations()}
    assert old != new
    for node in (old, new):
        assert (found[node].schema, found[node].name, found[node].root_name) == ("sales", "orders_1", "orders")
    toast = [item for item in found.values() if item.kind == "t" and item.table_name == "orders_1"]
    assert toast
    assert {item.root_name for item in toast} == {"orders"}


def test_the_first_heartbeat_of_an_hour_remembers(host: HostConfig, tmp_path: Path) -> None:
    config = _file(host, tmp_path)
    assert main(["--config", config, "heartbeat", "--init"]) == 0
    assert main(["--config", config, "heartbeat"]) == 0
    stamp = relation_map(host).path.stat().st_mtime_ns
    assert "heartbeat" in {item.name for item in relation_map(host).relations()}
    assert main(["--config", config, "heartbeat"]) == 0
    assert relation_map(host).path.stat().st_mtime_ns == stamp
