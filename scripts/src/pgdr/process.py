"""The one door through which pgdr starts other programs.

Argument lists only, never a shell. Secrets do not belong in an argument list: pgBackRest reads them from its
own 0600 file, libpq from peer authentication. The last lines of output are kept for the error message.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgdr.errors import OperationFailedError

_log = logging.getLogger(__name__)

_KEPT_LINES = 25


@dataclass(frozen=True)
class Completed:
    """What a program left behind.

    Attributes:
        argv: the argument list that was run.
        returncode: its exit status, negative for a signal as in :mod:`subprocess`.
        stdout: all that it wrote to standard output.
        stderr: all that it wrote to standard error.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def tail(self) -> str:
        """The last lines of output, errors last, for a message to a person."""
        lines = [line for line in (*self.stdout.splitlines(), *self.stderr.splitlines()) if line.strip()]
        return "\n".join(lines[-_KEPT_LINES:])


class CommandError(OperationFailedError):
    """A program ended with a status that its caller does not allow."""

    def __init__(self, completed: Completed) -> None:
        program = Path(completed.argv[0]).name
        super().__init__(f"{program} exited with {completed.returncode}: {completed.tail or 'no output'}")
        self.completed = completed


class TimedOutError(OperationFailedError):
    """A program did not end within its time, and was ended."""


def run(
    argv: Sequence[str],
    *,
    allowed: Callable[[int], bool] = lambda status: status == 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    stdin: str | None = None,
) -> Completed:
    """Run a program to its end and return what it left behind.

    Args:
        argv: argument list; the first is the program, better as an absolute path.
        allowed: tells whether an exit status is acceptable; others raise :class:`CommandError`.
        env: the complete environment, or ``None`` for this process's own.
        cwd: working folder.
        timeout: seconds after which the program is killed, or ``None`` to wait for ever.
        stdin: text for its standard input; without it the program gets an empty one.

    Raises:
        CommandError: the exit status is not allowed.
        OperationFailedError: the program could not be started, or ran past its timeout.
    """
    _log.debug("run %s", argv)
    try:
        done = subprocess.run(
            list(argv),
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            env=None if env is None else dict(env),
            cwd=cwd,
            timeout=timeout,
            input=stdin if stdin is not None else "",
        )
    except FileNotFoundError as error:
        raise OperationFailedError(f"program not found: {argv[0]}", remedy="install its package") from error
    except PermissionError as error:
        raise OperationFailedError(f"program may not be run: {argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise TimedOutError(f"{Path(argv[0]).name} did not end within {timeout:g} s") from error
    completed = Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
    if not allowed(done.returncode):
        raise CommandError(completed)
    return completed


def run_to_file(argv: Sequence[str], path: Path, *, timeout: float | None = None) -> Completed:
    """Run a program and put the bytes of its standard output into a file, whatever its exit status.

    Args:
        argv: argument list; the first is the program, better as an absolute path.
        path: file to be made; mode 0600, since it may hold data of the database.
        timeout: seconds after which the program is killed, or ``None`` to wait for ever.

    Raises:
        OperationFailedError: the program could not be started, or ran past its timeout.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as sink:
            done = subprocess.run(
                list(argv), check=False, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.PIPE, timeout=timeout
            )
    except OSError as error:
        raise OperationFailedError(f"{argv[0]} could not be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise TimedOutError(f"{Path(argv[0]).name} did not end within {timeout:g} s") from error
    return Completed(tuple(argv), done.returncode, "", done.stderr.decode(errors="replace"))
