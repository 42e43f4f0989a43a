"""What must hold before anything is made: roles, extensions and room; and how the live database has moved on."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pgdr.archive import catalog
from pgdr.archive.model import Manifest, TableEntry
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow

_SHOWN = 5


@dataclass(frozen=True)
class Drift:
    """A difference in structure between an archive and the live database.

    Attributes:
        table: the table's key.
        what: what differs, seen from the live database.
    """

    table: str
    what: str

    def __str__(self) -> str:
        return f"{self.table}: {self.what}"


def require_roles(connection: Connection[TupleRow], source: Manifest, roles: Iterable[str]) -> None:
    """Refuse when a role is missing that will own something or has privileges.

    Raises:
        RefusedError: one is.
    """
    there = {row[0] for row in connection.execute("select rolname from pg_catalog.pg_roles").fetchall()}
    missing = sorted(set(roles) - there)
    if missing:
        raise RefusedError(
            f"archive {source.label} needs roles that this cluster does not have: {', '.join(missing)}",
            remedy=f"make them; {source.globals_file} in the archive has their definitions",
        )


def require_extensions(connection: Connection[TupleRow], source: Manifest) -> None:
    """Refuse when an extension cannot be made here.

    Raises:
        RefusedError: one is not installed on this host, or not in this version.
    """
    rows = connection.execute("select name, version from pg_catalog.pg_available_extension_versions").fetchall()
    versions: dict[str, set[str]] = {}
    for name, version in rows:
        versions.setdefault(name, set()).add(version)
    for extension in source.extensions:
        if extension.name not in versions:
            raise RefusedError(
                f"archive {source.label} needs the extension {extension.name} {extension.version}, "
                "which is not installed on this host",
                remedy="install its package",
            )


def require_tablespaces(connection: Connection[TupleRow], source: Manifest) -> None:
    """Refuse when a tablespace is missing that relations of the archive lay in.

    Raises:
        RefusedError: one is.
    """
    there = {row[0] for row in connection.execute("select spcname from pg_catalog.pg_tablespace").fetchall()}
    missing = sorted(set(source.tablespaces or ()) - there)
    if missing:
        raise RefusedError(
            f"archive {source.label} has tables in tablespaces that this cluster does not have: {', '.join(missing)}",
            remedy="make them, or add --no-tablespaces: all then lies in the default one; nothing was changed",
        )


def require_space(config: HostConfig, wanted: int) -> None:
    """Refuse when the data directory's file system has no room.

    Args:
        config: what this host is.
        wanted: bytes that will be written.

    Raises:
        RefusedError: it has not.
    """
    try:
        free = shutil.disk_usage(config.data_directory).free
    except OSError as error:
        raise RefusedError(
            f"cannot look at {config.data_directory}: {error.strerror}", remedy="run as postgres"
        ) from error
    if free < wanted:
        raise RefusedError(
            f"not enough disk: the restore writes about {wanted >> 20} MiB, {config.data_directory} has "
            f"{free >> 20} MiB free",
            remedy="make room, or restore on another host",
        )


def find_drift(archived: Sequence[TableEntry], live: Sequence[TableEntry]) -> tuple[Drift, ...]:
    """Compare tables and columns of an archive with those of the live database."""
    there = {table.key: table for table in live}
    known = {table.key: table for table in archived}
    found: list[Drift] = []
    for key in sorted(known.keys() | there.keys()):
        if key not in there:
            found.append(Drift(key, "dropped since"))
        elif key not in known:
            found.append(Drift(key, "new since"))
        else:
            found += _column_drift(known[key], there[key])
    return tuple(found)


def _column_drift(archived: TableEntry, live: TableEntry) -> list[Drift]:
    old = {column.name: column for column in archived.columns}
    new = {column.name: column for column in live.columns}
    found = [Drift(live.key, f"column {name} dropped since") for name in old if name not in new]
    found += [Drift(live.key, f"column {name} {new[name].type} added since") for name in new if name not in old]
    found += [
        Drift(live.key, f"column {name} was {old[name].type}, is {new[name].type}")
        for name in old
        if name in new and (old[name].type, old[name].generated) != (new[name].type, new[name].generated)
    ]
    return found


def live_tables(connection: Connection[TupleRow]) -> tuple[TableEntry, ...]:
    """The tables of the live database; ``search_path`` must be empty."""
    return catalog.read_tables(connection)


def listed(items: Sequence[object]) -> str:
    """Write some of many things for one line."""
    text = "; ".join(str(item) for item in items[:_SHOWN])
    return f"{text}; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else text
