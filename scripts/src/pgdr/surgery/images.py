"""The before-image of an operation: what it removed and what it wrote, durable before it commits.

A folder ``surgery/ID`` below the state directory holds, for each table, ``NNNN.before.copy.zst`` (rows removed or
overwritten, as they were) and ``NNNN.after.copy.zst`` (rows that stand there instead), in COPY's text format, and
``manifest.json``. Whether the operation was committed is asked from the server: the manifest names its transaction.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
import zstandard
from psycopg import sql
from pydantic import BaseModel, ConfigDict, ValidationError

from pgdr.errors import ConfigError, NotProvenError, RefusedError
from pgdr.files import adopt_owner, remedy_of, sync_directory, write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.facts import server_facts
from pgdr.surgery import numbering
from pgdr.surgery.diff import REWRITTEN, WRITTEN, kinds
from pgdr.surgery.staging import Stage

_log = logging.getLogger(__name__)

FORMAT = 1
_CHUNK = 1 << 20
_COMMITTED = "committed"


class ImageFile(BaseModel):
    """One file of rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rows: int
    size: int
    sha256: str


class TableImage(BaseModel):
    """What happened to one table.

    Attributes:
        columns: all its columns, in the order of the files.
        unknown: columns that the past did not know: the after-image has no value of new rows for them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_name: str
    table: str
    columns: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    before: ImageFile
    after: ImageFile


class Manifest(BaseModel):
    """An operation that changed rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    operation: str
    kind: Literal["restore", "undo"]
    subject: str
    source: str
    database: str
    cluster: str
    transaction: str
    at: datetime
    undoes: str | None = None
    tables: tuple[TableImage, ...]
    sequences: tuple[numbering.Change, ...] = ()


def folder_of(config: HostConfig) -> Path:
    """Where operations keep their images."""
    return config.state_directory / "surgery"


def new_operation(config: HostConfig) -> tuple[str, Path]:
    """Make the folder of a new operation and return its id.

    Raises:
        ConfigError: the state directory is missing or not writable.
    """
    base = folder_of(config)
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        adopt_owner(base)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"
        folder = base / name
        folder.mkdir(mode=0o700)
        adopt_owner(folder)
        sync_directory(base)
    except OSError as error:
        raise ConfigError(f"cannot write {base}: {error.strerror}", remedy=remedy_of(error)) from error
    return name, folder


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say what a disk says in one line; the transaction is rolled back for it."""
    try:
        yield
    except OSError as error:
        remedy = f"{remedy_of(error)}; nothing was changed"
        raise ConfigError(f"cannot write {path}: {error.strerror}", remedy=remedy) from error


def save_table(connection: Connection[TupleRow], stage: Stage, folder: Path) -> TableImage:
    """Write what a table loses and what it gets instead."""
    before = sql.SQL("select {names} from {live} as s join {act} as a on a.l = s.n where a.kind in {kinds}").format(
        names=_names(stage, "s"), live=stage.live, act=stage.act, kinds=kinds(*REWRITTEN)
    )
    after = sql.SQL(
        "select {names} from {past} as s join {act} as a on a.p = s.n left join {live} as l on l.n = a.l"
        " where a.kind in {kinds}"
    ).format(names=_after_names(stage), past=stage.past, live=stage.live, act=stage.act, kinds=kinds(*WRITTEN))
    return TableImage(
        schema_name=stage.table.schema,
        table=stage.table.name,
        columns=tuple(one.column.name for one in stage.columns),
        unknown=tuple(one.column.name for one in stage.columns if one.source is None),
        before=_save(connection, before, folder / f"{stage.number:04d}.before.copy.zst"),
        after=_save(connection, after, folder / f"{stage.number:04d}.after.copy.zst"),
    )


def _names(stage: Stage, alias: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.Identifier(alias), name) for name in stage.all_names)


def _after_names(stage: Stage) -> sql.Composed:
    """What will stand there: the past's values, and today's for columns that the past does not know."""
    return sql.SQL(", ").join(
        sql.SQL("{}.{}").format(sql.SQL("s" if one.source is not None else "l"), name)
        for one, name in zip(stage.columns, stage.all_names, strict=True)
    )


def _save(connection: Connection[TupleRow], query: sql.Composed, path: Path) -> ImageFile:
    with _written(path):
        return _saved(connection, query, path)


def _saved(connection: Connection[TupleRow], query: sql.Composed, path: Path) -> ImageFile:
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, connection.cursor() as cursor:
        compressor = zstandard.ZstdCompressor(level=3).compressobj()

        def put(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        with cursor.copy(sql.SQL("copy ({}) to stdout").format(query)) as rows:
            for chunk in rows:
                put(compressor.compress(chunk))
        put(compressor.flush())
        file.flush()
        os.fsync(file.fileno())
        count = cursor.rowcount
    adopt_owner(path)
    return ImageFile(name=path.name, rows=count, size=path.stat().st_size, sha256=digest.hexdigest())


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Make the image whole; from here on it counts if its transaction does."""
    with _written(folder / "manifest.json"):
        sync_directory(folder)
        write_atomically(folder / "manifest.json", manifest.model_dump_json(indent=2) + "\n", 0o600)


def load_manifest(config: HostConfig, operation: str) -> tuple[Manifest, Path]:
    """Read the manifest of an operation.

    Raises:
        RefusedError: there is no such operation.
        ConfigError: its manifest is damaged.
    """
    base = folder_of(config)
    if operation not in {path.name for path in base.glob("*") if path.is_dir()}:
        raise RefusedError(f"no operation {operation!r} in {base}", remedy="see pgdr tenant operations")
    folder = base / operation
    try:
        return Manifest.model_validate_json((folder / "manifest.json").read_bytes()), folder
    except FileNotFoundError as error:
        raise RefusedError(
            f"operation {operation} ended before it changed anything", remedy="nothing to undo"
        ) from error
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{folder / 'manifest.json'} cannot be read: {str(error).splitlines()[0]}") from error


def verify_file(folder: Path, image: ImageFile) -> None:
    """Compare a file with its checksum.

    Raises:
        NotProvenError: it is missing, cut off or changed.
    """
    path = folder / image.name
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise NotProvenError(f"{path}: {error.strerror}", remedy="nothing was changed") from error
    if digest.hexdigest() != image.sha256:
        raise NotProvenError(f"{path} is not the file that was written", remedy="nothing was changed")


def read_rows(folder: Path, image: ImageFile) -> Iterator[bytes]:
    """The rows of a file as COPY wants them, in pieces."""
    with (folder / image.name).open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        while chunk := reader.read(_CHUNK):
            yield chunk


@dataclass(frozen=True)
class Operation:
    """An operation as a list shows it.

    Attributes:
        manifest: what it was; ``None`` where it ended before it changed anything, or is damaged.
        name: its id.
        state: ``committed``, ``aborted``, ``unfinished`` or ``unknown``.
    """

    name: str
    manifest: Manifest | None
    state: str


def mark_committed(folder: Path) -> None:
    """Note that the transaction was committed; before a crash or on a full disk the question is left to the server."""
    try:
        write_atomically(folder / _COMMITTED, "", 0o600)
    except OSError as error:
        _log.warning("cannot write %s: %s", folder / _COMMITTED, error.strerror)


def state_of(connection: Connection[TupleRow], manifest: Manifest, folder: Path) -> str:
    """What became of an operation: its mark, else what the server says of its transaction."""
    if (folder / _COMMITTED).exists():
        return "committed"
    return transaction_state(connection, manifest.cluster, manifest.transaction)


def cluster_now(connection: Connection[TupleRow]) -> str:
    """System identifier and timeline: transaction numbers mean something only together with both."""
    facts = server_facts(connection)
    return f"{facts.system_identifier}.{facts.timeline}"


def transaction_state(connection: Connection[TupleRow], cluster: str, transaction: str) -> str:
    """Ask the server what became of a transaction: ``committed``, ``aborted``, ``unfinished`` or ``unknown``."""
    if cluster_now(connection) != cluster:
        return "unknown"  # another cluster, or this one after a recovery, which gives the same numbers again
    try:
        with connection.transaction():
            row = connection.execute("select pg_xact_status(%s::xid8)", (transaction,)).fetchone()
    except psycopg.Error:  # a number of the future
        return "unknown"
    known: dict[str | None, str] = {"committed": "committed", "aborted": "aborted", "in progress": "unfinished"}
    return known.get(row[0] if row else None, "unknown")


def operations(config: HostConfig, connection: Connection[TupleRow]) -> list[Operation]:
    """All operations, oldest first."""
    found = []
    for folder in sorted(path for path in folder_of(config).glob("*") if path.is_dir()):
        try:
            manifest, _ = load_manifest(config, folder.name)
        except RefusedError:
            found.append(Operation(folder.name, None, "aborted"))
            continue
        except ConfigError:
            # It may have committed: what it kept is all that an undo has, and no cleanup may take it.
            found.append(Operation(folder.name, None, "unknown"))
            continue
        found.append(Operation(folder.name, manifest, state_of(connection, manifest, folder)))
    return found


def remove_aborted(config: HostConfig, connection: Connection[TupleRow]) -> list[str]:
    """Remove what operations left that changed nothing: killed, refused or rolled back.

    Returns:
        their ids.
    """
    removed = aborted(config, connection)
    for name in removed:
        remove(config, name)
    return removed


def aborted(config: HostConfig, connection: Connection[TupleRow]) -> list[str]:
    """Ids of operations that left something and changed nothing."""
    return [found.name for found in operations(config, connection) if found.state == "aborted"]


def remove(config: HostConfig, name: str) -> None:
    """Remove what an operation left."""
    shutil.rmtree(folder_of(config) / name)


def require_space(connection: Connection[TupleRow], stages: Iterable[Stage], folder: Path) -> None:
    """Make sure that the images fit on the disk, even if nothing of them could be compressed.

    Raises:
        RefusedError: they would not.
    """
    needed = 0
    for stage in stages:
        for name in (stage.past, stage.live):
            row = connection.execute(
                sql.SQL("select pg_table_size({}::regclass)").format(sql.Literal(name.as_string()))
            ).fetchone()
            needed += row[0] if row else 0
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RefusedError(
            f"the before-image may need {needed} bytes and {folder} has {free} free",
            remedy="make room; nothing was changed",
        )


def document(operation: Operation) -> dict[str, Any]:
    """An operation for a program."""
    content = {} if operation.manifest is None else json.loads(operation.manifest.model_dump_json())
    return {"operation": operation.name, "state": operation.state, **content}
