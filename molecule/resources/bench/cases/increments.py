"""The role's block increments for large files against no block increments at all, on the ERP sample.

It decides the default of ``pgbackrest_block_minimum_size``: how small an incremental gets, and what a restore of a
full and an incremental then costs.
"""

from __future__ import annotations

import json

from bench import pgbackrest
from bench.bucket import emptied
from bench.cases.relations import LATENCY_MS
from bench.configuration import Configuration
from bench.ground import CLOUD, DATA, PORT, UNIT, Ground
from bench.pgbackrest import STANZA, Variant
from bench.report import Row

_LOAD_SECONDS = 20
_RESTORED = "/var/lib/postgresql/bench-restored"
_MB = 1_000_000


def measure(ground: Ground) -> list[Row]:
    """Take a full and, after some load, an incremental in both ways, and restore both from S3."""
    ground.sample()
    with emptied(ground.lab, "bench/"):
        return _measure(ground)


def _measure(ground: Ground) -> list[Row]:
    host = ground.source
    role = pgbackrest.of_role(host)
    ours = Variant.write(host, "blocks", _at(role, "blocks"))
    theirs = Variant.write(host, "whole", _at(role, "whole").no_blocks())
    try:
        for kind in ("full", "incr"):
            # Stopped, so that both find the very same files.
            host.run(["systemctl", "stop", "cron", UNIT])
            for variant in (ours, theirs):
                ground.say(f"{kind} backup: {variant.name}")
                if kind == "full":
                    variant.run("stanza-create", "--no-online")
                variant.run("backup", "--no-online", f"--type={kind}")
            host.run(["systemctl", "start", UNIT, "cron"])
            if kind == "full":
                _load(ground)
        sizes = [_stored(variant) / _MB for variant in (ours, theirs)]
        ground.lab.set_s3_latency(LATENCY_MS)
        seconds = [_restore(ground, variant) for variant in (ours, theirs)]
    finally:
        ground.lab.set_s3_latency(0)
        host.run(["systemctl", "start", UNIT, "cron"])
        host.remove(_RESTORED)
        pgbackrest.remove_all(host)
    load = f"{_LOAD_SECONDS} s of the ERP load on {ground.size.megabytes} MB"
    return [
        Row(
            "size of an incremental, block increments for large files against none", sizes[0], sizes[1], "MB", note=load
        ),
        Row(
            f"restore of a full and an incremental from S3, {LATENCY_MS} ms a request, the same two",
            seconds[0],
            seconds[1],
            "s",
        ),
    ]


def _at(role: Configuration, path: str) -> Configuration:
    return role.repositories([(CLOUD, f"/bench/increments/{path}")]).stanza(STANZA, data=DATA, port=PORT)


def _load(ground: Ground) -> None:
    ground.say(f"load for {_LOAD_SECONDS} s")
    ledger = ground.lab.folder / "bench-ledger.jsonl"
    ledger.unlink(missing_ok=True)
    ground.erp("load", "--dsn", ground.dsn, f"--ledger={ledger}", f"--seconds={_LOAD_SECONDS}")


def _restore(ground: Ground, variant: Variant) -> float:
    ground.say(f"restore full and incremental: {variant.name}")
    ground.source.make_folder(_RESTORED)
    return variant.seconds("restore", "--type=none", f"--pg1-path={_RESTORED}")


def _stored(variant: Variant) -> int:
    """Bytes that the newest set added to the repository."""
    info = json.loads(variant.run("info", "--output=json"))
    return int(info[0]["backup"][-1]["info"]["repository"]["delta"])
