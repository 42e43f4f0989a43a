"""The one door to podman. Every call uses the settings that ``lab doctor`` detected for this machine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from lab.paths import CONTAINERS_CONF
from pgdr.errors import OperationFailedError
from pgdr.process import CommandError, Completed, run

# Every container, volume and network of a lab carries its name under this label.
LABEL = "pgdr.lab"


def environment() -> dict[str, str]:
    """The environment for podman, and for every program that starts it (Molecule too)."""
    if not CONTAINERS_CONF.is_file():
        return dict(os.environ)
    return {**os.environ, "CONTAINERS_CONF": str(CONTAINERS_CONF)}


def podman(
    *args: str,
    stdin: str | None = None,
    timeout: float | None = 120,
    allowed: Callable[[int], bool] = lambda status: status == 0,
) -> Completed:
    """Run podman to its end.

    Raises:
        CommandError: it ended with a status that is not allowed.
    """
    return run(["podman", *args], env=environment(), stdin=stdin, timeout=timeout, allowed=allowed)


def any_status(_status: int) -> bool:
    """For ``allowed``: the caller looks at the status itself."""
    return True


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """What podman knows of a container, volume, image or network; ``None`` if there is none."""
    done = podman(kind, "inspect", name, allowed=any_status)
    if done.returncode != 0:
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found[0] if found else None


def container_status(name: str) -> str | None:
    """``created``, ``running``, ``exited``...; ``None`` if there is no such container."""
    found = inspect("container", name)
    return None if found is None else str(found["State"]["Status"])


def names_with_label(kind: str, lab: str) -> list[str]:
    """Names of all containers, volumes or networks that carry a lab's label."""
    list_command = {
        "container": ("ps", "--all", "--format={{.Names}}"),
        "volume": ("volume", "ls", "--format={{.Name}}"),
        "network": ("network", "ls", "--format={{.Name}}"),
    }[kind]
    return podman(*list_command, f"--filter=label={LABEL}={lab}").stdout.split()


@retry(retry=retry_if_exception_type(CommandError), stop=stop_after_attempt(4), wait=wait_fixed(2), reraise=True)
def remove_containers(*containers: str) -> None:
    """Remove containers and their anonymous volumes, whatever they are doing.

    Asked again where podman fails: a container whose monitor was killed with the session that started it is in no
    proper state until podman has looked at it once ("timed out waiting for file .../exits/...").
    """
    podman("rm", "--force", "--ignore", "--time=0", "--volumes", *containers)


def execute(
    container: str,
    *argv: str,
    stdin: str | None = None,
    timeout: float | None = 120,
    allowed: Callable[[int], bool] = lambda status: status == 0,
) -> Completed:
    """Run a program in a container as its root."""
    interactive = ("--interactive",) if stdin is not None else ()
    return podman("exec", *interactive, container, *argv, stdin=stdin, timeout=timeout, allowed=allowed)


@dataclass(frozen=True)
class InjectedFile:
    """A file to put into a container that was made but not yet started."""

    content: bytes
    mode: int = 0o644


def inject(container: str, files: Mapping[str, InjectedFile]) -> None:
    """Put files, owned by root, into a container without an argument list or a temporary file seeing them.

    Args:
        container: its name.
        files: absolute path in the container, and what goes there.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        made: set[str] = set()
        for path, file in files.items():
            folder = os.path.dirname(path).lstrip("/")  # noqa: PTH120 (a path in the container)
            if folder == "root/.ssh" and folder not in made:
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(entry)
                made.add(folder)
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(file.content), file.mode
            tar.addfile(entry, io.BytesIO(file.content))
    argv: Sequence[str] = ["podman", "cp", "-", f"{container}:/"]
    done = subprocess.run(
        argv, input=archive.getvalue(), env=environment(), capture_output=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise OperationFailedError(f"podman cp into {container} failed: {done.stderr.decode().strip()}")
