"""Where the lab keeps its files: ``.lab/`` at the top of the repository, one folder a lab.

``.lab/NAME/`` may hold files of others (the drill's report), so a lab removes only what it made itself.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
LAB_ROOT = REPOSITORY / ".lab"
CONTAINERS_CONF = LAB_ROOT / "containers.conf"
ROOTFS = Path(__file__).resolve().parent / "rootfs"


@dataclass(frozen=True)
class LabPaths:
    """The files of one lab."""

    name: str

    @property
    def folder(self) -> Path:
        """``.lab/NAME``."""
        return LAB_ROOT / self.name

    @property
    def state(self) -> Path:
        """What exists: hosts, addresses, the S3 server."""
        return self.folder / "lab.json"

    @property
    def lock(self) -> Path:
        """Taken by everything that changes the lab; outside the folder so that it outlives ``down``."""
        return LAB_ROOT / "locks" / f"{self.name}.lock"

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F`` and Ansible."""
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """Host keys of all hosts, written before the hosts start: host key checking stays on."""
        return self.folder / "known_hosts"

    @property
    def ssh(self) -> Path:
        """The lab's own key pair, and the host keys that were given to the hosts."""
        return self.folder / "ssh"

    @property
    def control(self) -> Path:
        """Sockets of shared ssh connections; per lab, because every lab has a ``db1``."""
        return self.folder / "cp"

    @property
    def ca(self) -> Path:
        """Certificate of the lab's authority."""
        return self.folder / "ca.pem"

    @property
    def tls(self) -> Path:
        """The authority's key."""
        return self.folder / "tls"

    @property
    def s3(self) -> Path:
        """Configuration of the S3 container, mounted into it read-only."""
        return self.folder / "s3"

    @property
    def secrets(self) -> Path:
        """One secret a file, 0600."""
        return self.folder / "secrets"

    def make(self) -> None:
        """Create the folders that are missing; those with secrets are the owner's alone."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for private in (self.ssh, self.control, self.tls, self.s3, self.secrets):
            private.mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Remove the lab's own files, and the folder if nothing else is in it."""
        for folder in (self.ssh, self.control, self.tls, self.s3, self.secrets):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.ssh_config, self.known_hosts, self.ca, self.state):
            file.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def write_file(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace a file as a whole: a reader, or a kill in the middle, never sees half of it."""
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=mode)
    partial.write_bytes(data)
    partial.chmod(mode)
    partial.replace(path)
