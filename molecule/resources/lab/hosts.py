"""Database hosts: containers with systemd, cron and ssh, each with volumes of its own."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from lab import images, ssh
from lab.paths import LabPaths
from lab.podman import LABEL, InjectedFile, any_status, container_status, execute, inject, podman, remove_containers
from lab.state import HostState
from pgdr.errors import OperationFailedError

if TYPE_CHECKING:
    from lab.state import LabState

_log = logging.getLogger(__name__)

# What a host loses with its disks; each is a volume so that killing the host can destroy it.
VOLUMES = {"pgdata": "/var/lib/postgresql", "backups": "/backups"}
CA_ON_HOST = "/usr/local/share/ca-certificates/pgdr-lab.crt"
_BOOT_TIMEOUT = 90


def container_name(lab: str, host: str) -> str:
    """``pgdr-LAB-HOST``."""
    return f"pgdr-{lab}-{host}"


def volume_name(lab: str, host: str, volume: str) -> str:
    """``pgdr-LAB-HOST-VOLUME``."""
    return f"{container_name(lab, host)}-{volume}"


def start(state: LabState, host: str) -> bool:
    """Have a host's container running, whatever a killed command left of it; does not wait for its boot.

    Returns:
        Whether the host is a new one.
    """
    known = state.hosts.get(host)
    status = None if known is None else container_status(known.container)
    if status == "running":
        return False
    container = container_name(state.name, host)
    if status in ("exited", "stopped"):
        _log.info("host %s: starting it again", host)
        podman("start", container)
        return False
    # None at all, or one that was made and never started: files may be missing in it.
    remove_containers(container)
    entry = HostState(ip=state.take_address(), container=container)
    state.hosts[host] = entry
    state.save()
    _create(state, host, entry)
    podman("start", container)
    _log.info("host %s: started at %s", host, entry.ip)
    return True


def _create(state: LabState, host: str, entry: HostState) -> None:
    paths = LabPaths(state.name)
    mounts = []
    for volume, path in VOLUMES.items():
        name = volume_name(state.name, host, volume)
        if podman("volume", "exists", name, allowed=any_status).returncode != 0:
            podman("volume", "create", f"--label={LABEL}={state.name}", name)
        mounts.append(f"--volume={name}:{path}")
    podman(
        "create",
        f"--name={entry.container}",
        f"--hostname={host}",
        f"--label={LABEL}={state.name}",
        f"--label={LABEL}.role=host",
        f"--network={state.network}",
        f"--ip={entry.ip}",
        f"--network-alias={host}",
        "--systemd=always",
        # PostgreSQL's parallel workers share memory here; podman's 64 MiB make large queries fail.
        "--shm-size=1g",
        *mounts,
        images.HOST.image,
        "/lib/systemd/systemd",
    )
    host_key = ssh.host_key(paths, host)
    public_key = ssh.identity(paths).with_suffix(".pub")
    inject(
        entry.container,
        {
            "/etc/ssh/ssh_host_ed25519_key": InjectedFile(host_key.read_bytes(), 0o600),
            "/etc/ssh/ssh_host_ed25519_key.pub": InjectedFile(host_key.with_suffix(".pub").read_bytes()),
            "/root/.ssh/authorized_keys": InjectedFile(public_key.read_bytes(), 0o600),
            CA_ON_HOST: InjectedFile(paths.ca.read_bytes()),
        },
    )


def wait_until_booted(container: str, *, whole: bool) -> None:
    """Wait until systemd in a container has started everything.

    Args:
        container: its name.
        whole: no unit may have failed. A host that is in use may have failed units: that is its owner's business.

    Raises:
        OperationFailedError: it has not, or a unit failed.
    """
    deadline = time.monotonic() + _BOOT_TIMEOUT
    while True:
        # Before systemd listens there is no answer at all; that is no verdict yet.
        done = execute(container, "systemctl", "is-system-running", "--wait", timeout=_BOOT_TIMEOUT, allowed=any_status)
        verdict = done.stdout.strip()
        if verdict == "running" or (verdict == "degraded" and not whole):
            return
        if verdict == "degraded" or time.monotonic() > deadline:
            failed = execute(container, "systemctl", "--failed", "--plain", "--no-legend", allowed=any_status)
            raise OperationFailedError(
                f"{container} did not boot: {done.tail or 'no answer'}; failed: {failed.stdout.strip() or 'none'}",
                remedy=f"podman exec {container} journalctl -b",
            )
        time.sleep(0.2)


def finish(state: LabState, host: str, *, new: bool) -> None:
    """Wait for a started host's boot and have it trust the lab's authority."""
    container = state.hosts[host].container
    wait_until_booted(container, whole=new)
    execute(container, "sh", "-c", "test -e /etc/ssl/certs/pgdr-lab.pem || update-ca-certificates")


def destroy(state: LabState, host: str) -> None:
    """SIGKILL a host, then remove its container and its volumes: nothing of it is left."""
    container = container_name(state.name, host)
    podman("kill", "--signal=KILL", container, allowed=any_status)
    remove_containers(container)
    for volume in VOLUMES:
        podman("volume", "rm", "--force", volume_name(state.name, host, volume), allowed=any_status)
    if container_status(container) is not None:
        raise OperationFailedError(f"{container} could not be removed", remedy=f"podman rm --force {container}")
    state.hosts.pop(host, None)
    state.save()
    ssh.forget_host(LabPaths(state.name), host)
    ssh.write_config(state)
