"""The one root of expected errors, and the exit codes that scripts and playbooks may rely on.

An expected error is one line that names the thing and the remedy. Everything else is a bug and ends with a
traceback and exit code 70. All codes stay below 126: PostgreSQL and shells give higher ones a meaning of
their own (an ``archive_command`` that exits above 125 restarts the archiver without being counted).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of every ``pgdr`` command means."""

    OK = 0
    FAILED = 1  # the work was tried and failed; the message says what is left and what to do
    USAGE = 2  # the command line is wrong
    CONFIG = 3  # a policy or host configuration file is missing or invalid
    REFUSED = 4  # a precondition does not hold; nothing was changed
    NOT_PROVEN = 5  # data or a chain was compared and differs
    BUSY = 6  # another operation holds the lock and this one gave way; nothing was changed
    UNREACHABLE = 7  # a repository or a database did not answer; run again when it does
    BUG = 70  # unexpected: a traceback follows


class PgdrError(Exception):
    """Root of all errors that a user can act on.

    Args:
        message: one line that names the thing and says what is wrong with it.
        remedy: one line that says what to do, or an empty string where the message already does.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class OperationFailedError(PgdrError):
    """Work was started and failed."""


class ConfigError(PgdrError):
    """A configuration or policy file is missing, unreadable or invalid."""

    exit_code = ExitCode.CONFIG


class RefusedError(PgdrError):
    """A precondition does not hold; nothing was changed."""

    exit_code = ExitCode.REFUSED


class NotProvenError(PgdrError):
    """Two things that must be equal differ."""

    exit_code = ExitCode.NOT_PROVEN


class BusyError(PgdrError):
    """Another operation holds the lock; this one gave way."""

    exit_code = ExitCode.BUSY


class UnreachableError(PgdrError):
    """A repository or a database did not answer."""

    exit_code = ExitCode.UNREACHABLE
