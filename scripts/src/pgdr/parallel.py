"""Run several long programs at once, so that all processors work and none outlives us.

One that fails ends the others; a signal that :class:`pgdr.supervise.Supervisor` turns into an error does too.
Their output goes to files: a pipe that nobody empties would stop a program.
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from pgdr.errors import OperationFailedError
from pgdr.process import CommandError, Completed

_log = logging.getLogger(__name__)

_POLL = 0.05
_GRACE = 10.0


@dataclass(frozen=True)
class Program:
    """A program to run.

    Attributes:
        argv: its argument list.
        slots: how many of the available slots it takes.
        name: what it is for, in messages.
    """

    argv: tuple[str, ...]
    slots: int = 1
    name: str = ""


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    errors: IO[bytes] = field(repr=False)
    began: float


def run_all(
    programs: Sequence[Program],
    slots: int,
    *,
    env: Mapping[str, str] | None = None,
    on_tick: Callable[[], None] | None = None,
    tick: float = 1.0,
) -> dict[str, float]:
    """Run programs in the order given, as many at once as the slots allow, and return the seconds that each took.

    Args:
        programs: what to run; one that wants more slots than there are gets all of them.
        slots: how many may be taken at once.
        env: the complete environment, or ``None`` for this process's own.
        on_tick: called from time to time; what it raises ends everything.
        tick: seconds between two calls.

    Raises:
        CommandError: one ended with a status that is not 0; the others were ended.
        OperationFailedError: one could not be started.
    """
    waiting = list(programs)
    running: list[_Running] = []
    seconds: dict[str, float] = {}
    told = time.monotonic()
    try:
        while waiting or running:
            free = slots - sum(min(item.program.slots, slots) for item in running)
            while waiting and min(waiting[0].slots, slots) <= free:
                running.append(_start(waiting[0], env))
                free -= min(waiting.pop(0).slots, slots)
            for item in [item for item in running if item.process.poll() is not None]:
                running.remove(item)
                seconds[item.program.name] = time.monotonic() - item.began
                _require_success(item)
            if on_tick is not None and time.monotonic() - told >= tick:
                on_tick()
                told = time.monotonic()
            time.sleep(_POLL)
    finally:
        _end(running)
    return seconds


def _start(program: Program, env: Mapping[str, str] | None) -> _Running:
    _log.debug("run %s", program.argv)
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open as long as the program runs
    try:
        process = subprocess.Popen(
            program.argv,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
        )
    except OSError as error:
        errors.close()
        raise OperationFailedError(
            f"cannot run {program.argv[0]}: {error.strerror}", remedy="install its package"
        ) from error
    return _Running(program, process, errors, time.monotonic())


def _require_success(item: _Running) -> None:
    with item.errors:
        item.errors.seek(0)
        written = item.errors.read().decode(errors="replace")
    if item.process.returncode != 0:
        raise CommandError(Completed(item.program.argv, item.process.returncode, "", written))


def _end(running: Sequence[_Running]) -> None:
    for item in running:
        item.process.terminate()
    for item in running:
        try:
            item.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            item.process.kill()
            item.process.wait()
        item.errors.close()
