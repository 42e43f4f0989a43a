"""Faults of the host's own limits: the queue of WAL, the disk of pg_wal, the clock."""

from __future__ import annotations

import json
import subprocess

from faults.fault import LOOK, Fault
from faults.ground import HOST, PLACE, Ground
from lab.api import environment

_PGDR = "/usr/local/bin/pgdr"
_CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"
_CRON = "/etc/cron.d/erp-backup"
_DATA = "/var/lib/postgresql/17/main"
_SERVER = "postgresql@17-main"
_WAL_BYTES = 256 * 2**20
_SMALL = {"max_wal_size": "96MB", "min_wal_size": "32MB", "wal_keep_size": "0"}
_RED_PERCENT = 85


def _queue_is_limited(ground: Ground) -> None:
    ground.shell(
        f"cp -p {_CONFIGURATION} {PLACE}/pgbackrest.conf; "
        f"sed -i 's/^\\[global:archive-push\\]$/&\\narchive-push-queue-max=1MiB/' {_CONFIGURATION}"
    )
    ground.lab.stop_s3()
    ground.begins()
    for _ in range(3):
        ground.write_rows("thrown away", 10)
        ground.expect(ground.archived(60), "PostgreSQL is told that the WAL is archived, though it is nowhere")


def _queue_is_free(ground: Ground) -> None:
    lost = "wal-hole:1 wal-claimed:1 wal-hole:2 wal-claimed:2"
    ground.expect(ground.level(lost) == "red", "the lost WAL itself shows too")
    ground.shell(f"cp -p {PLACE}/pgbackrest.conf {_CONFIGURATION}")
    ground.lab.start_s3()
    ground.expect(ground.archived(), "WAL is archived again")
    said = json.loads(ground.pgdr("verify", "--output", "json").stdout)
    ground.expect(len(said["full_backups"]) >= 1, "the verification begins a full backup, since WAL is lost")
    ground.pgdr("verify")


def _mount(ground: Ground, *words: str) -> None:
    """Mount for a host from outside: its container may not, and a disk of its own is nothing that it could make."""
    container = ground.lab.container(HOST)
    inspect = ["podman", "inspect", "--format", "{{.State.Pid}}", container]
    pid = subprocess.run(inspect, check=True, capture_output=True, text=True, env=environment()).stdout.strip()
    subprocess.run(
        ["/usr/bin/nsenter", f"--target={pid}", "--mount", *words], check=True, capture_output=True, text=True
    )


def _small_disk(ground: Ground) -> None:
    for name, value in _SMALL.items():
        ground.sql(f"alter system set {name} = '{value}'")
    ground.sql("select pg_reload_conf()")
    ground.expect(ground.archived(), "WAL is archived")
    ground.sql("checkpoint")
    ground.shell(f"systemctl stop {_SERVER}; mv {_DATA}/pg_wal {_DATA}/pg_wal.kept; mkdir {_DATA}/pg_wal")
    _mount(ground, "mount", "-t", "tmpfs", "-o", f"size={_WAL_BYTES}", "tmpfs", f"{_DATA}/pg_wal")
    ground.shell(
        f"chown postgres:postgres {_DATA}/pg_wal; chmod 700 {_DATA}/pg_wal; "
        f"cp -a {_DATA}/pg_wal.kept/. {_DATA}/pg_wal/; rm -rf {_DATA}/pg_wal.kept; systemctl start {_SERVER}"
    )


def _used(ground: Ground) -> int:
    return int(ground.shell(f"df --output=pcent {_DATA}/pg_wal | tail -n 1").strip(" %\n"))


def _commit(ground: Ground, what: str) -> bool:
    """Commit one row and close its segment; the row counts when the server has said that it is committed."""
    try:
        ground.sql(f"insert into faults.rows values (1, '{what}')")  # noqa: S608 - our own words
    except subprocess.CalledProcessError:
        return False
    ground.kept["committed"] = str(int(ground.kept.get("committed", "0")) + 1)
    try:
        ground.sql("select pg_switch_wal()")
    except subprocess.CalledProcessError:
        return False
    return True


def _wal_fills(ground: Ground) -> None:
    ground.kept["before"] = ground.sql("select count(*) from faults.rows where what = 'full'")
    ground.lab.stop_s3()
    while _used(ground) <= _RED_PERCENT:
        ground.expect(_commit(ground, "full"), "the server takes rows until the disk is full")
    ground.begins()


def _wal_grows_and_drains(ground: Ground) -> None:
    while _commit(ground, "full"):
        pass
    # The runbook: a larger volume and a repository that answers, nothing deleted in pg_wal. The server starts again by
    # itself; one that was told to stop in the middle of that did not end for minutes.
    _mount(ground, "mount", "-o", f"remount,size={4 * _WAL_BYTES}", f"{_DATA}/pg_wal")
    ground.lab.start_s3()
    ground.until("pg_isready --quiet || { systemctl start postgresql@17-main; false; }", 120)
    ground.expect(ground.archived(), "the WAL that waited is archived")
    found = int(ground.sql("select count(*) from faults.rows where what = 'full'")) - int(ground.kept["before"])
    # A row whose commit was not confirmed may be there; one that was confirmed must be.
    ground.expect(found >= int(ground.kept["committed"]), f"{ground.kept['committed']} rows were committed: {found}")
    _large_disk(ground)


def _large_disk(ground: Ground) -> None:
    for name in _SMALL:
        ground.sql(f"alter system reset {name}")
    ground.shell(f"systemctl stop {_SERVER}; cp -a {_DATA}/pg_wal {_DATA}/pg_wal.kept")
    _mount(ground, "umount", f"{_DATA}/pg_wal")
    ground.shell(f"rmdir {_DATA}/pg_wal; mv {_DATA}/pg_wal.kept {_DATA}/pg_wal; systemctl start {_SERVER}")


def _clock_is_off(ground: Ground) -> None:
    """The clock of a container is the machine's: programs of the host are shown another one."""
    ground.faketime()
    ground.shell(f"cp -p {_CRON} {PLACE}/cron; sed -i 's# {_PGDR} watch# /usr/bin/faketime -f -20m&#' {_CRON}")
    ground.begins()
    ended = ground.job("backup-full", "/usr/bin/faketime", "-f", "-20m", _PGDR, "backup", "full", "--repo", "2")
    ground.expect(ended != 0, "S3 refuses a backup whose requests are 20 minutes old")


def _clock_is_right(ground: Ground) -> None:
    ground.shell(f"cp -p {PLACE}/cron {_CRON}")
    told = [message.body for message in ground.heard() if "job backup-full failed" in message.title][-1:]
    ground.expect("RequestTimeTooSkewed" in "".join(told), f"the message of the job names the reason: {told}")
    ended = ground.job("backup-full", _PGDR, "backup", "full")
    ground.expect(ended == 0, f"with the right clock a backup ends well, not with {ended}")


LIMITS = (
    Fault(
        "5", "pgBackRest may throw WAL away, and does", "wal-queue wal-hole:1 wal-claimed:1 wal-hole:2 wal-claimed:2",
        ("wal-queue",), LOOK, "watch", _queue_is_limited, _queue_is_free,
    ),
    Fault(
        "6", "the disk of pg_wal fills up", "wal-disk", ("RED erp-lab: wal-disk",), LOOK, "watch", _wal_fills,
        _wal_grows_and_drains, prepare=_small_disk,
    ),
    Fault(
        "18", "the host's clock is wrong", "host-clock:2", ("host-clock",), LOOK, "watch", _clock_is_off,
        _clock_is_right,
    ),
)  # fmt: skip
