"""What an archive says about itself: ``manifest.json``. Unknown keys are refused; the format has a number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgdr.archive.names import MANIFEST
from pgdr.errors import NotProvenError, OperationFailedError

Sha256 = str


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Part):
    """One file of an archive."""

    size: int
    sha256: Sha256


class Column(_Part):
    """A column as its table had it."""

    name: str
    type: str
    generated: bool = False


class TableEntry(_Part):
    """A table, partition, partitioned table, materialized view or foreign table.

    Attributes:
        oid: its number in the database it was dumped from; the dump's own list of contents names it by this.
        kind: ``r`` table, ``p`` partitioned, ``m`` materialized view, ``f`` foreign.
        rows: exact count in the snapshot, of this table alone; ``None`` where a dump carries no rows.
        parent: key of the partitioned table that this is a partition of.
    """

    # `schema` would hide a method of pydantic's.
    schema_: str = Field(alias="schema")
    name: str
    key: str
    oid: int
    kind: str
    rows: int | None
    size: int
    parent: str | None = None
    columns: tuple[Column, ...] = ()

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ConstraintEntry(_Part):
    """A constraint of a table: it must be there again, and valid."""

    table: str
    name: str
    kind: str
    validated: bool


class ForeignKeyEntry(_Part):
    """A foreign key, part by part, so that it can be made again without text of the archive in a statement.

    Attributes:
        oid: its number in the database it was dumped from.
        on_update: action in the catalog's letter.
        on_delete: action in the catalog's letter.
        match: ``s`` simple or ``f`` full.
    """

    oid: int
    schema_: str = Field(alias="schema")
    table: str
    name: str
    columns: tuple[str, ...]
    parent_schema: str
    parent_table: str
    parent_columns: tuple[str, ...]
    on_update: str
    on_delete: str
    match: str
    deferrable: bool
    deferred: bool

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SequenceEntry(_Part):
    """A sequence and where it stood; sequences are in no snapshot, so a restored one stands there or later."""

    key: str
    last_value: int | None


class Extension(_Part):
    """An extension; the dump carries its name only."""

    name: str
    version: str
    schema_: str = Field(alias="schema")
    trusted: bool

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Collation(_Part):
    """A collation and the version of its library: indexes of another version are to be rebuilt."""

    name: str
    provider: str
    version: str


class Setting(_Part):
    """A setting of the database, or of a role in it."""

    role: str | None
    name: str
    value: str


class OwnedObject(_Part):
    """An object that has an owner, by the address that ``pg_get_object_address`` takes."""

    owner: str
    type: str
    names: tuple[str, ...]
    arguments: tuple[str, ...] = ()


class DatabaseFacts(_Part):
    """How the database was made."""

    name: str
    owner: str
    encoding: str
    locale_provider: str
    collate: str
    ctype: str
    locale: str | None
    collation_version: str | None
    settings: tuple[Setting, ...] = ()


class Lack(_Part):
    """Something that a schema's dump does not carry.

    Attributes:
        kind: what it is.
        name: its name.
        needed: the dump cannot be restored without it.
    """

    kind: str
    name: str
    needed: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class SchemaEntry(_Part):
    """One schema and its dump."""

    name: str
    oid: int
    owner: str
    dump: str
    covered: bool
    lacks: tuple[Lack, ...] = ()

    @property
    def restores_alone(self) -> bool:
        """Whether its dump can be restored into an empty database."""
        return not any(lack.needed for lack in self.lacks)


class ArchiverStatus(_Part):
    """What ``pg_stat_archiver`` said when the archive was made."""

    archived_count: int
    failed_count: int
    last_archived_wal: str | None
    last_archived_at: datetime | None
    last_failed_at: datetime | None


class Manifest(_Part):
    """All that an archive says about itself.

    Attributes:
        files: every other file of the archive, by its path in it.
        uncovered: schemas that the policy does not name; they are archived all the same.
        missing: schemas that the policy names and the database does not have.
        tablespaces: those that its relations lie in, but for the database's own; ``None`` where nobody noted them.
    """

    format: Literal[1] = 1
    label: str
    cluster_name: str
    created_at: datetime
    finished_at: datetime
    pgdr_version: str
    server_version: str
    server_major: int
    system_identifier: str
    timeline: int
    lsn: str
    pg_dump_version: str
    compression: str
    database: DatabaseFacts
    extensions: tuple[Extension, ...]
    collations: tuple[Collation, ...]
    roles: tuple[str, ...]
    schemas: tuple[SchemaEntry, ...]
    tables: tuple[TableEntry, ...]
    constraints: tuple[ConstraintEntry, ...]
    foreign_keys: tuple[ForeignKeyEntry, ...]
    sequences: tuple[SequenceEntry, ...]
    large_objects: int
    owners: tuple[OwnedObject, ...]
    full_dump: str
    globals_file: str
    archiver: ArchiverStatus | None = None
    uncovered: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    tablespaces: tuple[str, ...] | None = None
    files: dict[str, FileEntry] = Field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows or 0 for table in self.tables)

    @property
    def size(self) -> int:
        """Bytes that all files take: what stands under several names counts once, as it is stored."""
        return sum({entry.sha256: entry.size for entry in self.files.values()}.values())

    @property
    def stored(self) -> dict[str, FileEntry]:
        """The files that a bucket holds: each content once, under its first name, the full dump's before others."""
        full = f"{self.full_dump}/"
        names = sorted(self.files, key=lambda name: (not name.startswith(full), name))
        first: dict[Sha256, str] = {}
        for name in names:
            first.setdefault(self.files[name].sha256, name)
        return {name: self.files[name] for name in first.values()}

    def schema_entry(self, name: str) -> SchemaEntry | None:
        """The schema of this name."""
        return next((entry for entry in self.schemas if entry.name == name), None)

    def table(self, schema: str, name: str) -> TableEntry | None:
        """The table of this name."""
        return next((entry for entry in self.tables if (entry.schema_, entry.name) == (schema, name)), None)

    def text(self) -> str:
        """The manifest as it is written."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


def load_manifest(folder: Path) -> Manifest:
    """Read the manifest of an archive.

    Raises:
        NotProvenError: it is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise NotProvenError(f"{path} is missing: this is no whole archive", remedy="use another one") from error
    except OSError as error:
        raise OperationFailedError(f"cannot read {path}: {error.strerror}", remedy="run as postgres") from error


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Read a manifest from its text.

    Raises:
        NotProvenError: it is damaged, or of a format that this version does not know.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise NotProvenError(
            f"{source} is damaged: {where}: {first['msg']}", remedy="use another archive: pgdr archives list"
        ) from error


def sha256_of(path: Path) -> Sha256:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_plain(names: Iterable[str]) -> None:
    """Refuse a manifest that would write outside of its folder."""
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise NotProvenError(f"the manifest names a file outside of its archive: {name!r}", remedy="do not use it")
