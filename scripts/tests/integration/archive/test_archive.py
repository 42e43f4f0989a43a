"""Archives of a real database: what is in them, what they say about themselves, and what makes them bad."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgdr import hostconfig
from pgdr.archive import dump, run
from pgdr.archive.names import label_of
from pgdr.errors import ExitCode
from pgdr.journal import Journal
from pgdr.locks import ARCHIVES, operation_lock

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site

HOSTILE = ('we"ird; DROP', "a*b?%[x]", "Ünïcode §", "x" * 63, "full", "new\nline", "separa\u2028tor")


def test_archive_holds_everything_of_one_snapshot_and_says_so(site: Site) -> None:
    made = site.ask("archive")
    assert made["schemas"] == ["core", "sales"]
    folder = Path(made["folder"])
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = {table["key"]: table["rows"] for table in manifest["tables"]}
    assert rows["core.partners"] == 30
    assert rows["sales.lines"] == 900
    assert rows["sales.log"] is None
    assert rows["sales.log_1"] + rows["sales.log_2"] == 300
    assert {"erp_owner", "erp_reader"} <= set(manifest["roles"])
    assert manifest["large_objects"] >= 1
    sales, core = (next(s for s in manifest["schemas"] if s["name"] == name) for name in ("sales", "core"))
    needed = [lack for lack in sales["lacks"] if lack["needed"]]
    assert [lack["name"] for lack in needed] == ["foreign key orders_partner_id_fkey on sales.orders: core.partners"]
    # The view core.turnover reads sales.orders: core's dump does not restore alone either.
    assert any("sales.orders" in lack["name"] for lack in core["lacks"] if lack["needed"])
    assert {"kind": "large objects", "name": "1", "needed": False} in sales["lacks"]
    listed = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    assert listed == set(manifest["files"])
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder, *folder.rglob("*.json")])
    assert "erp_owner" in (folder / manifest["globals_file"]).read_text()
    entries = list(Journal(site.folder / "state" / "journal.jsonl").entries())
    assert [(e.operation, e.result, e.details["rows"]) for e in entries] == [("archive", "ok", made["rows"])]


def test_rows_written_during_the_archive_are_in_no_dump(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    original = dump.dump_globals

    def write_then_dump(*arguments: object) -> None:
        site.execute("insert into sales.lines select 1, n, 'late' from generate_series(100, 199) n")
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(dump, "dump_globals", write_then_dump)
    folder = Path(site.ask("archive")["folder"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert next(t["rows"] for t in manifest["tables"] if t["key"] == "sales.lines") == 900
    for name in ("full", "sales"):
        text = site.dump_text(folder / f"{name}_{folder.name}.dump")
        assert "line 3" in text
        assert "late" not in text


def test_hostile_names_get_a_dump_each_with_their_own_rows(make_site: Callable[..., Site]) -> None:
    statements = []
    for number, name in enumerate(HOSTILE):
        quoted = '"' + name.replace('"', '""') + '"'
        statements.append(f"create schema {quoted}; create table {quoted}.{quoted} as select 'mark-{number}' as v;")
    # Names that a pattern of one of the others would match.
    statements.append("create schema aXb; create table aXb.t as select 'mark-other' as v")
    site = make_site(sql="".join(statements), schemas=("core",), database="hostile")
    made = site.ask("archive", code=ExitCode.CONFIG)
    folder = Path(made["folder"])
    manifest = json.loads((folder / "manifest.json").read_text())
    dumps = {schema["name"]: schema["dump"] for schema in manifest["schemas"]}
    assert len(set(dumps.values())) == len(HOSTILE) + 1
    assert dumps["full"] != manifest["full_dump"]
    for number, name in enumerate(HOSTILE):
        text = site.dump_text(folder / dumps[name])
        assert text.count("mark-") == 1
        assert f"mark-{number}" in text
    assert site.run("archives", "verify") == 0


def test_schema_in_no_policy_is_archived_and_an_error(site: Site) -> None:
    site.execute("create schema forgotten; create table forgotten.t as select 1")
    site.configure(["core", "sales", "gone"])
    made = site.ask("archive", code=ExitCode.CONFIG)
    assert "forgotten" in made["schemas"]
    assert "schema forgotten of erp stands in no policy" in made["problems"][0]
    assert "schema gone of the policy is not in erp" in made["problems"][1]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "add", "manifest"])
def test_damage_is_found_and_takes_the_mark_away(site: Site, damage: str) -> None:
    folder = Path(site.ask("archive")["folder"])
    assert site.ask("archives", "verify")["archives"][0]["verified"] is True
    assert site.ask("archives", "list")["archives"][0]["verified_at"] is not None
    victim = max((p for p in folder.rglob("*.gz")), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "truncate":
        victim.write_bytes(content[:-1])
    elif damage == "remove":
        victim.unlink()
    elif damage == "add":
        victim.with_name("more").write_text("x")
    else:
        (folder / "manifest.json").write_text('{"format": 1}')
    line = site.refused("archives", "verify", code=ExitCode.NOT_PROVEN)
    assert "damaged" in line
    assert site.ask("archives", "list")["archives"][0]["verified_at"] is None


def test_dump_that_was_bad_when_it_was_written_is_found_by_reading_it(site: Site) -> None:
    # A checksum proves only that nothing changed since.
    folder = Path(site.ask("archive")["folder"])
    victim = max((p for p in folder.rglob("*.gz")), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-20])
    manifest = json.loads((folder / "manifest.json").read_text())
    written = manifest["files"][str(victim.relative_to(folder))]["sha256"]
    now = {"size": victim.stat().st_size, "sha256": hashlib.sha256(victim.read_bytes()).hexdigest()}
    for entry in manifest["files"].values():
        if entry["sha256"] == written:
            entry.update(now)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "cannot be read" in site.refused("archives", "verify", code=ExitCode.NOT_PROVEN)


def test_schema_whose_rows_are_not_the_full_dumps_is_no_archive(site: Site) -> None:
    """Its rows are read in the full dump only, so they must be those."""
    folder = Path(site.ask("archive")["folder"])
    victim = max((p for p in folder.glob("sales_*/*.gz")), key=lambda p: p.stat().st_size)
    victim.unlink()
    victim.write_bytes(b"something else")
    manifest = json.loads((folder / "manifest.json").read_text())
    now = {"size": victim.stat().st_size, "sha256": hashlib.sha256(victim.read_bytes()).hexdigest()}
    manifest["files"][str(victim.relative_to(folder))].update(now)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert f"{victim.name} is not the full dump's" in site.refused("archives", "verify", code=ExitCode.NOT_PROVEN)


def test_rows_are_stored_once_though_two_dumps_have_them(site: Site) -> None:
    made = site.ask("archive")
    folder = Path(made["folder"])
    for name in folder.glob("sales_*/*.gz"):
        (twin,) = folder.glob(f"full_*/{name.name}")
        assert name.samefile(twin)
    inodes = {path.stat().st_ino: path.stat().st_size for path in folder.glob("*.dump/*")}
    globals_file = next(folder.glob("globals_*"))
    assert made["bytes"] == sum(inodes.values()) + globals_file.stat().st_size


def _aged(site: Site, days: int) -> Path:
    folder = Path(site.ask("archive")["folder"])
    old = folder.with_name(label_of(datetime.now(UTC) - timedelta(days=days)))
    folder.rename(old)
    return old


def test_retention_keeps_the_last_verified_archive_whatever_its_age(site: Site) -> None:
    oldest, verified, later = _aged(site, 30), _aged(site, 20), _aged(site, 10)
    (verified / "verified.json").write_text('{"at": "2026-01-01T00:00:00+00:00"}')
    made = site.ask("archive")
    assert made["expired"] == [oldest.name]
    assert verified.exists()
    # Younger than the verified one, past its time, and nobody has read what came after it.
    assert later.exists()
    assert "stay until a younger one is verified" in made["notes"][0]
    assert site.run("archives", "verify") == 0
    assert site.ask("archive")["expired"] == [verified.name, later.name]


def test_archive_that_is_killed_leaves_nothing_that_counts(site: Site) -> None:
    site.execute("create table sales.big as select g, repeat(md5(g::text), 200) from generate_series(1, 20000) g")
    command = [sys.executable, "-m", "pgdr.cli.main", "--config", str(site.folder / "host.yml"), "archive"]
    process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not list(site.archives.glob(".*.partial/full_*/*.gz")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert site.ask("archives", "list")["archives"] == []
    assert [p.name.endswith(".partial") for p in site.archives.iterdir()] == [True]


def test_interrupted_archive_cleans_up_and_ends_its_dumps(site: Site) -> None:
    site.execute("create table sales.big as select g, repeat(md5(g::text), 200) from generate_series(1, 20000) g")
    command = [sys.executable, "-m", "pgdr.cli.main", "--config", str(site.folder / "host.yml"), "archive"]
    process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not list(site.archives.glob(".*.partial/full_*/*.gz")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.FAILED
    assert "interrupted by SIGTERM" in err
    assert list(site.archives.iterdir()) == []
    assert (
        site.value(
            "select count(*) from pg_stat_activity where application_name like 'pg%' and pid <> pg_backend_pid()"
        )
        == 0
    )


def test_second_archive_gives_way(site: Site) -> None:
    with operation_lock(hostconfig.load(site.folder / "host.yml"), "archive", scope=ARCHIVES):
        assert "gave way to archive" in site.refused("archive", code=ExitCode.BUSY)
    assert list(site.archives.iterdir()) == []


def test_table_that_is_locked_for_too_long_fails_the_archive_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run._SETTINGS, "lock_timeout", "200ms")
    with psycopg.connect(
        host=str(site.cluster.folder), port=site.cluster.port, user="postgres", dbname=site.database
    ) as other:
        other.execute("lock table sales.orders in access exclusive mode")
        assert "lock timeout" in site.refused("archive", code=ExitCode.FAILED)
    assert list(site.archives.iterdir()) == []
