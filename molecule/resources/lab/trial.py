"""A throw-away container from this machine's own programs, to see whether podman can start one here."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.podman import any_status
from pgdr.process import run

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAM = "/bin/true"


@dataclass(frozen=True)
class Trial:
    """What was tried.

    Attributes:
        runtime: the first runtime with which a container started, or ``None``.
        problem: what podman said when it did not start, the last time that happened.
    """

    runtime: str | None
    problem: str = ""


def _make_rootfs(folder: Path) -> None:
    """The smallest tree that can run a program: the program and the libraries that it is linked with."""
    libraries = re.findall(r"(/\S+)", run(["ldd", _PROGRAM]).stdout)
    for source in (_PROGRAM, *libraries):
        target = folder / source.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for mount_point in ("dev", "proc", "sys", "etc", "run", "tmp"):
        (folder / mount_point).mkdir(exist_ok=True)


def first_that_works(runtimes: list[str], configure: Callable[[str], None], conf: Path) -> Trial:
    """Start a container on a network of its own with each runtime until one works.

    Args:
        runtimes: names, best first.
        configure: writes podman's settings for a runtime.
        conf: where it writes them.
    """
    env = {**os.environ, "CONTAINERS_CONF": str(conf)}
    network = f"pgdr-doctor-{os.getpid()}"
    problem = ""
    with tempfile.TemporaryDirectory(prefix="pgdr-doctor-", dir="/var/tmp") as folder:
        root = Path(folder) / "root"
        root.mkdir(mode=0o755)
        _make_rootfs(root)
        for runtime in runtimes:
            configure(runtime)
            try:
                created = run(["podman", "network", "create", network], env=env, allowed=any_status, timeout=60)
                started = run(
                    ["podman", "run", "--rm", f"--network={network}", "--rootfs", str(root), _PROGRAM],
                    env=env,
                    allowed=any_status,
                    timeout=60,
                )
            finally:
                run(["podman", "network", "rm", "--force", network], env=env, allowed=any_status, timeout=60)
            if created.returncode == 0 and started.returncode == 0:
                return Trial(runtime, problem)
            said = (created if created.returncode != 0 else started).tail.splitlines()
            problem = f"{runtime}: {said[-1] if said else 'no message'}"
    return Trial(None, problem)
