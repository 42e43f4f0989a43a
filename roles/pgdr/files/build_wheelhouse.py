"""Build the wheelhouse from which a database host installs ``pgdr`` without a package index.

Runs on the control node, with its virtual environment. One archive holds the wheels of every locked dependency
for the host's Python and processor, our own wheel, and a ``requirements.txt`` that pins each by its hash. The
archive is cached by what went into it: the lock, our sources, Python version and processor.

Prints one line of JSON: ``archive``, ``id``, ``built`` (false where the cache had it or with ``--dry-run``).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.markers import Marker

# Wheels for glibc from the oldest that manylinux knows to that of the oldest supported host (Debian 12: 2.36).
_GLIBC_MINORS = range(5, 37)
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
# Files of the project that our wheel is made of.
_SOURCES = ("pyproject.toml", "README.md", "scripts/src")
_ERROR_LINES = 12
# Archives that stay in the cache: a few kinds of hosts, and the way back to former releases.
_KEPT_ARCHIVES = 8


class WheelhouseError(Exception):
    """The wheelhouse cannot be built; the message is for the person at the keyboard."""


class Target:
    """The host that the wheels are for.

    Args:
        python: its Python, such as ``3.13``.
        machine: its processor as the kernel names it, such as ``x86_64``.
    """

    def __init__(self, python: str, machine: str) -> None:
        if not re.fullmatch(r"3\.\d{1,2}", python) or not re.fullmatch(r"[a-z0-9_]+", machine):
            raise WheelhouseError(f"not a Python version and a processor: {python!r}, {machine!r}")
        self.python = python
        self.machine = machine
        self.tag = "cp" + python.replace(".", "")

    @property
    def marker_environment(self) -> dict[str, str]:
        """What the environment markers of the lock see on that host."""
        return {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    @property
    def pip_options(self) -> list[str]:
        """What makes pip choose wheels for that host and not for this one."""
        platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in _GLIBC_MINORS]
        platforms += [f"{old}_{self.machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1")]
        return [
            f"--python-version={self.python}",
            "--implementation=cp",
            *(f"--abi={abi}" for abi in (self.tag, "abi3", "none")),
            *(f"--platform={platform}" for platform in platforms),
        ]


def identity(project: Path, lock: Path, target: Target) -> str:
    """Return the name of the wheelhouse: a hash of everything that goes into it, Python and processor."""
    digest = hashlib.sha256()
    for path in [Path(__file__), lock, *_sources(project)]:
        name = path.relative_to(project) if path.is_relative_to(project) else path.name
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return f"{digest.hexdigest()[:16]}-py{target.python}-{target.machine}"


def requirements(lock: str, target: Target) -> list[str]:
    """Return the locked requirements that apply on the host, each one line with its hashes.

    pip judges environment markers by the Python that it runs under, which is the control node's, so they are
    judged here.
    """
    chosen: list[str] = []
    for block in _blocks(lock):
        first = block.splitlines()[0].strip()
        found = _REQUIREMENT.match(first)
        hashes = _HASH.findall(block)
        if found is None or not hashes:
            raise WheelhouseError(f"a line of the lock is not understood or has no hash: {first}")
        marker = found["marker"]
        if marker is None or Marker(marker).evaluate(target.marker_environment):
            chosen.append(" ".join([f"{found['name']}=={found['version']}", *hashes]))
    if not chosen:
        raise WheelhouseError("the lock names no requirement")
    return chosen


def build(project: Path, lock: Path, target: Target, archive: Path) -> None:
    """Download and build all wheels, and put the archive in its place in one step."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".building-") as scratch:
        wheels = Path(scratch) / "wheels"
        wheels.mkdir()
        wanted = requirements(lock.read_text(encoding="utf-8"), target)
        listed = Path(scratch) / "locked.txt"
        listed.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        _run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
                *("--only-binary=:all:", f"--dest={wheels}", f"--requirement={listed}"),
                *target.pip_options,
            ]
        )
        # Built with the locked hatchling beside us: an isolated build would fetch whatever is newest.
        build = [_uv(), "build", "--quiet", "--no-build-isolation", f"--python={sys.executable}", "--wheel"]
        _run([*build, f"--out-dir={wheels}", str(project)])
        wanted.append(_own_requirement(wheels))
        finished = Path(scratch) / archive.name
        _pack(finished, wheels, "\n".join(wanted) + "\n")
        finished.replace(archive)
    _forget_old(archive.parent)


def main(argv: list[str] | None = None) -> int:
    """Build what is missing in the cache and print where the archive is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, required=True, help="root of the project")
    parser.add_argument("--lock", type=Path, required=True, help="hashed requirements of a database host")
    parser.add_argument("--cache", type=Path, required=True, help="where archives are kept")
    parser.add_argument("--python", required=True, help="the host's Python, such as 3.13")
    parser.add_argument("--machine", required=True, help="the host's processor, such as x86_64")
    parser.add_argument("--dry-run", action="store_true", help="only name the archive")
    args = parser.parse_args(argv)
    try:
        target = Target(args.python, args.machine)
        project, lock = args.project.resolve(), args.lock.resolve()
        name = identity(project, lock, target)
        archive: Path = args.cache.resolve() / f"{name}.tar"
        missing = not archive.is_file()
        if missing and not args.dry_run:
            build(project, lock, target, archive)
    except (WheelhouseError, OSError) as error:
        sys.stderr.write(f"wheelhouse: {error}\n")
        return 1
    result = {"archive": str(archive), "id": name, "built": missing and not args.dry_run}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def _sources(project: Path) -> Iterator[Path]:
    for name in _SOURCES:
        path = project / name
        if path.is_file():
            yield path
        else:
            files = (p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")
            yield from sorted(files)


def _blocks(lock: str) -> Iterator[str]:
    """Yield each requirement with its continuation lines; comments and blank lines are left out."""
    block: list[str] = []
    for line in lock.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace() and block:
            yield "\n".join(block)
            block = []
        block.append(line)
    if block:
        yield "\n".join(block)


def _own_requirement(wheels: Path) -> str:
    own = sorted(wheels.glob("pgdr-*.whl"))
    if len(own) != 1:
        raise WheelhouseError(f"one wheel of pgdr was expected, found {len(own)}")
    version = own[0].name.split("-")[1]
    return f"pgdr=={version} --hash=sha256:{hashlib.sha256(own[0].read_bytes()).hexdigest()}"


def _pack(archive: Path, wheels: Path, text: str) -> None:
    """Write the archive; the same content gives the same bytes."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "requirements.txt", text.encode())
        for wheel in sorted(wheels.glob("*.whl")):
            _add(tar, f"wheels/{wheel.name}", wheel.read_bytes())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))


def _forget_old(cache: Path) -> None:
    archives = sorted(cache.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in archives[_KEPT_ARCHIVES:]:
        old.unlink(missing_ok=True)


def _uv() -> str:
    """Find uv beside the running Python, else on the path."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise WheelhouseError("uv is not installed on this control node (run: make setup)")
    return found


def _run(argv: list[str]) -> None:
    # A fixed time stamp in our own wheel: the same sources give the same wheel.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        lines = [line for line in (*done.stdout.splitlines(), *done.stderr.splitlines()) if line.strip()]
        tail = "\n".join(lines[-_ERROR_LINES:])
        raise WheelhouseError(f"{Path(argv[0]).name} {argv[1]} failed with status {done.returncode}:\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
