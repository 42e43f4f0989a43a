"""The builder of the wheelhouse: which wheels a host needs, and when an archive is a new one."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUILDER = ROOT / "roles/pgdr/files/build_wheelhouse.py"
HASH = "sha256:" + "0" * 64
LOCK = f"""\
# made by uv
alpha==1.0 \\
    --hash={HASH} \\
    --hash=sha256:{"1" * 64}
    # via pgdr
beta==2.0 ; sys_platform == 'win32' \\
    --hash={HASH}
gamma==3.0 ; python_full_version < '3.13' and platform_machine == 'x86_64' \\
    --hash={HASH}
delta==4.0.post1 ; implementation_name != 'pypy' \\
    --hash={HASH}
"""


def _builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_wheelhouse", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builder = _builder()


def _names(python: str, machine: str = "x86_64") -> list[str]:
    return [line.split("==")[0] for line in builder.requirements(LOCK, builder.Target(python, machine))]


def test_markers_are_judged_for_the_host_and_not_for_the_control_node() -> None:
    assert _names("3.13") == ["alpha", "delta"]
    assert _names("3.12") == ["alpha", "gamma", "delta"]
    assert _names("3.12", "aarch64") == ["alpha", "delta"]


def test_every_hash_stays_with_its_requirement() -> None:
    first = builder.requirements(LOCK, builder.Target("3.13", "x86_64"))[0]
    assert first == f"alpha==1.0 --hash={HASH} --hash=sha256:{'1' * 64}"


@pytest.mark.parametrize(
    "lock", ["alpha==1.0\n", f"alpha>=1.0 \\\n    --hash={HASH}\n", f"./alpha \\\n    --hash={HASH}\n"]
)
def test_a_requirement_that_is_not_pinned_by_hash_is_refused(lock: str) -> None:
    with pytest.raises(builder.WheelhouseError, match="not understood or has no hash"):
        builder.requirements(lock, builder.Target("3.13", "x86_64"))


def test_the_real_lock_is_understood() -> None:
    lock = (ROOT / "scripts/requirements-host.lock").read_text(encoding="utf-8")
    names = [line.split("==")[0] for line in builder.requirements(lock, builder.Target("3.13", "x86_64"))]
    assert {"psycopg-binary", "pydantic-core", "typer"} <= set(names)
    assert "colorama" not in names


@pytest.mark.parametrize(
    ("python", "machine"), [("3", "x86_64"), ("2.7", "x86_64"), ("3.13", "../x"), ("3.13", "x86 64")]
)
def test_a_strange_host_is_refused(python: str, machine: str) -> None:
    with pytest.raises(builder.WheelhouseError, match="not a Python version and a processor"):
        builder.Target(python, machine)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with what a wheelhouse is made of."""
    root = tmp_path / "project"
    (root / "scripts/src/pgdr").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "scripts/src/pgdr/__init__.py"):
        (root / name).write_text("x", encoding="utf-8")
    (root / "lock").write_text(LOCK, encoding="utf-8")
    return root


def _id(project: Path, python: str = "3.13", machine: str = "x86_64") -> str:
    return str(builder.identity(project, project / "lock", builder.Target(python, machine)))


def test_a_change_of_what_goes_in_makes_a_new_wheelhouse(project: Path) -> None:
    seen = {_id(project), _id(project, "3.12"), _id(project, machine="aarch64")}
    for name in ("pyproject.toml", "lock", "scripts/src/pgdr/__init__.py"):
        (project / name).write_text((project / name).read_text() + "# more\n", encoding="utf-8")
        seen.add(_id(project))
    (project / "scripts/src/pgdr/new.py").write_text("", encoding="utf-8")
    seen.add(_id(project))
    assert len(seen) == 7


def test_nothing_else_does(project: Path) -> None:
    before = _id(project)
    (project / "scripts/src/pgdr/__pycache__").mkdir()
    (project / "scripts/src/pgdr/__pycache__/x.pyc").write_bytes(b"x")
    (project / "notes.txt").write_text("x", encoding="utf-8")
    assert _id(project) == before


def _main(project: Path, *more: str) -> int:
    return int(
        builder.main(
            [
                f"--project={project}",
                f"--lock={project / 'lock'}",
                f"--cache={project / 'cache'}",
                "--python=3.13",
                "--machine=x86_64",
                *more,
            ]
        )
    )


def test_a_preview_names_the_archive_and_builds_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(project, "--dry-run") == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["built"] is False
    assert said["archive"].endswith(f"/cache/{said['id']}.tar")
    assert not (project / "cache").exists()


def test_an_archive_in_the_cache_is_used(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "cache").mkdir()
    (project / "cache" / f"{_id(project)}.tar").write_bytes(b"built before")
    assert _main(project) == 0
    assert json.loads(capsys.readouterr().out)["built"] is False


def test_a_failure_is_told_and_leaves_nothing_behind(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "lock").write_text("alpha\n", encoding="utf-8")
    assert _main(project) == 1
    assert "wheelhouse: a line of the lock" in capsys.readouterr().err
    assert list((project / "cache").iterdir()) == []


def test_an_archive_holds_the_wheels_and_their_requirements_and_is_the_same_each_time(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "pgdr-0.1.0-py3-none-any.whl").write_bytes(b"wheel")
    own = builder._own_requirement(wheels)
    assert own == f"pgdr==0.1.0 --hash=sha256:{hashlib.sha256(b'wheel').hexdigest()}"
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for archive in archives:
        builder._pack(archive, wheels, f"{own}\n")
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as tar:
        assert tar.getnames() == ["requirements.txt", "wheels/pgdr-0.1.0-py3-none-any.whl"]


def test_the_cache_does_not_grow_for_ever(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.tar").write_bytes(b"")
    builder._forget_old(tmp_path)
    assert len(list(tmp_path.iterdir())) == 8
