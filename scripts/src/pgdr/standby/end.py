"""Where a primary's WAL ends: while it runs, and for good when it has stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pgdr.errors import OperationFailedError, RefusedError, UnreachableError
from pgdr.hostconfig import HostConfig
from pgdr.patience import Answer, answered
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import ServerFacts, server_facts
from pgdr.recovery.controldata import ControlData, read_control_data
from pgdr.recovery.door import Why, is_closed
from pgdr.recovery.ground import server_process
from pgdr.recovery.lsn import format_lsn, parse_lsn
from pgdr.recovery.walend import last_in
from pgdr.recovery.walheader import WalFile, wal_files

# An idle server closes a segment a minute, with a heartbeat in it.
_LOOK_BACK = 8
_ANSWERS_SECONDS = 15.0


class PrimaryEnd(BaseModel):
    """What a standby must know of its primary.

    Attributes:
        cluster: its name, as a person types it.
        host: where it is.
        system_identifier: identity of the cluster.
        timeline: the timeline it writes on.
        lsn: position of its last record once it is stopped; how far it has written while it runs.
        last_commit_at: time of the last commit near the end; ``None`` while it runs.
        stopped: no server runs.
        clean: it ended with a checkpoint of its own; otherwise it crashed or was killed.
        fenced: it cannot be started by accident.
        began: when the outage began, for the RTO.
        not_archived: why the archive may lack its last WAL; empty where it has all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: str
    host: str
    system_identifier: str
    timeline: int
    lsn: str
    last_commit_at: datetime | None = None
    stopped: bool
    clean: bool
    fenced: bool
    began: datetime | None = None
    not_archived: str = ""

    @property
    def position(self) -> int:
        """The LSN as a number."""
        return parse_lsn(self.lsn)

    @property
    def line(self) -> str:
        """For a person."""
        state = "stopped cleanly" if self.clean else "down, not by a clean stop" if self.stopped else "running"
        fenced = ", fenced" if self.fenced else ""
        return f"{self.cluster} on {self.host}: {state}{fenced}, timeline {self.timeline}, WAL up to {self.lsn}"


def read_end(text: str, source: str) -> PrimaryEnd:
    """Read what the primary's host wrote.

    Raises:
        RefusedError: it is something else.
    """
    try:
        found = PrimaryEnd.model_validate_json(text)
        _ = found.position
    except (ValidationError, RefusedError) as error:
        raise RefusedError(
            f"{source} is not what pgdr standby fence --output json writes",
            remedy="pgdr standby fence --confirm CLUSTER --output json > FILE on the primary's host",
        ) from error
    return found


def primary_end(config: HostConfig) -> PrimaryEnd:
    """Look at this host's primary, running or not; nothing is changed.

    Raises:
        RefusedError: there is no cluster, or it is a standby.
        PgdrError: its control file or its WAL cannot be read.
    """
    if not (config.data_directory / "PG_VERSION").exists():
        raise RefusedError(f"{config.data_directory} holds no cluster", remedy="run it on the primary's host")
    if (config.data_directory / "standby.signal").exists():
        raise RefusedError(
            f"{config.cluster_name} on this host is a standby",
            remedy="run it on the primary's host; nothing was changed",
        )
    if server_process(config.data_directory) is None:
        return _stopped(config)

    def ask() -> ServerFacts:
        with connected(config, "postgres", application_name="pgdr standby") as connection:
            return server_facts(connection)

    try:
        facts = asked(ask, _ANSWERS_SECONDS)
    except UnreachableError:
        # It hangs, or recovers from a crash: how far it has written is seen when it is stopped.
        control = read_control_data(config.bin_directory, config.data_directory)
        return _named(config, str(control.system_identifier), control.timeline, control.checkpoint_lsn, stopped=False)
    return _named(config, facts.system_identifier, facts.timeline, facts.lsn, stopped=False)


def asked(ask: Callable[[], Answer], seconds: float) -> Answer:
    """Ask a server that may hang: it can take a connection and never answer on it.

    Raises:
        UnreachableError: no answer within that time.
        PgdrError: what the question raised.
    """
    try:
        return answered(ask, seconds)
    except TimeoutError as error:
        raise UnreachableError(f"PostgreSQL gave {error}: it hangs") from error


def _stopped(config: HostConfig) -> PrimaryEnd:
    files = list(wal_files(config.data_directory))
    control = _control(config)
    if control is not None and control.state == "shut down":
        # A clean stop ends with this very record; what segments behind it hold is of an earlier use of their files.
        return _named(
            config,
            str(control.system_identifier),
            control.timeline,
            control.checkpoint_lsn,
            stopped=True,
            clean=True,
            last_commit_at=_last_commit(config, files),
        )
    if not files:
        raise OperationFailedError(
            f"there is no WAL in {config.data_directory}", remedy="bring it back: dr-restore.yml"
        )
    identifier = control.system_identifier if control is not None else files[-1].system_identifier
    for file in reversed(files):
        record, _ = last_in(Path(config.program("pg_waldump")), file.path)
        if record is not None:
            return _named(
                config,
                str(identifier),
                file.segment.timeline,
                format_lsn(record),
                stopped=True,
                last_commit_at=_last_commit(config, files),
            )
    raise OperationFailedError(f"no record of WAL can be read in {config.data_directory}")


def _control(config: HostConfig) -> ControlData | None:
    try:
        return read_control_data(config.bin_directory, config.data_directory)
    except OperationFailedError:
        return None  # damaged: WAL says whose it is and where it ends as well


def _last_commit(config: HostConfig, files: list[WalFile]) -> datetime | None:
    for file in files[-_LOOK_BACK:][::-1]:
        try:
            _, commit = last_in(Path(config.program("pg_waldump")), file.path)
        except OperationFailedError:
            continue  # it only tells how old the last change is
        if commit is not None:
            return commit
    return None


def _named(
    config: HostConfig,
    system_identifier: str,
    timeline: int,
    lsn: str,
    *,
    stopped: bool,
    clean: bool = False,
    last_commit_at: datetime | None = None,
) -> PrimaryEnd:
    return PrimaryEnd(
        cluster=config.cluster_name,
        host=socket.gethostname(),
        system_identifier=system_identifier,
        timeline=timeline,
        lsn=lsn,
        last_commit_at=last_commit_at,
        stopped=stopped,
        clean=clean,
        fenced=is_closed(config.data_directory, Why.FENCED),
    )
