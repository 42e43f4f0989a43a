"""Is every file of a backup set in the repository? Its manifest names them; a copy that lags has not got all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pgdr.errors import OperationFailedError
from pgdr.pgbackrest.client import PgBackRest

# Seconds; a copy far away with a hundred thousand files takes its time.
_TIMEOUT = 900.0
_SECTION = re.compile(r"^\[(?P<name>[a-z0-9:-]+)\]$")
_SUFFIXES = {"none": "", "gz": ".gz", "lz4": ".lz4", "zst": ".zst", "bz2": ".bz2"}


def held_files(client: PgBackRest, repository: int) -> set[str]:
    """Return the files of all backup sets that the repository holds, as paths below ``backup/STANZA``.

    Raises:
        PgBackRestError: the repository could not be asked.
    """
    found = client.list_files(f"backup/{client.config.stanza}", repository, recurse=True, timeout=_TIMEOUT)
    return {name for name, file in found.items() if not file.folder}


def missing_files(client: PgBackRest, repository: int, label: str, held: set[str]) -> list[str]:
    """Return the files of a backup set that the repository does not hold, in order.

    Args:
        client: pgBackRest of this host.
        repository: number of the repository.
        label: the backup set.
        held: what the repository holds, see :func:`held_files`.

    Raises:
        PgBackRestError: the repository could not be asked.
        OperationFailedError: its manifest is not understood.
    """
    manifest = f"{label}/backup.manifest"
    if manifest not in held:
        return [manifest]
    text = client.read_file(f"backup/{client.config.stanza}/{manifest}", repository, timeout=_TIMEOUT)
    wanted = set(_files_of(text, label))
    return sorted(wanted - held)


def _files_of(text: str, label: str) -> Iterator[str]:
    """Yield the files that a manifest needs, each with the set that holds it, as paths below ``backup/STANZA``.

    The format is pgBackRest's own (doc/xml, src/info/manifest.c): ``name={"bni":bundle,"rep":reference...}``; files
    of a bundle share one object, others have one each with the ending of their compression. Empty files have none.
    """
    section, suffix = "", ""
    defaults: dict[str, Any] = {}
    files: list[tuple[str, dict[str, Any]]] = []
    for line in text.splitlines():
        found = _SECTION.match(line)
        if found:
            section = found["name"]
            continue
        name, equals, value = line.rpartition("={") if section == "target:file" else line.partition("=")
        if not equals:
            continue
        try:
            if section == "target:file":
                files.append((name, json.loads("{" + value)))
            elif section == "target:file:default":
                defaults[name] = json.loads(value)
            elif section == "backup:option" and name == "option-compress-type":
                suffix = _SUFFIXES[json.loads(value)]
        except (ValueError, KeyError) as error:
            raise OperationFailedError(f"the manifest of {label} is not understood: {line[:80]}") from error
    if not files:
        raise OperationFailedError(f"the manifest of {label} names no file")
    for name, facts in files:
        yield from _place_of(name, facts, label, suffix)


def _place_of(name: str, facts: dict[str, Any], label: str, suffix: str) -> Iterator[str]:
    if facts.get("size") == 0:
        return
    holder = facts.get("reference", label)
    if "bni" in facts:
        yield f"{holder}/bundle/{facts['bni']}"
    elif "bims" in facts:
        yield f"{holder}/{PurePosixPath(name)}.pgbi"
    else:
        yield f"{holder}/{PurePosixPath(name)}{suffix}"
