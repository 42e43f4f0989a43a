"""Making, changing and removing labs. Every step is safe to run twice and safe to kill."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from lab import doctor, hosts, images, network, s3, s3_replica, ssh, tls
from lab.paths import LabPaths, write_file
from lab.podman import any_status, container_status, names_with_label, podman, remove_containers
from lab.state import LabState, check_name, load, locked
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)

# What the inventory of the lab reads; the S3 keys come from the server itself.
_RANDOM_SECRETS = ("cipher-pass-1", "cipher-pass-2", "erp-password")


def up(name: str, host_names: Iterable[str], *, with_s3: bool = True, s3_memory: str = "4GiB") -> LabState:
    """Have a lab running with at least these hosts.

    Args:
        name: the lab's name.
        host_names: hosts to add to those that it has.
        with_s3: also have the S3 server; one that exists stays.
        s3_memory: how much the S3 server may hold in memory, when it is made.

    Returns:
        The lab as it is now.

    Raises:
        RefusedError: a name cannot be one, or podman has a lab of this name that is not this checkout's.
    """
    wanted = list(dict.fromkeys(host_names))
    check_name(name, kind="lab")
    for host in wanted:
        check_name(host, kind="host")
    doctor.ensure_able()
    images.ensure(images.HOST)
    if with_s3:
        images.ensure(images.S3)
    with locked(name):
        state = _prepare(name)
        if with_s3 or state.s3 is not None:
            s3.start(state, memory=s3_memory)
        known = [*state.hosts, *(host for host in wanted if host not in state.hosts)]
        new = {host: hosts.start(state, host) for host in known}
        ssh.write_config(state)
        for host in known:
            hosts.finish(state, host, new=new[host])
        if state.s3 is not None:
            s3.finish(state)
        state.save()
        return state


def _prepare(name: str) -> LabState:
    """Everything that containers need before they are made."""
    paths = LabPaths(name)
    if not paths.state.is_file():
        _refuse_a_strangers(name)
    paths.make()
    subnet, gateway = network.ensure(name)
    state = load(name) if paths.state.is_file() else None
    if state is None or state.subnet != subnet:
        # A network is removed only after all that was in it: addresses of before mean nothing.
        state = LabState(name=name, network=network.network_name(name), subnet=subnet, gateway=gateway)
        state.save()
    tls.ensure_authority(name, paths.ca, paths.tls / "ca-key.pem")
    for secret in _RANDOM_SECRETS:
        file = paths.secrets / secret
        if not file.is_file():
            write_file(file, secrets.token_urlsafe(32), mode=0o600)
    return state


def _refuse_a_strangers(name: str) -> None:
    """Refuse to build on what a lab of this name left whose files are not here.

    Its disks hold a cluster and a repository, and the secrets to both went with its files: whatever uses them fails
    later, and far from here.

    Raises:
        RefusedError: podman has containers or volumes of it.
    """
    found = [*names_with_label("container", name), *names_with_label("volume", name)]
    if found:
        raise RefusedError(
            f"podman has a lab {name} that another checkout made, or whose files are gone: {', '.join(found)}",
            remedy=f"lab down {name} removes it; or take another name",
        )


def add_host(name: str, host: str) -> LabState:
    """Add one empty host to a lab that exists, or have the one it has running."""
    check_name(host, kind="host")
    load(name)
    doctor.ensure_able()
    images.ensure(images.HOST)
    with locked(name):
        state = load(name)
        new = hosts.start(state, host)
        ssh.write_config(state)
        hosts.finish(state, host, new=new)
        return state


def kill_host(name: str, host: str) -> LabState:
    """The disaster: SIGKILL, then container and volumes are gone.

    Raises:
        RefusedError: the lab has no such host.
    """
    with locked(name):
        state = load(name)
        if host not in state.hosts:
            has = ", ".join(state.hosts) or "none"
            raise RefusedError(f"the lab {name} has no host {host}", remedy=f"it has: {has}")
        hosts.destroy(state, host)
        _log.info("host %s: killed, its volumes are gone", host)
        return state


def statuses(state: LabState) -> dict[str, str]:
    """What hosts and S3 server are doing: ``running``, ``exited``, ``gone``; ``stopped`` is the gateway alone."""
    containers = {host: entry.container for host, entry in state.hosts.items()}
    found = {host: container_status(name) or "gone" for host, name in containers.items()}
    if state.s3 is not None:
        found["s3"] = container_status(state.s3.container) or "gone"
        if found["s3"] == "running" and not s3.gateway_runs(state):
            found["s3"] = "stopped"
    return found


def down(name: str) -> bool:
    """Remove a lab: everything in podman that carries its label, and its files.

    Returns:
        Whether there was anything to remove.
    """
    check_name(name, kind="lab")
    with locked(name):
        containers = names_with_label("container", name)
        if containers:
            remove_containers(*containers)
        volumes = names_with_label("volume", name)
        if volumes:
            podman("volume", "rm", "--force", *volumes)
        networks = names_with_label("network", name)
        for found in networks:
            podman("network", "rm", "--force", found, allowed=any_status)
        existed = bool(containers or volumes or networks) or LabPaths(name).state.exists()
        LabPaths(name).remove()
        return existed


def stop_s3(name: str) -> None:
    """Stop the S3 gateway of a lab; its data stays."""
    with locked(name):
        s3.stop_gateway(load(name))
        _log.info("s3: stopped")


def start_s3(name: str) -> None:
    """Start the S3 gateway of a lab, and wait until it answers."""
    with locked(name):
        s3.start_gateway(load(name))
        _log.info("s3: answers again")


def set_s3_latency(name: str, milliseconds: int) -> None:
    """Add latency in front of the S3 gateway of a lab; 0 takes it away."""
    with locked(name):
        s3.set_latency(load(name), milliseconds)
        _log.info("s3: %d ms of latency", milliseconds)


def start_replica(name: str) -> None:
    """Have a second zone of the S3 server, to which everything is replicated."""
    with locked(name):
        s3_replica.start(load(name))


def set_replica_lag(name: str, *, frozen: bool) -> None:
    """Stop replicating to the second zone, or go on."""
    with locked(name):
        if frozen:
            s3_replica.freeze(load(name))
        else:
            s3_replica.thaw(load(name))
        _log.info("s3: the replica %s", "is frozen" if frozen else "is fed again")
