"""Run ``pg_dump`` for the whole database and for each schema, all in one snapshot."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from pgdr import parallel, process
from pgdr.archive.names import dump_name, exact_pattern
from pgdr.errors import OperationFailedError
from pgdr.hostconfig import HostConfig

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
# Tried in this order; the first that this build of pg_dump knows. zstd's third level beats gzip's sixth in size
# and takes a fifth of its time.
_COMPRESSIONS = ("zstd:3", "gzip:6")
_LOCK_TIMEOUT = "60s"


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
    """Where dumps go, and what they read.

    Attributes:
        folder: folder of the archive.
        label: its label.
        snapshot: exported snapshot that all of them read.
    """

    folder: Path
    label: str
    snapshot: str


def find_program(config: HostConfig) -> DumpProgram:
    """Ask ``pg_dump`` for its version and for the compression that it was built with.

    Raises:
        OperationFailedError: it is missing or its version cannot be told.
    """
    written = process.run([config.program("pg_dump"), "--version"]).stdout
    found = _VERSION.search(written)
    if found is None:
        raise OperationFailedError(f"pg_dump says no version: {written.strip()}")
    major = int(found[1])
    compression = next((item for item in _COMPRESSIONS if _knows(config, item)), "6")
    return DumpProgram(found[1] + found[2], major, compression)


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


def dump_all(
    config: HostConfig,
    program: DumpProgram,
    target: Target,
    *,
    sizes: Mapping[str, int],
    jobs: int,
    on_tick: Callable[[], None],
) -> dict[str, float]:
    """Dump the whole database, then every schema, and return the seconds of each.

    The full dump takes all jobs. A schema takes its share of them: a small one a single job, so that others run
    beside it, one that is most of the database as many as it needs to end with the others.

    Args:
        config: what this host is.
        program: the ``pg_dump`` to run.
        target: where the dumps go, and what they read.
        sizes: schemas by name, with their size in bytes.
        jobs: connections in all.
        on_tick: called from time to time.

    Raises:
        CommandError: a dump failed; all are ended.
    """
    whole = sum(sizes.values()) or 1
    programs = [_program(config, program, target, schema=None, jobs=jobs)]
    for schema in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        share = max(1, min(jobs, round(jobs * sizes[schema] / whole)))
        programs.append(_program(config, program, target, schema=schema, jobs=share))
    return parallel.run_all(programs, jobs, env=client_environment(), on_tick=on_tick)


def _program(
    config: HostConfig,
    program: DumpProgram,
    target: Target,
    *,
    schema: str | None,
    jobs: int,
) -> parallel.Program:
    chosen: Sequence[str] = () if schema is None else (f"--schema={exact_pattern(schema)}", "--strict-names")
    name = dump_name(schema, target.label)
    return parallel.Program(
        argv=(
            config.program("pg_dump"),
            *("--format=directory", f"--jobs={jobs}", f"--compress={program.compression}", "--no-password"),
            *(
                f"--snapshot={target.snapshot}",
                f"--lock-wait-timeout={_LOCK_TIMEOUT}",
                f"--file={target.folder / name}",
            ),
            *chosen,
            f"--dbname={connection_string(config, config.database)}",
        ),
        slots=jobs,
        name=name,
    )
