"""Since when: which backups copied the damage, and which are clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pgdr.corruption.files import node_of
from pgdr.corruption.model import BackupSet, Damage
from pgdr.errors import PgdrError
from pgdr.pgbackrest.client import PgBackRest

_TIME = "%Y-%m-%d %H:%M:%S+00:00"


def read_sets(client: PgBackRest) -> tuple[list[BackupSet], list[str]]:
    """All sets of all repositories, oldest first, and what could not be read."""
    unseen: list[str] = []
    sets: list[BackupSet] = []
    try:
        found = client.info()
    except PgdrError as error:
        return [], [f"the backups: {error.message}"]
    for backup in found.backups():
        files: tuple[str, ...] = ()
        if backup.error:
            files = ("its list of files cannot be read",)
            try:
                named = client.info(repo=backup.repository, backup_set=backup.label).find(backup.label)
                files = (named.error_list if named is not None else None) or files
            except PgdrError as error:
                unseen.append(f"page errors of {backup.label}: {error.message}")
        sets.append(BackupSet(backup.label, backup.repository, backup.stopped, files))
    unseen += [f"repository {item.key}: {item.status.meaning}" for item in found.repo if item.status.code != 0]
    return sets, unseen


def with_since(damages: Sequence[Damage], sets: Sequence[BackupSet]) -> list[Damage]:
    """The damages, each with the backups between which it came; only what has wrong pages shows in a backup."""
    return [replace(one, since=_since(one, sets)) if one.page_hit and not one.since else one for one in damages]


def _since(damage: Damage, sets: Sequence[BackupSet]) -> str:
    if not sets:
        return "there is no backup"
    node = node_of(damage.file)
    hit = [one for one in sets if any(node_of(path) == node for path in one.files)]
    if not hit:
        newest = sets[-1]
        return f"after backup {newest.label} ({newest.stopped:{_TIME}}), which copied it whole"
    first = hit[0]
    clean = [one for one in sets if one.stopped < first.stopped and one not in hit]
    before = f"after {clean[-1].label} ({clean[-1].stopped:{_TIME}})" if clean else "before the oldest backup"
    return f"{before}; backup {first.label} ({first.stopped:{_TIME}}) copied the damage"
