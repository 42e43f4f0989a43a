"""Which archive is restored from, and whether it may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pgdr.archive.dump import find_program
from pgdr.archive.local import LocalArchive, LocalStore
from pgdr.archive.model import Manifest
from pgdr.archive.verify import Progress, check_files
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.facts import server_facts

_DATE = re.compile(r"^(\d{4})-(\d{2})-(\d{2})$")


@dataclass(frozen=True)
class Source:
    """An archive to restore from.

    Attributes:
        archive: the archive.
        manifest: what it says about itself.
    """

    archive: LocalArchive
    manifest: Manifest

    @property
    def full_dump(self) -> Path:
        """The dump of the whole database."""
        return self.archive.folder / self.manifest.full_dump

    def check(self, dump: str = "", on_progress: Progress | None = None) -> None:
        """Compare every file of a dump with the manifest.

        Args:
            dump: the dump's folder; the full dump without it.
            on_progress: told bytes read and bytes in all.

        Raises:
            NotProvenError: one is missing, was added, or differs.
        """
        only = dump or self.manifest.full_dump
        check_files(self.archive.folder, self.manifest, only=only, on_progress=on_progress)


def choose(store: LocalStore, wanted: str) -> Source:
    """Find the archive that is meant.

    Args:
        store: the archives on the volume.
        wanted: a label, a date (the last archive of that day or before it, in UTC), the path of an archive's folder,
            or empty for the newest.

    Raises:
        RefusedError: there is none.
        NotProvenError: its manifest is missing or damaged.
    """
    if "/" in wanted:
        folder = Path(wanted)
        if not folder.is_dir():
            raise RefusedError(f"no archive at {wanted}", remedy="name the folder that holds manifest.json")
        found = LocalArchive(folder.name, folder)
        manifest = found.manifest()
        return Source(LocalArchive(manifest.label, folder), manifest)
    if date := _DATE.match(wanted):
        # Labels sort as the times that they are.
        last = f"{date[1]}{date[2]}{date[3]}_999999"
        before = [archive for archive in store.archives() if archive.label <= last]
        if not before:
            raise RefusedError(f"no archive of {wanted} or before in {store.root}", remedy="see pgdr archives list")
        return Source(before[-1], before[-1].manifest())
    found = store.find(wanted)
    return Source(found, found.manifest())


def require_version(config: HostConfig, connection: Connection[TupleRow], source: Source) -> None:
    """Refuse an archive that this server or its ``pg_restore`` is too old for.

    Raises:
        RefusedError: it is.
    """
    facts = server_facts(connection)
    manifest = source.manifest
    if facts.in_recovery:
        raise RefusedError("the server is in recovery and takes no writes", remedy="run on the primary")
    if manifest.server_major > facts.major:
        raise RefusedError(
            f"archive {manifest.label} is of PostgreSQL {manifest.server_major}, this server is {facts.version}",
            remedy=f"restore it on a server of version {manifest.server_major} or newer",
        )
    program = find_program(config)
    if program.major < int(manifest.pg_dump_version.split(".")[0].rstrip("abcdefghijklmnopqrstuvwxyz")):
        raise RefusedError(
            f"archive {manifest.label} was written by pg_dump {manifest.pg_dump_version}, "
            f"pg_restore here is {program.version}",
            remedy="name newer programs in host.yml, bin_directory",
        )
