"""The channels of the policy, through Apprise: in their order, one that fails falls to the next.

A channel's URL is a secret. It is read from a file that only the cluster's user may read, and never leaves this
process: not in an argument list, not in a log, not in an error.
"""

from __future__ import annotations

import logging
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from pgdr.errors import ConfigError
from pgdr.files import remedy_of
from pgdr.health import Level
from pgdr.hostconfig import HostConfig
from pgdr.notify.message import Message
from pgdr.patience import answered
from pgdr.policy.model import Channel, Notification
from pgdr.redaction import REDACTED, redact
from pgdr.statefile import State, StateFile

_PING_TIMEOUT = 10.0
_PATIENCE = 20.0
_log = logging.getLogger(__name__)


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
        remedy = remedy_of(error, "run as postgres")
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy=remedy) from error
    except (yaml.YAMLError, UnicodeDecodeError):
        # Not chained: the parser's message quotes the line, and with it the secret.
        raise ConfigError(f"{path} is not valid YAML", remedy="run the role pgdr again") from None
    if not isinstance(content, Mapping) or not all(isinstance(v, str) for v in content.values()):
        raise ConfigError(f"{path} must map names of secrets to URLs", remedy="run the role pgdr again")
    return {str(name): str(url) for name, url in content.items()}


def send(
    config: HostConfig,
    notification: Notification,
    message: Message,
    now: datetime,
    *,
    failed: dict[str, str] | None = None,
) -> list[Attempt]:
    """Send a message through the first channel that takes it; keep it where none does.

    Neither secrets that cannot be read nor a disk that is full end it: the one is how a channel failed, and what cannot
    be kept was said all the same.

    Args:
        config: this host.
        notification: its channels.
        message: the message.
        now: the present.
        failed: channels that took no earlier message of the same look, and why: not tried again, and added to.
    """
    wanted = [channel for channel in notification.channels if str(message.event) in channel.events]
    attempts = _attempts(config, wanted, message, {} if failed is None else failed)
    try:
        _keep(config, message, attempts, now)
    except ConfigError as error:
        _log.warning("%s", error)
    return attempts


def _attempts(config: HostConfig, wanted: Sequence[Channel], message: Message, failed: dict[str, str]) -> list[Attempt]:
    attempts: list[Attempt] = []
    try:
        secrets = read_secrets(config) if wanted else {}
    except ConfigError as error:
        return [Attempt(channel.name, delivered=False, error=str(error)) for channel in wanted]
    for channel in wanted:
        known = failed.get(channel.name)
        attempt = (
            Attempt(channel.name, delivered=False, error=known) if known else try_channel(channel, secrets, message)
        )
        attempts.append(attempt)
        if attempt.delivered:
            break
        failed[channel.name] = attempt.error
    return attempts


def _keep(config: HostConfig, message: Message, attempts: list[Attempt], now: datetime) -> None:
    """Keep how channels did, and a message that none took."""
    with delivery_file(config).change() as state:
        _remember(state, attempts, now)
        # Said once is enough: a job that fails every few minutes must not be a flood when the channel is back.
        known = any(item.title == message.title for item in state.waiting)
        if attempts and not attempts[-1].delivered and not known:
            state.waiting.append(
                Waiting(event=str(message.event), title=message.title, body=message.body, level=message.level, at=now)
            )
            del state.waiting[:-50]


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
    """Give a message to one channel, which has so long to take it.

    Apprise waits so long for the next byte only: a service that sends one now and then would hold a look up for ever.
    """
    try:
        return answered(lambda: _try_channel(channel, secrets, message), _PATIENCE)
    except TimeoutError as error:
        return Attempt(channel.name, delivered=False, error=str(error))


def _try_channel(channel: Channel, secrets: Mapping[str, str], message: Message) -> Attempt:
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


def ping(config: HostConfig, secret_name: str) -> str:
    """Call the dead-man's switch; return what went wrong, or nothing."""
    try:
        url = read_secrets(config).get(secret_name)
    except ConfigError as error:
        return str(error)
    if not url:
        return f"the secret {secret_name} is not on this host"
    import requests  # noqa: PLC0415 - start-up time

    try:
        # Its first line is all that counts: a body that never ends must not hold up a look.
        with requests.get(url, timeout=_PING_TIMEOUT, allow_redirects=False, stream=True) as answer:
            return "" if answer.ok else f"it answers with {answer.status_code}"
    except requests.RequestException as error:
        return f"it does not answer ({type(error).__name__})"


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
