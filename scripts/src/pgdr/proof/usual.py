"""Whether a backup is of the age and size that one expects of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median

from pgdr.health import Check, Level, green
from pgdr.pgbackrest.info import Backup
from pgdr.policy.units import seconds_text

#: As many earlier backups of the same type make a habit.
_HABIT = 3
_COMPARED = 10
_SHRUNK, _GROWN, _STORED = 0.5, 2.0, 5.0


def age_checks(backups: Sequence[Backup], max_age: dict[str, int], repository: int, now: datetime) -> Iterator[Check]:
    """Say whether the newest backups are as young as the schedule makes them.

    Args:
        backups: the sets of one repository, oldest first.
        max_age: ``full`` and ``incremental`` in seconds, as derived from the policy.
        repository: its key.
        now: the present.
    """
    fulls = [item for item in backups if item.type == "full"]
    for name, sets, word in (("full-age", fulls, "full"), ("backup-age", backups, "incremental")):
        limit = max_age.get(word)
        if limit is None:
            continue
        if not sets:
            continue
        newest = sets[-1]
        age = (now - newest.stopped).total_seconds()
        kind = "full backup" if word == "full" else "backup"
        text = f"the newest {kind} {newest.label} ended {ago(age)} ago"
        if age < -60:
            yield Check(
                "clock",
                Level.RED,
                f"backup {newest.label} ended {ago(-age)} in the future: the clock was set back",
                repository,
                remedy="set the host's clock (timedatectl); the next backup needs a later time than the last one",
            )
            return
        elif age > limit:
            yield Check(
                name,
                Level.RED,
                f"{text}, and one is due every {seconds_text(limit)} at the latest",
                repository,
                since=newest.stopped,
                endangers="the time that a recovery takes, and in the end what it can reach",
                remedy="journalctl -t erp-backup; pgdr journal list --operation backup; pgdr backup full",
            )
        else:
            yield green(name, text, repository)


def size_checks(backups: Sequence[Backup], repository: int) -> Iterator[Check]:
    """Say whether the newest backup of each type is about as large as those before it."""
    for kind in ("full", "incr"):
        sets = [item for item in backups if item.type == kind]
        if len(sets) <= _HABIT:
            continue
        newest, before = sets[-1], sets[-1 - _COMPARED : -1]
        database = _ratio(newest.info.size, [item.info.size for item in before])
        stored = _ratio(newest.info.repository.delta, [item.info.repository.delta for item in before])
        name = f"{kind}-size"
        problem = ""
        if database < _SHRUNK:
            problem = f"holds a database of {100 * database:.0f} % of the usual size"
        elif database > _GROWN:
            problem = f"holds a database {database:.1f} times as large as usual"
        elif stored > _STORED:
            problem = f"takes {stored:.1f} times as much of the repository as usual"
        if problem:
            yield Check(
                name,
                Level.AMBER,
                f"backup {newest.label} {problem}",
                repository,
                since=newest.stopped,
                endangers="nothing yet: data may have been lost or loaded in bulk",
                remedy="pgdr info; compare with what was done to the database that day",
            )
        else:
            yield green(name, f"{kind} backup {newest.label} is of the usual size", repository)


def _ratio(value: int, others: Sequence[int]) -> float:
    usual = median(others)
    return value / usual if usual else 1.0


def ago(seconds: float) -> str:
    """A duration for a person."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
