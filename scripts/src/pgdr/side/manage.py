"""List side instances, connect to them, end them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgdr.errors import ConfigError, OperationFailedError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.recovery.ground import process_lives, server_process
from pgdr.side import store
from pgdr.side.leftovers import end_leftovers
from pgdr.side.model import REHEARSAL, SideStage, SideState, place

_END_SECONDS = 120.0


@dataclass(frozen=True)
class Listed:
    """A side instance as the list shows it.

    Attributes:
        name: its name.
        condition: one word, and the failure's line where there is one.
        state: what is known, ``None`` where its file cannot be read.
        bytes: what it takes on disk.
    """

    name: str
    condition: str
    state: SideState | None
    bytes: int


@dataclass(frozen=True)
class SideConnection:
    """How to reach a side instance: arguments for :func:`psycopg.connect`."""

    host: str
    port: int
    dbname: str
    user: str = "postgres"

    @property
    def conninfo(self) -> str:
        """The same as libpq writes it."""
        return f"host={_quoted(self.host)} port={self.port} dbname={_quoted(self.dbname)} user={self.user}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def alive(state: SideState) -> bool:
    """Whether the process of an instance lives."""
    return process_lives(state.running_pid, "pgdr")


def condition(state: SideState) -> str:
    """One word for where it stands."""
    if alive(state):
        return "ready" if state.stage is SideStage.READY else "starting"
    if state.failure:
        return f"failed: {state.failure}"
    if state.running_pid is not None:
        return "killed"
    if state.stage is SideStage.READY:
        return "down"
    return "planned"


def connection(config: HostConfig, name: str, database: str | None = None) -> SideConnection:
    """How to connect to an instance that is ready.

    Args:
        config: this host.
        name: name of the instance.
        database: the database, or ``None`` for the ERP's.

    Raises:
        RefusedError: there is none of that name, it is not ready, or the database was left out of it.
    """
    state = store.required(config, name)
    now = condition(state)
    if now != "ready":
        raise RefusedError(f"side instance {name} is not ready: {now}", remedy="see pgdr side list")
    wanted = database or config.database
    if state.plan.databases and wanted not in {*state.plan.databases, "postgres"}:
        raise RefusedError(
            f"side instance {name} holds only {', '.join(state.plan.databases)}", remedy="start one with all databases"
        )
    return SideConnection(state.socket_directory, state.port, wanted)


def listed(config: HostConfig) -> list[Listed]:
    """All instances, those that were killed half-way too."""
    found = []
    for name in store.names(config):
        try:
            state = store.load(config, name)
            words = condition(state) if state else "killed before it was planned"
            if state is None and name.startswith(REHEARSAL):
                words = "the server of a rehearsal, or what a killed one left"
        except ConfigError as error:
            state, words = None, str(error)
        found.append(Listed(name, words, state, _size(place(config, name).folder)))
    return found


def rehearsals(config: HostConfig) -> list[str]:
    """Names of the throw-away instances of rehearsals; where no rehearsal runs, they are what a killed one left."""
    return [name for name in store.names(config) if name.startswith(REHEARSAL)]


def stop(config: HostConfig, name: str, *, why: str = "stop") -> int:
    """End an instance, whatever state it is in, and delete its files; production is not touched.

    Returns:
        bytes that were given back.

    Raises:
        RefusedError: there is none of that name.
        OperationFailedError: it does not end, or its files cannot be deleted; run again.
    """
    where = place(config, store.checked_name(name))
    if not where.folder.exists():
        known = ", ".join(store.names(config)) or "none"
        raise RefusedError(f"there is no side instance {name!r}", remedy=f"there are: {known}")
    try:
        state = store.load(config, name)
    except ConfigError:
        state = None  # its files go all the same
    if state is not None and state.running_pid is not None and alive(state):
        _end(state.running_pid, name)
    end_leftovers(config.bin_directory, where.data)
    if server_process(where.data) is not None:
        raise OperationFailedError(f"the server of side instance {name} does not stop", remedy="run again")
    size = _size(where.folder)
    store.remove(where)
    if store.note(config, name).is_dir():
        store.note(config, name).rmdir()
    details: dict[str, object] = {"name": name, "why": why, "bytes": size}
    if state is not None:
        details |= {"side": state.plan.operation, "target": state.plan.target.text, "stage": str(state.stage)}
    Journal.of(config).append(operation="side stop", result="ok", details=details)
    return size


def sweep(config: HostConfig) -> list[str]:
    """Remove the instances whose time is over and that nobody removed; return their names.

    Raises:
        PgdrError: one could not be removed; the others are.
    """
    over = [state.name for state in store.states(config) if state.expires_at <= datetime.now(UTC)]
    failed: PgdrError | None = None
    for name in over:
        try:
            stop(config, name, why="expired")
        except PgdrError as error:
            failed = error
    if failed is not None:
        raise failed
    return over


def _end(pid: int, name: str) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while process_lives(pid, "pgdr"):
        if time.monotonic() > deadline:
            raise OperationFailedError(f"process {pid} of side instance {name} does not end", remedy="run again")
        time.sleep(0.1)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            try:
                total += (Path(parent) / file).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total
