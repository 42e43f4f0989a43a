"""The old primary's side: stop it so that its standbys receive all, archive its last WAL, keep it from starting."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from pgdr.corruption.cluster import bring_wal_home, stop
from pgdr.errors import PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import connected
from pgdr.recovery.archive import WalArchive
from pgdr.recovery.door import Why, close_door, open_door
from pgdr.recovery.ground import server_process
from pgdr.standby.end import PrimaryEnd, primary_end
from pgdr.statefile import State, StateFile
from pgdr.surgery.records import recorded

Told = Callable[[str], None]


class Fence(State):
    """What a rerun must know.

    Attributes:
        began: when the outage began; ``None`` while nothing is fenced.
    """

    began: datetime | None = None


def fence(config: HostConfig, client: PgBackRest, *, wait: float, told: Told) -> PrimaryEnd:
    """Stop this primary for good; a rerun goes on, and says the same again.

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
            state.began = state.began or datetime.now(UTC)
            began = state.began
        # Before the stop: from then on no start gets through, systemd's neither.
        close_door(config.data_directory, Why.FENCED)
        stop(config, told)
        end = primary_end(config).model_copy(update={"began": began, "not_archived": _bring_home(config, client, told)})
        record.details.update(end.model_dump(mode="json", exclude={"cluster", "host"}))
    return end


def unfence(config: HostConfig, client: PgBackRest) -> None:
    """Let a fenced primary start again, where no standby was promoted.

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
        open_door(config.data_directory, Why.FENCED)
        with _state(config).change() as state:
            state.began = None


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
    try:
        with connected(config, "postgres", application_name="pgdr standby") as connection:
            connection.execute("checkpoint")
    except PgdrError:
        pass  # a damaged disk may refuse it; what is in WAL counts


def _bring_home(config: HostConfig, client: PgBackRest, told: Told) -> str:
    """Archive what the server could not; a standby that streamed all of it needs none of that."""
    try:
        for repository in client.repositories:
            bring_wal_home(config, client, repository.key, told)
    except PgdrError as error:
        return error.message
    return ""


def _state(config: HostConfig) -> StateFile[Fence]:
    return StateFile(config.state_directory / "fence.json", Fence)
