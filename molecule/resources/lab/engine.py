"""The pgBackRest of the lab's hosts for tests outside containers, on whatever distribution this machine has.

Taken out of the same packages as the hosts' one, and run with its own C library: nothing is installed here.
"""

from __future__ import annotations

import logging
import platform
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

from lab.images import SUITE
from lab.paths import LAB_ROOT
from pgdr.errors import OperationFailedError

_log = logging.getLogger(__name__)

_WRAPPER = """\
#!/bin/sh
exec {libraries}/{loader} --library-path {libraries} {tree}/usr/bin/pgbackrest "$@"
"""


def ensure() -> Path:
    """Have the program, fetched once for this checkout; of several callers at once one fetches.

    Returns:
        A program that is pgBackRest.

    Raises:
        OperationFailedError: the packages could not be fetched, or mmdebstrap is missing.
    """
    folder = LAB_ROOT / "engine" / f"{SUITE}-{platform.machine()}"
    program = folder / "pgbackrest"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not program.exists():
            _fetch(folder / "tree")
            libraries = folder / "tree" / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
            loader = next(libraries.glob("ld-linux*.so.*")).name
            text = _WRAPPER.format(libraries=libraries, loader=loader, tree=folder / "tree")
            unfinished = program.with_suffix(".new")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.chmod(0o755)
            unfinished.rename(program)
    return program


def _fetch(tree: Path) -> None:
    _log.info("engine: fetching pgBackRest and its libraries from the packages of %s", SUITE)
    shutil.rmtree(tree, ignore_errors=True)
    argv = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        "--format=directory",
        "--include=pgbackrest",
        SUITE,
        str(tree),
    ]
    try:
        done = subprocess.run(argv, check=False, cwd="/", capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise OperationFailedError("mmdebstrap is missing", remedy="run: python -m lab doctor --install") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-3:]
        raise OperationFailedError(
            f"pgBackRest could not be fetched: {' | '.join(said)}", remedy="are the distribution's mirrors reachable?"
        )
