"""Read the files of a data directory beside a running server: which pages are wrong on disk, which files are there.

Nothing is ever written here. A page that the server writes at this moment can look torn: it is read again until it is
right, or stays as it is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pgdr.corruption.checksum import PAGE_SIZE, fault

GLOBAL_TABLESPACE = 1664
DEFAULT_TABLESPACE = 1663
_NAME = re.compile(r"(?P<node>\d+)(?:_(?P<fork>fsm|vm|init))?(?:\.(?P<segment>\d+))?")
_DATABASE = re.compile(r"\d+")
_VERSION = re.compile(r"PG_\d+_\d+")
_PATH = re.compile(
    r"(?:base/(?P<base>\d+)|(?P<shared>global)|pg_tblspc/(?P<space>\d+)/[^/]+/(?P<own>\d+))/(?P<node>\d+)(?:_(?P<fork>\w+))?"
)
_CHUNK_PAGES = 128
_LOOKS = 6
_BETWEEN_SECONDS = 0.1


@dataclass(frozen=True, order=True)
class Node:
    """One fork of one relation, as its files name it.

    Attributes:
        tablespace: oid of the tablespace.
        database: oid of the database, 0 for what all share.
        number: the file's number.
        fork: empty for the main one, else ``fsm``, ``vm`` or ``init``.
    """

    tablespace: int
    database: int
    number: int
    fork: str = ""

    @property
    def main(self) -> Node:
        """The main fork of the same relation."""
        return Node(self.tablespace, self.database, self.number)


@dataclass(frozen=True)
class DataFile:
    """One file of a fork.

    Attributes:
        node: whose it is.
        path: where it is.
        segment: its number among the fork's files.
    """

    node: Node
    path: Path
    segment: int


@dataclass(frozen=True)
class BadPage:
    """A page that is wrong on disk."""

    node: Node
    path: Path
    block: int
    what: str


@dataclass
class PagesRead:
    """What became of reading them all.

    Attributes:
        count: how many pages.
        bad: those that are wrong.
    """

    count: int
    bad: list[BadPage]


def node_of(path: str) -> Node | None:
    """A file as PostgreSQL's messages and pgBackRest's lists name it."""
    found = _PATH.search(path)
    if found is None:
        return None
    fork = found["fork"] if found["fork"] in {"fsm", "vm", "init"} else ""
    if found["shared"]:
        return Node(GLOBAL_TABLESPACE, 0, int(found["node"]), fork)
    if found["base"]:
        return Node(DEFAULT_TABLESPACE, int(found["base"]), int(found["node"]), fork)
    return Node(int(found["space"]), int(found["own"]), int(found["node"]), fork)


def data_files(data: Path) -> Iterator[DataFile]:
    """All files of relations; temporary ones are left out, they end with their session."""
    yield from _folder(data / "global", GLOBAL_TABLESPACE, 0)
    for database in _numbered(data / "base"):
        yield from _folder(database, DEFAULT_TABLESPACE, int(database.name))
    for space in _numbered(data / "pg_tblspc"):
        for version in _listed(space):
            if _VERSION.fullmatch(version.name):
                for database in _numbered(version):
                    yield from _folder(database, int(space.name), int(database.name))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _numbered(folder: Path) -> list[Path]:
    return [item for item in _listed(folder) if _DATABASE.fullmatch(item.name)]


def _folder(folder: Path, tablespace: int, database: int) -> Iterator[DataFile]:
    for item in _listed(folder):
        found = _NAME.fullmatch(item.name)
        if found:
            node = Node(tablespace, database, int(found["node"]), found["fork"] or "")
            yield DataFile(node, item, int(found["segment"] or 0))


def read_pages(
    files: Iterable[DataFile], *, checksums: bool, segment_pages: int, jobs: int, told: Callable[[int], None]
) -> PagesRead:
    """Read every page of these files.

    Args:
        files: which.
        checksums: whether the cluster has page checksums.
        segment_pages: pages of a full file.
        jobs: how many processes read.
        told: called with the number of pages read so far.
    """
    wanted = [(item, checksums, segment_pages) for item in files]
    result = PagesRead(0, [])
    if jobs <= 1 or len(wanted) < 2:
        found = map(_read_file, wanted)
        for count, bad in found:
            result.count += count
            result.bad += bad
            told(result.count)
        return result
    with ProcessPoolExecutor(jobs) as pool:
        for count, bad in pool.map(_read_file, wanted, chunksize=16):
            result.count += count
            result.bad += bad
            told(result.count)
    return result


def _read_file(wanted: tuple[DataFile, bool, int]) -> tuple[int, list[BadPage]]:
    item, checksums, segment_pages = wanted
    count, bad = 0, []
    try:
        with item.path.open("rb", buffering=0) as handle:
            while chunk := handle.read(_CHUNK_PAGES * PAGE_SIZE):
                for start in range(0, len(chunk), PAGE_SIZE):
                    block = item.segment * segment_pages + count
                    count += 1
                    if fault(chunk[start : start + PAGE_SIZE], block, checksums=checksums):
                        what = _looked_again(item.path, block, segment_pages, checksums=checksums)
                        if what:
                            bad.append(BadPage(item.node, item.path, block, what))
    except FileNotFoundError:
        pass  # dropped since it was listed
    except OSError as error:
        bad.append(BadPage(item.node, item.path, item.segment * segment_pages + count, f"{error.strerror} (disk)"))
    return count, bad


def _looked_again(path: Path, block: int, segment_pages: int, *, checksums: bool) -> str:
    """What is wrong with a page that stays wrong; empty where it was only being written, or is gone."""
    what = ""
    for _ in range(_LOOKS):
        time.sleep(_BETWEEN_SECONDS)
        page = read_page(path, block, segment_pages)
        what = fault(page, block, checksums=checksums) if page else ""
        if not what:
            return ""
    return what


def read_page(path: Path, block: int, segment_pages: int) -> bytes:
    """One page as it is on disk; empty where there is none any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, PAGE_SIZE, (block % segment_pages) * PAGE_SIZE)
    finally:
        os.close(descriptor)


def still_bad(pages: Iterable[BadPage], *, checksums: bool, segment_pages: int) -> list[BadPage]:
    """Those of them that are wrong on disk now too."""
    return [
        one
        for one in pages
        if fault(read_page(one.path, one.block, segment_pages) or bytes(PAGE_SIZE), one.block, checksums=checksums)
    ]
