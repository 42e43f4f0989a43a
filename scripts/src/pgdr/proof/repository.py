"""The verification of one repository: what pgBackRest says, and what it does not say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pgdr.errors import PgdrError
from pgdr.health import Check, Level, green
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.info import Backup, StanzaInfo
from pgdr.pgbackrest.verification import EngineVerdict
from pgdr.proof import continuity
from pgdr.proof.continuity import Continuity, Stored
from pgdr.proof.look import page_checks, repository_check
from pgdr.proof.wal import wal_checks

_INDEXES = ("backup/{stanza}/backup.info", "archive/{stanza}/archive.info")


@dataclass
class Verified:
    """What became of one repository.

    Attributes:
        repository: its key.
        place: where it is.
        checks: what was found.
        good: labels of the sets that are whole, with all that they build on.
        damaged: labels of the sets that are not, each with the reason.
        wal: its WAL, where it could be listed.
        stored: the same as a list.
        seconds: how long it took.
    """

    repository: int
    place: str
    checks: list[Check] = field(default_factory=list)
    good: tuple[str, ...] = ()
    damaged: dict[str, str] = field(default_factory=dict)
    wal: Continuity | None = None
    stored: Stored | None = None
    backups: tuple[Backup, ...] = ()
    seconds: float = 0.0


def verify_repository(
    client: PgBackRest, repository: int, place: str, *, segment_size: int, wal_from: str = ""
) -> Verified:
    """Verify one repository; what cannot be done is a finding.

    Args:
        client: pgBackRest, with a runner that forwards signals.
        repository: the repository's key.
        place: where it is, for people.
        segment_size: bytes of a WAL segment.
        wal_from: see :func:`pgdr.proof.continuity.examine`.
    """
    began = time.monotonic()
    result = Verified(repository, place)
    try:
        _verify(client, result, segment_size, wal_from)
    except PgdrError as error:
        result.checks.append(
            Check(
                "verify",
                Level.RED,
                error.message,
                repository,
                endangers="the proof that this repository can be used",
                remedy=error.remedy,
                code=error.exit_code,
            )
        )
    result.seconds = time.monotonic() - began
    return result


def _verify(client: PgBackRest, result: Verified, segment_size: int, wal_from: str) -> None:
    repository = result.repository
    before = client.info(repository)
    usable = repository_check(before, repository)
    result.checks.append(usable)
    result.checks += _index_checks(client, repository)
    if usable.level is not Level.GREEN:
        return
    archive = before.current_archive(repository)
    database = before.database(repository)
    if archive is None or database is None:
        return
    result.stored = continuity.read(client, repository, archive.id, segment_size)
    limits = continuity.lineage(client, repository, archive.id, result.stored.newest_timeline, segment_size)
    verdict = client.verify(repository)
    # What a backup or an expiry changed in the meantime is neither good nor bad.
    after = client.info(repository).readable()
    kept = tuple(item for item in before.backups(repository) if item.label in after.labels(repository))
    result.backups = kept
    own = [item for item in kept if item.database.id == database.id]
    result.wal = continuity.examine(result.stored, own, limits, segment_size, wal_from=wal_from)
    result.checks.append(page_checks(after, repository))
    result.checks += wal_checks(result.wal, own, repository, segment_size)
    _judge_sets(result, kept, verdict)
    result.checks += _engine_checks(result, verdict, after)


def _index_checks(client: PgBackRest, repository: int) -> Iterator[Check]:
    """Read both copies of both indexes: with one of them damaged everything works, until the other one is too."""
    for pattern in _INDEXES:
        path = pattern.format(stanza=client.config.stanza)
        name = path.rpartition("/")[2].replace(".", "-")
        texts: dict[str, str] = {}
        for copy in (path, f"{path}.copy"):
            try:
                texts[copy] = client.read_file(copy, repository)
            except PgdrError:
                continue
        if len(texts) == 2 and len(set(texts.values())) == 1:
            yield green(name, f"{path} and its copy are equal and readable", repository)
        elif texts:
            bad = next((copy for copy in (path, f"{path}.copy") if copy not in texts), f"{path}.copy")
            yield Check(
                name,
                Level.RED,
                f"{bad} is damaged or missing: pgBackRest lives from the other copy",
                repository,
                endangers="the whole repository, when the other copy is lost too",
                remedy=f"pgdr backup incr --repo {repository} writes both anew; look at the disk or bucket",
            )


def _judge_sets(result: Verified, backups: Sequence[Backup], verdict: EngineVerdict) -> None:
    reasons: dict[str, str] = {}
    for item in backups:  # oldest first: what a set builds on was judged before
        reason = _own_fault(item, verdict, result)
        base = next((label for label in (*(item.reference or ()), item.prior or "") if label in reasons), None)
        if not reason and base is not None:
            reason = f"builds on {base}, which is damaged"
        if reason:
            reasons[item.label] = reason
    result.damaged = reasons
    result.good = tuple(item.label for item in backups if item.label not in reasons)


def _own_fault(backup: Backup, verdict: EngineVerdict, result: Verified) -> str:
    if backup.error:
        return "page checksum errors: the database was damaged when it was copied"
    counted = verdict.backups.get(backup.label)
    if counted is None:
        return "its files are gone: pgBackRest's index lists it and its folder does not exist"
    if not counted.sound:
        bad = counted.total - counted.valid
        return f"{bad} of {counted.total} files are damaged or missing" if bad else f"it is {counted.status}"
    gap = result.wal.incomplete.get(backup.label) if result.wal else None
    return f"its own WAL segment {gap.name} is missing" if gap else ""


def _engine_checks(result: Verified, verdict: EngineVerdict, found: StanzaInfo) -> Iterator[Check]:
    repository = result.repository
    if result.damaged:
        label, reason = next(iter(result.damaged.items()))
        more = f" and {len(result.damaged) - 1} more" if len(result.damaged) > 1 else ""
        path = next((f"; first: {path}, {fault}" for fault, path in verdict.files if path.startswith(label)), "")
        newest = found.newest(repository)
        yield Check(
            "sets",
            Level.RED,
            f"backup {label}{more}: {reason}{path}",
            repository,
            endangers="every recovery that uses it" + (", the newest among them" if _is_newest(newest, result) else ""),
            remedy=f"pgdr backup full --repo {repository}; recover from another set or repository until then",
        )
    else:
        files = sum(item.total for item in verdict.backups.values())
        yield green("sets", f"{len(result.good)} sets, {files} files read and right", repository)
    bad = {name: counted.total - counted.valid for name, counted in verdict.archives.items() if not counted.sound}
    if bad:
        first = next((f": {path}, {fault}" for fault, path in verdict.files if path.split("/")[0] in bad), "")
        yield Check(
            "wal-content",
            Level.RED,
            f"{sum(bad.values())} archived WAL segments are damaged{first}",
            repository,
            endangers="every recovery past that segment",
            remedy=f"pgdr backup full --repo {repository}; another repository may have the segment",
        )
    else:
        total = sum(item.total for item in verdict.archives.values())
        yield green("wal-content", f"{total} archived WAL segments read and right", repository)
    # Whatever pgBackRest objects to and nothing above explains.
    if verdict.status != "ok" and not result.damaged and not bad:
        yield Check(
            "engine",
            Level.RED,
            f"pgBackRest's verify says {verdict.status}: {'; '.join(verdict.messages) or 'no reason given'}",
            repository,
            endangers="the proof that this repository can be used",
            remedy=f"pgbackrest --repo={repository} --output=text --verbose verify",
        )


def _is_newest(newest: Backup | None, result: Verified) -> bool:
    return newest is not None and newest.label in result.damaged
