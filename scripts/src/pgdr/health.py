"""What is well and what is not: one finding a subject, in words that somebody who was woken can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from pgdr.errors import ExitCode


class Level(StrEnum):
    """How bad it is."""

    GREEN = "green"
    AMBER = "amber"  # it works, and will not for long
    RED = "red"  # something that was promised is not there

    @property
    def rank(self) -> int:
        """0 for green, higher for worse."""
        return list(Level).index(self)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, in a word that does not change: ``wal-hole``. With the repository it identifies the finding.
        level: how bad it is.
        message: what is wrong, or what is well.
        repository: the repository's key, where it is about one.
        since: since when it is not green.
        endangers: what may be lost.
        remedy: the command that shows or cures it.
        code: the exit code that it makes of a command, when it is red.
    """

    name: str
    level: Level
    message: str
    repository: int | None = None
    since: datetime | None = None
    endangers: str = ""
    remedy: str = ""
    code: ExitCode = ExitCode.NOT_PROVEN

    @property
    def key(self) -> str:
        """Its identity over time."""
        return self.name if self.repository is None else f"{self.name}:{self.repository}"

    def seen(self, since: datetime | None) -> Check:
        """The same with the time since which it is so."""
        return replace(self, since=since)

    def __str__(self) -> str:
        """One line: what is wrong, since when, what it endangers, what to do."""
        where = "" if self.repository is None else f"repository {self.repository}: "
        parts = [f"{where}{self.message}"]
        if self.since is not None:
            parts.append(f"since {self.since:%Y-%m-%d %H:%M} UTC")
        if self.endangers:
            parts.append(f"endangers {self.endangers}")
        return "; ".join(parts) + (f" ({self.remedy})" if self.remedy else "")


def green(name: str, message: str, repository: int | None = None) -> Check:
    """A finding that is well."""
    return Check(name, Level.GREEN, message, repository)


def worst(checks: Iterable[Check]) -> Level:
    """The worst level; green where there is nothing."""
    return max((check.level for check in checks), key=lambda level: level.rank, default=Level.GREEN)


def exit_code(checks: Iterable[Check]) -> ExitCode:
    """What a command ends with: not proven before everything else, then what the first red finding says."""
    codes = [check.code for check in checks if check.level is Level.RED]
    if ExitCode.NOT_PROVEN in codes:
        return ExitCode.NOT_PROVEN
    return codes[0] if codes else ExitCode.OK
