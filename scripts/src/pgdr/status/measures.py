"""The figures of a status: windows, RPO and RTO now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pgdr.pgbackrest.info import Backup
from pgdr.proof.marks import Mark, Marks
from pgdr.recovery.lsn import Segment
from pgdr.retention.plan import PERIODS
from pgdr.status.facts import Facts, RepositoryFacts


@dataclass(frozen=True)
class Window:
    """What can be reached from one repository.

    Attributes:
        repository: its key.
        place: where it is.
        begins: the earliest moment from which on every moment can be reached.
        ends: the latest.
        wanted_days: how far back the policy wants it to reach.
        backups: how many sets.
        segments: how many WAL segments.
        rpo_seconds: what a loss of the host now would cost; ``None`` where nobody knows.
        verified_at: when a set of it was last verified.
        verified: that set.
        held: sets that are held.
        filled: whether it reaches as far back as the policy wants.
    """

    repository: int
    place: str
    begins: datetime | None
    ends: datetime | None
    wanted_days: int
    backups: int
    segments: int
    rpo_seconds: float | None
    verified_at: datetime | None
    verified: str
    held: int
    filled: bool


@dataclass(frozen=True)
class Measures:
    """The figures of a status.

    Attributes:
        windows: each repository.
        rpo_seconds: what a loss of the host now would cost, from the best repository that outlives it.
        rto_seconds: what a recovery would take at the measured speed; ``None`` where none was measured.
        proven_at: when a restore was last proven.
        proven: the set.
        archive_proven_at: when the restore of an archive was last proven.
        archive_proven: that archive.
        slots: retention slots by name: label, or empty.
    """

    windows: tuple[Window, ...]
    rpo_seconds: float | None
    rto_seconds: float | None
    proven_at: datetime | None
    proven: str
    archive_proven_at: datetime | None
    archive_proven: str
    slots: dict[str, str]


def measure(facts: Facts) -> Measures:
    """Work the figures out."""
    windows = tuple(_window(facts, item) for item in facts.repositories)
    off = {item.key for item in facts.repositories if item.off_host} or {item.key for item in facts.repositories}
    losses = [w.rpo_seconds for w in windows if w.repository in off and w.rpo_seconds is not None]
    everywhere = facts.info_of(None)
    proven = facts.marks.newest(everywhere, "proven") if everywhere else None
    archive = facts.marks.newest_archive()
    return Measures(
        windows=windows,
        rpo_seconds=min(losses, default=None),
        rto_seconds=_rto(facts),
        proven_at=proven[1] if proven else None,
        proven=proven[0].label if proven else "",
        archive_proven_at=archive[1] if archive else None,
        archive_proven=archive[0] if archive else "",
        slots=_slots(facts),
    )


def rpo_of(facts: Facts, item: RepositoryFacts) -> float | None:
    """Seconds of work that are not in a repository yet; 0 where nothing was written since its newest segment."""
    recent = item.recent
    if recent is None or recent.last_stored is None:
        return None
    server = facts.server.archiver
    if server is not None and server.current is not None and recent.wal.last is not None:
        current = Segment.parse(server.current, server.segment_size)
        if current.number <= recent.wal.last.number + 1 and server.current_bytes <= _HEADER:
            return 0.0
    return max(0.0, (facts.now - recent.last_stored).total_seconds())


_NEVER = datetime.min.replace(tzinfo=UTC)
#: Bytes at the start of a segment that carry no change: the page header, and a note of running transactions.
_HEADER = 256


def _window(facts: Facts, item: RepositoryFacts) -> Window:
    policy = next((r for r in facts.policy.repositories if r.id == item.key), None)
    wanted = policy.retention.full.days if policy else 0
    usable = [b for b in item.backups if not facts.marks.of(item.key, b.label).damaged and not b.error]
    anchor_label = facts.marks.wal_from.get(item.key)
    first = next((b for b in usable if b.label == anchor_label), None) or (usable[0] if usable else None)
    holes = item.recent.wal.holes if item.recent else ()
    if holes and usable:
        # Past the last hole only what was begun after it counts.
        size = facts.server.segment_size
        after = [b for b in usable if Segment.parse(str(b.archive.start), size).number > holes[-1].last_number]
        first = next((b for b in after if b.type == "full"), None)
    info = facts.info_of(item.key)
    verified = facts.marks.newest(info, "verified", item.key) if info else None
    begins = first.stopped if first else None
    return Window(
        repository=item.key,
        place=item.place,
        begins=begins,
        ends=item.recent.last_stored if item.recent and begins else None,
        wanted_days=wanted,
        backups=len(item.backups),
        segments=item.recent.segments if item.recent else 0,
        rpo_seconds=rpo_of(facts, item),
        verified_at=verified[1] if verified else None,
        verified=verified[0].label if verified else "",
        held=len(facts.holds.at_place(f"repository {item.key}")),
        filled=begins is not None and (facts.now - begins).days >= wanted,
    )


def _rto(facts: Facts) -> float | None:
    """Today's size at the measured speed, and the WAL since the newest backup at the measured pace of replay."""
    newest = [item.backups[-1] for item in facts.repositories if item.backups]
    speed, replay = _speeds(facts.marks)
    if not newest or speed is None:
        return None
    backup = max(newest, key=lambda b: b.stopped)
    wal = _wal_since(facts, backup)
    return backup.info.size / speed + (wal / replay if replay else 0.0)


def _speeds(marks: Marks) -> tuple[float | None, float | None]:
    measured = [mark for sets in marks.sets.values() for mark in sets.values() if mark.proven and mark.restore_seconds]
    if not measured:
        return None, None
    # A rehearsal is slow on purpose: it counts where no recovery was measured.
    last: Mark = max(measured, key=lambda mark: (mark.by == "recovery", mark.proven or _NEVER))
    speed = (last.restored_bytes or 0) / (last.restore_seconds or 1) or None
    pace = (last.replayed_bytes or 0) / last.replay_seconds if last.replay_seconds else None
    return speed, pace or None


def _wal_since(facts: Facts, backup: Backup) -> int:
    size = facts.server.segment_size
    ends = [item.recent.wal.last for item in facts.repositories if item.recent and item.recent.wal.last]
    if not ends or not backup.archive.start:
        return 0
    return max(0, max(s.number for s in ends) - Segment.parse(backup.archive.start, size).number) * size


def _slots(facts: Facts) -> dict[str, str]:
    """Physical slots of the policy: which set fills the current period, or nothing."""
    found: dict[str, str] = {}
    for repository in facts.policy.repositories:
        item = next((r for r in facts.repositories if r.key == repository.id), None)
        for slot in repository.retention.slots:
            period = PERIODS[slot](facts.now)
            fulls = [b for b in (item.backups if item else ()) if b.type == "full"]
            inside = next((b.label for b in fulls if PERIODS[slot](b.stopped) == period), "")
            found[f"repository {repository.id} {slot} {period}"] = inside
    return found
