"""Choose what to restore from: the backup set and the WAL that lead to a target; refuse a target out of reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.faults import code_of, fault_error
from pgdr.pgbackrest.info import STATUS_NO_BACKUP, STATUS_NO_STANZA, STATUS_OK, Backup, StanzaInfo
from pgdr.recovery.archive import WalArchive
from pgdr.recovery.lsn import Segment, format_lsn, parse_lsn
from pgdr.recovery.model import Tablespace
from pgdr.recovery.target import Target, TargetKind
from pgdr.recovery.walend import ArchiveReader, WalEnd
from pgdr.recovery.whole import held_files, missing_files
from pgdr.recovery.xids import precedes

_STALE = timedelta(hours=1)


@dataclass(frozen=True)
class Wish:
    """Where a person wants to get to, and from what.

    Attributes:
        repository: pgBackRest's number of the repository to read.
        target: where to recover to.
        backup_label: a backup set to start from, empty to choose the newest that fits.
        replica: the repository is read as its copy, which may lag: a set of which a file is missing is passed over.
        near: position of the target where it is known though the target does not say it (a restore point's), 0 else.
    """

    repository: int
    target: Target
    backup_label: str = ""
    near: int = 0
    replica: bool = False


@dataclass(frozen=True)
class Source:
    """What a target is reached from.

    Attributes:
        system_identifier: identity of the cluster.
        backup: the backup set.
        end: where the archive ends.
        recovery_lsn: position that recovery must reach, empty where the target does not say it.
        tablespaces: of the backup, each with its place on the lost host.
        skipped: sets that were passed over, each with what is wrong with it.
        databases: names of those in the backup.
    """

    system_identifier: int
    backup: Backup
    end: WalEnd
    recovery_lsn: str
    tablespaces: list[Tablespace]
    skipped: tuple[str, ...]
    databases: tuple[str, ...]

    @property
    def replayed(self) -> int:
        """Bytes of WAL that are replayed at most."""
        last = parse_lsn(self.recovery_lsn) if self.recovery_lsn else self.end.last_record
        return max(last - parse_lsn(self.backup.lsn.stop or "0/0"), 0)

    def warnings(self, now: datetime) -> list[str]:
        """What a person should know of it."""
        end = self.end
        found = [f"{what} and was passed over" for what in self.skipped]
        if end.missing is not None:
            found.append(
                f"the archive ends at {format_lsn(end.last_record)}: {_hole(end)}; another repository may have it"
            )
        if end.last_commit_at is not None and now - end.last_commit_at > _STALE:
            found.append(
                f"the newest archived transaction is {now - end.last_commit_at} old: "
                "archiving stopped before the disaster, or another repository is newer"
            )
        return found


def chosen_facts(config: HostConfig, wish: Wish, source: Source) -> dict[str, Any]:
    """Return the fields of a :class:`pgdr.recovery.model.Plan` that follow from cluster, wish and source."""
    backup, end = source.backup, source.end
    return {
        "cluster_name": config.cluster_name,
        "stanza": config.stanza,
        "system_identifier": source.system_identifier,
        "postgresql_version": config.postgresql_version,
        "repository": wish.repository,
        "backup_label": backup.label,
        "backup_type": backup.type,
        "backup_stop_at": backup.stopped,
        "backup_stop_lsn": backup.lsn.stop or "0/0",
        "backup_bytes": backup.info.size,
        "wal_end_segment": end.segment.name,
        "wal_segment_bytes": end.segment.size,
        "wal_end_lsn": format_lsn(end.last_record),
        "wal_last_commit_at": end.last_commit_at,
        "target": wish.target,
        "recovery_lsn": source.recovery_lsn,
    }


def choose_source(
    config: HostConfig, client: PgBackRest, wish: Wish, look: Callable[[int], None] = lambda _: None
) -> Source:
    """Look at the repository and choose.

    Args:
        config: this host.
        client: pgBackRest.
        wish: what a person asked for.
        look: looks at the host, given the cluster's system identifier, before the archive is read: that may take long.

    Raises:
        RefusedError: the target cannot be reached.
        UnreachableError: the repository did not answer.
    """
    info = client.info(repo=wish.repository)
    require_repository(info, wish.repository, config)
    database = info.database(wish.repository)
    archive = info.current_archive(wish.repository)
    if database is None or archive is None:
        raise RefusedError(f"repository {wish.repository} holds no WAL of stanza {config.stanza}")
    if database.version != str(config.postgresql_version):
        raise RefusedError(
            f"the backups are of PostgreSQL {database.version}, this host has {config.postgresql_version}",
            remedy="set cluster.postgresql_version in the policy to the backups' version",
        )
    look(database.system_id)
    wal = WalArchive(client, wish.repository, config.stanza, archive.id)
    reader = ArchiveReader(wal, config.bin_directory)
    backup, end, skipped = _choose(info, wish, reader, _incomplete_sets(info, wish, client))
    recovery_lsn = _check_bounds(wish.target, backup, end)
    detailed = client.info(repo=wish.repository, backup_set=backup.label).find(backup.label, wish.repository) or backup
    return Source(
        system_identifier=database.system_id,
        backup=backup,
        end=end,
        recovery_lsn=format_lsn(recovery_lsn) if recovery_lsn else "",
        tablespaces=[Tablespace(name=link.name, location=link.destination) for link in detailed.tablespace or ()],
        skipped=tuple(skipped),
        databases=tuple(sorted(one.name for one in detailed.databases or ())),
    )


def require_repository(info: StanzaInfo, repository: int, config: HostConfig) -> None:
    """Refuse a repository that cannot be read, each cause with its own remedy.

    Raises:
        RefusedError: wrong bucket, path, stanza or passphrase, or no backup at all.
        PgBackRestError: pgBackRest says what it is: unreachable, a wrong passphrase, a damaged file.
    """
    found = info.repository(repository)
    # A repository that pgBackRest does not list at all has no stanza: info leaves empty ones out.
    code = found.status.code if found else max(info.status.code, STATUS_NO_STANZA)
    where = f"repository {repository}"
    if code == STATUS_OK:
        return
    if code == STATUS_NO_STANZA:
        raise RefusedError(
            f"{where} holds no stanza {config.stanza}: it is empty, or the wrong bucket or path",
            remedy=f"check repo{repository}'s bucket and path in the policy and in {config.pgbackrest_config}",
        )
    if code == STATUS_NO_BACKUP:
        raise RefusedError(f"{where} holds no backup of stanza {config.stanza}", remedy="choose another repository")
    said = " ".join(found.status.message.split()) if found else info.status.message
    fault = code_of(said)
    if fault is None:
        raise RefusedError(f"{where} cannot be used: {said}", remedy="see pgdr info")
    raise fault_error(fault, said, action=where)


def _incomplete_sets(info: StanzaInfo, wish: Wish, client: PgBackRest) -> dict[str, str]:
    """Look from the newest set backwards for one that is whole, and name what the others lack.

    Only for a copy: it arrives object by object and in no order, the list of backups often before their files.
    """
    found: dict[str, str] = {}
    if not wish.replica:
        return found
    held = held_files(client, wish.repository)
    for backup in reversed(info.backups(wish.repository)):
        if wish.backup_label and backup.label != wish.backup_label:
            continue
        missing = missing_files(client, wish.repository, backup.label, held)
        if not missing:
            break
        found[backup.label] = f"{len(missing)} files are not there yet, such as {missing[0]}"
    return found


def _choose(
    info: StanzaInfo, options: Wish, reader: ArchiveReader, incomplete: dict[str, str]
) -> tuple[Backup, WalEnd, list[str]]:
    """Pick the backup set: the one that was named, or the newest sound one from which the target can be reached."""
    if options.backup_label:
        return _named(info, options, reader, incomplete)
    everything = info.backups(options.repository)
    sound = [backup for backup in everything if not backup.error and backup.label not in incomplete]
    skipped = [f"backup set {backup.label} has page checksum errors" for backup in everything if backup.error]
    skipped += [f"backup set {label} is not whole in the replica ({what})" for label, what in incomplete.items()]
    if not sound and incomplete:
        lacking = next(iter(incomplete.values()))
        raise RefusedError(
            f"no backup set is whole in the replica of repository {options.repository}: {lacking}",
            remedy="wait for the replication, or restore from the repository itself",
        )
    if not sound:
        raise RefusedError(
            f"every backup set in repository {options.repository} has page checksum errors",
            remedy="name one with -e backup_set=LABEL, or use another repository",
        )
    end = reader.end(options.target.timeline, _timeline(sound[-1]))
    history = reader.history(end.segment.timeline)
    usable = [backup for backup in sound if _leads_to(backup, end.segment.timeline, history, options)]
    if not usable:
        first = sound[0]
        if options.target.kind not in (TargetKind.TIME, TargetKind.LSN) and not options.near:
            raise RefusedError(
                f"no backup in repository {options.repository} leads to timeline {end.segment.timeline}",
                remedy="give target_timeline with the timeline of a backup, see pgdr info",
            )
        raise RefusedError(
            f"target {options.target.text} is before the first backup of repository {options.repository}, "
            f"which became consistent at {first.stopped:%Y-%m-%d %H:%M:%S+00:00} ({first.lsn.stop})",
            remedy=f"{_window(first, end)}; the nearest is {first.lsn.stop}; another repository may reach further",
        )
    for backup in reversed(usable):
        if not _ended_before(reader, options.target, backup):
            end = _connected(reader, backup, end, history)
            _require_given(reader, options.target, end)
            return backup, end, skipped
    raise RefusedError(
        f"target {options.target.text} ended before the first backup of repository {options.repository}",
        remedy=f"{_window(usable[0], end)}; another repository may reach further",
    )


def _named(
    info: StanzaInfo, options: Wish, reader: ArchiveReader, incomplete: dict[str, str]
) -> tuple[Backup, WalEnd, list[str]]:
    """The backup set that a person named."""
    everything = info.backups(options.repository)
    named = info.find(options.backup_label, options.repository)
    if named is None:
        newest = everything[-1].label if everything else "none"
        raise RefusedError(
            f"backup set {options.backup_label!r} is not in repository {options.repository}",
            remedy=f"see pgdr info; the newest set is {newest}",
        )
    if named.label in incomplete:
        raise RefusedError(
            f"backup set {named.label} is not whole in the replica: {incomplete[named.label]}",
            remedy="leave backup_set out to take the newest whole one, or wait for the replication",
        )
    end = reader.end(options.target.timeline, _timeline(named))
    end = _connected(reader, named, end, reader.history(end.segment.timeline))
    _require_given(reader, options.target, end)
    if _ended_before(reader, options.target, named):
        raise RefusedError(
            f"target {options.target.text} ended before backup {named.label}",
            remedy="choose an earlier backup set; without one the right one is found",
        )
    return named, end, []


def _require_given(reader: ArchiveReader, target: Target, end: WalEnd) -> None:
    """Refuse a transaction that nobody had begun where the archive ends: all WAL would be replayed in search of it."""
    if target.kind is not TargetKind.XID:
        return
    following = reader.next_xid(end)
    if following is not None and not precedes(int(target.value), following):
        raise RefusedError(
            f"target {target.text} is no transaction of the archived WAL: where it ends "
            f"({format_lsn(end.last_record)}{_hole(end, ', ')}) the next one is {following}",
            remedy="pgdr when finds transactions; without a target you get the end of the archive",
        )


def _ended_before(reader: ArchiveReader, target: Target, backup: Backup) -> bool:
    """Whether a transaction had ended when a backup was taken, as far as its first segment says so."""
    if target.kind is not TargetKind.XID or backup.archive.start is None:
        return False
    then = reader.running(backup.archive.start, parse_lsn(backup.lsn.stop or "0/0"))
    return then is not None and then.ended(int(target.value))


def _connected(reader: ArchiveReader, backup: Backup, end: WalEnd, history: dict[int, int]) -> WalEnd:
    """Cut the archive's end off where WAL is missing behind the backup."""
    if backup.archive.start is None:
        return end
    found = reader.connected(end, Segment.parse(backup.archive.start, end.segment.size), history)
    if found.missing is not None and found.missing.start <= parse_lsn(backup.lsn.stop or "0/0"):
        raise RefusedError(
            f"backup set {backup.label} needs WAL segment {found.missing.name}, which is not archived",
            remedy="name an earlier set with -e backup_set=LABEL, see pgdr info, or use another repository",
        )
    return found


def _timeline(backup: Backup) -> int:
    return int((backup.archive.stop or "00000001")[:8], 16)


def _leads_to(backup: Backup, timeline: int, history: dict[int, int], wish: Wish) -> bool:
    """Tell whether WAL leads from a backup to the target on the wanted timeline."""
    stop = parse_lsn(backup.lsn.stop or "0/0")
    own = _timeline(backup)
    if own != timeline and (own not in history or stop > history[own]):
        return False
    if wish.target.kind is TargetKind.TIME:
        return backup.stopped < wish.target.as_time()
    if wish.target.kind is TargetKind.LSN:
        return stop < parse_lsn(wish.target.value)
    return not wish.near or stop < wish.near


def _check_bounds(target: Target, backup: Backup, end: WalEnd) -> int | None:
    """Refuse a target that cannot be reached; return the position that must be reached, if it is known."""
    if target.kind is TargetKind.LATEST:
        return end.last_record
    if target.kind is TargetKind.LSN:
        wanted = parse_lsn(target.value)
        if wanted <= parse_lsn(backup.lsn.stop or "0/0"):
            raise RefusedError(
                f"target {target.text} is before the end of backup {backup.label} ({backup.lsn.stop})",
                remedy="choose a later target or an earlier backup set",
            )
        if wanted > end.last_record:
            raise RefusedError(
                f"target {target.text} is after the last archived WAL record "
                f"({format_lsn(end.last_record)}{_hole(end, ', ')})",
                remedy=f"{_window(backup, end)}; without a target you get its end",
            )
        return wanted
    if target.kind is TargetKind.TIME:
        moment = target.as_time()
        if moment <= backup.stopped:
            raise RefusedError(
                f"target {target.text} is before the end of backup {backup.label} "
                f"({backup.stopped:%Y-%m-%d %H:%M:%S+00:00})",
                remedy="choose a later target or an earlier backup set",
            )
        last = end.last_commit_at
        if last is not None and moment >= last:
            raise RefusedError(
                f"target {target.text} is after the last archived transaction "
                f"({last.isoformat(sep=' ')}{_hole(end, ', ')})",
                remedy=f"{_window(backup, end)}; without a target you get its end",
            )
    return None


def _hole(end: WalEnd, before: str = "") -> str:
    """Say what is missing in the archive, where something is."""
    if end.missing is None:
        return ""
    return f"{before}WAL segment {end.missing.name} is missing behind it, so {end.unusable} later ones are of no use"


def _window(first: Backup, end: WalEnd) -> str:
    last = f"{end.last_commit_at:%Y-%m-%d %H:%M:%S+00:00}" if end.last_commit_at else "unknown"
    return (
        f"reachable is {first.stopped:%Y-%m-%d %H:%M:%S+00:00} ({first.lsn.stop}) to "
        f"{last} ({format_lsn(end.last_record)})"
    )
