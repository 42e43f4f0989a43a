"""ssh to the hosts of a lab: its own key pair, host keys known before the host exists, one ssh_config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.paths import LabPaths, write_file

if TYPE_CHECKING:
    from pathlib import Path

    from lab.state import LabState

# A killed host says nothing: without the keep-alives a command that runs on it would wait for ever.
_HOST_STANZA = """\
Host {host}
    HostName {ip}
    User root
    Port 22
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    HostKeyAlgorithms ssh-ed25519
    PreferredAuthentications publickey
    ConnectTimeout 10
    ServerAliveInterval 5
    ServerAliveCountMax 3
    LogLevel ERROR

"""


def _ensure_key(path: Path, comment: str) -> None:
    public = path.with_suffix(".pub")
    if path.is_file() and public.is_file():
        return
    key = Ed25519PrivateKey.generate()
    private_text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public_text = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_file(path, private_text, mode=0o600)
    write_file(public, public_text + f" {comment}\n".encode())


def identity(paths: LabPaths) -> Path:
    """The lab's own key, with which its hosts are entered; made if missing."""
    key = paths.ssh / "id_ed25519"
    _ensure_key(key, f"pgdr-lab-{paths.name}")
    return key


def host_key(paths: LabPaths, host: str) -> Path:
    """The key by which a host proves itself; made if missing."""
    key = paths.ssh / f"host-{host}"
    _ensure_key(key, host)
    return key


def forget_host(paths: LabPaths, host: str) -> None:
    """Drop a destroyed host's key and its shared connections: its successor is another machine."""
    for leftover in (paths.ssh / f"host-{host}", paths.ssh / f"host-{host}.pub", paths.control / host):
        leftover.unlink(missing_ok=True)


def write_config(state: LabState) -> None:
    """Write ``ssh_config`` and ``known_hosts`` for the hosts that exist."""
    paths = LabPaths(state.name)
    key = identity(paths)
    stanzas, known = [], []
    for host, entry in sorted(state.hosts.items()):
        stanzas.append(_HOST_STANZA.format(host=host, ip=entry.ip, identity=key, known_hosts=paths.known_hosts))
        kind, public = host_key(paths, host).with_suffix(".pub").read_text().split()[:2]
        known.append(f"{host},{entry.ip} {kind} {public}\n")
    write_file(paths.known_hosts, "".join(known))
    write_file(paths.ssh_config, "# Written by `lab`; use it as `ssh -F`.\n" + "".join(stanzas))
