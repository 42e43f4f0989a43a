"""One operation at a time on a cluster: a lock that says who holds it.

The lock is the kernel's (``flock``), so it ends with the process that holds it, however that ends. Who holds it
is written beside it for people. It is a lock among ``pgdr``'s operations; pgBackRest has its own on top.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pgdr.errors import BusyError, ConfigError
from pgdr.files import adopt_owner, remedy_of, write_atomically
from pgdr.hostconfig import HostConfig

_POLL = 1.0
_MESSAGE_EVERY = 60.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: its process.
        command: what it does.
        since: since when, ISO 8601 in UTC.
    """

    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid}) since {self.since}"


WaitMessage = Callable[[Holder | None, float], None]


# Logical archives read and write nothing that a physical backup touches: the two may run side by side.
ARCHIVES = "archives"
# So is an archive restored beside the live database to read from: its operation on rows takes the lock of all when it
# begins to write, and `pgdr cleanup` must not take the database for a leftover before.
PAST = "past"


def lock_path(config: HostConfig, scope: str = "") -> Path:
    """The lock file of this host's stanza, or of one part of its work."""
    return config.run_directory / f"{_lock_name(config, scope)}.lock"


def holder(config: HostConfig, scope: str = "") -> Holder | None:
    """Who holds the lock, as far as it is written down and that process lives."""
    found = _written(_holder_path(config, scope))
    return found if found is not None and _alive(found.pid) else None


def killed(config: HostConfig) -> dict[str, Holder]:
    """Who was ended before it could clear its name away, by scope: killed, or out of memory.

    It stands there until the next operation of that scope, or until the host starts again.
    """
    found = {}
    for path in config.run_directory.glob(f"{config.stanza}*.holder"):
        scope = path.stem[len(config.stanza) + 1 :]
        if path.stem != _lock_name(config, scope):
            continue  # of a stanza whose name begins with this one's
        written = _written(path)
        if written is not None and not _alive(written.pid):
            found[scope] = written
    return found


@contextmanager
def operation_lock(
    config: HostConfig,
    command: str,
    *,
    scope: str = "",
    wait: float = 0.0,
    on_wait: WaitMessage | None = None,
    message_every: float = _MESSAGE_EVERY,
) -> Iterator[None]:
    """Hold the operation lock of this host's stanza for a block of work.

    Args:
        config: what this host is.
        command: what is done, for the message to others.
        scope: a part of the work with a lock of its own, such as :data:`ARCHIVES`; the rest shares one.
        wait: seconds to wait for it; 0 gives way at once.
        on_wait: told who holds it and how long we have waited, when the waiting begins and from time to time.
        message_every: seconds between two such messages.

    Raises:
        BusyError: another operation holds it (still, after ``wait``).
        ConfigError: the folder of the locks is missing or not writable.
    """
    path = lock_path(config, scope)
    lock = FileLock(path, timeout=0, mode=0o660)
    if not config.run_directory.is_dir():  # the lock library would create it, owned by whoever came first
        raise ConfigError(f"{config.run_directory} is missing", remedy="run the role pgdr")
    try:
        _acquire(lock, lambda: holder(config, scope), wait, on_wait, message_every)
        adopt_owner(path)
        _write_holder(_holder_path(config, scope), command)
    except OSError as error:
        lock.release()
        raise ConfigError(
            f"cannot lock {path}: {error.strerror}",
            remedy=remedy_of(error, f"run as postgres; {config.run_directory} comes from the role pgdr"),
        ) from error
    try:
        yield
    finally:
        _holder_path(config, scope).unlink(missing_ok=True)
        lock.release()


def _acquire(
    lock: FileLock,
    who: Callable[[], Holder | None],
    wait: float,
    on_wait: WaitMessage | None,
    message_every: float,
) -> None:
    began = time.monotonic()
    told = -message_every
    while True:
        try:
            lock.acquire()
        except Timeout:
            waited = time.monotonic() - began
            other = who()
            if waited >= wait:
                raise _busy(other, waited if wait else 0.0) from None
            if on_wait is not None and waited - told >= message_every:
                on_wait(other, waited)
                told = waited
            time.sleep(min(_POLL, max(0.01, wait - waited)))
        else:
            return


def _busy(other: Holder | None, waited: float) -> BusyError:
    who = str(other) if other else "another operation"
    after = f" after {waited:.0f} s of waiting" if waited else ""
    return BusyError(f"gave way{after} to {who}", remedy="nothing was changed")


def _written(path: Path) -> Holder | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(content["pid"]), str(content["command"]), str(content["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_holder(path: Path, command: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_atomically(path, json.dumps(asdict(Holder(os.getpid(), command, now))) + "\n")


def _holder_path(config: HostConfig, scope: str) -> Path:
    # Not in the lock file itself: opening that one for the next attempt truncates it.
    return config.run_directory / f"{_lock_name(config, scope)}.holder"


def _lock_name(config: HostConfig, scope: str) -> str:
    return f"{config.stanza}.{scope}" if scope else config.stanza


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
