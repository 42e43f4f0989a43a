"""Whether backups take as long as they used to: what has become slow fails in the end, or in a recovery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from pgdr.health import Check, Level, green
from pgdr.pgbackrest.info import Backup
from pgdr.proof.usual import ago

_HABIT, _COMPARED = 2, 10
_SLOW, _VERY_SLOW = 3.0, 10.0
#: Seconds more than usual that are worth a word.
_NOTICED = 60.0


def pace_checks(backups: Sequence[Backup], repository: int) -> Iterator[Check]:
    """Compare the newest full with those before it, for the size that it has.

    Args:
        backups: the sets of one repository, oldest first.
        repository: its key.
    """
    fulls = [item for item in backups if item.type == "full" and item.info.size]
    if len(fulls) <= _HABIT:
        return
    newest, before = fulls[-1], fulls[-1 - _COMPARED : -1]
    usual = median(_seconds(item) / item.info.size for item in before) * newest.info.size
    took = _seconds(newest)
    if took - usual < _NOTICED or took < _SLOW * usual:
        yield green("pace", f"full backup {newest.label} took {ago(took)}", repository)
        return
    yield Check(
        "pace",
        Level.RED if took >= _VERY_SLOW * usual else Level.AMBER,
        f"full backup {newest.label} took {ago(took)}; one of its size usually takes {ago(usual)}",
        repository,
        since=newest.started,
        endangers="the time that a recovery from this repository takes, and that the next backup is done in time",
        remedy=f"network and repository, the host's disks; then pgdr backup full --repo {repository} and look again",
    )


def _seconds(backup: Backup) -> float:
    return max(1.0, float(backup.timestamp.stop - backup.timestamp.start))
