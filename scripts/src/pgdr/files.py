"""Small file operations that must survive a crash and a mix of users."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Something else stands where a file is to be.
NO_FILE = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ELOOP})
#: A disk is full, read-only or failing: nobody's bug, wherever it shows.
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_REMEDIES = {
    errno.ENOSPC: "free space on its disk, then run again",
    errno.EDQUOT: "free space within its quota, then run again",
    errno.EROFS: "its file system is read-only: dmesg says why; mount it writable, then run again",
    errno.EIO: "the disk fails: dmesg says which",
    **dict.fromkeys(NO_FILE, "something else stands in its place: move that away"),
}


def remedy_of(error: OSError, otherwise: str = "run as postgres; see the role pgdr") -> str:
    """What helps against what the system said of a file; most often the wrong user asked."""
    return _REMEDIES.get(error.errno or 0, otherwise)


def write_atomically(path: Path, text: str, mode: int = 0o640) -> None:
    """Replace a file with new content, or leave the old one whole: never something in between.

    Args:
        path: the file.
        text: its new content.
        mode: its mode.
    """
    with drafted(path, text, mode) as settle:
        settle()


@contextmanager
def drafted(path: Path, text: str, mode: int = 0o640) -> Iterator[Callable[[], None]]:
    """Have a file's new content on the disk beside it for a block, which is given what puts it in its place.

    So that a disk that is full is found out before something else is done that belongs to it.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        adopt_owner(draft)
        yield lambda: _settle(draft, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write that fails names no file
        raise
    finally:
        draft.unlink(missing_ok=True)


def _settle(draft: Path, path: Path) -> None:
    draft.replace(path)
    sync_directory(path.parent)


def append_whole(path: Path, content: bytes, mode: int = 0o640) -> None:
    """Add to the end of a file, or leave it as it was; durable when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        try:
            written = 0
            while written < len(content):
                written += file.write(content[written:])
            os.fsync(descriptor)
        except OSError as error:
            error.filename = error.filename or str(path)
            file.truncate(size)
            raise


def adopt_owner(path: Path) -> None:
    """Give a file that root made the owner of its folder, so that postgres can use it the next time."""
    if os.geteuid() != 0:
        return
    folder = path.parent.stat()
    if folder.st_uid != 0:
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)


def sync_directory(path: Path) -> None:
    """Make new and renamed files of a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
