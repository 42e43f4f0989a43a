"""``pgdr watch``: what has changed since the last look is told; once a day a digest; each time a sign of life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pgdr.errors import ConfigError, PgdrError
from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.lookout import far
from pgdr.notify import channels
from pgdr.notify.channels import Attempt, delivery_file
from pgdr.notify.delivery import Alerts, Told, alerts_file
from pgdr.notify.message import Event, Message, digest, failure, findings, recovery
from pgdr.policy.model import Policy
from pgdr.proof.findings import findings_file
from pgdr.proof.look import now as present
from pgdr.proof.usual import ago
from pgdr.shipping.journal import ship_journal
from pgdr.status.facts import gather
from pgdr.status.report import Status, status
from pgdr.surgery.shipping import ship_pending

_DIGEST_EVERY = timedelta(hours=24)
_REMIND_EVERY = timedelta(hours=24)


@dataclass
class Watched:
    """What a look led to.

    Attributes:
        sent: messages with the attempts that were made for each.
        ping_error: why the dead-man's switch was not reached; empty where it was, or where there is none.
        unkept: why it cannot be kept what people were told; empty where it is.
    """

    sent: list[tuple[Message, list[Attempt]]] = field(default_factory=list)
    ping_error: str = ""
    unkept: str = ""

    @property
    def undelivered(self) -> int:
        """Messages that no channel took."""
        return sum(1 for _message, attempts in self.sent if attempts and not attempts[-1].delivered)


def look(config: HostConfig, policy: Policy, *, told: Callable[[str], None]) -> Status:
    """Copy what has to leave the host, look far, and ask what a status asks, all at once; then judge.

    A store that takes requests and answers none holds each of them up for as long as it holds up the slowest.

    Args:
        config: this host.
        policy: what was promised.
        told: what could not be looked at, in one line.

    Raises:
        ConfigError: host configuration or state cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        shipped = [pool.submit(ship, config, policy) for ship in (ship_pending, ship_journal)]
        seen = pool.submit(far.look, config, policy, present())
        facts = pool.submit(gather, config, policy)
        waited: list[Future[Any]] = [*shipped, seen]
        for done in waited:
            try:
                done.result()
            except PgdrError as error:
                told(str(error))
        findings, _said_already = findings_file(config).read_or_say()
        # What was found far off while the facts were gathered belongs to this look.
        return status(config, policy, replace(facts.result(), findings=findings, now=present()))


def watch(config: HostConfig, policy: Policy, found: Status) -> Watched:
    """Tell what has changed; all that is wrong, with each look, where it cannot be kept what was told before.

    Args:
        config: what this host is.
        policy: says who is told.
        found: the present status.

    Raises:
        BusyError: another look is telling people.
    """
    result = Watched()
    now, cluster = found.facts.now, policy.cluster.name
    say = partial(channels.send, config, policy.notification, now=now, failed={})
    dead_man = policy.notification.dead_man
    try:
        # Tried before anybody is told: a full disk must neither silence people nor tell them each thing with each look.
        with alerts_file(config).change():
            pass
        _send_waiting(config, say, result)
    except ConfigError as error:
        result.unkept = str(error)
        message = findings(cluster, result.unkept, [check for check in found.checks if check.level is not Level.GREEN])
        result.sent.append((message, say(message)))
        result.ping_error = channels.ping(config, dead_man.secret_name) if dead_man else ""
        return result
    with alerts_file(config).change() as alerts:
        for message in _changes(cluster, {check.key: check for check in found.checks}, alerts, now):
            result.sent.append((message, say(message)))
        if _due(alerts.digest_at, _DIGEST_EVERY, now):
            message = digest(cluster, found.level, list(_digest_lines(found)))
            result.sent.append((message, say(message)))
            alerts.digest_at = now
        if dead_man is not None:
            result.ping_error = channels.ping(config, dead_man.secret_name)
            alerts.ping_error = result.ping_error
            alerts.pinged_at = alerts.pinged_at if result.ping_error else now
    return result


def _due(last: datetime | None, every: timedelta, now: datetime) -> bool:
    """Whether it is time again; also where the clock was ahead then: nobody may hear nothing for as long."""
    return last is None or not timedelta(0) <= now - last < every


def _changes(cluster: str, checks: dict[str, Check], alerts: Alerts, now: datetime) -> Iterator[Message]:
    for key, check in checks.items():
        known = alerts.told.get(key)
        if check.level is Level.GREEN:
            continue
        worse = known is None or check.level.rank > known.level.rank
        if worse or (known is not None and check.level is Level.RED and _due(known.at, _REMIND_EVERY, now)):
            alerts.told[key] = Told(level=check.level, message=check.message, since=check.since, at=now)
            yield failure(cluster, check)
    for key, known in list(alerts.told.items()):
        if key not in checks or checks[key].level is Level.GREEN:
            del alerts.told[key]
            yield recovery(cluster, key, known.message, known.since, now)


def _send_waiting(config: HostConfig, say: Callable[[Message], list[Attempt]], result: Watched) -> None:
    if not delivery_file(config).read().waiting:
        return
    with delivery_file(config).change() as state:
        waiting, state.waiting = state.waiting, []
    for number, item in enumerate(waiting):
        late = f"{item.body}\n(first tried {item.at:%Y-%m-%d %H:%M} UTC)"
        message = Message(Event(item.event), item.title, late, item.level)
        attempts = say(message)
        result.sent.append((message, attempts))
        if attempts and not attempts[-1].delivered:
            with delivery_file(config).change() as state:
                state.waiting[-1:] = waiting[number:]  # as they were: nothing is lost, nothing grows
            return


def _digest_lines(found: Status) -> Iterator[str]:
    measures, objectives = found.measures, found.facts.policy.objectives
    rpo = "unknown" if measures.rpo_seconds is None else ago(measures.rpo_seconds)
    rto = "never measured" if measures.rto_seconds is None else f"about {ago(measures.rto_seconds)}"
    yield f"RPO now {rpo} (objective {objectives.rpo}), RTO estimate {rto} (objective {objectives.rto})"
    for window in measures.windows:
        begins = f"{window.begins:%Y-%m-%d %H:%M}" if window.begins else "nowhere"
        verified = f"{window.verified_at:%Y-%m-%d %H:%M}" if window.verified_at else "never"
        yield (
            f"repository {window.repository}: {window.backups} backups, recoverable from {begins} UTC, "
            f"last verified {verified} UTC"
        )
    yield f"last proven by a restore: {measures.proven or 'never'}"
    bad = [check for check in found.checks if check.level is not Level.GREEN]
    yield f"{len(found.checks) - len(bad)} checks are green, {len(bad)} are not"
    yield from (f"{str(check.level).upper()} {check}" for check in bad)
