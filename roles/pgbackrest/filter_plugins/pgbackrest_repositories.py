"""Filters over the description of a repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNITS = {"K": 1, "M": 1024, "G": 1024 * 1024}
_SIZE = re.compile(r"([1-9][0-9]*)([KMG])iB")

# pgBackRest's own block size by file size, both in KiB (2.55, src/command/backup/backup.c). A file that gets
# blocks at all gets exactly those that it would get without us.
_BLOCK_BY_FILE_SIZE = (
    (16, 8),
    (11 * 1024, 16),
    (43 * 1024, 24),
    (96 * 1024, 32),
    (146 * 1024, 40),
    (228 * 1024, 48),
    (329 * 1024, 56),
    (448 * 1024, 64),
    (585 * 1024, 72),
    (740 * 1024, 80),
    (914 * 1024, 88),
)


def pgbackrest_block_map(minimum: str) -> list[str]:
    """Return the values of ``repo-block-size-map`` that leave files below ``minimum`` without blocks.

    Raises:
        ValueError: ``minimum`` is not a size such as ``8MiB``.
    """
    found = _SIZE.fullmatch(str(minimum))
    if found is None:
        raise ValueError(f"not a size such as 8MiB: {minimum!r}")
    smallest = int(found[1]) * _UNITS[found[2]]
    reached = [block for size, block in _BLOCK_BY_FILE_SIZE if size <= smallest]
    first = (smallest, reached[-1] if reached else _BLOCK_BY_FILE_SIZE[0][1])
    rungs = (first, *(rung for rung in _BLOCK_BY_FILE_SIZE if rung[0] > smallest))
    return [f"{size}KiB={block}KiB" for size, block in rungs]


def pgbackrest_directory(repository: Mapping[str, Any], owner: str) -> dict[str, str]:
    """Describe the directory of a local repository."""
    return {"path": str(repository["path"]), "owner": owner}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "pgbackrest_block_map": pgbackrest_block_map,
            "pgbackrest_directory": pgbackrest_directory,
        }
