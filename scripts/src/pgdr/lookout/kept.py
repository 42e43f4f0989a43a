"""What the last look at far places found: all that a status needs of it, and quick to load."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.proof.findings import Findings
from pgdr.proof.usual import ago
from pgdr.statefile import State, StateFile

KIND = "far"
CHECK = "far-look"
#: This host's clock against a repository's: asked in a far look, else told by the repository's newest file.
CLOCK = "host-clock"
CLOCK_ENDANGERS = "S3 (it refuses requests more than 15 minutes off), labels of backups, points in time"
CLOCK_REMEDY = "timedatectl; set this host's clock: timedatectl set-ntp true"
_STALE = timedelta(hours=1)


class Far(State):
    """What the looks measured.

    Attributes:
        at: when.
        lag: seconds by which a repository's copy is behind, by the repository's key.
        expires: when certificates expire, by whose they are.
        kit: which recovery kit was tried with which passphrase.
        keys: when stored keys are due for rotation, by whose they are.
    """

    at: datetime | None = None
    lag: dict[int, float] = Field(default_factory=dict)
    expires: dict[str, datetime] = Field(default_factory=dict)
    kit: str = ""
    keys: dict[str, datetime] = Field(default_factory=dict)


def far_file(config: HostConfig) -> StateFile[Far]:
    """The last looks of this host."""
    return StateFile(config.state_directory / "far.json", Far, cache=True)


def kept(findings: Findings, now: datetime) -> list[Check]:
    """What the last look found; nothing on a host where nobody has looked yet."""
    last = findings.looks.get(KIND)
    if last is None:
        return []
    checks = [item.check() for item in last.findings.values()]
    if now - last.at > _STALE:
        past = ago((now - last.at).total_seconds())
        checks.append(
            Check(
                CHECK,
                Level.AMBER,
                f"replica, escrow, certificates and clocks were last looked at {past} ago",
                since=last.at,
                endangers="that somebody hears of what changed there since",
                remedy="pgdr watch; journalctl -t erp-backup says why cron's does not run",
            )
        )
    return checks
