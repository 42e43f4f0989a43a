"""The state of a moment made current again. Nothing is destroyed: what a thief wrote stays as older versions.

Versions are copied onto themselves on the server; objects that came since are hidden, except WAL that was written
once and never touched again: production went on, and those are its last minutes. The info files come last, so that a
rebuild that was killed is found unfinished, and run again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pgdr.errors import NotProvenError, RefusedError
from pgdr.pgbackrest.client import PgBackRest
from pgdr.tamper.examine import Engine
from pgdr.tamper.history import History, Version, read_history
from pgdr.tamper.versions import Place

_THREADS = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RebuildPlan:
    """What a rebuild would do.

    Attributes:
        as_of: the moment.
        back: versions that become current again.
        hidden: keys that came since and go out of sight.
        later_wal: WAL that came since and stays.
        unchanged: objects that are as they were.
        sets: labels of the sets at that moment.
    """

    as_of: datetime
    back: tuple[Version, ...]
    hidden: tuple[str, ...]
    later_wal: tuple[str, ...]
    unchanged: int
    sets: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes that are copied, on the server."""
        return sum(version.size for version in self.back)


@dataclass
class Rebuilt:
    """What a rebuild did.

    Attributes:
        plan: what was planned.
        spool: acknowledgements that were removed from the spool.
    """

    plan: RebuildPlan
    spool: list[str] = field(default_factory=list)


def plan_rebuild(history: History, client: PgBackRest, place: Place, as_of: datetime) -> RebuildPlan:
    """Compare the repository with what it was.

    Raises:
        RefusedError: it could not be read at that moment, or held no backup.
    """
    engine = Engine(client, place.repository, history)
    sets = engine.listed(as_of)
    if not sets:
        raise RefusedError(
            f"{place.name} held no readable backup at {as_of:%Y-%m-%d %H:%M:%S}Z",
            remedy="choose the moment that pgdr repository examine names; nothing was changed",
        )
    back: list[Version] = []
    hidden: list[str] = []
    later: list[str] = []
    unchanged = 0
    for key in history.keys:
        then, now = history.current(key, as_of), history.current(key)
        if then is None:
            if now is None:
                continue
            if history.without_sum(key):
                untouched = not engine.altered(key)
            else:
                untouched = all(version.same_content(now) for version in history.of(key))
            if history.wal_of(key) is not None and untouched:
                later.append(key)
            else:
                hidden.append(key)
        elif now is not None and (now.version_id == then.version_id or now.same_content(then)):
            unchanged += 1
        else:
            back.append(then)
    # The info files last: they say that the rest is there.
    back.sort(key=lambda version: (history.is_info(version.key), version.key))
    labels = tuple(one.label for one in sets)
    return RebuildPlan(as_of, tuple(back), tuple(hidden), tuple(later), unchanged, labels)


def rebuild(
    place: Place,
    client: PgBackRest,
    history: History,
    plan: RebuildPlan,
    *,
    spool: Path | None,
    progress: Progress = lambda _done, _total: None,
) -> Rebuilt:
    """Make a moment current again, and prove it.

    Args:
        place: the bucket.
        client: the engine.
        history: that the plan was made of.
        plan: what to do.
        spool: pgBackRest's spool on this host; ``None`` where none is here.
        progress: told bytes that are done, and all.

    Raises:
        NotProvenError: afterwards something is not as it was, or the engine does not list the same sets.
        PgdrError: it was interrupted; run it again.
    """
    done = 0
    data = [version for version in plan.back if not history.is_info(version.key)]
    infos = [version for version in plan.back if history.is_info(version.key)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for version, _ in zip(data, pool.map(place.bring_back, data), strict=True):
            done += version.size
            progress(done, plan.size)
        list(pool.map(place.hide, plan.hidden))
    for version in infos:
        place.bring_back(version)
    _require_as_it_was(place, plan, client, history)
    return Rebuilt(plan, _forget_acknowledgements(spool))


def _require_as_it_was(place: Place, plan: RebuildPlan, client: PgBackRest, before: History) -> None:
    now = read_history(place.client, place.bucket, place.layout)
    for key in before.keys:
        then, current = before.current(key, plan.as_of), now.current(key)
        if then is not None and (current is None or current.size != then.size):
            raise NotProvenError(f"{key} is not as it was", remedy="somebody still writes; revoke the keys, run again")
    told = client.info(place.repository)
    repository = told.repository(place.repository)
    labels = {one.label for one in told.backups(place.repository)}
    if repository is None or repository.status.code or labels != set(plan.sets):
        raise NotProvenError(
            f"{place.name} lists {len(labels)} sets and held {len(plan.sets)} then",
            remedy="somebody still writes; revoke the keys, run again",
        )


def _forget_acknowledgements(spool: Path | None) -> list[str]:
    """Remove what the asynchronous archiver believes to be stored: it may have been, in what is hidden now."""
    if spool is None or not spool.is_dir():
        return []
    removed = []
    for path in sorted(spool.glob("*.ok")):
        path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed
