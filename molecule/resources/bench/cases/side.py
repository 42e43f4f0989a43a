"""Production under load: alone, and with a side instance that is restored and read beside it.

The load asks for a steady number of transactions, so that a slow one does not slow the next one's beginning down. How
long 95 of 100 take, beside a side instance and without one, is what a user of production notices of it.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from bench.ground import DATABASE, Ground
from bench.report import RatioAtLeast, Row
from drill.play import lab_folder
from pgdr.errors import OperationFailedError

_PGDR = "/usr/local/bin/pgdr"
_NAME = "bench"
_CONNECTIONS, _RATE = 4, 20
_WARM_SECONDS, _SECONDS = 15, 90
_SLOWER = 1.3
_P95 = re.compile(r"95 % within ([0-9.]+) ms")
# What somebody who looks for lost rows asks: whole tables, joined and sorted.
_QUESTION = """
select count(*), sum(l.quantity * l.unit_price) from sales.order_lines l join sales.orders o on o.id = l.order_id;
select tenant_id, count(*) from sales.orders group by 1 order by 2 desc limit 10;
"""


def measure(ground: Ground) -> list[Row]:
    """Load alone; then the same load, while a point in time is restored beside it and asked."""
    ground.sample()
    host = ground.source
    ground.say("side: a backup, and the load alone")
    host.run([_PGDR, "backup", "full", "--repo=1"], user="postgres")
    _load(ground, _WARM_SECONDS)
    alone = _load(ground, _SECONDS)
    target = _moment(ground)
    ground.say("side: the load beside a side instance")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(_load, ground, _SECONDS)
        try:
            started, questions = _beside(ground, target, running)
            beside = running.result()
        finally:
            with suppress(OperationFailedError):
                host.run([_PGDR, "side", "stop", _NAME], user="postgres")
    return [
        Row(
            "95 % of production's transactions beside a side instance, against production alone",
            beside,
            alone,
            "ms",
            goal=RatioAtLeast(1 / _SLOWER),
            note=f"{_caps(ground)}{_RATE} transactions a second for {_SECONDS} s each; queries worked after "
            f"{started:.0f} s, {questions} rounds of them until the end",
        )
    ]


def _beside(ground: Ground, target: str, running: Future[float]) -> tuple[float, int]:
    """Bring the past up and ask it until the load has ended; seconds until it answered, and how often it did."""
    host = ground.source
    began = time.monotonic()
    host.run([_PGDR, "side", "start", f"--name={_NAME}", "--repo=1", f"--target-lsn={target}"], user="postgres")
    started = time.monotonic() - began
    if running.done():
        raise OperationFailedError(f"the side instance was ready after {started:.0f} s, when the load had ended")
    conninfo = host.run([_PGDR, "side", "connect", _NAME], user="postgres").strip()
    questions = 0
    while not running.done():
        host.run(["psql", "-XAtq", "--set=ON_ERROR_STOP=1", f"--command={_QUESTION}", conninfo], user="postgres")
        questions += 1
    return started, questions


def _caps(ground: Ground) -> str:
    """Whether systemd may cap anything on the host: containers on cgroup v1 see their groups and may not write them."""
    mounts = ground.source.run(["cat", "/proc/mounts"]).splitlines()
    closed = any(
        line.split()[2] == "cgroup" and "cpu" in line.split()[1] and ",ro" in f",{line.split()[3]}" for line in mounts
    )
    return "no caps in this container, low priority alone; " if closed else ""


def _load(ground: Ground, seconds: int) -> float:
    """Run the load; milliseconds in which 95 of 100 transactions end."""
    ledger = lab_folder(ground.lab.name) / "bench-ledger.jsonl"
    ledger.unlink(missing_ok=True)
    options = (f"--connections={_CONNECTIONS}", f"--rate={_RATE}", f"--seconds={seconds}")
    found = _P95.search(ground.erp("load", "--dsn", ground.dsn, f"--ledger={ledger}", *options))
    if found is None or not float(found[1]):
        raise OperationFailedError("the load did not say how long its transactions took")
    return float(found[1])


def _moment(ground: Ground) -> str:
    """A position in archived WAL."""
    psql = ["psql", "-XAt", "--set=ON_ERROR_STOP=1", DATABASE]
    host = ground.source
    position = host.run([*psql, "--command=select pg_current_wal_insert_lsn()"], user="postgres").strip()
    closed = host.run([*psql, "--command=select pg_walfile_name(pg_switch_wal())"], user="postgres").strip()
    until = time.monotonic() + 60
    last = [*psql, "--command=select coalesce(last_archived_wal, '') from pg_stat_archiver"]
    while host.run(last, user="postgres").strip() < closed:
        if time.monotonic() > until:
            raise OperationFailedError(f"segment {closed} was not archived within 60 s")
        time.sleep(0.2)
    return position
