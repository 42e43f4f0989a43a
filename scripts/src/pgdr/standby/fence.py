"""The old primary's side: stop it so that its standbys receive all, archive its last WAL, keep it from starting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from pgdr.corruption.cluster import bring_wal_home
from pgdr.corruption.wal import is_archived
from pgdr.errors import PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import connected
from pgdr.recovery.archive import WalArchive
from pgdr.recovery.door import Why, close_door, is_closed, open_door
from pgdr.recovery.ground import server_process
from pgdr.recovery.halt import PATIENCE, halt
from pgdr.recovery.walheader import wal_files
from pgdr.standby.end import PrimaryEnd, asked, primary_end
from pgdr.standby.fetch import recover_at_start
from pgdr.statefile import State, StateFile
from pgdr.surgery.records import recorded

Told = Callable[[str], None]

# It is done so that the stop is short; where a disk crawls the stop does it, and one that hangs is not waited for.
_CHECKPOINT_SECONDS = 120.0


class Fence(State):
    """What a rerun must know.

    Attributes:
        began: when the outage began; ``None`` while nothing is fenced.
        sent: the segment that was archived although the server had not filled it; empty where none was.
    """

    began: datetime | None = None
    sent: str = ""


def fence(config: HostConfig, client: PgBackRest, *, wait: float, told: Told, patience: float = PATIENCE) -> PrimaryEnd:
    """Stop this primary for good; a rerun goes on, and says the same again.

    Args:
        config: what this host is.
        client: the engine.
        wait: seconds to wait for another operation.
        told: hears each step.
        patience: seconds after which a server that does not react is killed.

    Raises:
        RefusedError: this is no primary.
        PgdrError: it does not stop.
    """
    with recorded(config, "standby fence", wait=wait, on_wait=lambda who, _: told(f"waiting for {who}")) as record:
        primary_end(config)  # refuses what is no primary, before anything is changed
        if server_process(config.data_directory) is not None:
            told("checkpoint, so that the stop is short")
            _checkpoint(config)
        with _state(config).change() as state:
            # Of a fence that stands; the file outlives a data directory that was restored since.
            standing = state.began if is_closed(config.data_directory, Why.FENCED) else None
            began = state.began = standing or datetime.now(UTC)
        # Before the stop: from then on no start gets through, systemd's neither.
        close_door(config.data_directory, Why.FENCED)
        halt(config.data_directory, told, patience=patience)
        missing = _bring_home(config, client, told)
        end = primary_end(config).model_copy(update={"began": began, "not_archived": missing})
        record.details.update(end.model_dump(mode="json", exclude={"cluster", "host"}))
    return end


def unfence(config: HostConfig, client: PgBackRest) -> bool:
    """Let a fenced primary start again, where no standby was promoted.

    Its last segment was archived before it was full. A server that goes on writing into it could never archive it
    again, and so nothing behind it: it begins a timeline of its own instead, as after any recovery to the end of WAL.

    Returns:
        whether it will begin a new timeline.

    Raises:
        RefusedError: it is not fenced, or a standby was promoted.
        PgdrError: a repository cannot be asked whether one was.
    """
    with recorded(config, "standby unfence"):
        end = primary_end(config)
        if not end.fenced:
            raise RefusedError(f"{config.cluster_name} on this host is not fenced", remedy="nothing was changed")
        newer = _newer_timelines(config, client, end.timeline)
        if newer:
            raise RefusedError(
                f"repository {newer[0]} holds timeline {newer[1]}, this server ends on {end.timeline}: a standby "
                "was promoted, and two primaries would take orders",
                remedy="it comes back as a standby of the new primary: playbooks/README.md, Promote a standby",
            )
        with _state(config).change() as state:
            branches = bool(state.sent)
            if branches:
                recover_at_start(config.data_directory, client)
            open_door(config.data_directory, Why.FENCED)
            state.began, state.sent = None, ""
    return branches


def _newer_timelines(config: HostConfig, client: PgBackRest, own: int) -> tuple[int, int] | None:
    for repository in client.repositories:
        stored = client.info(repository.key).readable().current_archive(repository.key)
        if stored is None:
            continue
        folders, forks = WalArchive(client, repository.key, config.stanza, stored.id).timelines()
        highest = max([*forks, *(int(name[:8], 16) for name in folders)], default=0)
        if highest > own:
            return repository.key, highest
    return None


def _checkpoint(config: HostConfig) -> None:
    def ask() -> None:
        with connected(config, "postgres", application_name="pgdr standby") as connection:
            connection.execute("checkpoint")

    # A damaged disk may refuse it; what is in WAL counts.
    with suppress(PgdrError):
        asked(ask, _CHECKPOINT_SECONDS)


def _bring_home(config: HostConfig, client: PgBackRest, told: Told) -> str:
    """Archive what the server could not; a standby that streamed all of it needs none of that."""
    # Noted before it is sent: a run that is killed in between must not forget it.
    unfinished = [file.path.name for file in wal_files(config.data_directory) if not is_archived(file)]
    if unfinished:
        with _state(config).change() as state:
            state.sent = unfinished[-1]
    try:
        for repository in client.repositories:
            bring_wal_home(config, client, repository.key, told)
    except PgdrError as error:
        return error.message
    return ""


def _state(config: HostConfig) -> StateFile[Fence]:
    return StateFile(config.state_directory / "fence.json", Fence)
