"""Heartbeats on a real server: one a minute, the old ones go, and nobody else's table is trusted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pgdr import heartbeat
from pgdr.cli.main import main
from pgdr.errors import ExitCode, RefusedError, UnreachableError
from pgdr.hostconfig import HostConfig

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, ClusterFactory


@pytest.fixture
def host(pg16: Cluster, tmp_path: Path) -> HostConfig:
    return pg16.host(tmp_path, pg16.create_database("beats"))


def _file(host: HostConfig, tmp_path: Path) -> str:
    path = tmp_path / "host.yml"
    path.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    return str(path)


def test_writes_rows_and_prunes_old_ones(pg16: Cluster, host: HostConfig) -> None:
    assert heartbeat.initialise(host)
    first = heartbeat.beat(host)
    assert first is not None
    pg16.execute(
        "insert into pgdr.heartbeat (beat_at) values (now() - interval '9 days'), (now() - interval '7 days')", "beats"
    )
    second = heartbeat.beat(host)
    assert second is not None
    assert second.at > first.at
    assert second.at.utcoffset() is not None
    assert pg16.value("select count(*) from pgdr.heartbeat", "beats") == 3
    with pg16.connect("beats") as connection:
        assert heartbeat.newest(connection) == second


def test_init_is_safe_to_repeat_and_grants_only_reading(pg16: Cluster, host: HostConfig) -> None:
    assert heartbeat.initialise(host)
    heartbeat.beat(host)
    assert not heartbeat.initialise(host)
    assert pg16.value("select count(*) from pgdr.heartbeat", "beats") == 1
    rights = pg16.value(
        "select array_agg(grantee || ' ' || privilege_type order by 1)::text from information_schema.role_table_grants"
        " where table_schema = 'pgdr' and grantee <> 'postgres'",
        "beats",
    )
    assert rights == '{"pg_monitor SELECT"}'
    assert not pg16.value("select has_schema_privilege('public', 'pgdr', 'usage')", "beats")


@pytest.mark.parametrize(
    "trap",
    [
        "create schema pgdr authorization stranger",
        "create schema pgdr; create table pgdr.heartbeat (id int); alter table pgdr.heartbeat owner to stranger",
    ],
)
def test_refuses_what_somebody_else_prepared(pg16: Cluster, host: HostConfig, trap: str) -> None:
    """A trigger on such a table would run as superuser."""
    pg16.execute("drop role if exists stranger; create role stranger; " + trap, "beats")
    with pytest.raises(RefusedError, match="belongs to 'stranger'"):
        heartbeat.initialise(host)
    pg16.execute("drop schema pgdr cascade; drop role stranger", "beats")


def test_a_missing_table_names_the_remedy(host: HostConfig, pg16: Cluster) -> None:
    with pytest.raises(RefusedError, match="pgdr heartbeat --init"):
        heartbeat.beat(host)
    with pg16.connect("beats") as connection:
        assert heartbeat.newest(connection) is None


def test_a_stopped_server_is_one_line_and_exit_code_7(
    host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gone = host.model_copy(update={"port": 5999})
    with pytest.raises(UnreachableError):
        heartbeat.beat(gone)
    assert main(["--config", _file(gone, tmp_path), "heartbeat"]) == ExitCode.UNREACHABLE
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("pgdr: error: PostgreSQL at ")
    assert "systemctl status postgresql@16-main" in err


def test_the_command_says_nothing_when_all_is_well(
    pg16: Cluster, host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = _file(host, tmp_path)
    assert main(["--config", config, "heartbeat", "--init"]) == 0
    assert capfd.readouterr() == ("created pgdr.heartbeat\n", "")
    assert main(["--config", config, "heartbeat"]) == 0
    assert capfd.readouterr() == ("", "")
    assert pg16.value("select count(*) from pgdr.heartbeat", "beats") == 1


def test_a_standby_is_no_error(
    pg16: Cluster,
    host: HostConfig,
    new_cluster: ClusterFactory,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Cron runs the same line on both: one line, exit code 0, and no backup from there."""
    heartbeat.initialise(host)
    heartbeat.beat(host)
    standby = new_cluster(16, start=False)
    pg16.client("pg_basebackup", "-D", str(standby.data), "-R", "-X", "stream", "-c", "fast", "--no-sync")
    standby.configure({"hot_standby": "on"})
    standby.start()
    there = standby.host(tmp_path, "beats")
    assert heartbeat.beat(there) is None
    with standby.connect("beats") as connection:
        assert heartbeat.newest(connection) is not None
    with pytest.raises(RefusedError, match="standby"):
        heartbeat.initialise(there)
    config = _file(there, tmp_path)
    assert main(["--config", config, "heartbeat"]) == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("", "pgdr: erp-test is a standby: no heartbeat written\n")
    (tmp_path / "pgbackrest.conf").write_text("[global]\nrepo1-path=/nowhere\n")
    config = _file(there.model_copy(update={"pgbackrest_config": tmp_path / "pgbackrest.conf"}), tmp_path)
    assert main(["--config", config, "backup", "incr"]) == ExitCode.REFUSED
    assert "is a standby or still recovers" in capfd.readouterr().err
    assert '"result":"refused"' in there.journal_path.read_text()
    standby.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets another database user than postgres here")
def test_a_refused_login_is_not_taken_for_an_unreachable_server(
    host: HostConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGUSER", "nobody-knows")
    with pytest.raises(RefusedError, match="run as postgres"):
        heartbeat.beat(host)
