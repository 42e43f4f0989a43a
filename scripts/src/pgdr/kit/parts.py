"""What a kit is made of: what the host says of itself, and what the control node adds, laid out as a kit's folder."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgdr.errors import ConfigError, OperationFailedError

# The packages that backups and their restore depend on, the C library and ICU for its collations.
_PACKAGES = ("postgresql-*", "pgbackrest", "libc6", "libicu*", "base-files")


class HostFile(BaseModel):
    """A file of the host that a rebuild needs, with its content in base64."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(pattern=r"^/.")
    content: str


class HostParts(BaseModel):
    """What a host says of itself.

    Attributes:
        release: name of the release of pgdr that it runs.
        versions: its packages with their versions, sorted.
        files: the files that were asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    release: str = Field(pattern=r"^[A-Za-z0-9._+-]+$")
    versions: list[str]
    files: list[HostFile]


class Parts(BaseModel):
    """Everything that becomes a kit.

    Attributes:
        texts: contents of files by their names in the kit.
        wheelhouse_cache: folder of this machine with the wheels of each release.
        host: what the host says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: dict[str, str] = Field(min_length=1)
    wheelhouse_cache: Path
    host: HostParts


def ask_host(paths: list[Path]) -> HostParts:
    """Collect what a kit needs of this host.

    Args:
        paths: files to take along.

    Raises:
        OperationFailedError: a file cannot be read.
    """
    files = []
    for path in paths:
        try:
            content = base64.b64encode(path.read_bytes()).decode("ascii")
        except OSError as error:
            raise OperationFailedError(
                f"cannot read {path}: {error.strerror}", remedy="the policy names it (ca_file); put it there"
            ) from error
        files.append(HostFile(path=str(path), content=content))
    return HostParts(release=Path(sys.prefix).resolve().name, versions=_versions(), files=files)


def _versions() -> list[str]:
    query = shutil.which("dpkg-query")
    if query is None:
        return []
    # It exits with 1 when one of the patterns matches nothing, as on a host without ICU.
    shown = subprocess.run(
        [query, "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\\n", *_PACKAGES],
        check=False,
        capture_output=True,
        text=True,
    )
    return sorted(shown.stdout.splitlines())


def read_parts(text: str) -> Parts:
    """Read what the playbook hands over.

    Raises:
        ConfigError: it is not what a kit is made of; the message holds no value, which may be a secret.
    """
    try:
        return Parts.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        what = f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"
    except ValueError:
        what = "standard input is no JSON document"
    raise ConfigError(f"this makes no kit: {what}", remedy="playbooks/kit.yml hands over what it takes")


def lay_out(parts: Parts, folder: Path) -> None:
    """Write the files of a kit into an empty folder that only its owner can read.

    Raises:
        ConfigError: a name leads out of the folder, or the release's wheels are not on this machine.
    """
    wheelhouse = parts.wheelhouse_cache / f"{parts.host.release}.tar"
    if not wheelhouse.is_file():
        raise ConfigError(
            f"{wheelhouse} is not on this machine: the host was installed from another one",
            remedy="run playbooks/site.yml from here first",
        )
    for name, text in parts.texts.items():
        if PurePosixPath(name).name != name:
            raise ConfigError(f"{name!r} is no file name", remedy="playbooks/kit.yml hands over plain names")
        (folder / name).write_text(text, encoding="utf-8")
    _write_json(folder / "versions.json", parts.host.versions)
    (folder / "files").mkdir()
    for file in parts.host.files:
        name = hashlib.sha256(file.path.encode()).hexdigest()[:16]
        _write_json(folder / "files" / f"{name}.json", file.model_dump())
    (folder / "wheelhouse").mkdir()
    shutil.copyfile(wheelhouse, folder / "wheelhouse" / wheelhouse.name)


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=4, sort_keys=True) + "\n", encoding="utf-8")
