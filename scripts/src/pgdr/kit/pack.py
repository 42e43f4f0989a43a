"""Pack a kit and open it again: one archive with a manifest that names each file by its SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pgdr.errors import NotProvenError, RefusedError

MANIFEST = "manifest.json"


class Manifest(BaseModel):
    """What a kit holds.

    Attributes:
        stanza: the cluster that it is for.
        created_at: when it was packed.
        digest: one hash over names and contents of all files: two kits with the same digest are the same.
        files: SHA-256 of each file, by its path in the kit.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = 1
    stanza: str
    created_at: datetime
    digest: str
    files: dict[str, str]


def describe(folder: Path, stanza: str) -> Manifest:
    """Return the manifest of a folder that is to become a kit.

    Raises:
        RefusedError: the folder is missing or empty, or holds something that is no plain file.
    """
    if not folder.is_dir():
        raise RefusedError(f"{folder} is no folder", remedy="playbooks/kit.yml makes it")
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file():
            raise RefusedError(f"{path} is no plain file", remedy="take it out of the kit's folder")
        if name != MANIFEST:
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if not files:
        raise RefusedError(f"{folder} is empty", remedy="playbooks/kit.yml fills it")
    lines = "".join(f"{name}\0{value}\n" for name, value in sorted(files.items()))
    digest = hashlib.sha256(f"{stanza}\n{lines}".encode()).hexdigest()
    return Manifest(stanza=stanza, created_at=datetime.now(UTC), digest=digest, files=files)


def pack(folder: Path, manifest: Manifest, archive: Path) -> None:
    """Write the archive; readable by its owner only."""
    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as sink, tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())
        for name in sorted(manifest.files):
            _add(tar, name, (folder / name).read_bytes())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o600
    tar.addfile(entry, io.BytesIO(content))


def unpack(archive: Path, folder: Path, stanza: str) -> Manifest:
    """Unpack a kit into a folder of its own and prove every file.

    Raises:
        RefusedError: the folder holds something, or the kit is another cluster's.
        NotProvenError: the archive is not a kit, or a file is not what the manifest says.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(f"{folder} is not empty", remedy="name a new folder; nothing was changed")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        manifest = Manifest.model_validate(_read_json(folder / MANIFEST))
    except (tarfile.TarError, OSError, ValueError, ValidationError) as error:
        raise NotProvenError(
            f"this is not a recovery kit: {' '.join(str(error).split())}",
            remedy="take an earlier version: pgdr kit list",
        ) from error
    if manifest.stanza != stanza:
        raise RefusedError(f"the kit is of stanza {manifest.stanza}, wanted is {stanza}", remedy="name its own policy")
    found = describe(folder, stanza).files
    wrong = sorted(name for name in {*found, *manifest.files} if found.get(name) != manifest.files.get(name))
    if wrong:
        raise NotProvenError(
            f"the kit is damaged: {', '.join(wrong[:5])}", remedy="take an earlier version: pgdr kit list"
        )
    return manifest


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
