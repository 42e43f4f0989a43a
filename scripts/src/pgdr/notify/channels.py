"""The channels of the policy, through Apprise: in their order, one that fails falls to the next.

A channel's URL is a secret. It is read from a file that only the cluster's user may read, and never leaves this
process: not in an argument list, not in a log, not in an error.
"""

from __future__ import annotations

import logging
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from pgdr.errors import ConfigError
from pgdr.health import Level
from pgdr.hostconfig import HostConfig
from pgdr.notify.message import Message
from pgdr.policy.model import Channel, Notification
from pgdr.redaction import REDACTED, redact
from pgdr.statefile import State, StateFile

_PING_TIMEOUT = 10.0


class ChannelState(BaseModel):
    """How a channel did.

    Attributes:
        last_ok: when it last took a message.
        failing_since: since when it does not; ``None`` while it does.
        error: why.
    """

    model_config = ConfigDict(extra="forbid")

    last_ok: datetime | None = None
    failing_since: datetime | None = None
    error: str = ""


class Waiting(BaseModel):
    """A message that no channel took."""

    model_config = ConfigDict(extra="forbid")

    event: str
    title: str
    body: str
    level: Level
    at: datetime


class Delivery(State):
    """The state of all channels, and what still waits to be said."""

    channels: dict[str, ChannelState] = Field(default_factory=dict)
    waiting: list[Waiting] = Field(default_factory=list)


@dataclass(frozen=True)
class Attempt:
    """One try of one channel."""

    channel: str
    delivered: bool
    error: str = ""


def delivery_file(config: HostConfig) -> StateFile[Delivery]:
    """The state of this host's channels."""
    return StateFile(config.state_directory / "delivery.json", Delivery)


def read_secrets(config: HostConfig) -> dict[str, str]:
    """Return the URLs by the name of the secret.

    Raises:
        ConfigError: the file is readable for others, or is not a mapping of names to URLs.
    """
    path = config.notification_secrets
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path} can be read by others", remedy=f"chmod 600 {path}; renew what is in it")
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="run as postgres") from error
    except yaml.YAMLError:
        # Not chained: the parser's message quotes the line, and with it the secret.
        raise ConfigError(f"{path} is not valid YAML", remedy="run the role pgdr again") from None
    if not isinstance(content, Mapping) or not all(isinstance(v, str) for v in content.values()):
        raise ConfigError(f"{path} must map names of secrets to URLs", remedy="run the role pgdr again")
    return {str(name): str(url) for name, url in content.items()}


def send(config: HostConfig, notification: Notification, message: Message, now: datetime) -> list[Attempt]:
    """Send a message through the first channel that takes it; keep it where none does.

    Raises:
        ConfigError: the secrets cannot be read, or the state cannot be written.
    """
    wanted = [channel for channel in notification.channels if str(message.event) in channel.events]
    secrets = read_secrets(config) if wanted else {}
    attempts: list[Attempt] = []
    for channel in wanted:
        attempts.append(try_channel(channel, secrets, message))
        if attempts[-1].delivered:
            break
    with delivery_file(config).change() as state:
        _remember(state, attempts, now)
        # Said once is enough: a job that fails every few minutes must not be a flood when the channel is back.
        known = any(item.title == message.title for item in state.waiting)
        if wanted and not attempts[-1].delivered and not known:
            state.waiting.append(
                Waiting(event=str(message.event), title=message.title, body=message.body, level=message.level, at=now)
            )
            del state.waiting[:-50]
    return attempts


def _remember(state: Delivery, attempts: list[Attempt], now: datetime) -> None:
    for attempt in attempts:
        known = state.channels.setdefault(attempt.channel, ChannelState())
        if attempt.delivered:
            state.channels[attempt.channel] = ChannelState(last_ok=now)
        else:
            known.failing_since = known.failing_since or now
            known.error = attempt.error


def record(config: HostConfig, attempts: list[Attempt], now: datetime) -> None:
    """Keep how channels did."""
    with delivery_file(config).change() as state:
        _remember(state, attempts, now)


def try_channel(channel: Channel, secrets: Mapping[str, str], message: Message) -> Attempt:
    """Give a message to one channel."""
    import apprise  # noqa: PLC0415 - start-up time

    url = secrets.get(channel.secret_name)
    if not url:
        return Attempt(channel.name, delivered=False, error=f"the secret {channel.secret_name} is not on this host")
    target = apprise.Apprise()
    with _said() as lines:
        # It loads a hundred services, some of which Python warns of.
        with warnings.catch_warnings(action="ignore"):
            known = target.add(url)
        if not known:
            return Attempt(channel.name, delivered=False, error="its URL is not one that Apprise knows")
        kinds = {Level.GREEN: "success", Level.AMBER: "warning", Level.RED: "failure"}
        delivered = target.notify(
            title=message.title, body=message.body, notify_type=kinds[message.level], body_format="text"
        )
    if delivered:
        return Attempt(channel.name, delivered=True)
    return Attempt(channel.name, delivered=False, error=_clean(" ".join(lines) or "it did not take the message", url))


def ping(url: str) -> str:
    """Call the dead-man's switch; return what went wrong, or nothing."""
    import requests  # noqa: PLC0415 - start-up time

    try:
        answer = requests.get(url, timeout=_PING_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        return f"it does not answer ({type(error).__name__})"
    return "" if answer.ok else f"it answers with {answer.status_code}"


@contextmanager
def _said() -> Iterator[list[str]]:
    """Collect what Apprise logs."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("apprise"), Collector(logging.WARNING)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _clean(text: str, url: str) -> str:
    """Take every part of a secret URL out of a text."""
    for part in [url, *url.replace("://", "/").replace("@", "/").replace("?", "/").split("/")]:
        if len(part) >= 6:
            text = text.replace(part, REDACTED)
    return redact(" ".join(text.split()))[:300]
