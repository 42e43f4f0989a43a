"""What other packages use of a lab: the drill, the benchmarks, scenarios and tests."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab import lifecycle, s3_client, s3_replica
from lab.paths import LabPaths
from lab.podman import environment
from lab.state import LabState, load
from pgdr.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mypy_boto3_s3.client import S3Client

__all__ = ["Lab", "S3Access", "environment"]


@dataclass(frozen=True)
class S3Access:
    """How to reach the S3 server of a lab.

    Attributes:
        endpoint: as the hosts of the lab reach it.
        url: as the machine that runs the lab reaches it.
        region: its region.
        bucket: versioned, locked, with a policy for the hosts' user.
        ca: certificate of the authority that signed the server's.
        key: the hosts' user.
        key_secret: the hosts' user's secret.
        admin_key: the bucket's owner.
        admin_key_secret: the bucket's owner's secret.
        kms_key_id: the key that the server can encrypt with.
    """

    endpoint: str
    url: str
    region: str
    bucket: str
    ca: Path
    key: str
    key_secret: str
    admin_key: str
    admin_key_secret: str
    kms_key_id: str

    def __repr__(self) -> str:
        """Without the secrets: this ends in logs and in test output."""
        return f"S3Access(url={self.url!r}, bucket={self.bucket!r})"


class Lab:
    """One lab that exists. Every question reads its state anew, so two of these never disagree."""

    def __init__(self, name: str) -> None:
        """Use :meth:`load` or :meth:`up`."""
        self.name = name
        self._paths = LabPaths(name)

    @classmethod
    def load(cls, name: str) -> Lab:
        """A lab that was made before.

        Raises:
            RefusedError: there is none of this name.
        """
        load(name)
        return cls(name)

    @classmethod
    def up(cls, name: str, hosts: Iterable[str], *, s3: bool = True, s3_memory: str = "4GiB") -> Lab:
        """Make a lab, or have one running with at least these hosts."""
        lifecycle.up(name, hosts, with_s3=s3, s3_memory=s3_memory)
        return cls(name)

    @property
    def state(self) -> LabState:
        """All that ``lab.json`` says."""
        return load(self.name)

    @property
    def folder(self) -> Path:
        """``.lab/NAME``; other packages may keep their own files there, ``down`` leaves them."""
        return self._paths.folder

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``."""
        return self._paths.ssh_config

    @property
    def hosts(self) -> list[str]:
        """Names of the hosts that exist."""
        return sorted(self.state.hosts)

    def host_ip(self, host: str) -> str:
        """The address of a host, or of ``s3``.

        Raises:
            RefusedError: there is no such host.
        """
        state = self.state
        found = state.s3 if host == "s3" else state.hosts.get(host)
        if found is None:
            raise RefusedError(f"the lab {self.name} has no host {host}")
        return found.ip

    def container(self, host: str) -> str:
        """Name of a host's container (``s3`` too), for ``podman``."""
        return f"pgdr-{self.name}-{host}"

    def secret(self, name: str) -> str:
        """One secret of the lab, by its file's name: ``s3-key-secret``, ``cipher-pass-1``, ``erp-password``...

        Raises:
            ConfigError: there is none of this name.
        """
        file = self._paths.secrets / name
        if not file.is_file():
            raise ConfigError(f"the lab {self.name} has no secret {name}")
        return file.read_text()

    def secrets(self) -> dict[str, str]:
        """All secrets by name: what must never be found in a log."""
        return {file.name: file.read_text() for file in sorted(self._paths.secrets.iterdir())}

    @property
    def s3(self) -> S3Access:
        """How to reach the S3 server.

        Raises:
            RefusedError: the lab was made without one.
        """
        found = self.state.s3
        if found is None:
            raise RefusedError(f"the lab {self.name} has no S3 server", remedy=f"lab up {self.name} --s3")
        return S3Access(
            endpoint=found.endpoint,
            url=found.url,
            region=found.region,
            bucket=found.bucket,
            ca=self._paths.ca,
            key=self.secret("s3-key"),
            key_secret=self.secret("s3-key-secret"),
            admin_key=self.secret("s3-admin-key"),
            admin_key_secret=self.secret("s3-admin-key-secret"),
            kms_key_id=found.kms_key_id,
        )

    def boto3_client(self, *, admin: bool = False) -> S3Client:
        """A client of the S3 server: the hosts' user, or the bucket's owner."""
        found = self.state.s3
        if found is None:
            raise RefusedError(f"the lab {self.name} has no S3 server", remedy=f"lab up {self.name} --s3")
        return s3_client.client(self.name, found, admin=admin)

    def run(
        self, host: str, argv: Sequence[str], *, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a host over ssh, as root.

        Args:
            host: its name.
            argv: argument list; quoted for the host's shell.
            check: raise :class:`subprocess.CalledProcessError` when it ends with another status than 0.
            options: for :func:`subprocess.run`, such as ``input`` and ``timeout``.
        """
        remote = shlex.join(argv)
        command = ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", host, remote]
        if "input" not in options and "stdin" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(command, check=check, capture_output=True, text=True, **options)

    def add_host(self, host: str) -> None:
        """Add one empty host."""
        lifecycle.add_host(self.name, host)

    def kill_host(self, host: str) -> None:
        """The disaster: SIGKILL, then the host's container and volumes are gone."""
        lifecycle.kill_host(self.name, host)

    def stop_s3(self) -> None:
        """Stop the S3 gateway: clients are refused, the data stays."""
        lifecycle.stop_s3(self.name)

    def start_s3(self) -> None:
        """Start the S3 gateway and wait until it answers."""
        lifecycle.start_s3(self.name)

    def set_s3_latency(self, milliseconds: int) -> None:
        """Have each request to the S3 server wait that long; 0 takes it away."""
        lifecycle.set_s3_latency(self.name, milliseconds)

    def start_replica(self) -> None:
        """Have a second zone of the S3 server, in step with the first; see :attr:`replica_url`."""
        lifecycle.start_replica(self.name)

    def set_replica_lag(self, *, frozen: bool) -> None:
        """Stop replicating: the second zone serves what it has; or go on."""
        lifecycle.set_replica_lag(self.name, frozen=frozen)

    def wait_for_replica(self) -> None:
        """Wait until the second zone holds every version that the first holds."""
        s3_replica.wait_until_in_step(self.state)

    @property
    def replica_url(self) -> str:
        """The second zone as the machine that runs the lab reaches it."""
        return f"https://{self.host_ip('s3')}:{s3_replica.PORT}"

    def replica_client(self, *, admin: bool = False) -> S3Client:
        """A client of the second zone."""
        return s3_replica.client(self.state, admin=admin)

    def down(self) -> None:
        """Remove the lab."""
        lifecycle.down(self.name)
