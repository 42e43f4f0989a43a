"""Read an archive whole: every file against its checksum, every dump to its last row.

``pg_restore --list`` reads the list of contents only and is content with a dump whose data is gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pgdr import parallel
from pgdr.archive.dump import client_environment
from pgdr.archive.local import LocalArchive, digests, files_of
from pgdr.archive.model import FileEntry, Manifest
from pgdr.archive.names import LIST
from pgdr.errors import NotProvenError, OperationFailedError, PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import ARCHIVES, WaitMessage, operation_lock
from pgdr.process import CommandError
from pgdr.supervise import Supervisor

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Verified:
    """An archive that was read whole and found good."""

    label: str
    files: int
    size: int
    dumps: int
    seconds: float


def verify(
    config: HostConfig,
    archive: LocalArchive,
    *,
    jobs: int | None = None,
    wait: float = 0.0,
    on_wait: WaitMessage | None = None,
    on_progress: Progress | None = None,
) -> Verified:
    """Read an archive whole and mark it verified.

    Args:
        config: what this host is.
        archive: the archive.
        jobs: dumps and files that are read at once; ``None`` for one a processor.
        wait: seconds to wait for another operation on archives to end; 0 gives way at once.
        on_wait: told who is waited for.
        on_progress: told bytes read and bytes in all.

    Raises:
        NotProvenError: it is damaged; it is not marked verified any more.
        BusyError: another operation works on the archives.
    """
    journal = Journal.of(config)
    began = time.monotonic()
    workers = jobs or os.cpu_count() or 1
    try:
        what = f"verify archive {archive.label}"
        with Supervisor(), operation_lock(config, what, scope=ARCHIVES, wait=wait, on_wait=on_wait):
            try:
                manifest = archive.manifest()
                check_files(archive.folder, manifest, workers=workers, on_progress=on_progress)
                dumps = _read_dumps(config, archive.folder, manifest, workers)
            except NotProvenError:
                archive.unmark_verified()
                raise
            seconds = time.monotonic() - began
            archive.mark_verified(dumps, seconds)
    except PgdrError as error:
        result = "not proven" if isinstance(error, NotProvenError) else "failed"
        journal.append(
            operation="archives verify", result=result, details={"archive": archive.label, "error": str(error)}
        )
        raise
    found = Verified(archive.label, len(manifest.files), manifest.size, dumps, seconds)
    details = {"archive": archive.label, "files": found.files, "bytes": found.size, "dumps": dumps}
    journal.append(operation="archives verify", result="ok", details=details, times={"verify": seconds})
    return found


def check_files(
    folder: Path,
    manifest: Manifest,
    *,
    only: str = "",
    workers: int = 1,
    on_progress: Progress | None = None,
) -> None:
    """Compare every file of an archive with the manifest.

    Args:
        folder: the archive's folder.
        manifest: what it says about itself.
        only: the dump to look at, by its name; empty for everything.
        workers: files that are read at once.
        on_progress: told bytes read and bytes in all.

    Raises:
        NotProvenError: a file is missing, was added, or differs.
    """
    prefix = f"{only}/" if only else ""
    wanted = {name: entry for name, entry in manifest.files.items() if name.startswith(prefix)}
    there = {name: path for name, path in files_of(folder).items() if name.startswith(prefix)}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - there.keys())]
    problems += [f"{name} does not belong there" for name in sorted(there.keys() - wanted.keys())]
    both = sorted(wanted.keys() & there.keys())
    try:
        problems += _faults({name: there[name] for name in both}, wanted, workers, on_progress)
    except OSError as error:
        raise OperationFailedError(
            f"cannot read {error.filename}: {error.strerror}", remedy="run as postgres"
        ) from error
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise NotProvenError(
            f"archive {manifest.label} is damaged: {problems[0]}{more}",
            remedy="use another archive, or fetch this one from the cloud again",
        )


def _faults(
    there: Mapping[str, Path], wanted: Mapping[str, FileEntry], workers: int, on_progress: Progress | None
) -> list[str]:
    sizes = {name: path.stat().st_size for name, path in there.items()}
    faults = [
        f"{n} has {size} bytes instead of {wanted[n].size}" for n, size in sizes.items() if size != wanted[n].size
    ]
    whole = {name: path for name, path in there.items() if sizes[name] == wanted[name].size}
    total = sum(sizes.values())
    done = total - sum(sizes[name] for name in whole)

    def read(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done, total)

    sums = digests(whole.values(), workers, read)
    changed = [name for name, path in whole.items() if sums[path] != wanted[name].sha256]
    return faults + [f"{name} has another checksum than when it was written" for name in changed]


def _read_dumps(config: HostConfig, folder: Path, manifest: Manifest, workers: int) -> int:
    """Read the full dump to its last row, and of a schema's that was made of it what is its own: the list.

    Its rows are the full dump's: each of its data files has the checksum of one there.
    """
    programs = [_reading(config, folder / manifest.full_dump)]
    sums = {entry.sha256 for name, entry in manifest.files.items() if name.startswith(f"{manifest.full_dump}/")}
    for dump in (schema.dump for schema in manifest.schemas):
        own = {name: e for name, e in manifest.files.items() if name.startswith(f"{dump}/")}
        shared = f"{dump}/{LIST}" in own
        foreign = [name for name, entry in own.items() if entry.sha256 not in sums and name != f"{dump}/{LIST}"]
        if shared and foreign:
            raise NotProvenError(
                f"archive {manifest.label} is damaged: {foreign[0]} is not the full dump's",
                remedy="use another archive",
            )
        options = (f"--use-list={folder / dump / LIST}", "--schema-only") if shared else ()
        programs.append(_reading(config, folder / dump, *options))
    try:
        parallel.run_all(programs, workers, env=client_environment())
    except CommandError as error:
        raise NotProvenError(
            f"archive {manifest.label} cannot be read: {error.completed.tail or error.message}",
            remedy="use another archive, or fetch this one from the cloud again",
        ) from error
    return len(programs)


def _reading(config: HostConfig, dump: Path, *options: str) -> parallel.Program:
    argv = (config.program("pg_restore"), "--format=directory", "--file=/dev/null", "--exit-on-error", *options)
    return parallel.Program(argv=(*argv, str(dump)), name=dump.name)
