"""``pgdr when`` against bare ``pg_waldump``: WAL read a second, of the same archived segments.

The bare tool gets what it cannot do itself for nothing: the segments lie before it on disk, decrypted and unpacked, and
its output goes nowhere. Ours fetches, decrypts, unpacks, reads and finds the one DELETE.
"""

from __future__ import annotations

import json
import time

from bench.ground import DATABASE, PORT, STANZA, Ground
from bench.report import Better, RatioAtLeast, Row
from pgdr.errors import NotProvenError, OperationFailedError
from pgdr.recovery.lsn import Segment

_BIN = "/usr/lib/postgresql/17/bin"
_FOLDER = "/var/tmp/bench-when"  # noqa: S108 - made anew, of the cluster's user alone
_TRANSACTIONS = 200_000
_CLIENTS = 4
_SCALE = 10
_TABLE, _ROWS = "public.pgbench_tellers", 10 * _SCALE
_MISTAKE = "DELETE FROM public.pgbench_tellers"
_PER_CORE = 0.8
_LONGEST = 300.0
_TABLES = ("accounts", "branches", "tellers", "history")


def measure(ground: Ground) -> list[Row]:
    """Hide one DELETE among many transactions, find it, and read the same WAL with the bare tool."""
    ground.protect()
    host = ground.source
    cores = int(host.run(["nproc"]))
    ground.say(f"a DELETE among {_TRANSACTIONS} transactions")
    try:
        first, begin = _load(ground)
        last = _closed(ground)
        found = json.loads(
            host.run(
                [
                    *("/usr/local/bin/pgdr", "when", _TABLE, "--kind=delete", f"--from={begin}", "--repo=1"),
                    "--output=json",
                ],
                user="postgres",
            )
        )
        _require_found(found)
        ours = found["wal_bytes"] / found["seconds"] / 2**20
        theirs = _bare(ground, first, last)
    finally:
        _sql(ground, "; ".join(f"DROP TABLE IF EXISTS pgbench_{name}" for name in _TABLES))
        host.remove(_FOLDER)
    return [
        Row(
            "pgdr when, WAL read and searched, against pg_waldump to nowhere",
            ours,
            theirs,
            "MiB/s",
            better=Better.HIGHER,
            goal=RatioAtLeast(_PER_CORE * cores),
            note=f"{found['wal_bytes'] / 2**20:.0f} MiB, {found['transactions']} transactions, {cores} cores; "
            "theirs reads unpacked segments from disk with one process",
        )
    ]


def _load(ground: Ground) -> tuple[str, str]:
    """Make the load; return the segment before it and the time at which it began."""
    pgbench = [f"{_BIN}/pgbench", f"--port={PORT}"]
    ground.source.run([*pgbench, "--quiet", "--initialize", f"--scale={_SCALE}", DATABASE], user="postgres")
    first = _closed(ground)
    begin = _sql(ground, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || 'Z'")
    half = [*pgbench, f"--client={_CLIENTS}", f"--transactions={_TRANSACTIONS // 2 // _CLIENTS}"]
    half += ["--skip-some-updates", "--no-vacuum", DATABASE]
    ground.source.run(half, user="postgres")
    _sql(ground, _MISTAKE)
    ground.source.run(half, user="postgres")
    return first, begin


def _closed(ground: Ground) -> str:
    """Close the segment and wait until it is archived; return its name."""
    name = _sql(ground, "SELECT pg_walfile_name(pg_switch_wal())")
    begin = time.monotonic()
    while _sql(ground, "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") < name:
        if time.monotonic() - begin > _LONGEST:
            raise OperationFailedError(f"segment {name} was not archived within {_LONGEST:.0f} s")
        time.sleep(0.5)
    return name


def _bare(ground: Ground, first: str, last: str) -> float:
    """MiB a second that pg_waldump reads of the segments behind the first one, up to the last."""
    host = ground.source
    host.make_folder(_FOLDER)
    begin, end = Segment.parse(first), Segment.parse(last)
    names = [Segment(end.timeline, number).name for number in range(begin.number + 1, end.number + 1)]
    for name in names:
        argv = ["pgbackrest", f"--stanza={STANZA}", "--repo=1", "--no-archive-async", "archive-get", name]
        host.run([*argv, f"{_FOLDER}/{name}"], user="postgres")
    # It ends with 1 behind the last segment: it cannot know that this is the end.
    seconds = host.script(f"{_BIN}/pg_waldump --path={_FOLDER} {names[0]} {names[-1]} >/dev/null 2>&1 || true")
    return len(names) * end.size / 2**20 / seconds


def _require_found(found: dict[str, object]) -> None:
    candidates = found["candidates"]
    if not isinstance(candidates, list):
        raise OperationFailedError("pgdr when gave no list")
    rows = [change["deleted"] for item in candidates for change in item["tables"]]
    if rows != [_ROWS]:
        raise NotProvenError(f"pgdr when found deletes of {rows} rows, there was one of {_ROWS}")


def _sql(ground: Ground, statement: str) -> str:
    argv = ["psql", f"--port={PORT}", "-XAt", "--set=ON_ERROR_STOP=1", f"--command={statement}", DATABASE]
    return ground.source.run(argv, user="postgres").strip()
