"""What pgBackRest's exit statuses mean, and which of our errors each becomes.

The numbers and names are those of pgBackRest's own ``src/build/error/error.yaml``; the remedies are ours.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from pgdr.errors import (
    BusyError,
    ConfigError,
    NotProvenError,
    OperationFailedError,
    PgdrError,
    RefusedError,
    UnreachableError,
)
from pgdr.process import Completed

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}


class PgBackRestError(PgdrError):
    """pgBackRest ended with an error.

    Attributes:
        status: its exit status, negative for a signal.
        fault: the name of the error in pgBackRest's own list, for example ``lock-acquire``.
    """

    status: int = -1
    fault: str = ""

    @property
    def crashed(self) -> bool:
        """Whether a fault of its own ended it, and nobody who wanted it to end."""
        return -self.status in _CRASHES


class PgBackRestFailedError(PgBackRestError, OperationFailedError):
    """The work was started and failed."""


class PgBackRestConfigError(PgBackRestError, ConfigError):
    """pgBackRest's configuration is wrong."""


class PgBackRestRefusedError(PgBackRestError, RefusedError):
    """A precondition does not hold."""


class PgBackRestNotProvenError(PgBackRestError, NotProvenError):
    """What is in the repository is not what it should be."""


class PgBackRestBusyError(PgBackRestError, BusyError):
    """Another pgBackRest process holds the lock."""


class PgBackRestUnreachableError(PgBackRestError, UnreachableError):
    """A repository or the database did not answer."""


@dataclass(frozen=True)
class Fault:
    """One exit status of pgBackRest.

    Attributes:
        name: pgBackRest's name for it.
        error: the class that it becomes here.
        meaning: what it means, in words.
        remedy: what to do.
    """

    name: str
    error: type[PgBackRestError]
    meaning: str
    remedy: str


_FAILED = PgBackRestFailedError
_CONFIG = PgBackRestConfigError
_REFUSED = PgBackRestRefusedError
_NOT_PROVEN = PgBackRestNotProvenError
_UNREACHABLE = PgBackRestUnreachableError

_READ_LOG = "read pgBackRest's log of this command"
_FIX_CONFIG = "correct the policy and run the role pgbackrest again"
_RIGHTS = "run as postgres and check owner, mode and free space of the path"

FAULTS: dict[int, Fault] = {
    25: Fault("assert", _FAILED, "internal error of pgBackRest", "report it with its log"),
    26: Fault("checksum", _NOT_PROVEN, "a checksum does not match", "use another set or repository"),
    27: Fault("config", _CONFIG, "the configuration is invalid", _FIX_CONFIG),
    28: Fault("file-invalid", _REFUSED, "a file is not what it should be", _READ_LOG),
    29: Fault("format", _NOT_PROVEN, "a file of the repository is damaged", "use another set or repository"),
    30: Fault("command-required", _CONFIG, "no command was given", _FIX_CONFIG),
    31: Fault("option-invalid", _CONFIG, "an option is not valid here", _FIX_CONFIG),
    32: Fault("option-invalid-value", _CONFIG, "an option has an invalid value", _FIX_CONFIG),
    37: Fault("option-required", _CONFIG, "a required option is missing", _FIX_CONFIG),
    38: Fault("pg-running", _REFUSED, "PostgreSQL is running here", "stop the cluster first"),
    39: Fault(
        "protocol",
        _UNREACHABLE,
        "the repository refused or broke the conversation",
        "check bucket, credentials, endpoint and network, then run again",
    ),
    40: Fault("path-not-empty", _REFUSED, "a path is not empty", "set its content aside first"),
    41: Fault("file-open", _FAILED, "a file could not be opened", _RIGHTS),
    42: Fault("file-read", _FAILED, "a file could not be read", _RIGHTS),
    43: Fault("param-required", _CONFIG, "a parameter is missing", _FIX_CONFIG),
    44: Fault(
        "archive-mismatch",
        _REFUSED,
        "the WAL belongs to another cluster than this stanza",
        "check the stanza's name; after a major upgrade run stanza-upgrade",
    ),
    45: Fault(
        "archive-duplicate",
        _REFUSED,
        "the archive already holds this WAL segment with other content",
        "a second cluster archives into this stanza: stop it",
    ),
    46: Fault(
        "version-not-supported",
        _REFUSED,
        "this pgBackRest does not support this version of PostgreSQL",
        "install a newer pgBackRest",
    ),
    47: Fault("path-create", _FAILED, "a path could not be created", _RIGHTS),
    48: Fault("command-invalid", _CONFIG, "the command is not known", "install a newer pgBackRest"),
    49: Fault("host-connect", _UNREACHABLE, "the repository's host did not answer", "run again when it does"),
    50: Fault(
        "lock-acquire",
        PgBackRestBusyError,
        "another pgBackRest process holds the stanza's lock",
        "wait for it, or see the processes of the operating system user",
    ),
    51: Fault(
        "backup-mismatch",
        _REFUSED,
        "the database is not the one that this stanza belongs to",
        "check the stanza's name; after a major upgrade run stanza-upgrade",
    ),
    52: Fault("file-sync", _FAILED, "a file could not be flushed to disk", "check the disk"),
    53: Fault("path-open", _FAILED, "a path could not be opened", _RIGHTS),
    54: Fault("path-sync", _FAILED, "a path could not be flushed to disk", "check the disk"),
    55: Fault(
        "file-missing",
        _REFUSED,
        "a file of the repository is missing",
        "is its disk mounted? check path and bucket; where there never was a stanza, create the stanza first",
    ),
    56: Fault("db-connect", _UNREACHABLE, "the database did not answer", "start the cluster"),
    57: Fault("db-query", _FAILED, "a query failed", _READ_LOG),
    58: Fault(
        "db-mismatch",
        _REFUSED,
        "the database or its timeline does not match the repository",
        "check stanza and target timeline",
    ),
    60: Fault("file-remove", _FAILED, "a file could not be removed", _RIGHTS),
    61: Fault("path-remove", _FAILED, "a path could not be removed", _RIGHTS),
    62: Fault("stop", _REFUSED, "pgBackRest was stopped here on purpose", "run: pgbackrest start"),
    63: Fault("term", _FAILED, "pgBackRest was interrupted by a signal", "run again"),
    64: Fault("file-write", _FAILED, "a file could not be written", _RIGHTS),
    67: Fault("feature-not-supported", _REFUSED, "not supported", _READ_LOG),
    68: Fault(
        "archive-command-invalid",
        _REFUSED,
        "archive_command does not call pgBackRest",
        "run the role postgresql again",
    ),
    69: Fault("link-expected", _REFUSED, "a link was expected", _READ_LOG),
    70: Fault("link-destination", _REFUSED, "a link points inside the data directory", _READ_LOG),
    72: Fault("host-invalid", _CONFIG, "a host is not valid here", _FIX_CONFIG),
    73: Fault("path-missing", _REFUSED, "a path is missing", "create the path or correct its name"),
    74: Fault("file-move", _FAILED, "a file could not be moved", _RIGHTS),
    75: Fault(
        "backup-set-invalid",
        _REFUSED,
        "the backup set does not exist, does not fit the target, or is the last full",
        "choose one that pgdr info lists; the last full goes when another was taken",
    ),
    76: Fault("tablespace-map", _REFUSED, "the tablespace map is invalid", _READ_LOG),
    78: Fault("link-map", _REFUSED, "the link map is invalid", _READ_LOG),
    79: Fault("file-close", _FAILED, "a file could not be closed", "check the disk"),
    80: Fault("db-missing", _REFUSED, "a database is not in the backup", "see pgbackrest info --set"),
    81: Fault("db-invalid", _REFUSED, "a database is not valid here", _READ_LOG),
    82: Fault(
        "archive-timeout",
        _FAILED,
        "a WAL segment did not reach the archive in time",
        "see pg_stat_archiver and the server's log",
    ),
    83: Fault("file-mode", _FAILED, "the mode of a file could not be set", _RIGHTS),
    87: Fault("archive-disabled", _REFUSED, "WAL archiving is off", "run the role postgresql again and restart"),
    88: Fault("file-owner", _FAILED, "the owner of a file could not be set", _RIGHTS),
    89: Fault("user-missing", _REFUSED, "an operating system user is missing", "create the user"),
    93: Fault("file-exists", _FAILED, "a file exists already", _READ_LOG),
    94: Fault("memory", _FAILED, "out of memory", "free memory or lower process-max"),
    95: Fault(
        "crypto",
        _REFUSED,
        "the repository cannot be decrypted",
        "the cipher passphrase is wrong, or the repository was made without one",
    ),
    96: Fault("param-invalid", _CONFIG, "a parameter is invalid", _FIX_CONFIG),
    97: Fault("path-close", _FAILED, "a path could not be closed", "check the disk"),
    98: Fault("file-info", _FAILED, "a file could not be examined", _RIGHTS),
    99: Fault("json-format", _NOT_PROVEN, "a file of the repository is damaged", "use another repository"),
    100: Fault("kernel", _FAILED, "the kernel refused something", "read the kernel's log"),
    101: Fault("service", _UNREACHABLE, "the repository's service failed", "run again when it answers"),
    102: Fault("execute", _FAILED, "a program could not be run", _READ_LOG),
    103: Fault("repo-invalid", _REFUSED, "no repository is usable", "see the errors of each repository"),
    104: Fault("command", _FAILED, "the command met one or more errors", _READ_LOG),
    105: Fault("access", _REFUSED, "access was denied", "check the repository's credentials"),
    106: Fault("clock", _REFUSED, "the clock went backwards or its zone changed", "repair the host's time"),
    122: Fault("runtime", _FAILED, "unexpected error of pgBackRest", _READ_LOG),
    124: Fault("unhandled", _FAILED, "unexpected error of pgBackRest", _READ_LOG),
    125: Fault("unknown", _FAILED, "unknown error of pgBackRest", _READ_LOG),
}

_BY_CLASS_NAME = {
    "".join(part.capitalize() for part in fault.name.split("-")) + "Error": code for code, fault in FAULTS.items()
}
# `[CryptoError] text`: how commands that ask several repositories report each of them.
_NAMED = re.compile(r"\[([A-Z][A-Za-z]+Error)\]")
# `ERROR: [075]: text`: how commands that go on after an error report it.
_CODED = re.compile(r"ERROR: *\[(\d+)\]: ")
# Statuses that only say "see below".
_COLLECTIVE = frozenset({103, 104})
# With a wrong passphrase the index decrypts to noise, which is found out as one of these.
_UNREADABLE_INDEX = frozenset({29, 95, 99})
_INDEX = re.compile(r"unable to load info file '([^']+)'")
_START = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:.]+ +)?(?:P\d+ +)?(?:ERROR|ASSERT): *(?:\[\d+\]: *)?")
_LEVEL = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:.]+ +)?(?:P\d+ +)?(?:WARN|INFO|DETAIL): ")
_REPEATED = re.compile(r"^\[[A-Z][A-Za-z]+Error\] on (?:\d+ )?retr")
# Parts of a refused HTTP request; of what came back only S3's own reason is worth a place in one line.
_PART = re.compile(r"^\*\*\* ([A-Z][A-Za-z/ ]+) \*\*\*:")
_REASON = re.compile(r"<Code>([^<]+)</Code>")
_MESSAGE_LIMIT = 300


def code_of(text: str) -> int | None:
    """Return the code of the error named in a text as ``[CryptoError]``, if it names exactly one kind."""
    codes = {_BY_CLASS_NAME[name] for name in _NAMED.findall(text) if name in _BY_CLASS_NAME}
    return codes.pop() if len(codes) == 1 else None


def _listed_code(said: str) -> int | None:
    """Return the code of the errors that a collective one stands for, if they are of exactly one kind."""
    codes = {int(code) for code in _CODED.findall(said)} - _COLLECTIVE
    return codes.pop() if len(codes) == 1 else None


def error_for(completed: Completed, *, action: str) -> PgBackRestError:
    """Turn the end of a pgBackRest process into one of our errors.

    Args:
        completed: what the process left behind.
        action: what was tried, for the message: ``backup to repository 2``.
    """
    status = completed.returncode
    if status < 0:
        error = _make(PgBackRestFailedError, f"{action}: pgBackRest was ended by signal {-status}", "run again", status)
        if error.crashed:
            error.remedy = "a fault of pgBackRest; whether damaged files bring it about: pgdr corruption examine"
        return error
    said = completed.stderr if completed.stderr.strip() else completed.stdout
    code = (code_of(said) or _listed_code(said) or status) if status in _COLLECTIVE else status
    return fault_error(code, said, action=action, status=status)


def fault_error(code: int, said: str, *, action: str, status: int | None = None) -> PgBackRestError:
    """Make the error of one code.

    Args:
        code: the code whose meaning applies.
        said: pgBackRest's own words.
        action: what was tried.
        status: the exit status of the process where it differs from the code.
    """
    status = code if status is None else status
    fault = FAULTS.get(code) or Fault(f"status-{code}", _FAILED, "unknown exit status", _READ_LOG)
    tag = f"[pgBackRest {code} {fault.name}]"
    index = _INDEX.search(said)
    if code in _UNREADABLE_INDEX and index is not None:
        # What it says here is noise from the decryption; a person needs the likely cause instead.
        message = f"{action}: {index[1]} cannot be read {tag}"
        remedy = "the cipher passphrase is wrong, or the file is damaged"
        return _make(PgBackRestRefusedError, message, remedy, status, fault.name)
    words = summary(said)
    message = f"{action}: {fault.meaning} {tag}" + (f": {words}" if words else "")
    return _make(fault.error, message, fault.remedy, status, fault.name)


def summary(said: str) -> str:
    """Put what pgBackRest said of an error on one line: no warnings, hints, repetitions or unprintable bytes."""
    kept: list[str] = []
    wanted = not any(_START.match(line) for line in said.splitlines())
    part = ""
    for line in said.splitlines():
        if _START.match(line):
            wanted, part = True, ""
        elif _LEVEL.match(line):
            wanted, part = False, ""
        text = _START.sub("", line).strip()
        if begins := _PART.match(text):
            part, text = begins[1], text[begins.end() :].strip()
        if part not in {"", "Path/Query"}:
            reason = _REASON.search(text)
            text = f"S3 says {reason[1]}" if reason else ""
        if wanted and text and text not in kept and not _REPEATED.match(text) and not text.startswith("HINT:"):
            kept.append(text)
    words = "".join(char if char.isprintable() else "?" for char in " ".join(kept))
    return words if len(words) <= _MESSAGE_LIMIT else words[: _MESSAGE_LIMIT - 1] + "…"


def warnings(said: str) -> list[str]:
    """The warnings that pgBackRest wrote, each on one line, without its hints."""
    lines = [line for line in said.splitlines() if re.match(r"^(?:P\d+ +)?WARN: ", line)]
    return [re.sub(r"^(?:P\d+ +)?WARN: ", "", line).strip() for line in lines]


def _make(kind: type[PgBackRestError], message: str, remedy: str, status: int, fault: str = "") -> PgBackRestError:
    error = kind(message, remedy=remedy)
    error.status = status
    error.fault = fault
    return error
