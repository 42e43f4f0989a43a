"""Whether another live server with this cluster's identity archives into the same repositories: the split brain.

pgBackRest knows a cluster by its system identifier, which a promoted copy, a restarted old primary and a cloned machine
all share. What is told apart here, by what the listing of a repository says anyway:

- a timeline above this server's own: whoever promotes takes a number above all that are archived, so one that came
  later is somebody else's;
- this server's own timeline, further than this server has written;
- a lower timeline that does not lead here, or not so far, stored after this server's own timeline had begun to arrive.
  What a recovery leaves behind was stored before;
- a segment that is in every repository and that this server cannot push all the same: it holds something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from pgdr.errors import PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.postgres.archiver import Archiver
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import ServerFacts, server_facts
from pgdr.proof.continuity import Stored
from pgdr.proof.usual import ago
from pgdr.recovery.history import own_history
from pgdr.recovery.lsn import Segment, parse_lsn
from pgdr.status.facts import Facts, RepositoryFacts

CHECK = "split-brain"
# A live server archives a segment a minute (archive_timeout, heartbeat); what is silent for so long is gone.
_ALIVE = timedelta(hours=1)
# A push that a slow repository reports late is no quarrel.
_PATIENCE = timedelta(minutes=2)
_DANGER = "every change made on one of the two: they cannot be brought together, and recoveries follow only one of them"
_REMEDY = (
    "find the other one (a promoted standby or copy, an old primary that was started again) and stop the one that must "
    "not live: pgdr standby fence on it; then pgdr backup full on the other"
)


def rival_checks(config: HostConfig, facts: Facts) -> Iterator[Check]:
    """Look for another server in each repository; nothing on a standby, which archives nothing itself."""
    server = facts.server.facts
    if server is None or server.in_recovery:
        return
    limits = own_history(config.data_directory, server.timeline)
    contested = _contested(facts)
    for item in facts.repositories:
        if item.recent is None:
            continue
        found = (
            _newer(item, server, facts.now)
            or _ahead(config, item, server, facts.server.segment_size)
            or _left(item, server, limits, facts.server.segment_size, facts.now)
            or contested
        )
        if found is None:
            yield green(CHECK, "nobody else archives here", item.key)
            continue
        level, text, since = found
        yield Check(CHECK, level, text, item.key, since=since, endangers=_DANGER, remedy=_REMEDY)


_Found = tuple[Level, str, datetime | None]


def _newer(item: RepositoryFacts, server: ServerFacts, now: datetime) -> _Found | None:
    stored = _stored(item)
    highest = stored.newest_timeline
    if highest <= server.timeline:
        return None
    last = _newest({s: at for s, at in stored.times.items() if s.timeline > server.timeline})
    text = f"it holds timeline {highest}, and this server writes on {server.timeline}: another one was promoted"
    if last is None:
        return Level.AMBER, f"{text}; nothing but its history has arrived", None
    segment, at = last
    if now - at <= _ALIVE:
        return Level.RED, f"{text}, and archived {segment.name} {ago((now - at).total_seconds())} ago", at
    silent = f"silent for {ago((now - at).total_seconds())}; a recovery to the latest would follow it"
    return Level.AMBER, f"{text}, {silent}", at


def _ahead(config: HostConfig, item: RepositoryFacts, server: ServerFacts, size: int) -> _Found | None:
    last = _newest({s: at for s, at in _stored(item).times.items() if s.timeline == server.timeline}, by_number=True)
    if last is None or last[0].number <= parse_lsn(server.lsn) // size:
        return None
    try:  # the repository was asked after the server, which may have gone on since
        with connected(config, "postgres", application_name="pgdr status") as connection:
            written = server_facts(connection).lsn
    except PgdrError:
        return None
    if last[0].number <= parse_lsn(written) // size:
        return None
    return (
        Level.RED,
        f"it holds {last[0].name}, and this server has written up to {written} only: another one writes on this "
        "timeline, or this one was put back to an older state (a snapshot of its disk)",
        last[1],
    )


def _left(
    item: RepositoryFacts, server: ServerFacts, limits: Mapping[int, int], size: int, now: datetime
) -> _Found | None:
    times = _stored(item).times
    own = [at for segment, at in times.items() if segment.timeline == server.timeline]
    if not own:
        return None
    begun = datetime.fromtimestamp(min(own), UTC)
    # Of a timeline that does not lead here, no segment is this server's.
    behind = {
        s: at
        for s, at in times.items()
        if s.timeline < server.timeline and s.number > limits.get(s.timeline, -1) // size
    }
    last = _newest(behind)
    if last is None or last[1] <= begun or now - last[1] > _ALIVE:
        return None
    return (
        Level.RED,
        f"{last[0].name} was archived {ago((now - last[1]).total_seconds())} ago, of timeline {last[0].timeline}, "
        "which this server does not come from: the server that writes it lives",
        last[1],
    )


def _contested(facts: Facts) -> _Found | None:
    """A segment that is everywhere, and that cannot be pushed all the same."""
    archiver = facts.server.archiver
    if archiver is None or not _failing(archiver):
        return None
    name = str(archiver.last_failed)
    size = facts.server.segment_size
    try:
        segment = Segment.parse(name, size)
    except ValueError:
        return None  # a history file
    stored = [_stored(item).times.get(segment) for item in facts.repositories if item.recent is not None]
    if not stored or len(stored) < len(facts.repositories) or any(at is None for at in stored):
        return None
    since = datetime.fromtimestamp(max(at for at in stored if at is not None), UTC)
    if archiver.last_failed_at is None or archiver.last_failed_at - since < _PATIENCE:
        return None
    return (
        Level.RED,
        f"{name} is in every repository, and this server cannot archive its own segment of that name: they differ, "
        "another server writes on this timeline",
        since,
    )


def _failing(archiver: Archiver) -> bool:
    if archiver.last_failed is None or archiver.last_failed_at is None:
        return False
    return archiver.last_archived_at is None or archiver.last_failed_at > archiver.last_archived_at


def _newest(times: Mapping[Segment, int], *, by_number: bool = False) -> tuple[Segment, datetime] | None:
    if not times:
        return None
    segment = max(times, key=lambda one: (one.number,) if by_number else (times[one], one.number))
    return segment, datetime.fromtimestamp(times[segment], UTC)


def _stored(item: RepositoryFacts) -> Stored:
    assert item.recent is not None  # noqa: S101 - the caller has looked
    return item.recent.stored
