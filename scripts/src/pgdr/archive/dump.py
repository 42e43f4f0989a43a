"""Run ``pg_dump`` for the whole database, in a snapshot that others read too, and ``pg_dumpall`` for the roles."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from pgdr import parallel, process
from pgdr.archive.names import dump_name
from pgdr.errors import OperationFailedError
from pgdr.hostconfig import HostConfig

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
# Tried in this order; the first that this build of pg_dump knows. zstd's third level beats gzip's sixth in size
# and takes a fifth of its time.
_COMPRESSIONS = ("zstd:3", "gzip:6")
_LOCK_TIMEOUT = "60s"
_VERSION_TIMEOUT = 10.0


@dataclass(frozen=True)
class DumpProgram:
    """The installed ``pg_dump``.

    Attributes:
        version: as it writes it.
        major: its major version.
        compression: the best that it offers.
    """

    version: str
    major: int
    compression: str


@dataclass(frozen=True)
class Target:
    """Where the dump goes, and what it reads.

    Attributes:
        folder: folder of the archive.
        label: its label.
        snapshot: exported snapshot that it reads.
        logged_only: leave out the rows of unlogged tables.
    """

    folder: Path
    label: str
    snapshot: str
    logged_only: bool = False


def find_program(config: HostConfig) -> DumpProgram:
    """Ask ``pg_dump`` for its version and for the compression that it was built with.

    Raises:
        OperationFailedError: it is missing or its version cannot be told.
    """
    major, version = program_version(config, "pg_dump")
    compression = next((item for item in _COMPRESSIONS if _knows(config, item)), "6")
    return DumpProgram(version, major, compression)


def program_version(config: HostConfig, name: str) -> tuple[int, str]:
    """Major version of one of PostgreSQL's programs on this host, and the version as it writes it.

    Raises:
        OperationFailedError: it is missing or its version cannot be told.
    """
    written = process.run([config.program(name), "--version"], timeout=_VERSION_TIMEOUT).stdout
    found = _VERSION.search(written)
    if found is None:
        raise OperationFailedError(f"{name} says no version: {written.strip()}")
    return int(found[1]), found[1] + found[2]


def _knows(config: HostConfig, compression: str) -> bool:
    """Whether this build takes a compression: it says no before it looks for the server, which does not exist."""
    tried = process.run(
        [
            config.program("pg_dump"),
            *("--format=custom", f"--compress={compression}", "--file=/dev/null", "--no-password"),
            f"--dbname={make_conninfo(host='/nonexistent', dbname='none', connect_timeout=1)}",
        ],
        allowed=lambda _status: True,
    )
    return "compress" not in tried.stderr


def client_environment() -> dict[str, str]:
    """The environment of PostgreSQL's programs: ours, with texts in UTF-8 and messages that we can read."""
    return {**os.environ, "PGCLIENTENCODING": "UTF8", "LC_MESSAGES": "C", "PGAPPNAME": "pgdr archive"}


def connection_string(config: HostConfig, database: str, **more: str) -> str:
    """A connection string: in it a database's name is a value, whatever is in it."""
    return make_conninfo(host=str(config.socket_directory), port=config.port, dbname=database, **more)


def dump_globals(config: HostConfig, database: str, target: Path) -> None:
    """Write roles, their memberships and settings, and tablespaces; the file holds password verifiers.

    Raises:
        OperationFailedError: it could not be written.
    """
    done = process.run_to_file(
        [
            config.program("pg_dumpall"),
            *("--globals-only", "--no-password", f"--dbname={connection_string(config, database)}"),
        ],
        target,
    )
    if done.returncode != 0:
        raise OperationFailedError(f"pg_dumpall exited with {done.returncode}: {done.tail or 'no output'}")


def dump_full(
    config: HostConfig, program: DumpProgram, target: Target, *, jobs: int, on_tick: Callable[[], None]
) -> float:
    """Dump the whole database and return the seconds that it took.

    Args:
        config: what this host is.
        program: the ``pg_dump`` to run.
        target: where the dump goes, and what it reads.
        jobs: connections.
        on_tick: called from time to time.

    Raises:
        CommandError: the dump failed.
    """
    name = dump_name(None, target.label)
    one = parallel.Program(
        argv=(
            config.program("pg_dump"),
            *("--format=directory", f"--jobs={jobs}", f"--compress={program.compression}", "--no-password"),
            *(
                f"--snapshot={target.snapshot}",
                f"--lock-wait-timeout={_LOCK_TIMEOUT}",
                f"--file={target.folder / name}",
            ),
            *(("--no-unlogged-table-data",) if target.logged_only else ()),
            f"--dbname={connection_string(config, config.database)}",
        ),
        slots=jobs,
        name=name,
    )
    return parallel.run_all([one], jobs, env=client_environment(), on_tick=on_tick)[name]
