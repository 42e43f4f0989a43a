"""What is said. Every alert says what is wrong, since when, what it endangers, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pgdr.health import Check, Level
from pgdr.redaction import redact


class Event(StrEnum):
    """Which kind of message; a channel of the policy chooses."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    DIGEST = "digest"


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        event: its kind.
        title: one line.
        body: the rest, plain text.
        level: how bad it is.
    """

    event: Event
    title: str
    body: str
    level: Level = Level.GREEN


def failure(cluster: str, check: Check) -> Message:
    """A finding that is new or has got worse."""
    where = "" if check.repository is None else f", repository {check.repository}"
    lines = [check.message]
    if check.since is not None:
        lines.append(f"Since: {check.since:%Y-%m-%d %H:%M} UTC")
    if check.endangers:
        lines.append(f"Endangers: {check.endangers}")
    if check.remedy:
        lines.append(f"Do: {check.remedy}")
    title = f"{str(check.level).upper()} {cluster}: {check.name}{where}"
    return Message(Event.FAILURE, title, redact("\n".join(lines)), check.level)


def findings(cluster: str, why: str, checks: Sequence[Check]) -> Message:
    """All that is wrong in one message, where it cannot be kept what people were told."""
    lines = [f"What you were told cannot be kept, so this comes with each look: {why}"]
    lines += [f"{str(check.level).upper()} {check}" for check in checks]
    title = f"RED {cluster}: {len(checks)} findings, and no memory of what was told"
    return Message(Event.FAILURE, title, redact("\n".join(lines)), Level.RED)


def recovery(cluster: str, name: str, was: str, since: datetime | None, now: datetime) -> Message:
    """A finding that is gone."""
    lasted = f" It lasted {(now - since).total_seconds() / 60:.0f} minutes." if since else ""
    return Message(Event.RECOVERY, f"OK {cluster}: {name}", redact(f"Over: {was}.{lasted}"))


def job_failed(cluster: str, job: str, status: int, lines: Sequence[str]) -> Message:
    """A scheduled job that ended badly, with the end of its log."""
    tail = "\n".join(lines) if lines else "(the job wrote nothing)"
    body = (
        f"The scheduled job {job} ended with exit status {status}.\n"
        f"Endangers: what the job is for; see pgdr status\n"
        f"Do: read the lines below, cure the cause, run the job again by hand; journalctl -t erp-backup\n"
        f"Last lines of its log:\n{tail}"
    )
    return Message(Event.FAILURE, f"RED {cluster}: job {job} failed", redact(body), Level.RED)


def digest(cluster: str, level: Level, lines: Sequence[str]) -> Message:
    """What went well, once a day."""
    return Message(Event.DIGEST, f"{str(level).upper()} {cluster}: daily digest", redact("\n".join(lines)), level)


def brought_back(cluster: str, host: str, lines: Sequence[str]) -> Message:
    """A cluster that was recovered and is open again."""
    return Message(Event.RECOVERY, f"BACK {cluster}: recovered on {host}", redact("\n".join(lines)))
