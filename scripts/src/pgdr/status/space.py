"""How long the disks last: measured over time, because a share in percent says nothing of tomorrow."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.statefile import State, StateFile

_log = logging.getLogger(__name__)

_EVERY = timedelta(minutes=5)
_KEPT = timedelta(days=2)
_SHORTEST = timedelta(minutes=10)


class Sample(BaseModel):
    """How much was used at a moment."""

    model_config = ConfigDict(extra="forbid")

    at: datetime
    used: int


class Space(State):
    """Samples by path."""

    samples: dict[str, list[Sample]] = Field(default_factory=dict)


class Disk(BaseModel):
    """One file system.

    Attributes:
        path: a path in it that matters.
        what: what is there.
        size: bytes.
        free: bytes that a user may still write.
        hours: until it is full at the pace of the last hours; ``None`` where it does not grow.
    """

    path: str
    what: str
    size: int
    free: int
    hours: float | None

    @property
    def used_share(self) -> float:
        """How much is used, 0 to 1."""
        return 1 - self.free / self.size if self.size else 1.0


def measure(config: HostConfig, paths: dict[str, str], now: datetime) -> list[Disk]:
    """Measure the file systems of some paths and remember it.

    Args:
        config: what this host is.
        paths: path to what is there; one that does not exist is left out.
        now: the present.
    """
    found: list[tuple[str, str, int, int]] = []
    for path, what in paths.items():
        if Path(path).is_dir():
            stat = os.statvfs(path)
            found.append((path, what, stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
    samples: dict[str, list[Sample]] = {}
    try:
        with StateFile(config.state_directory / "space.json", Space, cache=True).change() as space:
            for path, _what, size, free in found:
                kept = [s for s in space.samples.get(path, []) if now - _KEPT < s.at <= now]
                if not kept or now - kept[-1].at >= _EVERY:
                    kept.append(Sample(at=now, used=size - free))
                samples[path] = space.samples[path] = kept
    except PgdrError as error:
        # A full disk is a finding, not the end of the look; what was read before it was full still counts.
        _log.warning("%s", error)
    return [
        Disk(path=path, what=what, size=size, free=free, hours=forecast(samples.get(path, []), free))
        for path, what, size, free in found
    ]


def forecast(samples: list[Sample], free: int) -> float | None:
    """Hours until nothing is free, at the pace of the fastest of the last hour, six hours and two days."""
    if not samples:
        return None
    last = samples[-1]
    paces = []
    for span in (timedelta(hours=1), timedelta(hours=6), _KEPT):
        first = next(s for s in samples if s.at >= last.at - span)
        seconds = (last.at - first.at).total_seconds()
        if seconds >= _SHORTEST.total_seconds() and last.used > first.used:
            paces.append((last.used - first.used) / seconds)
    return free / max(paces) / 3600 if paces else None
