"""The S3 server: Ceph RADOS Gateway over TLS in one container, its data in memory."""

from __future__ import annotations

import base64
import http.client
import logging
import re
import secrets
import ssl
import time
import uuid
from typing import TYPE_CHECKING

from lab import hosts, images, s3_setup, tls
from lab.paths import LabPaths, write_file
from lab.podman import LABEL, any_status, container_status, execute, inspect, podman, remove_containers
from lab.state import S3State
from pgdr.errors import RefusedError, UnreachableError

if TYPE_CHECKING:
    from lab.state import LabState

_log = logging.getLogger(__name__)

BUCKET = "erp-generic-backups-lab"
_NAMES = ["s3", "s3.lab"]
_KMS_KEY_ID = "pgdr-lab"
_CONFIG_IN_CONTAINER = "/etc/pgdr-lab-s3"
_GATEWAY_UNIT = "pgdr-lab-gateway.service"
_LATENCY_FILE = "/etc/pgdr-lab-latency"
_READY_TIMEOUT = 90
_UNITS = {"MiB": 2**20, "GiB": 2**30}
_MAX_LATENCY_MS = 10_000

# One monitor and one OSD on the loopback of their container; nothing there to authenticate. No manager: the gateway
# needs none, and it would be most of the image. The paxos intervals are what start-up would otherwise wait for.
_CEPH_CONF = """\
# Written by `lab up`.
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:3300,v1:127.0.0.1:6789]
public_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
ms_mon_cluster_mode = crc
ms_mon_service_mode = crc
auth_allow_insecure_global_id_reclaim = false
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = {memory_bytes}
log_to_file = false
log_to_stderr = true
mon_cluster_log_to_file = false
debug_mon = 0/0
debug_osd = 0/0
debug_paxos = 0/0
debug_rgw = 0/0

[client.rgw]
rgw_thread_pool_size = 128
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = {kms_key_id}={kms_key}
# Short-lived keys of roles (STS).
rgw_s3_auth_use_sts = true
rgw_sts_key = pgdr-lab-sts-key
# Memory of deleted objects comes back within minutes, not hours.
rgw_gc_obj_min_wait = 60
rgw_gc_processor_period = 60
"""


def memory_bytes(text: str) -> int:
    """``4GiB`` as bytes.

    Raises:
        RefusedError: it is no such size.
    """
    match = re.fullmatch(r"([1-9]\d*)(MiB|GiB)", text)
    if match is None:
        raise RefusedError(f"{text!r} is not a size", remedy="write it as 4GiB or 512MiB")
    return int(match[1]) * _UNITS[match[2]]


def start(state: LabState, *, memory: str) -> None:
    """Have the S3 server's container running; does not wait for it.

    A container that stopped is made anew: what it held was in memory.
    """
    size = memory_bytes(memory)
    status = None if state.s3 is None else container_status(state.s3.container)
    if state.s3 is not None and status == "running":
        if state.s3.memory != memory:
            _log.info("s3: keeps its memory of %s; `lab down` first to change it", state.s3.memory)
        return
    container = hosts.container_name(state.name, "s3")
    if status is not None:
        _log.info("s3: its container is %s, so its data is gone; making a new one", status)
    remove_containers(container)
    address = state.take_address()
    state.s3 = S3State(
        container=container,
        ip=address,
        url=f"https://{address}:443",
        bucket=BUCKET,
        memory=memory,
        kms_key_id=_KMS_KEY_ID,
    )
    state.save()
    _write_configuration(state.name, address, size)
    podman(
        "create",
        f"--name={container}",
        "--hostname=s3",
        f"--label={LABEL}={state.name}",
        f"--label={LABEL}.role=s3",
        f"--network={state.network}",
        f"--ip={address}",
        *(f"--network-alias={name}" for name in _NAMES),
        "--systemd=always",
        f"--volume={LabPaths(state.name).s3}:{_CONFIG_IN_CONTAINER}:ro",
        images.S3.image,
        "/lib/systemd/systemd",
    )
    podman("start", container)
    _log.info("s3: started at %s", address)


def _write_configuration(lab: str, address: str, size: int) -> None:
    paths = LabPaths(lab)
    conf = _CEPH_CONF.format(
        fsid=uuid.uuid4(),
        memory_bytes=size,
        kms_key_id=_KMS_KEY_ID,
        kms_key=base64.b64encode(secrets.token_bytes(32)).decode(),
    )
    write_file(paths.s3 / "ceph.conf", conf, mode=0o600)
    certificate = tls.issue(_NAMES, [address], certificate=paths.ca, key_file=paths.tls / "ca-key.pem")
    write_file(paths.s3 / "server.pem", certificate, mode=0o600)


def require(state: LabState) -> S3State:
    """The S3 server of a lab, which runs.

    Raises:
        RefusedError: the lab has none, or it does not run.
    """
    if state.s3 is None:
        raise RefusedError(f"the lab {state.name} has no S3 server", remedy=f"lab up {state.name} --s3")
    status = container_status(state.s3.container)
    if status != "running":
        raise RefusedError(
            f"the S3 server of the lab {state.name} does not run: {status or 'no container'}",
            remedy=f"lab up {state.name} makes a new one; what it held was in memory",
        )
    return state.s3


def finish(state: LabState) -> None:
    """Wait until the gateway answers; set up users and bucket, and prove them, once for each container.

    Raises:
        NotProvenError: the server does not enforce what the lab promises of it.
    """
    s3 = require(state)
    hosts.wait_until_booted(s3.container, whole=not s3.container_id)
    execute(s3.container, "systemctl", "start", _GATEWAY_UNIT)
    wait_until_ready(state)
    found = inspect("container", s3.container)
    container_id = "" if found is None else str(found["Id"])
    if s3.container_id == container_id and s3.probed:
        return
    s3_setup.set_up(state, s3)
    s3.container_id = container_id
    state.save()
    _log.info("s3: ready, %d properties proven", len(s3.probed))


def wait_until_ready(state: LabState, *, timeout: float = _READY_TIMEOUT) -> None:
    """Wait until the gateway answers a request over verified TLS.

    Raises:
        UnreachableError: it does not.
    """
    s3 = require(state)
    context = ssl.create_default_context(cafile=str(LabPaths(state.name).ca))
    deadline = time.monotonic() + timeout
    while True:
        connection = http.client.HTTPSConnection(s3.ip, s3.port, timeout=5, context=context)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"the S3 server does not answer at {s3.url}: {error}",
                    remedy=f"podman exec {s3.container} journalctl -u 'pgdr-lab-*'",
                ) from error
        finally:
            connection.close()
        time.sleep(0.2)


def stop_gateway(state: LabState) -> None:
    """Stop the gateway's process: clients are refused, data and its other processes stay."""
    execute(require(state).container, "systemctl", "stop", _GATEWAY_UNIT)


def gateway_runs(state: LabState) -> bool:
    """Whether the gateway's process is there."""
    done = execute(require(state).container, "systemctl", "is-active", _GATEWAY_UNIT, allowed=any_status)
    return done.returncode == 0


def start_gateway(state: LabState) -> None:
    """Start the gateway and wait until it answers."""
    execute(require(state).container, "systemctl", "start", _GATEWAY_UNIT)
    wait_until_ready(state)


def set_latency(state: LabState, milliseconds: int) -> None:
    """Put that much latency in front of each request, or none; restarts the gateway, data and address stay."""
    s3 = require(state)
    if not 0 <= milliseconds <= _MAX_LATENCY_MS:
        raise RefusedError(f"{milliseconds} ms is no latency", remedy=f"give 0 to {_MAX_LATENCY_MS}")
    if milliseconds:
        execute(s3.container, "tee", _LATENCY_FILE, stdin=f"{milliseconds}\n")
    else:
        execute(s3.container, "rm", "--force", _LATENCY_FILE)
    s3.latency_ms = milliseconds
    state.save()
    execute(s3.container, "systemctl", "restart", _GATEWAY_UNIT)
    wait_until_ready(state)
