"""The shell scripts that roles install, run as the host would run them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"
SEGMENT = "0000000100000000000000A7"
STOPS_POSTGRESQL = 255


def _render(template: Path, target: Path, **variables: Any) -> Path:
    """Render one of the roles' templates as Ansible would, and make it executable."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)  # noqa: S701 - no HTML
    environment.filters["comment"] = lambda text: f"# {text}"
    environment.filters["quote"] = lambda text: shlex.quote(str(text))
    environment.filters["dirname"] = lambda text: str(Path(text).parent)
    text = environment.from_string(template.read_text(encoding="utf-8")).render(ansible_managed="managed", **variables)
    return _program(target, text)


def _program(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def _run(*argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


@pytest.fixture
def pgbackrest(tmp_path: Path) -> Path:
    """A stand-in for the engine: it notes its arguments and does what FAKE says."""
    return _program(
        tmp_path / "pgbackrest",
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/arguments\neval "$FAKE"\n',
    )


@pytest.fixture
def restore_wal(tmp_path: Path, pgbackrest: Path) -> Path:
    """The wrapper as the role `pgdr` writes it."""
    host: Mapping[str, str] = {
        "pgbackrest_binary": str(pgbackrest),
        "pgbackrest_config": "/etc/pgbackrest/pgbackrest.conf",
        "stanza": "erp",
    }
    template = ROLES / "pgdr/templates/restore-wal.sh.j2"
    return _render(template, tmp_path / "restore-wal", __pgdr_host_config=host)


def test_only_side_instances_are_started_and_every_request_is_used_up(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "side-requests"
    folder.mkdir(parents=True)
    started = tmp_path / "started"
    _program(tmp_path / "systemctl", f'#!/bin/sh\nprintf "%s\\n" "$*" >>{started}\n')
    script = _render(
        ROLES / "pgdr/templates/side-launch.sh.j2",
        tmp_path / "side-launch",
        __pgdr_host_config={"run_directory": str(tmp_path / "run")},
    )
    secret = tmp_path / "secret"
    secret.write_text("kept")
    for name in ("past", "x y", "-now", "a.service", "sshd@x", "A", "a" * 32, "$(reboot)", "9"):
        (folder / name).touch()
    (folder / "link").symlink_to(secret)
    assert _run(script, PATH=f"{tmp_path}:{os.environ['PATH']}").returncode == 0
    assert {line for line in started.read_text().splitlines() if line.startswith("start")} == {
        "start --no-block pgdr-side@past.service",
        "start --no-block pgdr-side@link.service",
    }
    assert list(folder.iterdir()) == []
    assert secret.read_text() == "kept"


@pytest.mark.parametrize("status", [0, 1])
def test_found_and_not_found_keep_their_meaning(restore_wal: Path, status: int) -> None:
    assert _run(restore_wal, "2", SEGMENT, "pg_wal/RECOVERYXLOG", FAKE=f"exit {status}").returncode == status


@pytest.mark.parametrize(
    "fate", ["exit 2", "exit 25", "exit 49", "exit 82", "exit 103", "exit 125", "exit 200", "kill -9 $$", "kill -15 $$"]
)
def test_every_failure_stops_the_recovery(restore_wal: Path, fate: str) -> None:
    done = _run(restore_wal, "2", SEGMENT, "pg_wal/RECOVERYXLOG", FAKE=fate)
    assert done.returncode == STOPS_POSTGRESQL
    assert SEGMENT in done.stderr


def test_a_missing_engine_stops_the_recovery(restore_wal: Path, pgbackrest: Path) -> None:
    pgbackrest.unlink()
    assert _run(restore_wal, "2", SEGMENT, "target").returncode == STOPS_POSTGRESQL


def test_the_engine_is_asked_for_this_file_in_this_repository(restore_wal: Path, tmp_path: Path) -> None:
    _run(restore_wal, "2", SEGMENT, "pg_wal/with blank", FAKE="exit 0")
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "--config=/etc/pgbackrest/pgbackrest.conf",
        "--config-path=/etc/pgbackrest",
        "--stanza=erp",
        "--repo=2",
        "archive-get",
        SEGMENT,
        "pg_wal/with blank",
    ]


def test_a_side_instance_may_have_a_configuration_of_its_own(restore_wal: Path, tmp_path: Path) -> None:
    folder = "/var/lib/pgdr/side/a b"
    _run(restore_wal, "2", SEGMENT, "target", folder, f"{folder}/reader/pgbackrest.conf", FAKE="exit 0")
    assert (tmp_path / "arguments").read_text().splitlines()[:2] == [
        f"--config={folder}/reader/pgbackrest.conf",
        f"--config-path={folder}/reader",
    ]


def test_a_side_instance_leaves_the_clusters_spool_and_locks_alone(restore_wal: Path, tmp_path: Path) -> None:
    _run(restore_wal, "2", SEGMENT, "pg_wal/RECOVERYXLOG", "/var/lib/pgdr/side/past", FAKE="exit 0")
    assert (tmp_path / "arguments").read_text().splitlines()[3:] == [
        "--archive-async",  # a spool is refused without it, whatever the configuration says
        f"--pg1-path={Path.cwd()}",
        "--spool-path=/var/lib/pgdr/side/past/spool",
        "--lock-path=/var/lib/pgdr/side/past/lock-files",
        "--repo=2",
        "archive-get",
        SEGMENT,
        "pg_wal/RECOVERYXLOG",
    ]


@pytest.mark.parametrize("name", [SEGMENT, "00000002.history", f"{SEGMENT}.partial", f"{SEGMENT}.00000028.backup"])
def test_every_name_that_postgresql_asks_for_is_known(restore_wal: Path, name: str) -> None:
    assert _run(restore_wal, "1", name, "target", FAKE="exit 0").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["1", SEGMENT],
        ["1", SEGMENT, "target", "more"],
        ["1", SEGMENT, "target", "/folder", "pgbackrest.conf"],
        ["1", SEGMENT, "target", "/folder", "/pgbackrest.conf", "more"],
        ["1", SEGMENT, ""],
        ["", SEGMENT, "target"],
        ["one", SEGMENT, "target"],
        ["-1", SEGMENT, "target"],
        ["1", "", "target"],
        ["1", SEGMENT[:-1], "target"],
        ["1", SEGMENT.lower(), "target"],
        ["1", f"{SEGMENT}0", "target"],
        ["1", "../../../etc/passwd", "target"],
        ["1", f"{SEGMENT[:-1]}*", "target"],
        ["1", "x; exit 0", "target"],
        ["1", "--help", "target"],
    ],
)
def test_a_wrong_call_stops_the_recovery_and_asks_nobody(
    restore_wal: Path, tmp_path: Path, arguments: list[str]
) -> None:
    done = _run(restore_wal, *arguments, FAKE="exit 0")
    assert done.returncode == STOPS_POSTGRESQL
    assert not (tmp_path / "arguments").exists()


def test_a_server_that_shuts_down_ends_the_wrapper_by_the_signal(restore_wal: Path) -> None:
    # PostgreSQL sends SIGTERM and reads "ended by SIGTERM" as a shutdown; 255 would make it crash instead.
    with subprocess.Popen(
        [restore_wal, "1", SEGMENT, "target"], env={**os.environ, "FAKE": "exec sleep 30"}, start_new_session=True
    ) as process:
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The runner as the role `backup_schedule` writes it, with a stand-in for logger beside it."""
    _program(tmp_path / "logger", f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/journal\n')
    template = ROLES / "backup_schedule/templates/erp-backup-job.sh.j2"
    log = str(tmp_path / "cron.log")
    return _render(template, tmp_path / "job", backup_schedule_log_file=log, backup_schedule_alert_command="")


def _job(job: Path, *argv: str) -> int:
    return _run(job, *argv, PATH=f"{job.parent}:{os.environ['PATH']}", TZ="EST5").returncode


def test_each_line_of_a_job_gets_time_and_name(job: Path, tmp_path: Path) -> None:
    # A host's clock may have any zone; the log has one.
    assert _job(job, "full", "sh", "-c", r"echo one; echo two >&2; printf 'without an end'") == 0
    lines = (tmp_path / "cron.log").read_text().splitlines()
    stamped = [re.fullmatch(r"(\S+) full\[\d+\]: (.*)", line) for line in lines]
    assert [found[2] for found in stamped if found] == ["one", "two", "without an end"]
    now = datetime.now(UTC)
    times = [datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S%z") for found in stamped if found]
    assert all(abs(now - at) < timedelta(minutes=2) for at in times)
    assert not (tmp_path / "journal").exists()


def test_the_log_is_not_for_everybody(job: Path, tmp_path: Path) -> None:
    _job(job, "full", "echo", "something")
    assert (tmp_path / "cron.log").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("status", "priority"), [(1, "cron.err"), (70, "cron.err"), (6, "cron.notice")])
def test_a_job_that_fails_is_seen_and_keeps_its_status(job: Path, tmp_path: Path, status: int, priority: str) -> None:
    assert _job(job, "full", "sh", "-c", f"exit {status}") == status
    told = (tmp_path / "journal").read_text()
    assert priority in told
    assert "full" in told


def test_a_job_without_its_program_is_seen(job: Path, tmp_path: Path) -> None:
    assert _job(job, "full", "/does/not/exist") == 127
    assert "cron.err" in (tmp_path / "journal").read_text()
    assert "/does/not/exist" in (tmp_path / "cron.log").read_text()


def test_a_log_that_cannot_be_written_stops_no_backup(job: Path, tmp_path: Path) -> None:
    (tmp_path / "cron.log").mkdir()
    assert _job(job, "full", "sh", "-c", f"set -e; seq 100000; touch {tmp_path}/done") == 0
    assert (tmp_path / "done").exists()
    assert "cannot be written" in (tmp_path / "journal").read_text()


def test_a_disk_that_fills_up_under_the_log_stops_no_backup(job: Path, tmp_path: Path) -> None:
    (tmp_path / "cron.log").symlink_to("/dev/full")
    assert _job(job, "full", "sh", "-c", f"set -e; seq 100000; sleep 0.1; seq 100000; touch {tmp_path}/done") == 0
    assert (tmp_path / "done").exists()
    assert "goes on without a log" in (tmp_path / "journal").read_text()


def test_arguments_reach_the_job_as_they_are(job: Path, tmp_path: Path) -> None:
    _job(job, "full", "printf", "<%s>\\n", "two words", "$HOME", "*")
    text = (tmp_path / "cron.log").read_text()
    assert [line.split(": ", 1)[1] for line in text.splitlines()] == ["<two words>", "<$HOME>", "<*>"]
