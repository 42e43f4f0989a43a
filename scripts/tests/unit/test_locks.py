"""Operation locks between real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pgdr.errors import BusyError, ConfigError
from pgdr.hostconfig import HostConfig
from pgdr.locks import Holder, holder, lock_path, operation_lock

_HOLD = """
import sys, time
from pgdr.hostconfig import load
from pgdr.locks import operation_lock
from pathlib import Path
with operation_lock(load(Path(sys.argv[1])), "full backup"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def config(tmp_path: Path) -> HostConfig:
    values = {
        "stanza": "erp",
        "cluster_name": "erp-test",
        "database": "erp",
        "postgresql_version": 16,
        "data_directory": str(tmp_path),
        "bin_directory": str(tmp_path),
        "run_directory": str(tmp_path / "run"),
    }
    (tmp_path / "run").mkdir()
    (tmp_path / "host.yml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return HostConfig.model_validate(values)


def _hold(config: HostConfig, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds the lock when this returns."""
    path = config.run_directory.parent / "host.yml"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def test_gives_way_at_once_and_says_to_whom(config: HostConfig) -> None:
    other = _hold(config, 30)
    try:
        began = time.monotonic()
        with (
            pytest.raises(BusyError, match=rf"full backup \(process {other.pid}\) since 20\d\d-.*\+00:00"),
            operation_lock(config, "incremental backup"),
        ):
            pytest.fail("both hold the lock")
        assert time.monotonic() - began < 1
        found = holder(config)
        assert found is not None
        assert found.pid == other.pid
    finally:
        _end(other)


def test_waits_for_the_other_and_tells(config: HostConfig) -> None:
    other = _hold(config, 1.5)
    told: list[Holder | None] = []
    try:
        began = time.monotonic()
        with operation_lock(config, "full backup", wait=30, on_wait=lambda who, _: told.append(who), message_every=0.5):
            waited = time.monotonic() - began
            found = holder(config)
            assert found is not None
            assert found.pid == os.getpid()
        assert 0.5 < waited < 15
        assert told
        assert told[0] is not None
        assert told[0].pid == other.pid
    finally:
        _end(other)


def test_waiting_has_a_limit(config: HostConfig) -> None:
    other = _hold(config, 30)
    try:
        began = time.monotonic()
        with pytest.raises(BusyError, match="after 1 s of waiting"), operation_lock(config, "full", wait=1):
            pytest.fail("both hold the lock")
        assert 1 <= time.monotonic() - began < 5
    finally:
        _end(other)


def test_a_killed_holder_leaves_no_lock(config: HostConfig) -> None:
    other = _hold(config, 60)
    other.send_signal(signal.SIGKILL)
    _end(other)
    assert holder(config) is None  # its note is still there, but it lives no more
    with operation_lock(config, "incremental backup"):
        found = holder(config)
        assert found is not None
        assert found.command == "incremental backup"
    assert holder(config) is None


def test_two_stanzas_do_not_meet(config: HostConfig) -> None:
    other = config.model_copy(update={"stanza": "other"})
    with operation_lock(config, "full"), operation_lock(other, "full"):
        assert lock_path(config) != lock_path(other)


def test_is_released_by_an_error(config: HostConfig) -> None:
    with pytest.raises(ZeroDivisionError), operation_lock(config, "full"):
        raise ZeroDivisionError
    with operation_lock(config, "full"):
        pass


def test_a_missing_folder_is_a_configuration_error(config: HostConfig) -> None:
    missing = config.model_copy(update={"run_directory": config.run_directory / "missing"})
    with pytest.raises(ConfigError, match="missing is missing"), operation_lock(missing, "x"):
        pytest.fail("locked nothing")
    assert not missing.run_directory.exists()
