"""One repository's archive of WAL, read through pgBackRest, which decrypts it: names, histories, segments."""

from __future__ import annotations

import hashlib
import json
import re
from bz2 import decompress as bz2_decompress
from collections.abc import Callable, Mapping
from gzip import decompress as gzip_decompress
from pathlib import Path
from typing import Any, Protocol

import zstandard

from pgdr import process
from pgdr.errors import NotProvenError, OperationFailedError
from pgdr.pgbackrest.faults import error_for
from pgdr.recovery.history import parse_history
from pgdr.recovery.lsn import Segment

WAL_FOLDER = re.compile(r"[0-9A-F]{16}")
SEGMENT_FILE = re.compile(r"([0-9A-F]{24})-([0-9a-f]{40})(\.(?:gz|bz2|zst|lz4))?")
HISTORY_FILE = re.compile(r"([0-9A-F]{8})\.history(?:-[0-9a-f]{40})?(?:\.\w+)?")


class RepositoryReader(Protocol):
    """What this module needs from the pgBackRest client."""

    def command(self, *arguments: str) -> list[str]:
        """Return the argument list of a pgBackRest call for the configured stanza."""
        ...


def _gunzip(data: bytes) -> bytes:
    return gzip_decompress(data)


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": _gunzip,
    ".bz2": bz2_decompress,
    ".zst": _unzstd,
}


class WalArchive:
    """Names and segments of one archive.

    Args:
        reader: the pgBackRest client.
        repository: pgBackRest's number of the repository.
        stanza: name of the stanza.
        archive_id: pgBackRest's archive id, such as ``17-1``.
    """

    def __init__(self, reader: RepositoryReader, repository: int, stanza: str, archive_id: str) -> None:
        self._reader = reader
        self._option = f"--repo={repository}"
        self.root = f"archive/{stanza}/{archive_id}"
        self.repository = repository

    def names(self, folder: str = "") -> list[str]:
        """Names in the archive's root or in a folder of it, sorted.

        Raises:
            OperationFailedError: the repository could not be read.
        """
        path = f"{self.root}/{folder}" if folder else self.root
        done = process.run(self._reader.command("repo-ls", self._option, "--output=json", path))
        listing: dict[str, Any] = json.loads(done.stdout or "{}")
        return sorted(listing)

    def history(self, timeline: int) -> dict[int, int]:
        """Return the ancestors of a timeline, each with the position at which it was left.

        Raises:
            OperationFailedError: the history file is missing or could not be read.
        """
        if timeline == 1:
            return {}
        name = f"{timeline:08X}.history"
        done = process.run(self._reader.command("repo-get", self._option, f"{self.root}/{name}"))
        return parse_history(done.stdout)

    def timelines(self) -> tuple[list[str], set[int]]:
        """The folders of segments, sorted, and the timelines that have a history file.

        Raises:
            OperationFailedError: the repository could not be read.
        """
        names = self.names()
        forks = {int(found[1], 16) for name in names if (found := HISTORY_FILE.fullmatch(name))}
        return [name for name in names if WAL_FOLDER.fullmatch(name)], forks

    def in_folder(self, folder: str) -> dict[str, str]:
        """The segments of a folder by name, each with its path below the archive's root."""
        found = (SEGMENT_FILE.fullmatch(name) for name in self.names(folder))
        return {match[1]: f"{folder}/{match[0]}" for match in found if match}

    def present(self, first: int, limits: Mapping[int, int], size: int) -> dict[Segment, str]:
        """Segments that are archived, each with its path below the archive's root.

        Args:
            first: number of the first segment that counts.
            limits: timelines that count, each with the last number on it.
            size: bytes of a segment.
        """
        found: dict[Segment, str] = {}
        for folder in self.timelines()[0]:
            last_in_folder = Segment.parse(f"{folder}{2**32 // size - 1:08X}", size)
            if last_in_folder.timeline not in limits or last_in_folder.number < first:
                continue
            for name, path in self.in_folder(folder).items():
                if (segment := Segment.parse(name, size)).number >= first:
                    found[segment] = path
        return found

    def fetch(self, archived: str, target: Path) -> Path:
        """Write a segment to a file, decrypted and decompressed.

        Args:
            archived: its path below the archive's root.
            target: the file to make; mode 0600, since it holds data of the database.

        Raises:
            OperationFailedError: it could not be read, or is compressed in a way that is not known here.
        NotProvenError: it is not what was archived.
        """
        suffix = Path(archived).suffix
        if suffix not in _DECOMPRESS:
            name = Path(archived).name[:24]
            raise OperationFailedError(
                f"archived segment {name} is compressed with {suffix}", remedy="use zst, gz, bz2 or none"
            )
        raw = target.with_name(f"{target.name}.raw")
        done = process.run_to_file(self._reader.command("repo-get", self._option, f"{self.root}/{archived}"), raw)
        if done.returncode != 0:
            raise error_for(done, action=f"fetch of WAL segment {Path(archived).name[:24]}")
        data = _DECOMPRESS[suffix](raw.read_bytes())
        if suffix:
            raw.write_bytes(data)  # in place: the file keeps its mode
        named = SEGMENT_FILE.fullmatch(Path(archived).name)
        if named and hashlib.sha1(data, usedforsecurity=False).hexdigest() != named[2]:
            # pgBackRest puts the sum of what it was given into the name.
            raise NotProvenError(
                f"archived segment {named[1]} of repository {self.repository} is damaged: its name has another sum",
                remedy="use another repository",
            )
        return raw.replace(target)
