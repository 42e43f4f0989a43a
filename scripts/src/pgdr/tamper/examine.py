"""Since when a repository is not pgBackRest's own work any more, and what it held just before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pgdr.errors import PgdrError, UnreachableError
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.info import STATUS_OK, Backup
from pgdr.s3 import explained
from pgdr.tamper.history import History, Version, read_history
from pgdr.tamper.suspects import Deed, Suspect, describe, suspects
from pgdr.tamper.versions import Place

_TICK = timedelta(seconds=1)
# What pgBackRest encrypts begins so; what it does not, with its own first line.
_CIPHERED, _PLAIN = b"Salted__", b"["
_ROUNDS = 50

Told = Callable[[str], None]


@dataclass(frozen=True)
class Group:
    """Suspects of one kind.

    Attributes:
        deed: what was done.
        what: to what.
        count: to how many objects.
        first: when it began.
        last: when it ended.
        example: one of the keys.
    """

    deed: Deed
    what: str
    count: int
    first: datetime
    last: datetime
    example: str


@dataclass
class Findings:
    """What an examination found.

    Attributes:
        place: the repository.
        objects: keys that ever were.
        versions: their versions.
        groups: what was done to it, the earliest first; empty where all is pgBackRest's own work.
        last_good: the last moment before; ``None`` where there is none.
        sets: backup sets at that moment.
        now: backup sets that can be read now; ``None`` where nothing can.
    """

    place: str
    objects: int = 0
    versions: int = 0
    groups: tuple[Group, ...] = ()
    last_good: datetime | None = None
    sets: tuple[Backup, ...] = ()
    now: tuple[Backup, ...] | None = None

    @property
    def tampered(self) -> bool:
        """Whether anything was done that pgBackRest does not do."""
        return bool(self.groups)


@dataclass
class Engine:
    """The sets that the engine could read at a moment, asked once for each state of the info files.

    Attributes:
        client: the engine.
        repository: its key.
        history: of the repository: between two versions of the info files the answer is the same.
    """

    client: PgBackRest
    repository: int
    history: History
    _known: dict[tuple[str, ...], tuple[Backup, ...] | None] = field(default_factory=dict)

    def listed(self, moment: datetime) -> tuple[Backup, ...] | None:
        """The sets of a moment; ``None`` where the repository could not be read then."""
        # The engine truncates to the second, and so do many servers.
        whole = moment.astimezone(UTC).replace(microsecond=0)
        state = tuple(
            version.version_id if (version := self.history.current(key, whole)) else ""
            for key in self.history.info_keys
        )
        if state not in self._known:
            self._known[state] = self._ask(whole)
        return self._known[state]

    def _ask(self, moment: datetime | None) -> tuple[Backup, ...] | None:
        try:
            told = self.client.info(self.repository, as_of=moment)
        except UnreachableError:
            raise
        except PgdrError:
            return None
        repository = told.repository(self.repository)
        if repository is None or repository.status.code != STATUS_OK:
            if repository is not None and isinstance(
                error := repository.status.as_error(f"repository {self.repository}"), UnreachableError
            ):
                raise error
            return None
        return told.backups(self.repository)

    def reads(self, key: str, moment: datetime) -> bool:
        """Whether an info file of a moment can be decrypted and is one."""
        return "backrest-checksum=" in (self._text(key, moment) or "")

    def altered(self, key: str, since: datetime | None = None) -> list[Version]:
        """The newest versions of a file without a checksum in its key that say something else than its first one.

        Bytes tell nothing: the same text is encrypted to others each time, of the same length.
        """
        written = [version for version in self.history.of(key) if not version.marker]
        if not written or all(version.same_content(written[0]) for version in written):
            return []
        first, found = written[0], []
        said = self._text(key, first.second)
        for version in reversed(written[1:]):
            if since is not None and version.at <= since:
                break
            # A first one that cannot be read any more (the info file of its time is gone) leaves the length alone.
            if version.size == first.size and (said is None or self._text(key, version.second) == said):
                break  # what came before it is undone
            found.append(version)
        return found

    def _text(self, key: str, moment: datetime) -> str | None:
        """What a file of a moment says; ``None`` where it cannot be read."""
        path = key.removeprefix(self.history.layout.repository)
        try:
            return self.client.read_file(path, self.repository, as_of=moment)
        except UnreachableError:
            raise
        except (PgdrError, UnicodeDecodeError):
            return None

    def now(self) -> tuple[Backup, ...] | None:
        """The sets that can be read now."""
        return self._ask(None)


def examine(
    place: Place, client: PgBackRest, *, since: datetime | None = None, told: Told = lambda _line: None
) -> tuple[Findings, History]:
    """Find the last good moment of a repository, from the versions of its objects.

    Args:
        place: the bucket.
        client: the engine, to read the repository as it was.
        since: what was done until this moment is known and was undone.
        told: told what is being done.

    Raises:
        RefusedError: these credentials may not list or read versions.
        UnreachableError: the server does not answer.
    """
    told("listing all versions")
    history = read_history(place.client, place.bucket, place.layout)
    engine = Engine(client, place.repository, history)
    versions = sum(len(history.of(key)) for key in history.keys)
    told(f"{len(history.keys)} objects with {versions} versions; looking at what was done to them")
    found = [
        one
        for one in (
            *suspects(history, engine.listed, since),
            *_unreadable(place, history, engine, since),
            *_altered(history, engine, since),
        )
        if since is None or one.at > since
    ]
    findings = Findings(place.name, len(history.keys), versions, groups_of(found), now=engine.now())
    if findings.now is None and not found and history.keys:
        # The files are there and are pgBackRest's, and it cannot read them all the same: look further back.
        found = [Suspect(Deed.UNREADABLE, v.at, v.key, describe(history, v.key)) for v in _newest_infos(history)]
        findings.groups = groups_of(found)
    if found:
        findings.last_good, findings.sets = _last_good(history, engine, min(one.at for one in found))
    return findings, history


def groups_of(found: list[Suspect]) -> tuple[Group, ...]:
    """Put together what is of one kind, the earliest first."""
    by_kind: dict[tuple[Deed, str], list[Suspect]] = {}
    for one in found:
        by_kind.setdefault((one.deed, one.what), []).append(one)
    groups = []
    for (deed, what), members in by_kind.items():
        ordered = sorted(members, key=lambda one: one.at)
        groups.append(Group(deed, what, len(ordered), ordered[0].at, ordered[-1].at, ordered[0].key))
    return tuple(sorted(groups, key=lambda group: (group.first, group.what)))


def _unreadable(place: Place, history: History, engine: Engine, since: datetime | None) -> list[Suspect]:
    """Versions of info files that are not pgBackRest's: all by how they begin, the newest by decrypting them too."""
    found = []
    for key in history.info_keys:
        read_well = False
        for version in reversed(history.of(key)):
            if version.marker or (since is not None and version.at <= since):
                continue
            well = _begins_well(place, version)
            if well and not read_well:
                well = read_well = engine.reads(key, version.second)
            if not well:
                found.append(Suspect(Deed.UNREADABLE, version.at, key, describe(history, key)))
    return found


def _altered(history: History, engine: Engine, since: datetime | None) -> list[Suspect]:
    """Histories and labels in the archive that say something else than they did."""
    return [
        Suspect(Deed.OVERWRITTEN, version.at, key, describe(history, key))
        for key in history.keys
        if history.without_sum(key)
        for version in engine.altered(key, since)
    ]


def _begins_well(place: Place, version: Version) -> bool:
    if version.size < len(_CIPHERED):
        return False
    with explained(place.bucket, version.key):
        body = place.client.get_object(
            Bucket=place.bucket, Key=version.key, VersionId=version.version_id, Range=f"bytes=0-{len(_CIPHERED) - 1}"
        )["Body"].read()
    return bool(body == _CIPHERED if place.ciphered else body.startswith(_PLAIN))


def _newest_infos(history: History) -> list[Version]:
    return [version for key in history.info_keys if (version := history.current(key)) is not None]


def _last_good(history: History, engine: Engine, first: datetime) -> tuple[datetime | None, tuple[Backup, ...]]:
    """The last moment before a deed at which the repository could be read and held a set."""
    times = sorted({version.second for key in history.info_keys for version in history.of(key)})
    moment = first
    for _ in range(_ROUNDS):
        # Of the second in which it was done nobody knows what was before it.
        moment = moment.replace(microsecond=0) - _TICK
        sets = engine.listed(moment)
        if sets:
            return moment, sets
        earlier = [at for at in times if at <= moment]
        if not earlier:
            break
        moment = earlier[-1]
    return None, ()
