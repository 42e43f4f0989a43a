"""Full backups: ``pgdr backup full`` against ``pg_basebackup`` and against the requirement's script."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean

from bench.bucket import emptied
from bench.ground import DATABASE, Ground
from bench.report import RatioAtLeast, Row

_SCHEMAS = ("auth", "core", "financial", "inventory", "purchase", "sales", "analytics", "projects", "system")
_ROUNDS = 2
_BASE, _DUMPS = "/backups/bench-base", "/backups/bench-dumps"
_NOT_ENCRYPTED = "theirs is neither encrypted nor looked at afterwards"


def measure(ground: Ground) -> list[Row]:
    """Take full backups of the ERP sample in turn, each way, and compare wall times."""
    ground.sample()
    with emptied(ground.lab, "postgres/"):
        return _measure(ground)


def _measure(ground: Ground) -> list[Row]:
    host = ground.source
    env = ground.aws()
    script = _requirement(ground.lab.s3.bucket)
    try:
        ways: dict[str, Callable[[], float]] = {
            "ours to disk": lambda: _ours(ground, "--repo=1"),
            "pg_basebackup": lambda: _base(ground, "--format=plain"),
            "pg_basebackup, zstd": lambda: _base(ground, "--format=tar", "--compress=zstd:3"),
            "ours": lambda: _ours(ground),
            "script": lambda: _script(ground, script, env),
        }
        # One after the other, round by round: what disturbs a round disturbs all ways alike.
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(1, _ROUNDS + 1):
            for name, way in ways.items():
                ground.say(f"full backup, round {round_}: {name}")
                taken[name].append(way())
    finally:
        host.remove(_BASE, _DUMPS)
    seconds = {name: mean(figures) for name, figures in taken.items()}
    return [
        *(
            Row(
                f"full backup to disk, against {name}", seconds["ours to disk"], seconds[name], "s", note=_NOT_ENCRYPTED
            )
            for name in ("pg_basebackup", "pg_basebackup, zstd")
        ),
        Row(
            "full backup to disk and S3, against the requirement's script",
            seconds["ours"],
            seconds["script"],
            "s",
            goal=RatioAtLeast(1),
            note=f"{ground.aws_version()}; theirs runs over the local socket, without its -v",
        ),
    ]


def _ours(ground: Ground, *options: str) -> float:
    return ground.source.seconds(["/usr/local/bin/pgdr", "backup", "full", *options], user="postgres")


def _base(ground: Ground, *options: str) -> float:
    ground.source.make_folder(_BASE)
    argv = ["pg_basebackup", f"--pgdata={_BASE}", "--checkpoint=fast", "--wal-method=stream", *options]
    return ground.source.seconds(argv, user="postgres")


def _script(ground: Ground, script: str, env: dict[str, str]) -> float:
    ground.source.make_folder(_DUMPS)
    return ground.source.script(script, env=env)


def _requirement(bucket: str) -> str:
    """What the requirement's script does, in its order: nothing left out that takes time, nothing added."""
    dump, cloud = f"pg_dump -Fc -d {DATABASE}", f"s3://{bucket}/postgres/bench"
    full = f"{_DUMPS}/full.dump"
    lines = [f"{dump} -f {full}", f"md5sum {full} > {full}.md5"]
    lines += [f"{dump} -n {schema} -f {_DUMPS}/{schema}.dump" for schema in _SCHEMAS]
    lines.append(f"pg_dumpall --roles-only -f {_DUMPS}/roles.sql")
    lines += [f"aws s3 cp {name} {cloud}/" for name in (full, f"{full}.md5")]
    lines += [f"aws s3 cp {_DUMPS}/{schema}.dump {cloud}/schemas/" for schema in _SCHEMAS]
    lines.append(f"md5sum -c {full}.md5")
    return "\n".join(lines) + "\n"
