"""``pgdr status`` and ``pgdr metrics`` on a repository that has grown for years, in the bucket.

A cluster whose WAL begins far ahead takes a real full backup and archives real segments. Then the bucket gets as many
more: a segment's object under the names before it, and the set's manifests under earlier labels with ``backup.info`` as
pgBackRest would have it. What a status never reads, the data files of sets, is not copied: the server holds them in
memory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from bench import pgbackrest
from bench.bucket import emptied
from bench.ground import CLOUD, Ground
from bench.pgbackrest import STANZA, Variant
from bench.report import OursAtMost, Row
from bench.scratch import DATA, PORT, VERSION, Scratch
from pgdr.errors import NotProvenError

BACKUPS, SEGMENTS, ENTRIES = 400, 50_000, 5_000
_FIRST_SEGMENT = 51_200  # where the cluster's WAL begins: room for all others before it
_PREFIX = "bench/status/"
_FOLDER = "/etc/bench-status"
_AT_ONCE = 24
_ROUNDS = 5
_SEGMENTS_A_FILE = 256


def measure(ground: Ground) -> list[Row]:
    """Grow a repository and time both commands on it."""
    ground.protect()
    with emptied(ground.lab, _PREFIX):
        return _measure(ground)


def _measure(ground: Ground) -> list[Row]:
    host, scratch = ground.source, ground.scratch
    try:
        variant = _archiving(ground, scratch)
        _grow(ground, variant)
        _describe(ground, variant)
        ground.say("look: everything is listed once")
        first = _seconds(ground, "status")
        found = json.loads(_command(ground, "status", "--output", "json"))["repositories"][0]
        if found["backups"] < BACKUPS or found["segments"] < SEGMENTS:
            raise NotProvenError(f"the status saw {found['backups']} sets and {found['segments']} segments only")
        times = {name: [_seconds(ground, name) for _ in range(_ROUNDS)] for name in ("status", "metrics")}
    finally:
        scratch.drop()
        pgbackrest.remove_all(host)
        host.remove(_FOLDER, f"/var/spool/pgbackrest/archive/{STANZA}")
    what = f"{found['backups']} backups and {found['segments']} WAL segments in the bucket, {ENTRIES} journal entries"
    return [
        Row(
            f"pgdr {name}, {what}",
            sorted(times[name])[_ROUNDS // 2],
            None,
            "s",
            goal=OursAtMost(limit),
            note=f"median of {_ROUNDS}; the first look, which lists everything: {first:.1f} s",
        )
        for name, limit in (("status", 2.0), ("metrics", 1.0))
    ]


def _archiving(ground: Ground, scratch: Scratch) -> Variant:
    """A cluster far along in its WAL, with a set and some segments in the bucket."""
    host = ground.source
    scratch.make()
    scratch.stop()
    ahead = f"00000001{_FIRST_SEGMENT // _SEGMENTS_A_FILE:08X}{_FIRST_SEGMENT % _SEGMENTS_A_FILE:08X}"
    host.run([f"/usr/lib/postgresql/{VERSION}/bin/pg_resetwal", f"--next-wal-file={ahead}", DATA], user="postgres")
    role = pgbackrest.of_role(host)
    configuration = role.repositories([(CLOUD, f"/{_PREFIX.rstrip('/')}")]).stanza(STANZA, data=DATA, port=PORT)
    variant = Variant.write(host, "status", configuration)
    command = " ".join(variant.command("archive-push", "%p"))
    host.run(["tee", "--append", f"/etc/postgresql/{VERSION}/bench/conf.d/60-bench.conf"], stdin=_setting(command))
    scratch.start()
    variant.run("stanza-create")
    ground.say("take a real full backup")
    variant.run("backup", "--type=full")
    with scratch.connection() as connection:
        for name in "abc":
            connection.execute(f"SELECT pg_create_restore_point('{name}'), pg_switch_wal()".encode())
    variant.run("check")
    return variant


def _setting(command: str) -> str:
    return f"archive_command = '{command}'\n"


def _grow(ground: Ground, variant: Variant) -> None:
    """Put sets and segments before those that are there."""
    client, bucket = ground.lab.boto3_client(admin=True), ground.lab.s3.bucket
    listed = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{_PREFIX}archive/{STANZA}/")
    objects = [item for page in listed for item in page.get("Contents", [])]
    segments = [item for item in objects if re.search(r"/[0-9A-F]{24}-[0-9a-f]{40}", item["Key"])]
    smallest = min(segments, key=lambda item: item["Size"])["Key"]
    first = min(_number(item["Key"]) for item in segments)
    body = client.get_object(Bucket=bucket, Key=smallest)["Body"].read()
    root, ending = smallest.split("/00000001", 1)[0], smallest.rpartition("/")[2][24:]
    ground.say(f"put {SEGMENTS:,} segments before number {first}, {len(body)} bytes each")

    def put(number: int) -> None:
        name = _segment(number)
        client.put_object(Bucket=bucket, Key=f"{root}/{name[:16]}/{name}{ending}", Body=body)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(put, range(first - SEGMENTS, first)))
    index = f"backup/{STANZA}/backup.info"
    text = variant.run("--repo=1", "repo-get", index)
    label = next(iter(json.loads(variant.run("--output=json", "info"))[0]["backup"]))["label"]
    labels, grown = _with_sets(text, label, first)
    ground.say(f"put {len(labels)} sets before {label}")
    manifests = {
        name: client.get_object(Bucket=bucket, Key=f"{_PREFIX}backup/{STANZA}/{label}/{name}")["Body"].read()
        for name in ("backup.manifest", "backup.manifest.copy")
    }
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for made in labels:
            for name, content in manifests.items():
                pool.submit(
                    client.put_object, Bucket=bucket, Key=f"{_PREFIX}backup/{STANZA}/{made}/{name}", Body=content
                )
    for name in ("", ".copy"):
        ground.source.run(variant.command("--repo=1", "repo-put", f"{index}{name}"), user="postgres", stdin=grown)


def _with_sets(text: str, label: str, first: int) -> tuple[list[str], str]:
    """The index with earlier fulls, an equal stretch of WAL apart; returns their labels too."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"{label}="))
    known = json.loads(lines[at].partition("=")[2])
    labels, entries = [], []
    for back in range(BACKUPS, 0, -1):
        shift = timedelta(hours=back)
        moment = datetime.fromtimestamp(known["backup-timestamp-start"], UTC) - shift
        begin, end = (_segment(first - back * (SEGMENTS // BACKUPS) + offset) for offset in (0, 1))
        copied = {
            **known,
            "backup-archive-start": begin,
            "backup-archive-stop": end,
            "backup-timestamp-start": known["backup-timestamp-start"] - int(shift.total_seconds()),
            "backup-timestamp-stop": known["backup-timestamp-stop"] - int(shift.total_seconds()),
        }
        labels.append(f"{moment:%Y%m%d-%H%M%S}F")
        entries.append(f"{labels[-1]}={json.dumps(copied, separators=(',', ':'), sort_keys=True)}")
    grown = [*lines[:at], *entries, *lines[at:]]
    return labels, _signed(grown)


def _signed(lines: Iterable[str]) -> str:
    """The index with pgBackRest's own checksum: SHA-1 of all sections as one JSON document."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif line:
            name, _, value = line.partition("=")
            if name != "backrest-checksum":
                current.append((name, value))
    body = ",".join(
        f'"{section}":{{' + ",".join(f'"{name}":{value}' for name, value in options) + "}"
        for section, options in sections.items()
    )
    checksum = hashlib.sha1(f"{{{body}}}".encode()).hexdigest()  # noqa: S324 - the format's
    return "".join(_written(sections, checksum))


def _written(sections: dict[str, list[tuple[str, str]]], checksum: str) -> Iterator[str]:
    for number, (section, options) in enumerate(sections.items()):
        yield f"{chr(10) if number else ''}[{section}]\n"
        shown = sorted([*options, ("backrest-checksum", f'"{checksum}"')]) if section == "backrest" else options
        yield from (f"{name}={value}\n" for name, value in shown)


def _describe(ground: Ground, variant: Variant) -> None:
    """A host of pgdr's own for the cluster, with the journal of years."""
    host = ground.source
    host.run(["install", "--directory", "--owner=postgres", "--mode=0750", _FOLDER, f"{_FOLDER}/state"])
    settings = {
        "stanza": STANZA,
        "cluster_name": "bench",
        "database": "postgres",
        "postgresql_version": VERSION,
        "postgresql_cluster": "bench",
        "data_directory": DATA,
        "bin_directory": f"/usr/lib/postgresql/{VERSION}/bin",
        "port": PORT,
        "state_directory": f"{_FOLDER}/state",
        "run_directory": f"{_FOLDER}/run",
        "pgbackrest_config": f"{variant.folder}/pgbackrest.conf",
    }
    host.write(f"{_FOLDER}/host.yml", json.dumps(settings), owner="postgres")
    ground.say(f"write {ENTRIES:,} entries of a journal")
    # One process, as it would take half an hour otherwise; the entries are those of backups.
    script = (
        "import os\nos.fsync = lambda _fd: None\nfrom pathlib import Path\nfrom pgdr.journal import Journal\n"
        f"journal = Journal(Path('{_FOLDER}/state/journal.jsonl'), 'bench')\n"
        f"for number in range({ENTRIES}):\n"
        "    journal.append(operation='backup', result='ok', details={'requested': 'incr', 'repository': 1,\n"
        "        'label': '20261122-020000F', 'size': number, 'stored': number}, times={'backup': 12.3})\n"
    )
    host.run(["/opt/pgdr/venv/bin/python", "-"], user="postgres", stdin=script)


def _pgdr(name: str) -> list[str]:
    return ["pgdr", "--config", f"{_FOLDER}/host.yml", name, "--policy", "/etc/pgdr/policy.yml"]


def _command(ground: Ground, name: str, *more: str) -> str:
    # Sets without a verification are red, which is an exit code.
    line = ["bash", "-c", '"$@" || [ $? -eq 5 ]', "bench", *_pgdr(name), *more]
    return ground.source.run(line, user="postgres")


def _seconds(ground: Ground, name: str) -> float:
    return ground.source.seconds(["bash", "-c", '"$@" || [ $? -eq 5 ]', "bench", *_pgdr(name)], user="postgres")


def _number(key: str) -> int:
    name = key.rpartition("/")[2][:24]
    return int(name[8:16], 16) * _SEGMENTS_A_FILE + int(name[16:24], 16)


def _segment(number: int) -> str:
    return f"00000001{number // _SEGMENTS_A_FILE:08X}{number % _SEGMENTS_A_FILE:08X}"
