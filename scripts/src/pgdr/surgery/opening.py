"""Between recovery and opening: the ledger comes from the bucket, and who was erased is removed again.

The recovered cluster stands promoted and stopped. It is started behind the closed door that it was recovered behind,
so that no application sees for a moment what must not be there. Where nobody was ever erased nothing is started.
Until that is done PostgreSQL refuses any other start (:mod:`pgdr.recovery.door`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pgdr.errors import ConfigError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.policy.model import Policy
from pgdr.postgres.connection import connected
from pgdr.recovery.controldata import read_control_data
from pgdr.recovery.door import open_door
from pgdr.recovery.model import RecoveryState, Stage
from pgdr.recovery.replay import leave_nothing, wait_until_open
from pgdr.recovery.run import stop_leftover
from pgdr.recovery.server import ClosedServer, ServerPaths, recovery_settings
from pgdr.recovery.state import StateStore
from pgdr.recovery.verify import Check
from pgdr.surgery.erase import Replayed, Request, replay
from pgdr.surgery.ledger import Ledger
from pgdr.surgery.shipping import CloudLedger

_CHECK = "erasures"
_OPEN_ANYWAY = (
    "the cluster stays closed until then; where nobody was ever erased: --nobody-was-erased, "
    "in the play --skip-tags erasures"
)


@dataclass(frozen=True)
class Kept:
    """What was done so that who was erased stays erased.

    Attributes:
        fetched: entries of the ledger that came from the bucket.
        replayed: what was removed again.
    """

    fetched: int
    replayed: Replayed


def keep_erased(config: HostConfig, policy: Policy, copy: CloudLedger | None) -> Kept:
    """Fetch the ledger and remove again what it says.

    Raises:
        PgdrError: it could not be done: the service must not open.
    """
    fetched = 0
    if copy is not None:
        try:
            fetched = copy.fetch()
        except PgdrError as error:
            # The same kind of error, so that the exit code says whether to run again or to look.
            raise type(error)(
                f"the erasure ledger cannot be had: {error.message}", remedy=f"{error.remedy}; {_OPEN_ANYWAY}"
            ) from error
    ledger = Ledger(config)
    if not ledger.erasures():
        open_door(config.data_directory)
        return Kept(fetched, Replayed(0, {}))
    if policy.tenancy is None:
        raise ConfigError(
            "there are erasures to keep, and the policy says nothing about tenants",
            remedy="add recovery_policy.tenancy; do not open the service before",
        )
    ledger.require_key()
    with _reachable(config) as place:
        kept = Kept(fetched, replay(Request(place, policy.tenancy), ledger))
    open_door(config.data_directory)
    return kept


def open_without_ledger(config: HostConfig) -> bool:
    """Let a recovered cluster start whose erasures cannot be looked up, because nobody was ever erased.

    Returns:
        whether it was closed.

    Raises:
        RefusedError: this host's own ledger knows better.
    """
    known = len(Ledger(config).erasures())
    if known:
        raise RefusedError(
            f"{known} erasures are in this host's ledger",
            remedy="pgdr erasures replay --before-opening, without --nobody-was-erased; the cluster stays closed",
        )
    return open_door(config.data_directory)


@contextmanager
def _reachable(config: HostConfig) -> Iterator[HostConfig]:
    """The cluster for a block of work: as it runs, or else behind the closed door for as long."""
    if _answers(config):
        yield config
        return
    store = StateStore(config.state_directory / "recovery")
    state = store.load()
    if state is None or state.stage.rank < Stage.PROMOTED.rank:
        raise RefusedError(
            "the cluster does not run, and there is no recovery that has come to its end",
            remedy="run playbooks/dr-restore.yml, or start the cluster",
        )
    paths = ServerPaths(
        bin_directory=config.bin_directory,
        data_directory=Path(state.plan.data_directory),
        folder=store.folder / "server",
        socket_directory=config.run_directory / "recovery",
        port=config.port,
    )
    stop_leftover(paths.bin_directory, paths.data_directory)
    server = ClosedServer(paths, recovery_settings(read_control_data(paths.bin_directory, paths.data_directory)))
    try:
        server.start()
        wait_until_open(server, lambda _line, _share: None)
        yield config.model_copy(update={"socket_directory": paths.socket_directory})
        server.stop()
    finally:
        leave_nothing(server)


def kept_check(config: HostConfig, state: RecoveryState, *, fatal: bool) -> Check:
    """Say whether who was erased was removed again from the recovered cluster, from what the journal has of it.

    Args:
        config: what this host is.
        state: the recovery.
        fatal: without it the recovery is not proven.
    """
    promoted = max((phase.started_at for phase in state.phases if phase.name == "promote"), default=None)
    replays = [
        entry.details
        for entry in Journal.of(config).entries()
        if (entry.operation, entry.result, entry.details.get("before")) == ("erasures replay", "ok", "opening")
        and promoted is not None
        and datetime.fromisoformat(entry.at) >= promoted
    ]
    if not replays:
        detail = "the erasure ledger was not replayed before the cluster opened (pgdr erasures replay --before-opening)"
        return Check(name=_CHECK, ok=False, detail=detail, fatal=fatal)
    removed = sum(len(details.get("removed", {})) for details in replays)
    found = f"{replays[-1].get('erasures', 0)} erasures in the ledger, {removed} subjects removed again"
    return Check(name=_CHECK, ok=True, detail=found)


def _answers(config: HostConfig) -> bool:
    try:
        with connected(config, "postgres"):
            return True
    except PgdrError:
        return False
