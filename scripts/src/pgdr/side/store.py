"""Keep and find the state of side instances; remove what they left."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pgdr.errors import ConfigError, OperationFailedError, RefusedError
from pgdr.files import remedy_of, write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.side.model import Place, SideState, place, root

# It becomes part of paths and of a systemd unit's name; the socket's path must stay below 107 bytes.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


def checked_name(name: str) -> str:
    """Return the name if an instance may have it.

    Raises:
        RefusedError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise RefusedError(
            f"{name!r} cannot name a side instance",
            remedy="use lower-case letters, digits and dashes, a letter first, at most 31",
        )
    return name


def require_owner() -> None:
    """Refuse root: PostgreSQL does not run as root, and files that root made would be in the owner's way.

    Raises:
        RefusedError: it is root.
    """
    if os.geteuid() == 0:
        raise RefusedError("side instances belong to postgres", remedy="runuser -u postgres -- pgdr side ...")


def load(config: HostConfig, name: str) -> SideState | None:
    """The state of an instance, ``None`` where there is none.

    Raises:
        ConfigError: it is there but cannot be understood.
    """
    path = place(config, checked_name(name)).state
    try:
        return SideState.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        remedy = remedy_of(error, "run as postgres")
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy=remedy) from error
    except (ValidationError, UnicodeDecodeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not UTF-8 text"
        raise ConfigError(
            f"{path} cannot be read: {reason}", remedy=f"remove it with: pgdr side stop {name}"
        ) from error


def note(config: HostConfig, name: str) -> Path:
    """The folder that says that there is an instance: its own, unless the policy puts those elsewhere."""
    return config.state_directory / "side" / name


def required(config: HostConfig, name: str) -> SideState:
    """The state of an instance that must be there.

    Raises:
        RefusedError: there is none.
    """
    state = load(config, name)
    if state is None:
        known = ", ".join(names(config)) or "none"
        raise RefusedError(f"there is no side instance {name!r}", remedy=f"there are: {known}")
    return state


def save(config: HostConfig, state: SideState) -> None:
    """Replace the state file in one step.

    Raises:
        ConfigError: it cannot be written.
    """
    where = place(config, state.name)
    try:
        where.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The minute's job looks here, and not into the policy, for whether there is anything to remove.
        note(config, state.name).mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(where.state, state.model_dump_json(indent=2), 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {where.state}: {error.strerror}", remedy=remedy_of(error)) from error


def names(config: HostConfig) -> list[str]:
    """Names of all instances, those without a readable state too.

    Raises:
        ConfigError: their folder cannot be read.
    """
    try:
        return sorted(item.name for item in root(config).iterdir() if item.is_dir() and _NAME.fullmatch(item.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        remedy = remedy_of(error, "run as postgres")
        raise ConfigError(f"cannot read {root(config)}: {error.strerror}", remedy=remedy) from error


def states(config: HostConfig) -> Iterator[SideState]:
    """The states that can be read."""
    for name in names(config):
        try:
            state = load(config, name)
        except ConfigError:
            continue
        if state is not None:
            yield state


def remove(where: Place) -> None:
    """Delete an instance's files, and nothing that a link in them points to.

    Raises:
        OperationFailedError: the folder is no folder of its own, or could not be removed.
    """
    for folder in (where.folder, where.socket_directory):
        if folder.is_symlink():
            raise OperationFailedError(f"{folder} is a link", remedy="look where it leads; nothing was deleted")
        if not folder.exists():
            continue
        # The state goes last: a removal that is killed shows in the list and can be done again.
        entries = sorted(folder.iterdir(), key=lambda item: item.name == "state.json")
        try:
            for entry in entries:
                _delete(entry)
            folder.rmdir()
        except OSError as error:
            raise OperationFailedError(f"{folder} cannot be removed: {error.strerror}", remedy="run again") from error


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
