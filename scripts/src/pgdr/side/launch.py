"""Start the process of a side instance: as a systemd unit with caps, or, if a person says so, without.

We are postgres and may not start units. The role installs a path unit that waits for a file in a folder of ours and
starts `pgdr-side@NAME` for it: no sudo, no polkit, and nothing else can be started that way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pgdr.errors import OperationFailedError, RefusedError
from pgdr.hostconfig import HostConfig, config_path
from pgdr.side import store
from pgdr.side.manage import alive, condition
from pgdr.side.model import SideState

_PATH_UNIT = Path("/etc/systemd/system/pgdr-side.path")
_SYSTEMD = Path("/run/systemd/system")
_STARTED_SECONDS = 30.0
_POLL_SECONDS = 0.3


def capped() -> bool:
    """Whether this host can cap a side instance: systemd runs and the role has installed the unit."""
    return systemd_runs() and _PATH_UNIT.exists()


def systemd_runs() -> bool:
    """Whether systemd runs this host."""
    return _SYSTEMD.is_dir()


def caps_hold(pid: int, root: Path = Path("/")) -> bool:
    """Whether the kernel caps a process's CPU: in a container systemd may be kept from setting what the unit says.

    Args:
        pid: the process.
        root: where ``/proc`` and ``/sys`` are.
    """
    groups = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc" / str(pid) / "cgroup").read_text(encoding="ascii").splitlines()
        for _, controllers, path in (line.split(":", 2) for line in lines):
            quota = groups / path.lstrip("/") / "cpu.max"
            if not controllers and quota.exists():
                return not quota.read_text(encoding="ascii").startswith("max")
            quota = groups / controllers / path.lstrip("/") / "cpu.cfs_quota_us"
            if "cpu" in controllers.split(",") and quota.exists():
                return int(quota.read_text(encoding="ascii")) > 0
    except OSError:
        pass
    return False


def require_launchable(*, uncapped: bool) -> None:
    """Refuse where a side instance cannot be capped and nobody said that it may go uncapped.

    Raises:
        RefusedError: so it is.
    """
    if not uncapped and not capped():
        raise RefusedError(
            "this host has no unit that caps a side instance",
            remedy="run the role pgdr on it, or add --uncapped: it may then take CPU and memory from production",
        )


def launch(config: HostConfig, name: str, *, uncapped: bool, host_file: Path | None) -> None:
    """Start the process and wait until it has begun.

    Args:
        config: this host.
        name: name of the instance.
        uncapped: without systemd, as a process of its own.
        host_file: the host configuration that was named, ``None`` for the usual one.

    Raises:
        OperationFailedError: it did not begin.
    """
    if uncapped:
        _detached(config, name, host_file)
    else:
        request(config, name)
    deadline = time.monotonic() + _STARTED_SECONDS
    while time.monotonic() < deadline:
        state = store.required(config, name)
        if alive(state) or state.failure:
            return
        time.sleep(0.1)
    raise OperationFailedError(
        f"the process of side instance {name} did not begin within {_STARTED_SECONDS:.0f} s",
        remedy=f"see journalctl -u 'pgdr-side*' and {_log(config, name)}",
    )


def followed(config: HostConfig, name: str, tell: Callable[[SideState], None] = lambda _state: None) -> SideState:
    """Wait until queries work in an instance whose process has begun.

    Args:
        config: this host.
        name: name of the instance.
        tell: is given every state on the way.

    Raises:
        OperationFailedError: its process failed or was killed.
    """
    while True:
        state = store.required(config, name)
        now = condition(state)
        if now == "ready":
            return state
        if now != "starting":
            # Once more: it may have been written between the two looks.
            state = store.required(config, name)
            if condition(state) not in {"ready", "starting"}:
                raise _ended(state, now)
        tell(state)
        time.sleep(_POLL_SECONDS)


def _ended(state: SideState, condition: str) -> OperationFailedError:
    goes_on = "run the same command again: it goes on"
    if not state.failure:
        return OperationFailedError(f"the process of side instance {state.name} was {condition}", remedy=goes_on)
    # What it says may never change: a target that is nowhere, a database that the backup has not.
    remedy = f"{goes_on}; to ask for something else, first: pgdr side stop {state.name}"
    return OperationFailedError(state.failure, remedy=remedy)


def request(config: HostConfig, name: str) -> None:
    """Ask systemd for the unit of a name.

    Raises:
        OperationFailedError: the folder of requests cannot be written.
    """
    folder = config.run_directory / "side-requests"
    try:
        (folder / name).touch(mode=0o600)
    except OSError as error:
        raise OperationFailedError(f"{folder} cannot be written: {error.strerror}", remedy="run as postgres") from error


def _detached(config: HostConfig, name: str, host_file: Path | None) -> None:
    argv = [sys.executable, "-m", "pgdr.cli.main", "--config", str(config_path(host_file)), "side", "run", name]
    descriptor = os.open(_log(config, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    with os.fdopen(descriptor, "ab") as log:
        # Not waited for: it lives longer than we do.
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")


def _log(config: HostConfig, name: str) -> Path:
    return config.log_directory / f"side-{name}.log"
