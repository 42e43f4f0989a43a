"""What is known of a side instance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pgdr.hostconfig import HostConfig
from pgdr.policy.load import load_policy
from pgdr.policy.model import SideInstances
from pgdr.recovery.model import PhaseTime, Plan, Progress, Reached

# Names of the instances of a rehearsal begin with it; the unit of this very name runs the rehearsal itself.
REHEARSAL = "rehearsal"


class SideStage(StrEnum):
    """How far it has come."""

    PLANNED = "planned"
    FILES = "files"  # the backup's files are there
    READY = "ready"  # it stands at its target and answers

    @property
    def rank(self) -> int:
        """Position in the order of the work."""
        return list(SideStage).index(self)


class Means(StrEnum):
    """What a side instance reads its repository with."""

    DISK = "disk"  # a folder of this host: who may read its files needs no key
    KEY = "key"
    ROLE = "role"
    OWN = "own"

    @property
    def words(self) -> str:
        """The same for people."""
        return {
            Means.DISK: "no key",
            Means.KEY: "the reader's key",
            Means.ROLE: "the reader's role",
            Means.OWN: "the host's own key",
        }[self]

    @property
    def told(self) -> str:
        """One line on what side instances may do to the repository, and how that is changed."""
        more = (
            "; where that can write, give them one that only reads: reader_key in pgbackrest_secrets, "
            "or reader_role in the policy"
        )
        return f"side instances read it with {self.words}{more if self is Means.OWN else ''}"

    @property
    def where(self) -> str:
        """Where it is said."""
        return "reader_role in the policy" if self is Means.ROLE else "reader_key in pgbackrest_secrets"


class SideState(BaseModel):
    """The file from which everybody learns about a side instance.

    Attributes:
        name: its name.
        plan: what was decided.
        port: its port; it also names the socket.
        socket_directory: where its socket is.
        expires_at: when it is removed.
        disk_floor: bytes that must stay free on its file system.
        means: what it reads its repository with.
        stage: how far it has come.
        running_pid: the process that works on it and then holds it.
        failure: the one line of the last failure, empty where there is none.
        failure_code: the exit code of the last failure.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    plan: Plan
    port: int
    socket_directory: str
    created_at: datetime
    expires_at: datetime
    disk_floor: int
    means: Means = Means.OWN
    stage: SideStage = SideStage.PLANNED
    phases: list[PhaseTime] = []
    progress: Progress | None = None
    reached: Reached | None = None
    running_pid: int | None = None
    failure: str = ""
    failure_code: int = 0


@dataclass(frozen=True)
class Place:
    """Where a side instance keeps what.

    Attributes:
        folder: all that it has on disk.
        socket_directory: where its socket is.
    """

    folder: Path
    socket_directory: Path

    @property
    def state(self) -> Path:
        """Its state file."""
        return self.folder / "state.json"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    @property
    def tablespaces(self) -> Path:
        """The folder of its tablespaces."""
        return self.folder / "tablespaces"

    @property
    def server(self) -> Path:
        """Its server's configuration and log."""
        return self.folder / "server"


def limits(config: HostConfig) -> SideInstances:
    """What the policy allows side instances; its defaults on a host without one.

    Raises:
        PolicyError: the policy is not understood.
    """
    return load_policy(config.policy_path).side_instances if config.policy_path.exists() else SideInstances()


def root(config: HostConfig) -> Path:
    """The folder of all side instances."""
    wanted = limits(config).path
    return Path(wanted) if wanted else config.state_directory / "side"


def place(config: HostConfig, name: str) -> Place:
    """Where an instance of that name is, or would be."""
    return Place(root(config) / name, config.run_directory / "side" / name)
