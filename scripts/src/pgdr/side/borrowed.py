"""A side instance for a block of work of this process: within the caps where this host has them, removed at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.recovery.model import Progress
from pgdr.side import manage, store
from pgdr.side.launch import capped, followed, launch
from pgdr.side.model import SideState
from pgdr.side.run import SideInstance
from pgdr.supervise import Supervisor

_NICE = 10
_LINE_EVERY = 10.0


@contextmanager
def borrowed(
    config: HostConfig,
    client: PgBackRest,
    planned: SideState,
    processes: int,
    *,
    why: str,
    told: Callable[[str], None],
) -> Iterator[SideState]:
    """Bring a planned instance up, and remove it however the work ends.

    Args:
        config: this host.
        client: pgBackRest on this host.
        planned: what was decided; there is none of its name.
        processes: how many restore files where nothing caps them.
        why: what it is for.
        told: is told what happens, and how far each phase is from time to time.

    Raises:
        BusyError: another process works on it.
        PgdrError: it failed; it is removed all the same.
    """
    show = _now_and_then(told)
    store.save(config, planned)
    try:
        if capped():
            with Supervisor():
                launch(config, planned.name, uncapped=False, host_file=None)
                yield followed(config, planned.name, lambda state: show(state.progress))
        else:
            told("there is no systemd unit here: nothing caps CPU, memory and disk of it but a low priority")
            os.nice(_NICE)
            instance = SideInstance(config, client, planned.name, show)
            with instance.opened(processes):
                yield instance.state
    finally:
        manage.stop(config, planned.name, why=why)


def _now_and_then(told: Callable[[str], None]) -> Callable[[Progress | None], None]:
    """Say each phase as it begins, and how far it is from time to time."""
    phase, last = "", 0.0

    def show(progress: Progress | None) -> None:
        nonlocal phase, last
        if progress is None:
            return
        if progress.phase != phase or time.monotonic() - last >= _LINE_EVERY:
            phase, last = progress.phase, time.monotonic()
            told(progress.line)

    return show
