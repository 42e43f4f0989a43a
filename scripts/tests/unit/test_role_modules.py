"""The modules that two roles bring: what they take for a cluster, and for an empty device."""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"


def _load(role: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROLES / role / "library" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


cluster_info = _load("postgresql", "postgresql_cluster_info")
volume_info = _load("backup_volume", "backup_volume_info")


class Runner:
    """Runs programs as Ansible's module would, and nothing else."""

    def get_bin_path(self, name: str, *, required: bool = False) -> str | None:
        found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert found or not required, f"{name} is missing on this machine"
        return found

    def run_command(self, argv: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        environment = {**os.environ, **(environ_update or {})}
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory as initdb leaves it, as far as its look is concerned."""
    folder = tmp_path / "main"
    (folder / "global").mkdir(parents=True)
    (folder / "global" / "pg_control").write_bytes(b"control")
    (folder / "PG_VERSION").write_text("17\n", encoding="ascii")
    return folder


def test_a_cluster_is_one(data: Path) -> None:
    assert cluster_info.data_state(data) == {"data": "cluster", "data_version": "17", "data_first_entry": "PG_VERSION"}


def test_a_restore_that_was_cut_off_is_no_cluster(data: Path) -> None:
    (data / "global" / "pg_control").unlink()
    assert cluster_info.data_state(data)["data"] == "unfinished"


def test_other_files_are_no_cluster(data: Path) -> None:
    (data / "PG_VERSION").unlink()
    assert cluster_info.data_state(data)["data"] == "occupied"
    assert cluster_info.data_state(data)["data_first_entry"] == "global"


def test_nothing_is_told_from_no_place(tmp_path: Path) -> None:
    assert cluster_info.data_state(tmp_path)["data"] == "empty"
    assert cluster_info.data_state(tmp_path / "missing")["data"] == "absent"


def test_a_server_runs_only_if_the_process_has_this_directory(data: Path, tmp_path: Path) -> None:
    assert not cluster_info.is_running(data)
    other = tmp_path / "other"
    program = "print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "-D", str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        for folder in (data, other):
            folder.mkdir(exist_ok=True)
            (folder / "postmaster.pid").write_text(f"{server.pid}\n{folder}\n", encoding="ascii")
        assert cluster_info.is_running(data)
        # The number of a process that died is another process's one day.
        assert not cluster_info.is_running(other)
        server.communicate(b"\n")
    assert not cluster_info.is_running(data)


def test_packages_that_are_not_there_are_missing() -> None:
    names = ["util-linux", "no-such-package-1", "coreutils"]
    assert cluster_info.missing_packages(Runner(), names) == ["no-such-package-1"]
    assert cluster_info.missing_packages(Runner(), []) == []


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """An image file of 8 MiB that holds nothing."""
    image = tmp_path / "device.img"
    with image.open("wb") as stream:
        stream.truncate(8 * 2**20)
    return image


def test_an_empty_device_holds_nothing(device: Path) -> None:
    assert volume_info.holds(Runner(), device, "pgdr-backups") == "nothing"


@pytest.mark.parametrize("offset", [0, 4096, 2**20 - 1])
def test_a_byte_of_unknown_data_is_something(device: Path, offset: int) -> None:
    with device.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"x")
    assert volume_info.holds(Runner(), device, "pgdr-backups") == "data of an unknown kind"


def test_a_signature_is_named(device: Path) -> None:
    _run("mkswap", str(device))
    assert volume_info.holds(Runner(), device, "pgdr-backups") == "swap"


def test_a_partition_table_is_named(device: Path) -> None:
    # The smallest of them: the mark at the end of the first sector, and one entry.
    with device.open("r+b") as stream:
        stream.seek(446)
        stream.write(bytes([0, 0, 2, 0, 0x83, 0, 2, 0, 1, 0, 0, 0, 100, 0, 0, 0]))
        stream.seek(510)
        stream.write(b"\x55\xaa")
    assert volume_info.holds(Runner(), device, "pgdr-backups") == "dos"


@pytest.mark.skipif(shutil.which("mkfs.xfs", path="/usr/sbin:/sbin") is None, reason="mkfs.xfs is not installed")
@pytest.mark.parametrize(("label", "held"), [("pgdr-backups", "ours"), ("somebodys", "xfs")])
def test_only_the_file_system_with_our_label_is_ours(tmp_path: Path, label: str, held: str) -> None:
    image = tmp_path / "xfs.img"
    with image.open("wb") as stream:
        stream.truncate(320 * 2**20)
    _run("mkfs.xfs", "-q", "-L", label, str(image))
    assert volume_info.holds(Runner(), image, "pgdr-backups") == held


def test_a_folder_is_as_wanted_only_with_owner_group_and_mode(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {
        "owner": pwd.getpwuid(os.getuid()).pw_name,
        "group": grp.getgrgid(os.getgid()).gr_name,
        "mode": "0750",
    }
    folder = tmp_path / "backups"
    assert not volume_info.as_wanted(folder, wanted)
    folder.mkdir(mode=0o700)
    assert not volume_info.as_wanted(folder, wanted)
    folder.chmod(0o750)
    assert volume_info.as_wanted(folder, wanted)
    assert not volume_info.as_wanted(folder, {**wanted, "owner": "nobody"})
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert not volume_info.as_wanted(link, wanted)


def test_the_nearest_folder_that_exists_is_found(tmp_path: Path) -> None:
    assert volume_info.nearest_existing(tmp_path / "a" / "b") == tmp_path


def _run(program: str, *arguments: str) -> None:
    found = Runner().get_bin_path(program, required=True)
    assert found is not None
    subprocess.run([found, *arguments], check=True, capture_output=True)
