"""Copies of a host's configuration: what a new host would be compared with, without any secret in it.

A copy is a small tar file with the files as they were and ``index.json``. Of files that hold secrets, private keys
among them, only path, owner and mode are noted; of certificates the fingerprint. Passwords in other files are struck
out before they are written.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgdr.archive.names import is_label, label_of, moment_of
from pgdr.errors import ConfigError, NotProvenError, RefusedError
from pgdr.files import adopt_owner, sync_directory
from pgdr.hostconfig import HostConfig
from pgdr.redaction import REDACTED, is_secret_name, redact

FOLDER = "configuration"
_INDEX = "index.json"
_SUFFIX = ".tar.gz"
_LIMIT = 1 << 20
_SETTING = re.compile(r"^(\s*[#;]?\s*)([A-Za-z0-9_.-]+)(\s*[=:]\s*)(\S.*)$")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----")
# Settings of PostgreSQL that name TLS files.
_TLS_SETTING = re.compile(r"^\s*(ssl_cert_file|ssl_key_file|ssl_ca_file|ssl_crl_file)\s*=?\s*'([^']+)'", re.MULTILINE)


@dataclass(frozen=True)
class Item:
    """One file of the configuration.

    Attributes:
        path: where it is.
        mode: its mode, and the number of its owner.
        text: its content without secrets, or ``None`` where only the file itself is noted.
        note: what is noted instead.
    """

    path: str
    mode: str
    text: str | None
    note: str = ""


@dataclass(frozen=True)
class ConfigurationCopy:
    """A copy that was kept.

    Attributes:
        label: its label.
        path: its file.
    """

    label: str
    path: Path


def collect(config: HostConfig) -> list[Item]:
    """Read the configuration of this host.

    Raises:
        ConfigError: a folder that is there cannot be read.
    """
    found: dict[str, Item] = {}
    for path in _paths(config):
        item = _item(path)
        found[item.path] = item
        for _setting, named in _TLS_SETTING.findall(item.text or ""):
            material = Path(named)
            absolute = material if material.is_absolute() else config.data_directory / material
            if absolute.is_file():
                found[str(absolute)] = _material(absolute)
    return [found[path] for path in sorted(found)]


def _paths(config: HostConfig) -> Iterator[Path]:
    """The files that make this host what it is."""
    folders = [config.config_directory, config.pgbackrest_config.parent, Path("/etc/pgdr")]
    single = [config.data_directory / name for name in ("postgresql.auto.conf", "postgresql.conf", "pg_hba.conf")]
    single += [Path("/etc/cron.d/erp-backup"), config.data_directory / "pg_ident.conf"]
    for folder in folders:
        try:
            yield from sorted(path for path in folder.rglob("*") if path.is_file())
        except OSError as error:
            raise ConfigError(f"cannot read {folder}: {error.strerror}", remedy="run as postgres") from error
    yield from (path for path in single if path.is_file())


def _item(path: Path) -> Item:
    """Read one file; one that is not ours to read is noted, and costs nothing else."""
    try:
        state = path.stat()
    except OSError as error:
        return Item(str(path), "-", None, f"not readable: {error.strerror}")
    try:
        mode = f"{state.st_mode & 0o7777:04o} {state.st_uid}"
        if is_secret_name(path.stem) or path.suffix in {".key", ".pem", ".crt", ".p12"}:
            return _material(path)
        if state.st_size > _LIMIT:
            return Item(str(path), mode, None, f"{state.st_size} bytes: too big to be configuration")
        return Item(str(path), mode, _without_secrets(path.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        return Item(str(path), "-", None, f"not readable: {error.strerror}")


def _material(path: Path) -> Item:
    """Note a file that may hold a secret: a certificate by its fingerprint, anything else by its being there."""
    state = path.stat()
    mode = f"{state.st_mode & 0o7777:04o} {state.st_uid}"
    try:
        content = path.read_bytes()
    except OSError:
        return Item(str(path), mode, None, "not readable")
    if _CERTIFICATE.search(content) and b"PRIVATE KEY" not in content:
        return Item(str(path), mode, None, f"certificate, sha256 {hashlib.sha256(content).hexdigest()}")
    return Item(str(path), mode, None, "holds secrets: its content is not kept")


def _without_secrets(text: str) -> str:
    lines = []
    for line in redact(text).splitlines():
        setting = _SETTING.match(line)
        if setting and is_secret_name(setting[2]):
            line = f"{setting[1]}{setting[2]}{setting[3]}{REDACTED}"  # noqa: PLW2901 - the line as it is kept
        lines.append(line)
    return "\n".join(lines) + "\n"


def copies(root: Path) -> list[ConfigurationCopy]:
    """The copies that are kept, the oldest first."""
    folder = root / FOLDER
    if not folder.is_dir():
        return []
    names = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIX))
    return [
        ConfigurationCopy(path.name.removesuffix(_SUFFIX), path)
        for path in names
        if is_label(path.name.removesuffix(_SUFFIX))
    ]


def write(root: Path, items: Iterable[Item]) -> ConfigurationCopy:
    """Keep a copy.

    Raises:
        ConfigError: the folder cannot be written.
    """
    label = label_of(datetime.now(UTC))
    folder = root / FOLDER
    path = folder / f"{label}{_SUFFIX}"
    draft = folder / f".{label}.partial"
    index = {}
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with tarfile.open(draft, "w:gz") as tar:
            for item in items:
                index[item.path] = {"mode": item.mode, "note": item.note, "kept": item.text is not None}
                if item.text is not None:
                    _add(tar, item.path.lstrip("/"), item.text)
            _add(tar, _INDEX, json.dumps(index, indent=1))
        draft.chmod(0o600)
        adopt_owner(draft)
        draft.rename(path)
        sync_directory(folder)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}", remedy="run as postgres") from error
    return ConfigurationCopy(label, path)


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def read(copy: ConfigurationCopy) -> list[Item]:
    """Read a copy back.

    Raises:
        NotProvenError: it is damaged.
    """
    try:
        # Whole first: tar itself does not miss an end that is cut off.
        content = gzip.decompress(copy.path.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            texts = {
                f"/{member.name}": file.read().decode()
                for member in tar.getmembers()
                if member.isfile() and (file := tar.extractfile(member)) is not None
            }
            index = json.loads(texts.pop(f"/{_INDEX}"))
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError) as error:
        raise NotProvenError(f"{copy.path} is damaged: {error}", remedy="use another copy") from error
    return [Item(path, facts["mode"], texts.get(path), facts["note"]) for path, facts in sorted(index.items())]


def find(root: Path, label: str) -> ConfigurationCopy:
    """The copy of a label; an empty label is the newest.

    Raises:
        RefusedError: there is none.
    """
    kept = copies(root)
    for copy in kept[::-1]:
        if label in ("", copy.label):
            return copy
    newest = f"; the newest is {kept[-1].label}" if kept else ""
    raise RefusedError(f"no copy {label or 'of the configuration'} in {root / FOLDER}{newest}")


def expire(root: Path, retention: timedelta, now: datetime) -> list[str]:
    """Remove copies past their retention, never the newest; returns their labels."""
    old = [copy for copy in copies(root)[:-1] if now - moment_of(copy.label) > retention]
    for copy in old:
        copy.path.unlink()
    return [copy.label for copy in old]


def difference(old: Iterable[Item], new: Iterable[Item]) -> list[str]:
    """Say line by line how two states of the configuration differ; empty where they do not."""
    before, after = {item.path: item for item in old}, {item.path: item for item in new}
    lines: list[str] = []
    for path in sorted(before.keys() | after.keys()):
        a, b = before.get(path), after.get(path)
        if a is None or b is None:
            lines.append(f"{path}: {'new' if a is None else 'gone'}")
            continue
        if a.mode != b.mode:
            lines.append(f"{path}: mode and owner {a.mode} -> {b.mode}")
        if a.note != b.note:
            lines.append(f"{path}: {a.note or 'kept'} -> {b.note or 'kept'}")
        if a.text != b.text:
            old_lines, new_lines = (a.text or "").splitlines(), (b.text or "").splitlines()
            lines += difflib.unified_diff(old_lines, new_lines, path, path, lineterm="")
    return lines
