"""Throughput of WAL archiving: our configuration against the requirement's ``archive_command``.

The same amount of WAL waits each time; then archiving is let loose while the same pgbench load goes on, and the
time is taken until the last waiting segment is stored. So the figure is what archiving can do, not what the load
happened to produce.
"""

from __future__ import annotations

import time

from bench import pgbackrest
from bench.bucket import emptied
from bench.ground import Ground
from bench.pgbackrest import STANZA, Variant
from bench.report import Better, RatioAtLeast, Row
from bench.scratch import DATA, PORT, Scratch
from pgdr.errors import OperationFailedError

_LOCAL_REPOSITORY, _LOCAL_WAL = "/backups/bench-wal", "/backups/wal"
_LOAD = "bench-load"
_SCALE = 10
_RATE = 100  # transactions a second of the load: about what an ERP writes, and far less than the host could
_LONGEST = 900.0
# One client's settings for all commands; the load must not wait for archiving.
_SETTINGS = ("max_wal_size = '8GB'", "checkpoint_timeout = '30min'", "synchronous_commit = off", "autovacuum = off")


def measure(ground: Ground) -> list[Row]:
    """Drain the same backlog with each command."""
    ground.protect()
    with emptied(ground.lab, "bench/", "wal/"):
        return _measure(ground)


def _measure(ground: Ground) -> list[Row]:
    host, scratch, count = ground.source, ground.scratch, ground.size.segments
    bucket = ground.lab.s3.bucket
    copied = f"test ! -f {_LOCAL_WAL}/%f && cp %p {_LOCAL_WAL}/%f"
    try:
        scratch.make(_SETTINGS, [f"{name} = '{value}'" for name, value in ground.aws().items()])
        for folder in (_LOCAL_REPOSITORY, _LOCAL_WAL):
            host.make_folder(folder)
        ours = _variant(ground)
        commands = {
            "ours": f"pgbackrest --config-path={ours.folder} --stanza={STANZA} archive-push %p",
            "theirs": f"{copied} && aws s3 cp {_LOCAL_WAL}/%f s3://{bucket}/wal/",
            "copied": copied,
        }
        rates = {name: _rate(ground, scratch, command) for name, command in commands.items()}
    finally:
        _stop_load(ground)
        scratch.drop()
        pgbackrest.remove_all(host)
        host.remove(_LOCAL_REPOSITORY, _LOCAL_WAL, f"/var/spool/pgbackrest/archive/{STANZA}")
    unit, note = "segments/s", f"{count} segments, pgbench at {_RATE} transactions/s, {ground.aws_version()}"
    return [
        Row(
            "WAL archiving to disk and S3, against the requirement's cp + aws s3 cp",
            rates["ours"],
            rates["theirs"],
            unit,
            better=Better.HIGHER,
            goal=RatioAtLeast(1),
            note=note,
        ),
        Row(
            "WAL archiving to disk and S3, against the requirement's cp alone",
            rates["ours"],
            rates["copied"],
            unit,
            better=Better.HIGHER,
            note="theirs leaves the only copy on the same host, neither flushed to disk nor encrypted",
        ),
    ]


def _variant(ground: Ground) -> Variant:
    role = pgbackrest.of_role(ground.source)
    configuration = role.repositories([(1, _LOCAL_REPOSITORY), (2, "/bench/wal")]).stanza(STANZA, data=DATA, port=PORT)
    variant = Variant.write(ground.source, "wal", configuration)
    variant.run("stanza-create")
    return variant


def _rate(ground: Ground, scratch: Scratch, command: str) -> float:
    """Segments a second that a command stores."""
    count = ground.size.segments
    _let(scratch, "")
    last = _make_backlog(ground, scratch)
    _start_load(ground)
    ground.say(f"archive {count} segments with: {command.split(maxsplit=1)[0]} ...")
    before = _archived(scratch)
    begin = time.monotonic()
    _let(scratch, command)
    while _archived(scratch)[0] < last:
        if time.monotonic() - begin > _LONGEST:
            raise OperationFailedError(f"the backlog was not archived within {_LONGEST:.0f} s by {command}")
        time.sleep(0.05)
    seconds = time.monotonic() - begin
    after = _archived(scratch)
    _stop_load(ground)
    if after[2] > before[2]:
        raise OperationFailedError(f"{after[2] - before[2]} attempts failed of {command}")
    return (after[1] - before[1]) / seconds


def _make_backlog(ground: Ground, scratch: Scratch) -> str:
    """Have that many segments wait, and return the name of the last one."""
    argv = ["/usr/lib/postgresql/17/bin/pgbench", f"--port={PORT}", "--quiet", "--initialize", f"--scale={_SCALE}"]
    ground.source.run([*argv, "postgres"], user="postgres")
    with scratch.connection() as connection:
        waiting: list[str] = []
        while len(waiting) < ground.size.segments:
            # Each page changes once after a checkpoint: full pages, as a night's batch of an ERP writes them.
            connection.execute("CHECKPOINT")
            connection.execute("UPDATE pgbench_accounts SET abalance = abalance + aid % 1000 WHERE aid % 4 = 0")
            connection.execute("SELECT pg_switch_wal()")
            rows = connection.execute(
                "SELECT replace(name, '.ready', '') FROM pg_ls_archive_statusdir() WHERE name ~ '^[0-9A-F]{24}.ready$'"
                " ORDER BY 1"
            ).fetchall()
            waiting = [str(row[0]) for row in rows]
        connection.execute("VACUUM pgbench_accounts")
    return waiting[ground.size.segments - 1]


def _let(scratch: Scratch, command: str) -> None:
    with scratch.connection() as connection:
        quoted = command.replace("'", "''")
        connection.execute(f"ALTER SYSTEM SET archive_command = '{quoted}'".encode())
        connection.execute("SELECT pg_reload_conf()")


def _archived(scratch: Scratch) -> tuple[str, int, int]:
    """Last stored segment, number of stored ones, number of failures."""
    with scratch.connection() as connection:
        row = connection.execute(
            "SELECT coalesce(last_archived_wal, ''), archived_count, failed_count FROM pg_stat_archiver"
        ).fetchone()
    if row is None:
        return "", 0, 0
    return str(row[0]), int(str(row[1])), int(str(row[2]))


def _start_load(ground: Ground) -> None:
    unit = ["systemd-run", f"--unit={_LOAD}", "--collect", "--quiet", "--uid=postgres", "--working-directory=/"]
    load = ["--client=2", f"--rate={_RATE}", f"--time={_LONGEST:.0f}", "--no-vacuum", "postgres"]
    ground.source.run([*unit, "/usr/lib/postgresql/17/bin/pgbench", f"--port={PORT}", *load])


def _stop_load(ground: Ground) -> None:
    ground.source.run(["bash", "-c", f"systemctl stop {_LOAD} 2>/dev/null || true"])
