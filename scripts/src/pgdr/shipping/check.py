"""What the status says of the journal's copy: from what this host knows, without asking the bucket."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pgdr.chain import parse
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import Policy
from pgdr.proof.usual import ago
from pgdr.shipping.journal import JournalCopied, copied_file

_CHECK = "journal-copy"
_DANGER = "the evidence of what was done, if the host is lost or entered"
#: A bucket that is away for a while is told by other findings; a copy that never comes is one of its own.
_LATE = ((Level.RED, timedelta(hours=24)), (Level.AMBER, timedelta(minutes=30)))


def journal_copy_check(config: HostConfig, policy: Policy, now: datetime) -> list[Check]:
    """Say whether the journal has left this host and is what left it; nothing where there is none."""
    copied = copied_file(config).read()
    if copied.problem:
        return [
            Check(
                _CHECK,
                Level.RED,
                f"the journal is not what left this host, from line {copied.line} on: {copied.problem}",
                since=copied.compared_at,
                endangers="the evidence of what was done; somebody may have hidden what they did",
                remedy="pgdr journal verify; who was on this host? pgdr journal fetch brings the copy back",
            )
        ]
    if not config.journal_path.exists():
        return []
    if not policy.s3_repositories:
        return [
            Check(
                _CHECK,
                Level.AMBER,
                "the journal is on this host only: the policy names no bucket",
                endangers=_DANGER,
                remedy=f"add a repository of type s3, or keep copies of {config.journal_path} elsewhere",
            )
        ]
    try:
        return [_age(config.journal_path, copied, now)]
    except OSError:
        return []  # that it cannot be read is a finding already


def _age(path: Path, copied: JournalCopied, now: datetime) -> Check:
    entries, first_waiting = _waiting(path, copied.entries)
    waiting = max(entries - copied.entries, 0)
    if waiting:
        since, text = first_waiting, f"{waiting} entries of the journal are on this host only"
    else:
        since, text = copied.compared_at, "the journal was not compared with its copy"
    age = now - since if since else timedelta(0)
    level = next((level for level, limit in _LATE if age > limit), None)
    if level is None:
        well = f"all {entries} entries of the journal are in {copied.place}"
        return green(_CHECK, f"{text}, and are due to be copied" if waiting else well)
    return Check(
        _CHECK,
        level,
        f"{text} for {ago(age.total_seconds())}{f': {copied.failure}' if copied.failure else ''}",
        since=since,
        endangers=_DANGER,
        remedy="pgdr journal ship says why; pgdr watch tries every few minutes",
    )


def _waiting(path: Path, copied: int) -> tuple[int, datetime | None]:
    """How many entries there are, and when the first was written that is not known to be copied."""
    number, first = 0, None
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            number += 1
            if number == copied + 1:
                first = parse(line)
    return number, datetime.fromisoformat(first.at) if first else None
