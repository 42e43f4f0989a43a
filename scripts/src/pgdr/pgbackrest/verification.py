"""``pgbackrest verify`` as a model.

It ends with status 0 whatever it finds, and finds less than one expects: a missing WAL segment is no error to it, a
backup whose folder is gone is not mentioned, and an increment is "valid" though the full below it is damaged. What
it says is read here; what it does not say is looked at in :mod:`pgdr.proof`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgdr.errors import OperationFailedError
from pgdr.process import Completed

_STATUS = re.compile(r"^status: (?P<status>\S+)$", re.MULTILINE)
_ARCHIVE = re.compile(
    r"^  archiveId: (?P<id>\S+), total WAL checked: (?P<total>\d+), total valid WAL: (?P<valid>\d+)$", re.MULTILINE
)
_BACKUP = re.compile(
    r"^  backup: (?P<label>\S+), status: (?P<status>[a-z -]+), total files checked: (?P<total>\d+), "
    r"total valid files: (?P<valid>\d+)$",
    re.MULTILINE,
)
_PLAIN = re.compile(r"^  (?!archiveId|backup:)(?P<text>[A-Z].*)$", re.MULTILINE)
_FILE = re.compile(
    r"(?:ERROR|WARN|INFO): *(?:\[\d+\]: )?(?P<fault>file missing|invalid checksum|invalid size|invalid result) "
    r"'?(?P<path>[^':\s]+)"
)


@dataclass(frozen=True)
class Counted:
    """How many files of something were read and how many were as they should be."""

    status: str
    total: int
    valid: int

    @property
    def sound(self) -> bool:
        """Whether all were, and there was something to read."""
        return self.status == "valid" and self.valid == self.total


@dataclass(frozen=True)
class EngineVerdict:
    """What pgBackRest's verify says of one repository.

    Attributes:
        status: ``ok`` or ``error``.
        messages: what it says of the repository as a whole, for example of an unusable index.
        archives: WAL by archive id.
        backups: sets by label.
        files: damaged files, each with what is wrong with it.
    """

    status: str
    messages: tuple[str, ...]
    archives: dict[str, Counted]
    backups: dict[str, Counted]
    files: tuple[tuple[str, str], ...]


def parse(done: Completed) -> EngineVerdict:
    """Read the output of ``verify --output=text --verbose`` with details on standard error.

    Raises:
        OperationFailedError: there is no verdict in it; silence is never taken for health.
    """
    found = _STATUS.search(done.stdout)
    if found is None:
        raise OperationFailedError(
            "pgBackRest's verify output is not understood",
            remedy="compare pgBackRest's version with the supported ones",
        )
    archives = {
        item["id"]: Counted("valid", int(item["total"]), int(item["valid"])) for item in _ARCHIVE.finditer(done.stdout)
    }
    backups = {
        item["label"]: Counted(item["status"], int(item["total"]), int(item["valid"]))
        for item in _BACKUP.finditer(done.stdout)
    }
    files = dict.fromkeys((item["fault"], item["path"]) for item in _FILE.finditer(done.stderr))
    messages = tuple(item["text"].strip() for item in _PLAIN.finditer(done.stdout))
    return EngineVerdict(found["status"], messages, archives, backups, tuple(files))
