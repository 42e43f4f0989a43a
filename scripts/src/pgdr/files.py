"""Small file operations that must survive a crash and a mix of users."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_REMEDIES = {
    errno.ENOSPC: "free space on its disk, then run again",
    errno.EDQUOT: "free space within its quota, then run again",
    errno.EROFS: "its file system is read-only: dmesg says why; mount it writable, then run again",
    errno.EIO: "the disk fails: dmesg says which",
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.ELOOP), "something else stands in its place: move that away"),
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
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        adopt_owner(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


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
