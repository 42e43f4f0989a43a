"""Restore of a cluster with very many small relations from S3: our block map against pgBackRest's defaults.

With block increments on every file, each small file costs a request of its own; a cloud answers after 20-30 ms.
"""

from __future__ import annotations

from bench import pgbackrest
from bench.bucket import emptied
from bench.configuration import Configuration
from bench.ground import CLOUD, Ground
from bench.host import Host
from bench.pgbackrest import STANZA, Variant
from bench.report import RatioAtLeast, Row
from bench.scratch import DATA, PORT
from pgdr.errors import NotProvenError

LATENCY_MS = 25
_RESTORED = "/var/lib/postgresql/bench-restored"
_GOAL = RatioAtLeast(8)


def measure(ground: Ground) -> list[Row]:
    """Back a stopped cluster up twice, and restore both from S3, with and without a cloud's latency."""
    ground.protect()
    with emptied(ground.lab, "bench/"):
        return _measure(ground)


def _measure(ground: Ground) -> list[Row]:
    host, scratch, count = ground.source, ground.scratch, ground.size.relations
    try:
        scratch.make()
        ground.say(f"make {count:,} relations")
        ground.erp("relations", "--dsn", scratch.dsn, f"--count={count}")
        # Cold, so that both sets hold exactly the same files, and no WAL is in the figures.
        scratch.stop()
        ours, theirs = _variants(host)
        backups = {variant.name: _back_up(ground, variant) for variant in (ours, theirs)}
        note = f"full backup: ours {backups['ours']:.1f} s, theirs {backups['defaults']:.1f} s"
        rows = []
        for latency in (LATENCY_MS, 0):
            ground.lab.set_s3_latency(latency)
            ground.say(f"restore both with {latency} ms of latency")
            restored = {variant.name: _restore(host, variant) for variant in (ours, theirs)}
            rows.append(
                Row(
                    f"restore of {count:,} relations from S3, {latency} ms a request, against bundle and block on",
                    restored["ours"],
                    restored["defaults"],
                    "s",
                    goal=_GOAL if latency else None,
                    note=note if latency else "",
                )
            )
        return rows
    finally:
        ground.lab.set_s3_latency(0)
        host.remove(_RESTORED)
        pgbackrest.remove_all(host)
        scratch.drop()


def _variants(host: Host) -> tuple[Variant, Variant]:
    role = pgbackrest.of_role(host)

    def at(path: str) -> Configuration:
        return role.repositories([(CLOUD, f"/bench/relations/{path}")]).stanza(STANZA, data=DATA, port=PORT)

    ours = Variant.write(host, "ours", at("ours"))
    return ours, Variant.write(host, "defaults", at("defaults").plain_blocks())


def _back_up(ground: Ground, variant: Variant) -> float:
    ground.say(f"back up: {variant.name}")
    variant.run("stanza-create", "--no-online")
    return variant.seconds("backup", "--no-online", "--type=full")


def _restore(host: Host, variant: Variant) -> float:
    host.make_folder(_RESTORED)
    seconds = variant.seconds("restore", "--type=none", f"--pg1-path={_RESTORED}")
    # pgBackRest has compared each file's checksum; that none is missing is for us to see.
    restored, source = (_files(host, folder) for folder in (_RESTORED, DATA))
    if restored < source:
        raise NotProvenError(f"{variant.name}: {restored} of {source} files were restored")
    return seconds


def _files(host: Host, folder: str) -> int:
    """Files of relations; the rest of a data directory may differ."""
    return len(host.run(["find", f"{folder}/base", f"{folder}/global", "-type", "f", "-name", "[0-9]*"]).splitlines())
