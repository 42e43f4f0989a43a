"""Archives on the backup volume: one folder each, whole or under another name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgdr import __version__
from pgdr.archive.model import Manifest, Sha256, load_manifest, sha256_of
from pgdr.archive.names import MANIFEST, VERIFIED, is_label, moment_of, working_label, working_name
from pgdr.errors import ConfigError, OperationFailedError, PgdrError, RefusedError
from pgdr.files import sync_directory, write_atomically

FETCHED = "fetched"
_NOT_LISTED = frozenset({MANIFEST, VERIFIED, FETCHED})


@dataclass(frozen=True)
class LocalArchive:
    """An archive that is whole, as far as its folder's name says.

    Attributes:
        label: its label.
        folder: where it is.
    """

    label: str
    folder: Path

    @property
    def moment(self) -> datetime:
        """When it was begun."""
        return moment_of(self.label)

    @property
    def kept_since(self) -> datetime:
        """From when its retention counts: one that was fetched from the cloud is not removed in the next night."""
        try:
            return datetime.fromisoformat((self.folder / FETCHED).read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            return self.moment

    @property
    def verified_at(self) -> datetime | None:
        """When it was last read whole and found good, or ``None``."""
        try:
            return datetime.fromisoformat(json.loads((self.folder / VERIFIED).read_text(encoding="utf-8"))["at"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def manifest(self) -> Manifest:
        """What it says about itself.

        Raises:
            NotProvenError: the manifest is missing or damaged.
        """
        return load_manifest(self.folder)

    def mark_verified(self, dumps: int, seconds: float) -> None:
        """Note that every file has its checksum and every dump was read to its end."""
        note = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "dumps": dumps,
            "seconds": round(seconds, 1),
            "pgdr": __version__,
        }
        write_atomically(self.folder / VERIFIED, json.dumps(note) + "\n", 0o600)

    def unmark_verified(self) -> None:
        """Take the note away: the archive was found damaged."""
        (self.folder / VERIFIED).unlink(missing_ok=True)


class LocalStore:
    """The folder of all archives.

    Args:
        root: the folder, for example ``/backups/postgres``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def archives(self) -> list[LocalArchive]:
        """All whole archives, the oldest first."""
        return [LocalArchive(path.name, path) for path in self._entries() if is_label(path.name) and path.is_dir()]

    def leftovers(self) -> list[Path]:
        """Folders that a killed archive, fetch or expiry left."""
        return [path for path in self._entries() if working_label(path.name) is not None]

    def find(self, label: str) -> LocalArchive:
        """The archive of a label; an empty label is the newest whole one.

        Raises:
            RefusedError: there is none.
        """
        archives = self.archives()
        if not archives:
            raise RefusedError(f"no archive in {self.root}", remedy="see pgdr archives list; fetch one from the cloud")
        if not label:
            return archives[-1]
        for archive in archives:
            if archive.label == label:
                return archive
        raise RefusedError(
            f"no archive {label} in {self.root}; the newest is {archives[-1].label}",
            remedy=f"see pgdr archives list, or: pgdr archives fetch {label}" if is_label(label) else "list them",
        )

    def begin(self, label: str, state: str = "partial") -> Path:
        """Make the folder for an archive that is not whole yet.

        Raises:
            ConfigError: the root is missing or not writable.
            RefusedError: an archive of this label is there.
        """
        if (self.root / label).exists():
            raise RefusedError(f"archive {label} is in {self.root} already", remedy="nothing was changed")
        folder = self.root / working_name(label, state)
        try:
            folder.mkdir(mode=0o700, exist_ok=state == "fetching")
        except FileExistsError as error:
            raise RefusedError(f"{folder} is in the way", remedy="pgdr cleanup removes it") from error
        except OSError as error:
            raise ConfigError(
                f"cannot write to {self.root}: {error.strerror}",
                remedy="the role backup_volume makes the folder; run as postgres",
            ) from error
        return folder

    def finish(self, folder: Path, label: str) -> LocalArchive:
        """Give a whole archive its name; from now on it counts."""
        final = self.root / label
        for path in sorted(folder.rglob("*")):
            if path.is_dir():
                sync_directory(path)
        sync_directory(folder)
        folder.rename(final)
        sync_directory(self.root)
        return LocalArchive(label, final)

    def remove(self, folder: Path) -> None:
        """Remove an archive or a leftover; one that is removed half is no archive any more.

        Raises:
            OperationFailedError: something could not be removed.
        """
        target = folder
        if working_label(folder.name) is None:
            target = folder.with_name(working_name(folder.name, "deleting"))
            folder.rename(target)
        try:
            shutil.rmtree(target)
        except OSError as error:
            raise OperationFailedError(f"cannot remove {target}: {error.strerror}", remedy="run as postgres") from error

    def expired(self, retention: timedelta, now: datetime, held: Collection[str] = ()) -> list[LocalArchive]:
        """The archives that may go: past their retention, held by nobody, and a younger one is verified.

        So the last verified one stays however old it is, and so does everything younger than it: an archive that
        nobody has read pushes out nothing.
        """
        archives = self.archives()
        verified = [archive.label for archive in archives if archive.verified_at is not None]
        newest = verified[-1] if verified else ""
        late = [archive for archive in archives if now - archive.kept_since > retention and archive.label < newest]
        return [archive for archive in late if archive.label not in held]

    def typical_size(self) -> int | None:
        """Bytes of the newest archive whose manifest can be read."""
        for archive in reversed(self.archives()):
            try:
                return archive.manifest().size
            except PgdrError:
                continue
        return None

    def _entries(self) -> list[Path]:
        try:
            return sorted(self.root.iterdir())
        except FileNotFoundError as error:
            raise ConfigError(f"{self.root} is missing", remedy="the role backup_volume makes it") from error
        except OSError as error:
            raise ConfigError(f"cannot read {self.root}: {error.strerror}", remedy="run as postgres") from error


def files_of(folder: Path) -> dict[str, Path]:
    """Every file of an archive by its path in it, without manifest and note of verification."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if name not in _NOT_LISTED}


def digests(
    paths: Iterable[Path], workers: int, on_read: Callable[[int], None] = lambda _bytes: None
) -> dict[Path, Sha256]:
    """The SHA-256 of files; one that stands under several names is read once.

    Args:
        paths: the files.
        workers: how many are read at once.
        on_read: told the bytes of each name that is done.
    """
    inodes: dict[tuple[int, int, int], list[Path]] = {}
    for path in paths:
        status = path.stat()
        inodes.setdefault((status.st_dev, status.st_ino, status.st_size), []).append(path)
    found: dict[Path, Sha256] = {}
    with ThreadPoolExecutor(workers) as pool:
        sums = pool.map(lambda names: sha256_of(names[0]), inodes.values())
        for ((_, _, size), names), digest in zip(inodes.items(), sums, strict=True):
            found |= dict.fromkeys(names, digest)
            on_read(size * len(names))
    return found
