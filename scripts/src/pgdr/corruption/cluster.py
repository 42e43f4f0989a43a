"""The whole cluster comes back, with everything that WAL holds: what is not archived yet is archived first."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pgdr.corruption.model import Damage
from pgdr.corruption.standin import identity
from pgdr.corruption.wal import done_marker, is_archived, segment_fault, whole_copies
from pgdr.errors import OperationFailedError
from pgdr.files import adopt_owner, sync_directory
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import connected
from pgdr.recovery.ground import server_process
from pgdr.recovery.halt import halt
from pgdr.recovery.model import RecoveryState, Stage
from pgdr.recovery.plan import Options, make_plan
from pgdr.recovery.run import Recovery, require_idle
from pgdr.recovery.state import StateStore
from pgdr.recovery.target import Target
from pgdr.recovery.walheader import wal_files

FINISH = (
    "ansible-playbook playbooks/dr-restore.yml -e recovery_hosts=THIS_HOST -e restore_repository={}: "
    "it opens the cluster, checks and protects it"
)
_ARCHIVED_SECONDS = 60.0
_POLL = 0.5

Told = Callable[[str], None]


def unfinished(config: HostConfig) -> RecoveryState | None:
    """A recovery that was begun on this host and has not promoted."""
    state = _store(config).load()
    if state is None or not state.attempts or state.stage.rank >= Stage.PROMOTED.rank:
        return None
    return state


def require_possible(config: HostConfig, client: PgBackRest, repository: int) -> str:
    """Say what would be restored; nothing is changed.

    Raises:
        PgdrError: it cannot be restored.
    """
    plan = make_plan(config, client, _options(config, repository))
    return f"{plan.backup_label} of {plan.place}, replayed to the end of WAL"


def restore(config: HostConfig, client: PgBackRest, repository: int, processes: int, told: Told) -> RecoveryState:
    """Stop the server, archive all the WAL that it has, restore up to its last record; or go on with that.

    Raises:
        PgdrError: it failed; a rerun goes on, and what stood there is kept under another name.
    """
    journal = Journal.of(config)
    store = _store(config)
    state = unfinished(config)
    if state is None:
        halt(config.data_directory, told)
        bring_wal_home(config, client, repository, told)
        old = store.load()
        if old is not None:
            store.archive(old)
        state = RecoveryState(plan=make_plan(config, client, _options(config, repository)))
        store.save(state)
    require_idle(state)
    recovery = Recovery(config, client, store, lambda progress: told(f"{progress.phase}: {progress.detail}"))
    facts = {"recovery": state.plan.operation, "target": state.plan.target.text, "for": "corruption cure"}
    journal.append(operation="recover run", result="started", details=facts)
    return recovery.run(processes)


def bring_wal_home(config: HostConfig, client: PgBackRest, repository: int, told: Told) -> list[str]:
    """Archive every segment that the stopped cluster has and the repositories may not, its last one included.

    Returns:
        the segments that were sent.

    Raises:
        OperationFailedError: one is not in the repository afterwards.
        PgBackRestError: a repository could not take it.
    """
    sent = []
    waiting = [file for file in wal_files(config.data_directory) if not is_archived(file)]
    with identity(config) as data:
        for file in waiting:
            told(f"archiving {file.path.name}")
            client.archive_push(file.path, data=data)
            if whole_copies(config, client, file.path.name, data=data).get(repository) == "missing":
                raise OperationFailedError(
                    f"WAL segment {file.path.name} is not in repository {repository} after all", remedy="run again"
                )
            sent.append(file.path.name)
    return sent


def _options(config: HostConfig, repository: int) -> Options:
    return Options(
        repository=repository,
        target=Target(),
        replace_running=config.cluster_name,
        disaster_at=datetime.now(UTC),
    )


def _store(config: HostConfig) -> StateStore:
    return StateStore(config.state_directory / "recovery")


def set_aside(state: RecoveryState) -> str:
    """Where what stood there is kept."""
    return ", ".join(kept for _, kept in state.plan.set_aside if Path(kept).exists()) or "nothing was set aside"


def replace_segment(config: HostConfig, client: PgBackRest, damage: Damage) -> None:
    """Make a damaged WAL segment harmless: a checkpoint leaves it behind; where the server is down, its copy stands in.

    Raises:
        OperationFailedError: no repository has a whole copy.
        PgdrError: the server could not be asked.
    """
    path = config.data_directory / damage.file
    if server_process(config.data_directory) is not None:
        with connected(config, "postgres", application_name="pgdr corruption") as live:
            live.execute("select pg_switch_wal()")
            live.execute("checkpoint")
        until = time.monotonic() + _ARCHIVED_SECONDS
        while path.exists() and not done_marker(path).exists() and time.monotonic() < until:
            time.sleep(_POLL)
        return
    for repository in client.repositories:
        with tempfile.TemporaryDirectory(prefix="pgdr-wal-", dir=config.run_directory) as folder:
            adopt_owner(Path(folder))
            found = Path(folder) / damage.name
            if not client.archive_get(damage.name, found, repository.key) or segment_fault(config, found):
                continue
            draft = path.with_name(f"{path.name}.pgdr")
            shutil.copyfile(found, draft)
            draft.chmod(0o600)
            adopt_owner(draft)
            draft.replace(path)
            sync_directory(path.parent)
            return
    raise OperationFailedError(
        f"no repository has a whole copy of {damage.name}", remedy="restore the cluster: --whole-cluster"
    )
