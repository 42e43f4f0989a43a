"""Which repositories pgBackRest is configured with, read from its own files.

What describes a repository is its keys, types, paths and buckets, never a secret. The credentials file is read too,
because a repository may be described there alone, and because archives go to the same bucket with the same key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pgdr.errors import ConfigError

_SECTION = re.compile(r"^\[(?P<name>[^\]]+)\]$")
_REPOSITORY_OPTION = re.compile(r"^repo(?P<key>\d*)-(?P<option>[a-z0-9-]+)$")
# Beside the main file, and not in conf.d: pgBackRest itself must not take it for the host's own.
READER_FILE = "reader-credentials.conf"
_OF_THE_KEY = frozenset({"s3-key", "s3-key-secret", "s3-key-type", "s3-role", "s3-token"})
_SHOWN = frozenset({"type", "path", "s3-bucket", "s3-endpoint", "s3-region", "storage-port", "bundle", "block"})


@dataclass(frozen=True)
class ConfiguredRepository:
    """One repository as the configuration describes it.

    Attributes:
        key: its number.
        type: ``posix``, ``s3``, ...
        path: the path in it.
        bucket: the bucket of an ``s3`` repository.
        endpoint: its endpoint.
        region: its region.
        port: the server's port.
    """

    key: int
    type: str = "posix"
    path: str = "/var/lib/pgbackrest"
    bucket: str | None = None
    endpoint: str | None = None
    region: str | None = None
    port: int = 443

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        return f"{self.type}://{self.bucket}{self.path}" if self.bucket else self.path


def configured(config: Path, stanza: str) -> tuple[ConfiguredRepository, ...]:
    """Return the configured repositories, lowest key first.

    Raises:
        ConfigError: the configuration cannot be read or names no repository.
    """
    options: dict[int, dict[str, str]] = {}
    for key, option, value in _options(_files(config), stanza):
        shown = options.setdefault(key, {})
        if option in _SHOWN:
            shown[option] = value
    if not options:
        raise ConfigError(f"{config} names no repository", remedy="run the role pgbackrest on this host")
    return tuple(
        ConfiguredRepository(
            key=key,
            type=found.get("type", "posix"),
            path=found.get("path", "/var/lib/pgbackrest"),
            bucket=found.get("s3-bucket"),
            endpoint=found.get("s3-endpoint"),
            region=found.get("s3-region"),
            port=int(found.get("storage-port", "443")),
        )
        for key, found in sorted(options.items())
    )


def _files(config: Path) -> tuple[Path, ...]:
    """The main file and those of ``conf.d``, in the order in which pgBackRest reads them."""
    return (config, *sorted((config.parent / "conf.d").glob("*.conf")))


def _options(files: Sequence[Path], stanza: str) -> Iterator[tuple[int, str, str]]:
    """Yield the repository options that apply to the stanza."""
    wanted = re.compile(rf"^(global|{re.escape(stanza)})(:[a-z-]+)?$")
    for path in files:
        applies = False
        for line in _read(path).splitlines():
            text = line.strip()
            if section := _SECTION.match(text):
                applies = wanted.match(section["name"]) is not None
            elif applies and "=" in text and not text.startswith("#"):
                name, _, value = text.partition("=")
                if option := _REPOSITORY_OPTION.match(name.strip()):
                    # `repo-path` without a number is the old name of repository 1's.
                    yield int(option["key"] or 1), option["option"], value.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}",
            remedy="run as postgres or root; the role pgbackrest writes the file",
        ) from error


@dataclass(frozen=True)
class AccessKey:
    """The key of an S3 repository; never shown, logged or put into an argument list."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def passphrase(config: Path, stanza: str, repository: int) -> str | None:
    """Return the passphrase of a repository, or ``None`` where it is not encrypted; never shown or logged.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    found = {option: value for key, option, value in _options(_files(config), stanza) if key == repository}
    return found.get("cipher-pass")


def access_key(config: Path, stanza: str, repository: int) -> AccessKey | None:
    """Return the key of an S3 repository, or ``None`` where the instance's own role is used.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    return _key(_files(config), stanza, repository)


def reader_key(config: Path, stanza: str, repository: int) -> AccessKey | None:
    """Return the key with which an S3 repository can only be read, or ``None`` where the host has none.

    Raises:
        ConfigError: its file cannot be read.
    """
    path = config.parent / READER_FILE
    return _key([path], stanza, repository) if path.exists() else None


def _key(files: Sequence[Path], stanza: str, repository: int) -> AccessKey | None:
    found = {option: value for key, option, value in _options(files, stanza) if key == repository}
    if "s3-key" not in found or "s3-key-secret" not in found:
        return None
    return AccessKey(found["s3-key"], found["s3-key-secret"], found.get("s3-token"))


def cut_down(config: Path, repository: int, key: AccessKey | None) -> str:
    """Return the configuration for somebody who may only read one repository.

    Options of all other repositories are left out, and the host's own key for this one: it could write.

    Args:
        config: the host's configuration.
        repository: the one that stays.
        key: the key for it, ``None`` where it needs none.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    lines: list[str] = []
    for path in _files(config):
        for line in _read(path).splitlines():
            option = _REPOSITORY_OPTION.match(line.partition("=")[0].strip())
            if option and (int(option["key"] or 1) != repository or option["option"] in _OF_THE_KEY):
                continue
            lines.append(line)
    if key is not None:
        lines += ["[global]", f"repo{repository}-s3-key-type=shared"]
        lines += [f"repo{repository}-s3-key={key.key}", f"repo{repository}-s3-key-secret={key.secret}"]
        lines += [f"repo{repository}-s3-token={key.token}"] if key.token else []
    return "\n".join(lines) + "\n"
