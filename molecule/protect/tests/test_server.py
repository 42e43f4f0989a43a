"""The database server: what the policy and the inventory say is what is in force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from testinfra.host import Host

SETTINGS_FILE = "/etc/postgresql/17/main/conf.d/50-pgdr.conf"


def test_the_unit_runs_and_starts_at_boot(host: Host) -> None:
    unit = host.service("postgresql@17-main")
    if not unit.is_running:
        pytest.fail(host.run("journalctl --no-pager --unit=postgresql@17-main --lines=50").stdout)
    assert unit.is_enabled


def test_data_checksums_are_on(psql: Callable[[str], str]) -> None:
    assert psql("SHOW data_checksums") == "on"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wal_level", "replica"),
        ("archive_mode", "on"),
        ("archive_command", "pgbackrest --stanza=erp archive-push %p"),
        ("archive_timeout", "60"),
        ("shared_buffers", "16384"),
    ],
)
def test_a_setting_is_in_force_and_comes_from_our_file(psql: Callable[[str], str], name: str, value: str) -> None:
    query = f"SELECT setting || '|' || sourcefile FROM pg_settings WHERE name = '{name}'"  # noqa: S608 - a constant
    assert psql(query) == f"{value}|{SETTINGS_FILE}"


def test_nothing_waits_for_a_restart_and_no_file_has_a_fault(psql: Callable[[str], str]) -> None:
    assert psql("SELECT name FROM pg_settings WHERE pending_restart") == ""
    assert psql("SELECT name FROM pg_file_settings WHERE error IS NOT NULL") == ""
    assert psql("SELECT line_number FROM pg_hba_file_rules WHERE error IS NOT NULL") == ""


def test_the_order_of_text_does_not_depend_on_the_operating_system(psql: Callable[[str], str]) -> None:
    query = "SELECT concat_ws(' ', datlocprovider, datlocale) FROM pg_database WHERE datname = current_database()"
    assert psql(query) == "b C.UTF-8"


def test_the_cluster_that_lost_its_configuration_is_the_same_cluster(psql: Callable[[str], str]) -> None:
    query = "SELECT a.row FROM adopted a JOIN pg_control_system() c USING (system_identifier)"
    assert psql(query) == "1"


def test_no_second_cluster_and_no_scratch_is_left(host: Host) -> None:
    clusters = host.check_output("pg_lsclusters --no-header").strip().splitlines()
    assert [line.split()[:2] for line in clusters] == [["17", "main"]]
    assert host.check_output("ls -A /var/lib/postgresql/17").split() == ["main"]


def test_the_owner_logs_in_over_tls_with_a_scram_password(lab: Path, host: Host, psql: Callable[[str], str]) -> None:
    assert psql("SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'erp_owner'") == "t"
    address = host.check_output("hostname -I").split()[0]
    password = (lab / "secrets" / "erp-password").read_text(encoding="ascii").strip()
    with psycopg.connect(
        host=address, dbname="erp_generic", user="erp_owner", password=password, sslmode="require"
    ) as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert row == (True,)


def test_nobody_gets_in_without_tls_or_with_a_wrong_password(lab: Path, host: Host) -> None:
    address = host.check_output("hostname -I").split()[0]
    password = (lab / "secrets" / "erp-password").read_text(encoding="ascii").strip()
    target = f"host={address} dbname=erp_generic user=erp_owner connect_timeout=10"
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(target, password=password, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(target, password="wrong", sslmode="require")  # noqa: S106 - wrong on purpose
