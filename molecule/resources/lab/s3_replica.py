"""A second zone of a lab's S3 server, to which everything is replicated: Ceph's multisite in the same container.

The first zone becomes the master of a realm; a second gateway with pools of its own serves the copy on the next port.
Users, bucket, policies and lock arrive by metadata sync, objects with all their versions by data sync. Both zones share
monitor and OSD, so this is a replica of data and not of machines.
"""

from __future__ import annotations

import json
import logging
import string
import time
from typing import TYPE_CHECKING

from lab import s3, s3_client
from lab.podman import any_status, execute
from pgdr.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3.client import S3Client

    from lab.state import LabState, S3State

_log = logging.getLogger(__name__)

PORT = 444
_FIRST, _SECOND = "us-east-1", "us-west-2"
_REALM = "lab"
_UNIT = "pgdr-lab-replica.service"
_UNIT_FILE = f"/etc/systemd/system/{_UNIT}"
_DROP_IN = "/etc/systemd/system/pgdr-lab-gateway.service.d/zone.conf"
_FROZEN = "/etc/pgdr-lab-replica-frozen"
_SYNC_PORTS = {_FIRST: 8001, _SECOND: 8002}
_TIMEOUT_SECONDS = 120
_CERTIFICATE = "/etc/pgdr-lab-s3/server.pem"
_KEY_LETTERS = string.ascii_uppercase + string.digits

_EXEC = (
    "radosgw --foreground --id rgw --rgw-zone={zone} {more} --rgw-frontends "
    '"beast endpoint=127.0.0.1:{sync} ssl_endpoint=0.0.0.0:{port} '
    'ssl_certificate={certificate} ssl_private_key={certificate} tcp_nodelay=1"'
)
_FIRST_DROP_IN = """\
[Service]
ExecStart=
ExecStart=/usr/bin/{command}
"""
_SECOND_UNIT = """\
[Unit]
Description=Lab S3: gateway of the second zone
Requires=pgdr-lab-osd.service
After=pgdr-lab-osd.service

[Service]
WorkingDirectory=/
# With the file, it serves what it has and fetches nothing: a replica that lags.
ExecStart=/bin/sh -c 'more=; [ -e {frozen} ] && more=--rgw-run-sync-thread=false; exec {command}'
TimeoutStopSec=2
Restart=on-failure
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


def client(state: LabState, *, admin: bool = False) -> S3Client:
    """A client of the second zone."""
    return s3_client.client(state.name, s3.require(state), admin=admin, port=PORT)


def start(state: LabState) -> None:
    """Have the second zone, in step with the first.

    Raises:
        UnreachableError: it does not come into step.
    """
    server = s3.require(state)
    if execute(server.container, "systemctl", "is-active", _UNIT, allowed=any_status).returncode == 0:
        return
    _make_zones(server)
    _write(server, _DROP_IN, _FIRST_DROP_IN.format(command=_command(_FIRST, "", server.port)))
    _write(server, _UNIT_FILE, _SECOND_UNIT.format(frozen=_FROZEN, command=_command(_SECOND, "$$more", PORT)))
    execute(server.container, "systemctl", "daemon-reload")
    execute(server.container, "systemctl", "restart", "pgdr-lab-gateway.service")
    execute(server.container, "systemctl", "enable", "--now", _UNIT)
    s3.wait_until_ready(state)
    wait_until_in_step(state)
    _log.info("s3: second zone %s at port %d", _SECOND, PORT)


def freeze(state: LabState) -> None:
    """Stop replicating: the second zone goes on serving what it has."""
    server = s3.require(state)
    execute(server.container, "touch", _FROZEN)
    execute(server.container, "systemctl", "restart", _UNIT)


def thaw(state: LabState) -> None:
    """Replicate again."""
    server = s3.require(state)
    execute(server.container, "rm", "--force", _FROZEN)
    execute(server.container, "systemctl", "restart", _UNIT)


def wait_until_in_step(state: LabState) -> None:
    """Wait until every version of every object of the bucket is in the second zone.

    Raises:
        UnreachableError: they do not come.
    """
    server = s3.require(state)
    first, second = s3_client.client(state.name, server, admin=True), client(state, admin=True)

    def same() -> bool:
        return _versions(second, server.bucket) >= _versions(first, server.bucket)

    _until(same, "the second zone holds what the first holds", server)


def _versions(zone: S3Client, bucket: str) -> set[tuple[str, str]]:
    """Every version in a bucket; nothing where the zone does not know the bucket yet, or does not answer."""
    # Only here, as in s3_client: importing boto3 costs half a second.
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        pages = zone.get_paginator("list_object_versions").paginate(Bucket=bucket)
        return {(one["Key"], one["VersionId"]) for page in pages for one in page.get("Versions", [])}
    except (BotoCoreError, ClientError) as error:
        _log.debug("s3: %s", error)
        return set()


def _until(condition: Callable[[], bool], what: str, server: S3State) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"not within {_TIMEOUT_SECONDS} s: {what}",
                remedy=f"podman exec {server.container} radosgw-admin sync status --rgw-zone={_SECOND}",
            )
        time.sleep(1)


def _make_zones(server: S3State) -> None:
    """Turn the one default zone into the master of two. Keys travel through standard input only."""

    def admin(*args: str, stdin: str | None = None) -> str:
        return execute(server.container, "radosgw-admin", "--log-to-stderr=false", *args, stdin=stdin).stdout

    endpoint = {zone: f"http://127.0.0.1:{port}" for zone, port in _SYNC_PORTS.items()}
    group = (f"--rgw-realm={_REALM}", f"--rgw-zonegroup={_REALM}")
    admin("realm", "create", f"--rgw-realm={_REALM}", "--default")
    admin("zonegroup", "rename", "--rgw-zonegroup=default", f"--zonegroup-new-name={_REALM}")
    admin("zone", "rename", "--rgw-zone=default", f"--zone-new-name={_FIRST}", f"--rgw-zonegroup={_REALM}")
    admin("zonegroup", "modify", *group, f"--endpoints={endpoint[_FIRST]}", "--master", "--default")
    admin("zone", "modify", *group, f"--rgw-zone={_FIRST}", f"--endpoints={endpoint[_FIRST]}", "--master", "--default")
    admin("period", "update", "--commit")
    made = json.loads(admin("user", "create", "--uid=replication", "--display-name=replication", "--system"))
    key = {name: made["keys"][0][name] for name in ("access_key", "secret_key")}
    admin("zone", "create", f"--rgw-zonegroup={_REALM}", f"--rgw-zone={_SECOND}", f"--endpoints={endpoint[_SECOND]}")
    for zone in (_FIRST, _SECOND):
        described = json.loads(admin("zone", "get", f"--rgw-zone={zone}"))
        described["system_key"] = key
        admin("zone", "set", f"--rgw-zone={zone}", "--infile=/dev/stdin", stdin=json.dumps(described))
    admin("period", "update", "--commit")


def _command(zone: str, more: str, port: int) -> str:
    return _EXEC.format(zone=zone, more=more, sync=_SYNC_PORTS[zone], port=port, certificate=_CERTIFICATE)


def _write(server: S3State, path: str, text: str) -> None:
    execute(server.container, "install", "-D", "-m", "0644", "/dev/stdin", path, stdin=text)
