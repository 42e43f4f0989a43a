"""What WAL findings mean: holes, duplicates, claims of the server that the repository does not bear out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgdr.health import Check, Level, green
from pgdr.pgbackrest.info import Backup
from pgdr.postgres.archiver import Archiver
from pgdr.proof.continuity import Continuity, Hole, Stored
from pgdr.recovery.lsn import Segment

#: What a listing of everything shows, and a look at the end does not.
WHOLE = ("wal-hole", "backup-wal", "wal-duplicate")


def wal_checks(wal: Continuity, backups: Sequence[Backup], repository: int, size: int) -> Iterator[Check]:
    """Say whether the WAL of a repository is whole.

    A hole in front of the newest full backup is amber: that full was taken after it, and from there on every
    moment can be reached. A hole behind it is red: nothing after it can be reached at all.
    """
    if not wal.holes:
        span = f"{wal.first.name} to {wal.last.name}" if wal.first and wal.last else "nothing archived yet"
        yield green("wal-hole", f"WAL is whole: {span}, {wal.segments} segments", repository)
    else:
        yield _hole_check(wal.holes, backups, repository, size)
    if wal.incomplete:
        label, gap = next(iter(wal.incomplete.items()))
        more = f" and {len(wal.incomplete) - 1} more" if len(wal.incomplete) > 1 else ""
        yield Check(
            "backup-wal",
            Level.RED,
            f"backup {label}{more} lacks WAL segment {gap.name} of its own: it cannot become consistent",
            repository,
            endangers=f"every recovery from {label}",
            remedy=f"pgdr backup full --repo {repository}; recover from another set or repository",
        )
    else:
        yield green("backup-wal", "every backup has the WAL that it needs to become consistent", repository)
    if wal.duplicates:
        yield Check(
            "wal-duplicate",
            Level.RED,
            f"WAL segment {wal.duplicates[0].name} is there twice with different content: pgBackRest uses neither",
            repository,
            endangers="every recovery past that segment",
            remedy="a second cluster archives into this stanza: find and stop it, then pgdr backup full",
        )
    else:
        yield green("wal-duplicate", "no WAL segment is there twice", repository)


def behind_newest_full(hole: Hole, backups: Sequence[Backup], size: int) -> bool:
    """Whether nothing can be recovered past a hole: no full backup was begun after it."""
    starts = [Segment.parse(str(b.archive.start), size) for b in backups if b.type == "full" and b.archive.start]
    return all(start.number <= hole.last_number for start in starts)


def _hole_check(holes: Sequence[Hole], backups: Sequence[Backup], repository: int, size: int) -> Check:
    red = [hole for hole in holes if behind_newest_full(hole, backups, size)]
    hole = red[0] if red else holes[0]
    count = "" if hole.count == 1 else f" and {hole.count - 1} after it"
    others = "" if len(holes) == 1 else f" ({len(holes)} holes in all)"
    message = f"WAL segment {hole.first.name}{count} is missing{others}"
    if red:
        return Check(
            "wal-hole",
            Level.RED,
            message,
            repository,
            endangers="every change after that segment: no recovery from this repository gets past it",
            remedy=f"pgdr backup full --repo {repository} makes the time from then on recoverable again",
        )
    return Check(
        "wal-hole",
        Level.AMBER,
        f"{message}; a full backup was taken after it",
        repository,
        endangers="points in time between that segment and the full backup after it",
        remedy="nothing to do for the future; another repository may have the segment",
    )


def claimed_check(server: Archiver, stored: Stored, repository: int, first: Segment | None) -> Check:
    """Whether the segment that the server last reported as archived is in a repository.

    Args:
        server: asked before the repository was listed, or a segment could be archived in between.
        stored: the WAL in the repository.
        repository: its key.
        first: the oldest segment that the repository needs; older claims are none of its business.
    """
    name = server.last_segment
    if server.in_recovery or name is None:
        return green("wal-claimed", "nothing that the server reports as archived is missing", repository)
    segment = Segment.parse(name, server.segment_size)
    if segment in stored.times or (first is not None and segment.number < first.number):
        return green("wal-claimed", f"the server reports {name} as archived, and it is there", repository)
    return Check(
        "wal-claimed",
        Level.RED,
        f"the server reports {name} as archived, and it is not there: archive_command reports success without storing",
        repository,
        since=server.last_archived_at,
        endangers="every change since the newest backup",
        remedy="show archive_command; remove pgBackRest's spool of archive-push; pgdr backup full",
    )
