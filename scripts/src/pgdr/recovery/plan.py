"""Decide a recovery in place, or refuse it with one line, before anything is changed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.recovery.ground import Ground, survey
from pgdr.recovery.model import REPLAY_WAL_BYTES, Plan, Tablespace
from pgdr.recovery.source import Source, Wish, choose_source, chosen_facts
from pgdr.recovery.walend import WalEnd

# Room for growth and for what replay and the opened cluster write, on top of the files and the WAL that is replayed.
_HEADROOM = 1.05
_ROOM_BYTES = 2**30


@dataclass(frozen=True)
class Options(Wish):
    """What a person asked for.

    Attributes:
        replace_running: name of the cluster that runs here and may be replaced; empty for none.
        disaster_at: when it broke; ``None`` for now.
    """

    replace_running: str = ""
    disaster_at: datetime | None = None


def make_plan(config: HostConfig, client: PgBackRest, options: Options) -> Plan:
    """Look at the repository and the host, and decide.

    Raises:
        RefusedError: the recovery cannot or must not be done; nothing was changed.
        UnreachableError: the repository did not answer.
    """
    ground: Ground | None = None

    def look(system_identifier: int) -> None:
        nonlocal ground
        ground = survey(config)
        _refuse_occupied(config, options, ground, system_identifier)

    source = choose_source(config, client, options, look)
    if ground is None:
        raise AssertionError("the host is looked at before the archive is read")
    needed = int(source.backup.info.size * _HEADROOM) + min(source.replayed, REPLAY_WAL_BYTES) + _ROOM_BYTES
    if ground.free_bytes < needed:
        raise RefusedError(
            f"not enough disk: the restore needs {needed / 2**30:.1f} GiB under {config.data_directory}, "
            f"{ground.free_bytes / 2**30:.1f} GiB are free",
            remedy="give it a larger volume, or free space; nothing that is set aside is deleted for you",
        )
    now = datetime.now(UTC)
    return Plan(
        operation=f"recover-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}",
        created_at=now,
        **chosen_facts(config, options, source),
        data_directory=str(config.data_directory),
        tablespaces=source.tablespaces,
        set_aside=_set_aside(config.data_directory, source.tablespaces, now),
        stop_first=ground.running,
        free_bytes=ground.free_bytes,
        warnings=_warnings(source, ground, now),
        place=_place(client, options),
        behind_seconds=_behind(source.end, options.disaster_at or now),
    )


def _place(client: PgBackRest, options: Options) -> str:
    found = {one.key: one for one in client.repositories}.get(options.repository)
    where = f" ({found.place} at {found.endpoint})" if found is not None and found.bucket else ""
    return f"repository {options.repository}{', its replica' if options.replica else ''}{where}"


def _behind(end: WalEnd, moment: datetime) -> float | None:
    """Seconds of work that this archive does not hold: what the recovery will lose."""
    if end.last_commit_at is None:
        return None
    return round(max((moment - end.last_commit_at).total_seconds(), 0.0), 3)


def _refuse_occupied(config: HostConfig, options: Options, ground: Ground, wanted: int) -> None:
    data = config.data_directory
    if ground.port_taken:
        raise RefusedError(
            f"another server answers on port {config.port} of this host, and it does not run in {data}",
            remedy="recover on a host without it, or stop it",
        )
    if ground.system_identifier not in {None, wanted}:
        raise RefusedError(
            f"{data} holds another cluster: system identifier {ground.system_identifier}, the backups are of {wanted}",
            remedy="recover on another host, or move that cluster away yourself",
        )
    if ground.running and options.replace_running != config.cluster_name:
        raise RefusedError(
            f"cluster {config.cluster_name} is running here in {data}",
            remedy="if it must be replaced, say so a second time: "
            f"-e cluster_restore_replace_running={config.cluster_name}",
        )


def _set_aside(data_directory: Path, tablespaces: list[Tablespace], now: datetime) -> list[tuple[str, str]]:
    """Folders that hold something now, each with the name it will be kept under."""
    folders = [data_directory, *(Path(space.location) for space in tablespaces)]
    return [
        (str(folder), f"{folder}.before_{now:%Y%m%dT%H%M%SZ}")
        for folder in folders
        if folder.is_dir() and any(folder.iterdir())
    ]


def _warnings(source: Source, ground: Ground, now: datetime) -> list[str]:
    found = source.warnings(now)
    if ground.running:
        found.append("a running cluster is going to be stopped and set aside")
    return found
