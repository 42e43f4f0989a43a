"""What pgBackRest itself never does to its repository, seen from the versions of its objects alone.

It overwrites the info files, the manifest of a backup that is not whole yet, and histories and labels in the archive
with the same text, and nothing else: a WAL segment's key holds its checksum, and a set is written once. It removes sets
only after it has taken them out of ``backup.info``, sets that never became whole, and WAL that no listed set needs. A
thief who runs pgBackRest's own ``expire`` cannot be told from it; what disappeared is listed all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from pgdr.pgbackrest.info import Backup
from pgdr.tamper.history import History, Version

# A key of S3 may say a whole second only: what follows within it was done by the same hand.
_TICK = timedelta(seconds=1)


class Deed(StrEnum):
    """What was done."""

    OVERWRITTEN = "overwritten"
    DELETED = "deleted"
    UNREADABLE = "made unreadable"


@dataclass(frozen=True)
class Suspect:
    """One object to which something was done that pgBackRest does not do.

    Attributes:
        deed: what.
        at: when.
        key: the object.
        what: what it is to a person.
    """

    deed: Deed
    at: datetime
    key: str
    what: str


# The sets that the repository listed at a moment; ``None`` where it could not be read then.
Listed = Callable[[datetime], "tuple[Backup, ...] | None"]


def suspects(history: History, listed: Listed, since: datetime | None = None) -> Iterator[Suspect]:
    """All that pgBackRest would not have done, in no order.

    Args:
        history: of the repository.
        listed: asked for the sets that were listed when something was deleted.
        since: what was done until then is not looked at.
    """
    for key in history.keys:
        versions = history.of(key)
        for before, after in pairwise(versions):
            if since is not None and after.at <= since:
                continue
            if after.marker and not before.marker:
                if _may_not_go(history, after, listed):
                    yield Suspect(Deed.DELETED, after.at, key, describe(history, key))
            elif not after.marker and not before.same_content(after) and not _may_change(history, after):
                yield Suspect(Deed.OVERWRITTEN, after.at, key, describe(history, key))


def describe(history: History, key: str) -> str:
    """What an object is, for a person."""
    label, wal = history.label_of(key), history.wal_of(key)
    if label is not None:
        return f"set {label}"
    if wal is not None:
        return "WAL"
    return key.rsplit("/", 1)[-1]


def _may_change(history: History, version: Version) -> bool:
    """Whether another version may follow the first."""
    if history.is_info(version.key) or history.without_sum(version.key):
        return True  # whether its content is still pgBackRest's is asked elsewhere
    label = history.label_of(version.key)
    if label is None:
        return False
    completed = history.completed(label)
    # The copy of the manifest is written once more after the manifest itself.
    grace = _TICK * 60 if version.key.endswith("/backup.manifest.copy") else timedelta()
    return completed is None or version.at <= completed + grace


def _may_not_go(history: History, marker: Version, listed: Listed) -> bool:
    if history.is_info(marker.key):
        return True
    label, wal = history.label_of(marker.key), history.wal_of(marker.key)
    if label is not None:
        completed = history.completed(label)
        if completed is None or completed >= marker.at:
            return False
        sets = listed(marker.at + _TICK)
        return sets is None or label in {one.label for one in sets}
    if wal is not None:
        sets = listed(marker.at + _TICK)
        return sets is None or needed(wal, sets)
    return False


def needed(wal: str, sets: tuple[Backup, ...]) -> bool:
    """Whether a WAL segment or history file is one that the listed sets need."""
    if wal.endswith(".history"):
        timelines = [one.archive.start[:8] for one in sets if one.archive.start]
        return bool(timelines) and wal[:8] >= min(timelines)
    place = wal[8:24]
    fulls = [one for one in sets if one.type == "full" and one.archive.start]
    newest = max(fulls, key=lambda one: one.timestamp.stop, default=None)
    if newest is not None and newest.archive.start and place >= newest.archive.start[8:24]:
        return True
    return any(
        one.archive.start and one.archive.stop and one.archive.start[8:24] <= place <= one.archive.stop[8:24]
        for one in sets
    )
