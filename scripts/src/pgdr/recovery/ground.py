"""Look at the host on which a cluster is to be restored: what stands there, what runs there, what fits there."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from pgdr.errors import OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.recovery import walheader
from pgdr.recovery.controldata import read_control_data

_SERVER_PROGRAMS = (b"postgres", b"postmaster")


@dataclass(frozen=True)
class Ground:
    """What is on the host now.

    Attributes:
        occupied: the data directory holds something.
        system_identifier: identity of the cluster in it, ``None`` where there is none.
        running: a server runs in it.
        port_taken: some server answers on the port that the recovered cluster needs, and it is not that one.
        free_bytes: room on the data directory's file system.
    """

    occupied: bool
    system_identifier: int | None
    running: bool
    port_taken: bool
    free_bytes: int


def survey(config: HostConfig) -> Ground:
    """Look without changing anything.

    Raises:
        RefusedError: the data directory holds something that is not a cluster.
    """
    data = config.data_directory
    occupied = data.is_dir() and any(data.iterdir())
    identifier: int | None = None
    if occupied:
        try:
            identifier = read_control_data(config.bin_directory, data).system_identifier
        except OperationFailedError as error:
            # A damaged control file must not keep its own cluster from being restored: WAL says whose it is as well.
            identifier = walheader.system_identifier(data)
            if identifier is None:
                raise RefusedError(
                    f"{data} holds something that is not a PostgreSQL cluster of version {config.postgresql_version}",
                    remedy="look what it is and move it away, or name another data directory",
                ) from error
    running = server_process(data) is not None
    return Ground(
        occupied=occupied,
        system_identifier=identifier,
        running=running,
        port_taken=not running and _answers(config),
        free_bytes=shutil.disk_usage(existing_parent(data)).free,
    )


def server_process(data_directory: Path) -> int | None:
    """Process id of the server that runs in a data directory, or ``None``.

    After a crash the file stays, and its number may be another program's by now: stopping that one would be bad.
    """
    try:
        pid = int((data_directory / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if is_server(pid) else None


def is_server(pid: int) -> bool:
    """Tell whether a process is PostgreSQL's: a server, or one of its children."""
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0]
    except OSError:
        return False
    # A running server calls itself by its path, its children "postgres: what they do".
    return program.split(b":", 1)[0].rsplit(b"/", 1)[-1] in _SERVER_PROGRAMS


def process_lives(pid: int | None, program: str) -> bool:
    """Tell whether a process lives and is the program; ids are reused, after a reboot above all."""
    if pid is None:
        return False
    try:
        return program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def existing_parent(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _answers(config: HostConfig) -> bool:
    local = config.socket_directory / f".s.PGSQL.{config.port}"
    if local.exists() and _connects(socket.AF_UNIX, str(local)):
        return True
    return _connects(socket.AF_INET, ("127.0.0.1", config.port))


def _connects(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(address) == 0
