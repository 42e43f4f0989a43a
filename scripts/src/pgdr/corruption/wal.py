"""Look at the WAL that the cluster still needs: what a crash recovery would read, and what is not archived yet.

PostgreSQL takes the first record that it cannot read for the end of WAL: a damaged segment costs all that was committed
behind it, and nobody is told. Older segments, archived ones, are the repositories' and ``pgdr verify`` reads those.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from pgdr import process
from pgdr.corruption.control import Condition
from pgdr.corruption.model import Damage, Kind
from pgdr.errors import PgdrError
from pgdr.files import adopt_owner
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import one
from pgdr.recovery.history import own_history
from pgdr.recovery.lsn import parse_lsn
from pgdr.recovery.walheader import WalFile, wal_files

_DAMAGED = re.compile(
    r"error in WAL record at .*|could not find a valid record.*|.*invalid magic number.*", re.IGNORECASE
)


def look(config: HostConfig, client: PgBackRest, condition: Condition) -> list[Damage]:
    """Read the segments that matter: not the one that is being written, nor those where a timeline was left."""
    files = list(wal_files(config.data_directory))
    last = _written(config, condition) or (files[-1].path.name if files else "")
    redo = parse_lsn(condition.control.redo_lsn) if condition.control is not None else 0
    newest = max((file.segment.timeline for file in files), default=1)
    left = own_history(config.data_directory, newest)
    found = []
    for file in files:
        if file.segment.end > left.get(file.segment.timeline, file.segment.end):
            continue  # its timeline was left in here; all up to there begins the segment of the next one
        needed = file.segment.end > redo
        if file.path.name >= last or not (needed or not is_archived(file)):
            continue
        fault = segment_fault(config, file.path)
        if fault:
            found.append(_damage(config, client, file, fault, condition, needed=needed))
    return found


def is_archived(file: WalFile) -> bool:
    """Whether the server was told that it is archived."""
    return done_marker(file.path).exists()


def done_marker(segment: Path) -> Path:
    """What the server leaves beside a segment that is archived."""
    return segment.parent / "archive_status" / f"{segment.name}.done"


def segment_fault(config: HostConfig, path: Path) -> str:
    """What ``pg_waldump`` says of a segment's records, empty where all can be read."""
    done = process.run(
        [config.program("pg_waldump"), "--quiet", str(path)], allowed=lambda _: True, env={"LC_ALL": "C"}
    )
    if done.returncode == 0:
        return ""
    match = next((found for line in done.stderr.splitlines() if (found := _DAMAGED.search(line))), None)
    return match[0] if match else ""


def whole_copies(config: HostConfig, client: PgBackRest, name: str, *, data: Path | None = None) -> dict[int, str]:
    """What each repository has of a segment, in a word."""
    found = {}
    for repository in client.repositories:
        with tempfile.TemporaryDirectory(prefix="pgdr-wal-", dir=config.run_directory) as folder:
            adopt_owner(Path(folder))
            target = Path(folder) / name
            try:
                there = client.archive_get(name, target, repository.key, data=data)
            except PgdrError as error:
                found[repository.key] = f"cannot be asked ({error.message})"
                continue
            found[repository.key] = ("damaged" if segment_fault(config, target) else "whole") if there else "missing"
    return found


def _written(config: HostConfig, condition: Condition) -> str:
    if not condition.running or condition.in_recovery:
        return ""
    with connected(config, "postgres", application_name="pgdr corruption") as connection:
        return str(one(connection, "select pg_walfile_name(pg_current_wal_insert_lsn())")[0])


def _damage(
    config: HostConfig, client: PgBackRest, file: WalFile, fault: str, condition: Condition, *, needed: bool
) -> Damage:
    copies = whole_copies(config, client, file.path.name)
    archived = ", ".join(f"repository {key}: {word}" for key, word in copies.items()) or "no repository"
    why = (
        "a crash recovery would end there, and lose what was committed behind it"
        if needed
        else "it is not archived yet"
    )
    return Damage(
        Kind.WAL,
        file.path.name,
        f"{fault}; {why}; archived copy: {archived}",
        file=f"pg_wal/{file.path.name}",
        readable=condition.running or "whole" in copies.values(),
    )
