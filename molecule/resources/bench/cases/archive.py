"""Logical archives: ``pgdr archive`` against the requirement's serial dumps; restores against ``pg_restore`` alone."""

from __future__ import annotations

import json
from statistics import mean

from bench.ground import DATABASE, Ground
from bench.report import RatioAtLeast, Row

_SCHEMAS = ("auth", "core", "financial", "inventory", "purchase", "sales", "analytics", "projects", "system")
_ROUNDS = 2
_DUMPS = "/backups/bench-dumps"
_PGDR = "/usr/local/bin/pgdr"
_COPY = "bench_copy"


def measure(ground: Ground) -> list[Row]:
    """Archive the ERP sample both ways in turn, then restore it both ways."""
    ground.sample()
    host = ground.source
    ours, theirs, sizes = [], [], []
    try:
        for round_ in range(1, _ROUNDS + 1):
            ground.say(f"archive, round {round_}")
            ours.append(host.seconds([_PGDR, "archive", "--local-only"], user="postgres"))
            host.make_folder(_DUMPS)
            theirs.append(host.script(_requirement()))
            sizes.append(int(host.run(["du", "--summarize", "--bytes", _DUMPS]).split()[0]))
        listed = json.loads(host.run([_PGDR, "archives", "list", "--output", "json"], user="postgres"))
        stored = int(listed["archives"][-1]["bytes"])
        ground.say("restore, ours and theirs")
        back = host.seconds([_PGDR, "restore", "database", f"--into={_COPY}", "--confirm=erp-lab"], user="postgres")
        host.run(["dropdb", _COPY], user="postgres")
        single = host.script(
            f"createdb {_COPY} && pg_restore --no-owner -d {_COPY} {_DUMPS}/full.dump && dropdb {_COPY}"
        )
    finally:
        host.remove(_DUMPS)
    return [
        Row(
            "logical archive, against the requirement's serial dumps",
            mean(ours),
            mean(theirs),
            "s",
            goal=RatioAtLeast(5),
            note="ours also counts every row and checksums every file; no upload in either",
        ),
        Row("size of a logical archive", stored / 1e6, mean(sizes) / 1e6, "MB", goal=RatioAtLeast(1)),
        Row(
            "restore of the database, against pg_restore with one process",
            back,
            single,
            "s",
            note="ours checks all files, counts all rows, compares constraints and gathers statistics",
        ),
    ]


def _requirement() -> str:
    """The dumps of the requirement's script, one after the other, without its upload."""
    dump = f"pg_dump -Fc -d {DATABASE}"
    lines = [f"{dump} -f {_DUMPS}/full.dump", f"md5sum {_DUMPS}/full.dump > {_DUMPS}/full.dump.md5"]
    lines += [f"{dump} -n {schema} -f {_DUMPS}/{schema}.dump" for schema in _SCHEMAS]
    lines.append(f"pg_dumpall --roles-only -f {_DUMPS}/roles.sql")
    return "\n".join(lines) + "\n"
