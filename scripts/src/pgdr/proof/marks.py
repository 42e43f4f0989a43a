"""What is known of each backup set beyond the repository: verified, proven by a restore, damaged.

Kept on the host and outside the database, which may be what is lost. The journal has each mark too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.info import Backup, StanzaInfo
from pgdr.statefile import State, StateFile

# A weekly rehearsal of annual copies over seven years, and some more.
_ARCHIVES_KEPT = 1000


class Mark(BaseModel):
    """What is known of one set in one repository.

    Attributes:
        verified: when every byte of it and of what it builds on was last read and was right.
        proven: when a restore of it was last compared and right.
        damaged: what is wrong with it, or an empty string.
        restore_seconds: how long the files of that restore took.
        restored_bytes: how many bytes those were.
        replay_seconds: how long its replay of WAL took.
        replayed_bytes: how much WAL that was.
        by: what proved it: a recovery, or a rehearsal, which may take a part of the host only.
        point: where that restore was brought.
    """

    model_config = ConfigDict(extra="forbid")

    verified: datetime | None = None
    proven: datetime | None = None
    damaged: str = ""
    restore_seconds: float | None = None
    restored_bytes: int | None = None
    replay_seconds: float | None = None
    replayed_bytes: int | None = None
    by: str = "recovery"
    point: str = ""

    @property
    def good(self) -> bool:
        """Whether it was verified or proven, and nothing was found wrong since."""
        return not self.damaged and (self.verified is not None or self.proven is not None)


@dataclass(frozen=True)
class Proven:
    """A restore that was compared and right.

    Attributes:
        repository: where the set is.
        label: the set.
        at: when it was proven.
        restore_seconds: how long its files took.
        restored_bytes: how many bytes those were.
        replay_seconds: how long the replay of WAL took.
        replayed_bytes: how much WAL that was.
        by: ``recovery`` or ``rehearsal``.
        point: where it was brought.
    """

    repository: int
    label: str
    at: datetime
    restore_seconds: float
    restored_bytes: int
    replay_seconds: float
    replayed_bytes: int
    by: str = "recovery"
    point: str = ""


class Marks(State):
    """The marks of all sets: repository, then label.

    Attributes:
        sets: marks by repository and label.
        wal_from: by repository, the set from whose start on WAL is kept without a hole; left out where that is
            the oldest one.
        archives: marks of logical archives by label; their verification is noted in their own folders.
    """

    sets: dict[int, dict[str, Mark]] = Field(default_factory=dict)
    wal_from: dict[int, str] = Field(default_factory=dict)
    archives: dict[str, Mark] = Field(default_factory=dict)

    def of(self, repository: int, label: str) -> Mark:
        """The mark of a set; an empty one where nothing is known."""
        return self.sets.get(repository, {}).get(label, Mark())

    def set(self, repository: int, label: str, **values: object) -> Mark:
        """Change the mark of a set."""
        changed = self.of(repository, label).model_copy(update=values)
        self.sets.setdefault(repository, {})[label] = changed
        return changed

    def until(self, moment: datetime) -> Marks:
        """Without what is dated later: a clock was ahead then, and nobody knows how old that is."""

        def past(mark: Mark) -> Mark:
            later = {name: None for name in ("verified", "proven") if (getattr(mark, name) or moment) > moment}
            return mark.model_copy(update=later) if later else mark

        sets = {key: {label: past(mark) for label, mark in sets.items()} for key, sets in self.sets.items()}
        archives = {label: past(mark) for label, mark in self.archives.items()}
        return self.model_copy(update={"sets": sets, "archives": archives})

    def forget_all_but(self, repository: int, labels: Collection[str]) -> None:
        """Drop the marks of sets that a repository no longer holds."""
        known = self.sets.get(repository, {})
        self.sets[repository] = {label: mark for label, mark in known.items() if label in labels}

    def newest(self, found: StanzaInfo, kind: str, repository: int | None = None) -> tuple[Backup, datetime] | None:
        """The newest set with a mark (``verified`` or ``proven``) that is still good, and when it got it."""
        for backup in reversed(found.backups(repository)):
            mark = self.of(backup.repository, backup.label)
            at = mark.verified if kind == "verified" else mark.proven
            if at is not None and not mark.damaged:
                return backup, at
        return None

    def newest_archive(self) -> tuple[str, datetime] | None:
        """The archive whose restore was proven last, and when."""
        proven = [(mark.proven, label) for label, mark in self.archives.items() if mark.proven and not mark.damaged]
        at, label = max(proven, default=(None, ""))
        return None if at is None else (label, at)


def marks_path(config: HostConfig) -> Path:
    """Where the marks are."""
    return config.state_directory / "marks.json"


def marks_file(config: HostConfig) -> StateFile[Marks]:
    """The marks of this host's sets."""
    return StateFile(marks_path(config), Marks, "move it away and run pgdr verify, which marks anew what is good")


def record_verified(
    config: HostConfig, repository: int, good: Collection[str], damaged: Mapping[str, str], at: datetime
) -> None:
    """Write down what a verification found; sets in neither collection keep what is known of them."""
    with marks_file(config).change() as marks:
        for label in good:
            marks.set(repository, label, verified=at, damaged="")
        for label, reason in damaged.items():
            marks.set(repository, label, verified=None, damaged=reason)


def record_proven(config: HostConfig, found: Proven) -> None:
    """Write down that a restore of a set was right, and how fast it was.

    A rehearsal is slow on purpose: where a recovery was measured, its figures stay.
    """
    values = asdict(found)
    repository, label, at = values.pop("repository"), values.pop("label"), values.pop("at")
    with marks_file(config).change() as marks:
        known = marks.of(repository, label)
        if found.by == "rehearsal" and known.by == "recovery" and known.restore_seconds is not None:
            values = {"point": found.point}
        marks.set(repository, label, proven=at, damaged="", **values)


def record_not_proven(config: HostConfig, repository: int, label: str, damaged: str) -> None:
    """Take the mark *proven* from a set whose restore was not right.

    Args:
        config: what this host is.
        repository: where the set is.
        label: the set.
        damaged: what is wrong with its files, empty where they are whole and something else is not right.
    """
    with marks_file(config).change() as marks:
        known = marks.of(repository, label)
        marks.set(repository, label, proven=None, damaged=damaged or known.damaged)


def record_archive_proven(config: HostConfig, label: str, at: datetime, seconds: float, size: int) -> None:
    """Write down that an archive was restored and was right; only the newest marks are kept."""
    with marks_file(config).change() as marks:
        marks.archives[label] = Mark(proven=at, restore_seconds=seconds, restored_bytes=size, by="rehearsal")
        for old in sorted(marks.archives)[:-_ARCHIVES_KEPT]:
            del marks.archives[old]
