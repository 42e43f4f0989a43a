"""Operations that did not come to an end of their own: killed, or always in another one's way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.locks import killed
from pgdr.status.history import History

#: A full that takes its time makes one increment give way. Twice is odd, three times half a day without a backup.
_ODD, _MANY = 2, 3


def killed_checks(config: HostConfig) -> Iterator[Check]:
    """Name operations that a kill ended: they could write nothing in the journal, and tell nobody."""
    for scope, holder in sorted(killed(config).items()):
        yield Check(
            f"killed-{scope}" if scope else "killed",
            Level.RED,
            f"{holder.command} (process {holder.pid}) was killed before its end",
            since=datetime.fromisoformat(holder.since),
            endangers="what it was to do; what it left is taken up or removed by the next run",
            remedy="run it again; journalctl -k and -t erp-backup say whether memory ran out",
        )


def gave_way_checks(history: History) -> Iterator[Check]:
    """Name jobs that gave way again and again: each time that is no failure, and in the end there is no backup."""
    for job, by_repository in sorted(history.gave_way.items()):
        times = max(by_repository.values(), key=len)
        if len(times) < _ODD:
            continue
        yield Check(
            f"gave-way-{job}",
            Level.RED if len(times) >= _MANY else Level.AMBER,
            f"{job} gave way to another operation {len(times)} times in a row",
            since=times[0],
            endangers="what the job is for: it has not ended well since",
            remedy="pgdr journal list; pgbackrest info shows a backup that runs; is a second host backing this one up?",
        )
