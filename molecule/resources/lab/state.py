"""``lab.json``: what a lab consists of. Written after each step, so that a killed command can be run again."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.paths import LAB_ROOT, LabPaths, write_file
from pgdr.errors import BusyError, ConfigError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)

# A name becomes part of container names, host names and file names; `s3` is the server's own.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
# Labs share nothing, so `up` waits only for another command on the same lab.
_LOCK_TIMEOUT = 900
# The first addresses of a network are the gateway's and podman's own; containers count up from here.
_FIRST_ADDRESS = 10


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HostState(_Model):
    """One database host."""

    ip: str
    container: str


class S3State(_Model):
    """The S3 server."""

    container: str
    container_id: str = Field(default="", description="of the container that was set up and probed last")
    ip: str
    port: int = 443
    endpoint: str = Field(default="https://s3:443", description="as the hosts of the lab reach it")
    url: str = Field(description="as the machine that runs the lab reaches it")
    region: str = "us-east-1"
    bucket: str
    memory: str
    kms_key_id: str
    latency_ms: int = 0
    probed: dict[str, bool] = Field(default_factory=dict, description="what the server was seen to enforce")


class LabState(_Model):
    """One lab."""

    name: str
    network: str
    subnet: str
    gateway: str
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    next_address: int = _FIRST_ADDRESS
    hosts: dict[str, HostState] = Field(default_factory=dict)
    s3: S3State | None = None

    def take_address(self) -> str:
        """An address that no container of this lab ever had.

        A new host under an old address would be met by the connections of the dead one; and podman may hold the
        address of a container whose start was killed for ever.

        Raises:
            RefusedError: the network has no more.
        """
        if self.next_address >= IPv4Network(self.subnet).num_addresses - 1:
            raise RefusedError(f"the lab {self.name} used up its network", remedy=f"lab down {self.name}, then lab up")
        address = IPv4Network(self.subnet)[self.next_address]
        self.next_address += 1
        return str(address)

    def save(self) -> None:
        """Write ``lab.json``."""
        write_file(LabPaths(self.name).state, self.model_dump_json(indent=2) + "\n")


def load(name: str) -> LabState:
    """Read a lab's state.

    Raises:
        RefusedError: there is no such lab.
        ConfigError: the file is not a lab's state.
    """
    path = LabPaths(name).state
    if not path.is_file():
        raise RefusedError(f"there is no lab {name}", remedy=f"make it: lab up {name} --host db1")
    try:
        return LabState.model_validate_json(path.read_text())
    except ValidationError as error:
        raise ConfigError(f"{path} is damaged: {error}", remedy=f"lab down {name}, then lab up") from error


def all_names() -> list[str]:
    """Names of all labs on this machine."""
    return sorted(path.parent.name for path in LAB_ROOT.glob("*/lab.json"))


def check_name(name: str, *, kind: str) -> None:
    """Refuse a name that cannot be part of a host name.

    Raises:
        RefusedError: it cannot.
    """
    if not _NAME.fullmatch(name) or (kind == "host" and name == "s3") or (kind == "lab" and name == "locks"):
        raise RefusedError(
            f"{name!r} cannot name a {kind}", remedy="use small letters, digits and -, begin with a letter"
        )


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lab's lock: commands on one lab run one after the other.

    Raises:
        BusyError: another command held it for too long.
    """
    paths = LabPaths(name)
    paths.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _log.info("another command works on the lab %s; waiting for it", name)
        try:
            lock.acquire(timeout=_LOCK_TIMEOUT)
        except Timeout as error:
            raise BusyError(f"another command works on the lab {name}", remedy="wait for it") from error
    try:
        yield
    finally:
        lock.release()
