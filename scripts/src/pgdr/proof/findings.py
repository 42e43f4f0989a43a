"""The findings of the last look of each kind, and since when each is so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.statefile import State, StateFile


class Kept(BaseModel):
    """One finding as it is kept."""

    model_config = ConfigDict(extra="forbid")

    name: str
    repository: int | None
    level: Level
    message: str
    since: datetime | None
    endangers: str
    remedy: str
    code: int

    def check(self) -> Check:
        """The finding."""
        return Check(
            self.name, self.level, self.message, self.repository, self.since, self.endangers, self.remedy,
        )  # fmt: skip


class Look(BaseModel):
    """What one kind of look found, and when."""

    model_config = ConfigDict(extra="forbid")

    at: datetime
    findings: dict[str, Kept]


class Findings(State):
    """The last look of each kind."""

    looks: dict[str, Look] = Field(default_factory=dict)


def findings_file(config: HostConfig) -> StateFile[Findings]:
    """The findings of this host."""
    return StateFile(config.state_directory / "findings.json", Findings)


def record(
    config: HostConfig, kind: str, checks: Iterable[Check], at: datetime, *, keep: bool = False
) -> dict[str, Check]:
    """Keep the findings of a look and return them by key, each with the time since which it is not green.

    Findings of repositories that this look did not touch stay as they are.

    Args:
        config: what this host is.
        kind: which kind of look.
        checks: what it found.
        at: when.
        keep: the look was a part of one only: what it did not look at stays as it was, too.

    Raises:
        ConfigError: the state directory is not writable.
    """
    found = list(checks)
    touched = {check.repository for check in found}
    with findings_file(config).change() as state:
        old = state.looks.get(kind)
        before = old.findings if old else {}
        dated = {check.key: check.seen(_since(check, before.get(check.key), at)) for check in found}
        kept = {key: item for key, item in before.items() if keep or item.repository not in touched}
        state.looks[kind] = Look(at=at, findings={**kept, **{key: _kept(check) for key, check in dated.items()}})
    return dated


def _since(check: Check, before: Kept | None, at: datetime) -> datetime | None:
    if check.level is Level.GREEN:
        return None
    if before is not None and before.level is not Level.GREEN and before.since is not None:
        return min(before.since, check.since or before.since)
    return check.since or at


def _kept(check: Check) -> Kept:
    return Kept(
        name=check.name,
        repository=check.repository,
        level=check.level,
        message=check.message,
        since=check.since,
        endangers=check.endangers,
        remedy=check.remedy,
        code=int(check.code),
    )
