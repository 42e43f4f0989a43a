"""What people know, and whether they would hear the next alert."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.notify.channels import delivery_file
from pgdr.policy.model import Notification
from pgdr.statefile import State, StateFile


class Told(BaseModel):
    """A finding that people know of."""

    model_config = ConfigDict(extra="forbid")

    level: Level
    message: str
    since: datetime | None
    at: datetime


class Alerts(State):
    """What people know."""

    told: dict[str, Told] = Field(default_factory=dict)
    digest_at: datetime | None = None
    pinged_at: datetime | None = None
    ping_error: str = ""


def alerts_file(config: HostConfig) -> StateFile[Alerts]:
    """What people of this host know."""
    return StateFile(config.state_directory / "alerts.json", Alerts)


def delivery_checks(config: HostConfig, notification: Notification) -> Iterator[Check]:
    """Whether somebody would hear an alert."""
    if not notification.channels:
        yield Check(
            "notify",
            Level.AMBER,
            "nobody is told of anything: the policy has no channel",
            endangers="everything that fails at night",
            remedy="add recovery_policy.notification.channels and run site.yml",
        )
        return
    state = delivery_file(config).read()
    failing = [c for c in notification.channels if (s := state.channels.get(c.name)) and s.failing_since]
    for channel in failing:
        known = state.channels[channel.name]
        yield Check(
            f"notify-{channel.name}",
            Level.RED if len(failing) == len(notification.channels) else Level.AMBER,
            f"channel {channel.name} takes no messages: {known.error}",
            since=known.failing_since,
            endangers="that somebody hears of the next failure",
            remedy="pgdr notify test",
        )
    alerts = alerts_file(config).read()
    if notification.dead_man is not None and alerts.ping_error:
        yield Check(
            "dead-man",
            Level.AMBER,
            f"the dead-man's switch was not reached: {alerts.ping_error}",
            since=alerts.pinged_at,
            endangers="that silence is noticed",
            remedy="pgdr notify test",
        )
