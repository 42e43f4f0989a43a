"""What killed operations left behind, and how it is removed: everything here is ours and nobody's only copy.

Databases and schemas that a restore has replaced are no leftovers: they are kept until a person names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from pgdr.archive.local import LocalStore
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import ARCHIVES, PAST, holder, operation_lock
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.marks import marks, schema_marks
from pgdr.restoring.quarantine import ROLE_PREFIX
from pgdr.side import manage
from pgdr.side.model import REHEARSAL
from pgdr.surgery import images

_APPLICATION = "pgdr cleanup"


@dataclass(frozen=True)
class Leftover:
    """Something that is left.

    Attributes:
        kind: archive, instance, database, schema, role or image.
        name: its name.
        what: where it comes from.
        database: where a schema is.
    """

    kind: str
    name: str
    what: str
    database: str = ""


def find(config: HostConfig, store: LocalStore | None) -> list[Leftover]:
    """List what killed operations left, in the order in which it can be removed.

    Nothing runs while this holds the locks; so whatever is unfinished will never be finished.

    Args:
        config: what this host is.
        store: the archives on the volume, where the policy has any.
    """
    found = []
    if store is not None:
        found += [Leftover("archive", str(path), "an archive that is not whole") for path in store.leftovers()]
    if not _rehearsed(config):
        what = "the throw-away instance of a killed rehearsal"
        found += [Leftover("instance", name, what) for name in manage.rehearsals(config)]
    with connected(config, "postgres", application_name=_APPLICATION) as admin:
        for name, note in sorted(marks(admin).items()):
            if note["pgdr"] == "restore":
                found.append(Leftover("database", name, f"an unfinished restore of {note.get('of')}"))
        roles = admin.execute(
            "select rolname from pg_catalog.pg_roles where starts_with(rolname, %s) order by 1", (ROLE_PREFIX,)
        ).fetchall()
        live = admin.execute("select from pg_catalog.pg_database where datname = %s", (config.database,)).fetchone()
        for name in images.aborted(config, admin):
            found.append(Leftover("image", name, "rows kept by an operation on them that changed nothing"))
    if live is not None:
        with connected(config, application_name=_APPLICATION) as connection:
            for name, note in sorted(schema_marks(connection).items()):
                if note["pgdr"] == "restore":
                    what = f"an unfinished restore of {note.get('of')}"
                    found.append(Leftover("schema", name, what, config.database))
    found += [Leftover("role", row[0], "the role of an unfinished restore") for row in roles]
    return found


def _rehearsed(config: HostConfig) -> bool:
    """Whether a rehearsal runs: it has a lock of its own, and goes on beside everything."""
    return holder(config, REHEARSAL) is not None


def kept(config: HostConfig) -> list[Leftover]:
    """List what restores have replaced and kept; it stays until a person names it."""
    found = []
    with connected(config, "postgres", application_name=_APPLICATION) as admin:
        for name, note in sorted(marks(admin).items()):
            if note["pgdr"] == "kept":
                found.append(Leftover("database", name, f"was {note.get('of')} until {note.get('at')}"))
        live = admin.execute("select from pg_catalog.pg_database where datname = %s", (config.database,)).fetchone()
    if live is not None:
        with connected(config, application_name=_APPLICATION) as connection:
            for name, note in sorted(schema_marks(connection).items()):
                if note["pgdr"] == "kept":
                    what = f"was {note.get('of')} until {note.get('at')}"
                    found.append(Leftover("schema", name, what, config.database))
    return found


def clean(config: HostConfig, store: LocalStore | None, *, only_plan: bool) -> list[Leftover]:
    """Remove what killed operations left.

    Args:
        config: what this host is.
        store: the archives on the volume.
        only_plan: list it only.

    Raises:
        BusyError: an operation runs: what looks unfinished may be its work.
    """
    with ExitStack() as locks:
        locks.enter_context(operation_lock(config, "cleanup"))
        for scope in (ARCHIVES, PAST):
            locks.enter_context(operation_lock(config, "cleanup", scope=scope))
        found = find(config, store)
        if only_plan:
            return found
        for item in found:
            _remove(config, store, item)
    if found:
        names = [f"{item.kind} {item.name}" for item in found]
        Journal.of(config).append(operation="cleanup", result="ok", details={"removed": names})
    return found


def drop_kept(config: HostConfig, name: str) -> Leftover:
    """Remove a database or schema that a restore has replaced, because a person said so by name.

    Raises:
        RefusedError: nothing of this name was kept.
    """
    with operation_lock(config, "cleanup"):
        item = next((item for item in kept(config) if item.name == name), None)
        if item is None:
            raise RefusedError(f"no restore has kept anything called {name}", remedy="see pgdr cleanup --plan")
        _remove(config, None, item)
    Journal.of(config).append(
        operation="cleanup", result="ok", details={"dropped": f"{item.kind} {item.name}", "it": item.what}
    )
    return item


def _remove(config: HostConfig, store: LocalStore | None, item: Leftover) -> None:
    if item.kind == "instance":
        manage.stop(config, item.name, why="cleanup")
        return
    if item.kind == "archive":
        assert store is not None  # noqa: S101 - it was found there
        store.remove(Path(item.name))
        return
    if item.kind == "image":
        images.remove(config, item.name)
        return
    with connected(config, item.database or "postgres", application_name=_APPLICATION) as admin:
        name = sql.Identifier(item.name)
        if item.kind == "database":
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(name))
        elif item.kind == "schema":
            admin.execute(sql.SQL("drop schema if exists {} cascade").format(name))
        else:
            for database in _databases(admin):
                with connected(config, database, application_name=_APPLICATION) as inside:
                    inside.execute(sql.SQL("drop owned by {} cascade").format(name))
            admin.execute(sql.SQL("drop role if exists {}").format(name))


def _databases(admin: Connection[TupleRow]) -> Iterator[str]:
    rows = admin.execute("select datname from pg_catalog.pg_database where datallowconn").fetchall()
    return (row[0] for row in rows)
