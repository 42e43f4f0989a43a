"""Decide a side instance, or refuse it with one line, before anything is written."""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pgdr import relationmap, restorepoint
from pgdr.errors import PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.policy.model import SideInstances
from pgdr.recovery.ground import existing_parent
from pgdr.recovery.model import Plan, Tablespace
from pgdr.recovery.source import Source, Wish, choose_source, chosen_facts
from pgdr.recovery.target import Target, TargetKind
from pgdr.relationmap import TablespaceSeen
from pgdr.side import store
from pgdr.side.model import REHEARSAL, Means, Place, SideState, limits, place
from pgdr.side.reader import asking, means_of

# WAL that replay keeps, see run.py; growth of the files while they are replayed; what the server needs by itself.
KEPT_WAL_BYTES = 2**30
_HEADROOM = 1.02
ROOM_BYTES = 256 * 2**20
_PORTS = 50


@dataclass(frozen=True)
class SideOptions:
    """What a person asked for.

    Attributes:
        name: name of the instance.
        repository: pgBackRest's number of the repository to read.
        target: where to recover to.
        backup_label: a backup set to start from, empty to choose.
        databases: only these, empty for all.
        port: its port, 0 to choose.
        time_to_live: after this it is removed; ``None`` for the policy's.
        rehearsal: it is a rehearsal's: the end of the archive may be its target, and its name is one of those.
    """

    name: str
    repository: int
    target: Target
    backup_label: str = ""
    databases: tuple[str, ...] = ()
    port: int = 0
    time_to_live: timedelta | None = None
    rehearsal: bool = False


def make_side_plan(config: HostConfig, client: PgBackRest, options: SideOptions) -> SideState:
    """Look at repository and host, and decide.

    Raises:
        RefusedError: it cannot or must not be done; nothing was written.
        UnreachableError: the repository did not answer.
    """
    allowed = limits(config)
    where = place(config, store.checked_name(options.name))
    if options.name.startswith(REHEARSAL) and not options.rehearsal:
        raise RefusedError(f"names that begin with {REHEARSAL} are those of rehearsals", remedy="choose another name")
    if options.target.kind is TargetKind.LATEST and not options.rehearsal:
        raise RefusedError("a side instance needs a target", remedy="give --target-time, -lsn, -name or -xid")
    port = free_port(config, allowed, options.port)
    near = restorepoint.position(config, options.target.value) if options.target.kind is TargetKind.NAME else 0
    wish = Wish(options.repository, options.target, options.backup_label, near=near)
    means = means_of(client, options.repository)
    with asking(client, options.repository) as reader:
        source = choose_source(config, reader.client, wish)
    warnings = source.warnings(datetime.now(UTC))
    if means is Means.OWN:
        warnings.append(f"repository {options.repository}: {means.told}")
    _refuse_foreign_tablespaces(config, source)
    _refuse_unknown_databases(options.databases, source)
    free = _room(source, where, allowed)
    now = datetime.now(UTC)
    plan = Plan(
        operation=f"side-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}",
        created_at=now,
        **chosen_facts(config, wish, source),
        data_directory=str(where.data),
        tablespaces=[
            Tablespace(name=space.name, location=str(where.tablespaces / str(number)))
            for number, space in enumerate(source.tablespaces, start=1)
        ],
        set_aside=[],
        stop_first=False,
        free_bytes=free,
        warnings=warnings,
        beside=True,
        databases=list(options.databases),
    )
    alive = options.time_to_live or timedelta(seconds=allowed.time_to_live.seconds)
    return SideState(
        name=options.name,
        plan=plan,
        port=port,
        socket_directory=str(where.socket_directory),
        created_at=now,
        expires_at=now + alive,
        disk_floor=allowed.disk_floor.bytes,
        means=means,
    )


def _refuse_unknown_databases(wanted: Collection[str], source: Source) -> None:
    for name in wanted:
        if source.databases and name not in source.databases:
            raise RefusedError(
                f"backup {source.backup.label} holds no database {name}",
                remedy=f"it holds {', '.join(source.databases)}; one that was made since comes with all of them: "
                "leave --database out",
            )


def _room(source: Source, where: Place, allowed: SideInstances) -> int:
    needed = int(source.backup.info.size * _HEADROOM) + min(source.replayed, 2 * KEPT_WAL_BYTES) + ROOM_BYTES
    return require_room(where, allowed, needed)


def require_room(where: Place, allowed: SideInstances, needed: int) -> int:
    """Refuse what would take more disk than the policy leaves; return what is free.

    Raises:
        RefusedError: so it would.
    """
    free = shutil.disk_usage(existing_parent(where.folder)).free
    floor = allowed.disk_floor.bytes
    if free - needed < floor:
        raise RefusedError(
            f"not enough disk: the side instance needs {needed / 2**30:.1f} GiB under {where.folder}, "
            f"{free / 2**30:.1f} GiB are free and {floor / 2**30:.1f} GiB must stay free",
            remedy="free space, name a larger disk with side_instances.path in the policy, or use another host: "
            "playbooks/dr-side-instance.yml",
        )
    return free


def _refuse_foreign_tablespaces(config: HostConfig, source: Source) -> None:
    """Look for tablespaces that the backup does not know: replay would make them where production has them.

    A tablespace's record names its folder, and a copy on the same host would take that very folder for its own
    (``create_tablespace_directories``). pgBackRest maps only those in the backup. The unit's sandbox would stop
    it too, but systemd goes without one where it may not mount, in most containers, and says nothing.
    """
    known = {(space.name, space.location) for space in source.tablespaces}
    seen: list[TablespaceSeen] = list(relationmap.relation_map(config).tablespaces())
    with suppress(PgdrError):  # production is down: what this host remembers must do
        seen += relationmap.read_catalogs(config).tablespaces
    # What was dropped before the backup is not in the WAL behind it.
    foreign = sorted({(item.name, item.location) for item in seen if item.last_seen >= source.backup.started} - known)
    if not foreign:
        return
    text = ", ".join(f"{name} ({location})" for name, location in foreign)
    raise RefusedError(
        f"backup set {source.backup.label} does not know tablespace {text}: replaying its creation would write into "
        "production's folder",
        remedy="start from a newer set, or use another host: playbooks/dr-side-instance.yml",
    )


def free_port(config: HostConfig, allowed: SideInstances, wanted: int = 0) -> int:
    """The wanted port, or the first free one.

    Raises:
        RefusedError: it is taken, or none is free.
    """
    taken = {config.port: "production's"} | {state.port: f"that of {state.name}" for state in store.states(config)}
    if wanted:
        if wanted in taken or _answers(wanted):
            owner = taken.get(wanted, "in use by another program")
            raise RefusedError(f"port {wanted} is {owner}", remedy="leave --port out to get a free one")
        return wanted
    for port in range(allowed.first_port, allowed.first_port + _PORTS):
        if port not in taken and not _answers(port):
            return port
    raise RefusedError(f"no free port from {allowed.first_port} on", remedy="stop a side instance: pgdr side list")


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
