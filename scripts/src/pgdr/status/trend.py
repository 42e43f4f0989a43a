"""One line a day of how things stood: what a report draws."""

from __future__ import annotations

from datetime import date

from pydantic import BaseModel, ConfigDict, Field

from pgdr.hostconfig import HostConfig
from pgdr.statefile import State, StateFile
from pgdr.status.report import Status

_KEPT_DAYS = 8 * 366


class Day(BaseModel):
    """The worst of a day.

    Attributes:
        rpo: highest RPO that was seen, in seconds.
        rto: last estimate, in seconds.
        window: days that could be reached, by repository.
        level: worst level: 0 green, 1 amber, 2 red.
        looks: how often was looked.
    """

    model_config = ConfigDict(extra="forbid")

    rpo: float | None = None
    rto: float | None = None
    window: dict[int, float] = Field(default_factory=dict)
    level: int = 0
    looks: int = 0


class Trend(State):
    """All days."""

    days: dict[date, Day] = Field(default_factory=dict)


def trend_file(config: HostConfig) -> StateFile[Trend]:
    """The days of this host."""
    return StateFile(config.state_directory / "trend.json", Trend)


def remember(config: HostConfig, found: Status) -> None:
    """Add a look to its day.

    Raises:
        ConfigError: the state cannot be written.
    """
    now, measures = found.facts.now, found.measures
    with trend_file(config).change() as trend:
        day = trend.days.setdefault(now.date(), Day())
        if measures.rpo_seconds is not None:
            day.rpo = max(day.rpo or 0.0, measures.rpo_seconds)
        day.rto = measures.rto_seconds if measures.rto_seconds is not None else day.rto
        for window in measures.windows:
            if window.begins is not None:
                day.window[window.repository] = round((now - window.begins).total_seconds() / 86_400, 2)
        day.level = max(day.level, found.level.rank)
        day.looks += 1
        for old in sorted(trend.days)[:-_KEPT_DAYS]:
            del trend.days[old]
