"""Whole databases restored beside the live one and swapped in, on real PostgreSQL, through the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from pgdr import fingerprint, fingerprint_model, hostconfig
from pgdr.errors import ExitCode
from pgdr.journal import Journal
from pgdr.locks import ARCHIVES, operation_lock

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site

CONSENT = ("--confirm", "erp-test", "--disconnect")


@pytest.fixture
def site(site: Site) -> Iterator[Site]:
    """The small ERP, and afterwards a cluster without databases and roles of ours."""
    yield site
    with site.cluster.connect() as connection:
        for (name,) in connection.execute("select datname from pg_database where datname ~ '^(erp|copy)'").fetchall():
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _databases(site: Site) -> list[str]:
    with site.cluster.connect() as connection:
        rows = connection.execute("select datname from pg_database where datname ~ '^(erp|copy)' order by 1").fetchall()
    return [row[0] for row in rows]


def _roles(site: Site) -> int:
    return int(site.value("select count(*) from pg_roles where rolname like 'pgdr%'", "postgres"))


def _fingerprint(site: Site) -> fingerprint_model.Fingerprint:
    return fingerprint.take(hostconfig.load(site.folder / "host.yml"), site.database)


def test_database_comes_back_to_the_row_with_owners_privileges_and_settings(site: Site) -> None:
    site.execute(
        "alter database erp set search_path = sales, \"$user\", public; alter database erp set work_mem = '7MB';"
        "alter role erp_reader in database erp set statement_timeout = '5s';"
        "grant create on database erp to erp_reader;"
        "comment on database erp is 'ours'; alter default privileges for role erp_owner in schema sales"
        " grant select on tables to erp_reader"
    )
    before = _fingerprint(site)
    site.ask("archive")
    site.execute("drop schema sales cascade; delete from core.partners")
    done = site.ask("restore", "database", *CONSENT)
    after = _fingerprint(site)
    assert fingerprint_model.compare(before, after).equal
    assert done["proven"]["rows"] == before.totals.rows - 1  # the large object is no row of a table
    owners = site.value(
        "select array_agg(distinct pg_get_userbyid(relowner)::text) from pg_class c join pg_namespace n"
        " on n.oid = relnamespace where nspname in ('core', 'sales')"
    )
    assert owners == ["erp_owner"]
    assert site.value("select has_table_privilege('erp_reader', 'sales.orders', 'select')")
    assert not site.value("select has_table_privilege('erp_reader', 'sales.lines', 'select')")
    assert site.value("select has_database_privilege('erp_reader', 'erp', 'create')")
    assert site.value("show work_mem") == "7MB"
    assert site.value("show search_path") == 'sales, "$user", public'
    assert site.value("select shobj_description(oid, 'pg_database') from pg_database where datname = 'erp'") == "ours"
    site.execute("set role erp_owner; create table sales.later (); reset role")
    assert site.value("select has_table_privilege('erp_reader', 'sales.later', 'select')")
    assert site.value("select count(*) from core.partners", done["plan"]["kept_as"]) == 0
    assert _roles(site) == 0
    entries = [(e.operation, e.result) for e in Journal(site.folder / "state" / "journal.jsonl").entries()]
    assert entries[-2:] == [("restore database", "started"), ("restore database", "ok")]


def test_swap_back_returns_to_the_database_that_was_replaced(site: Site) -> None:
    site.ask("archive")
    site.execute("comment on database erp is 'mine'; create table core.newer as select 1 as x")
    site.ask("restore", "database", *CONSENT)
    assert site.value("select to_regclass('core.newer') is null")
    assert site.run("restore", "database", "--swap-back", "--plan") == 0
    assert site.value("select to_regclass('core.newer') is null")
    assert site.run("restore", "database", "--swap-back", *CONSENT) == 0
    assert site.value("select x from core.newer") == 1
    assert site.value("select shobj_description(oid, 'pg_database') from pg_database where datname = 'erp'") == "mine"
    assert sum(name.startswith("erp_undone_") for name in _databases(site)) == 1


def test_plan_changes_nothing_and_shows_what_has_moved_on(site: Site) -> None:
    site.ask("archive")
    site.execute(
        "alter table core.partners add column vat text; alter table sales.lines drop column what;"
        "alter table sales.lines alter n type bigint; create table sales.newer (); drop table sales.log"
    )
    databases = _databases(site)
    plan = site.ask("restore", "database", "--plan")
    texts = {f"{item['table']}: {item['what']}" for item in plan["drift"]}
    assert {
        "core.partners: column vat text added since",
        "sales.lines: column what dropped since",
        "sales.lines: column n was integer, is bigint",
        "sales.newer: new since",
        "sales.log: dropped since",
    } <= texts
    assert _databases(site) == databases
    assert _roles(site) == 0


def test_restore_needs_the_clusters_name_and_a_word_about_sessions(site: Site) -> None:
    site.ask("archive")
    assert "nobody has confirmed it" in site.refused("restore", "database")
    assert "is not the name of this cluster" in site.refused("restore", "database", "--confirm", "erp")
    with psycopg.connect(host=str(site.cluster.folder), user="postgres", dbname="erp", autocommit=True) as session:
        session.execute("select 1")
        assert "sessions work in erp" in site.refused("restore", "database", "--confirm", "erp-test")
        assert site.run("restore", "database", *CONSENT) == 0
        with pytest.raises(psycopg.OperationalError):
            session.execute("select 1")


def test_clients_that_come_back_at_once_find_the_restored_database(site: Site) -> None:
    """A client that hammers the name during the swap sees the old database or the new one, never none for long."""
    site.ask("archive")
    site.execute("create table core.newer as select 1 as x")
    code = (
        "import psycopg, sys, time\n"
        "gap = 0.0; last = time.monotonic()\n"
        "while True:\n"
        "    try:\n"
        "        with psycopg.connect(host=sys.argv[1], user='postgres', dbname='erp') as c:\n"
        "            new = c.execute(\"select to_regclass('core.newer') is null\").fetchone()[0]\n"
        "            now = time.monotonic(); gap = max(gap, now - last); last = now\n"
        "            if new: break\n"
        "    except psycopg.Error: pass\n"
        "print(gap)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code, str(site.cluster.folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert site.run("restore", "database", *CONSENT) == 0
        out, _ = client.communicate(timeout=20)
    finally:
        client.kill()
    assert float(out) < 5


def test_copy_beside_the_live_database(site: Site) -> None:
    site.ask("archive")
    site.ask("restore", "database", "--into", 'copy"; %s', "--confirm", "erp-test")
    assert site.value("select count(*) from sales.lines", 'copy"; %s') == 900
    assert _databases(site) == ['copy"; %s', "erp"]


HIDDEN = """
create role thief;
create table public.taken (what text);
create function public.steal() returns boolean language plpgsql volatile as $$
begin
  begin execute 'reset role'; exception when others then null; end;
  begin execute 'set session authorization postgres'; exception when others then null; end;
  begin execute 'alter role thief superuser'; exception when others then null; end;
  begin execute 'alter role thief createrole'; exception when others then null; end;
  if current_database() <> 'erp_hostile' then
    begin perform pg_read_file('PG_VERSION'); raise exception 'read a file';
      exception when insufficient_privilege then null; end;
  end if;
  begin execute $q$ copy (select 1) to program 'touch /tmp/pgdr-owned' $q$; exception when others then null; end;
  return true;
end $$;
create function public.steal_text(v text) returns text language plpgsql immutable as
  $$ begin perform public.steal(); return v; end $$;
create table public.trap (v text check (public.steal()), g text generated always as (public.steal_text(v)) stored);
create index on public.trap (public.steal_text(v));
create materialized view public.trap_view as select public.steal() from public.trap;
create function public.on_ddl() returns event_trigger language plpgsql as
  $$ begin alter role thief superuser; exception when others then null; end $$;
"""


def test_code_hidden_in_a_dump_gets_no_rights(make_site: Callable[..., Site]) -> None:
    site = make_site(sql=HIDDEN, schemas=("public",), database="erp_hostile")
    try:
        # As another would have left it: filled without the traps, which spring at the restore.
        site.execute(
            "set session_replication_role = replica; alter table public.trap drop constraint trap_check;"
            "insert into public.trap values ('a'); alter table public.trap add constraint trap_check"
            " check (public.steal()) not valid; create event trigger on_ddl on ddl_command_end"
            " execute function public.on_ddl(); alter event trigger on_ddl disable"
        )
        site.execute("alter role thief nosuperuser nocreaterole", "postgres")
        site.ask("archive")
        site.execute("alter event trigger on_ddl enable", site.database)
        site.ask("archive")
        plan = site.ask("restore", "database", "--plan", "--into", "copy_hostile")
        assert any("on_ddl" in text for text in plan["held_back"])
        Path("/tmp/pgdr-owned").unlink(missing_ok=True)  # noqa: S108 - what the planted code would make
        site.execute("alter role thief nosuperuser nocreaterole", "postgres")
        site.ask("restore", "database", "--into", "copy_hostile", "--confirm", "erp-test")
        assert not site.value("select rolsuper or rolcreaterole from pg_roles where rolname = 'thief'", "postgres")
        assert site.value("select count(*) from public.trap", "copy_hostile") == 1
        assert site.value("select count(*) from pg_event_trigger", "copy_hostile") == 0
        assert not Path("/tmp/pgdr-owned").exists()  # noqa: S108
    finally:
        for name in ("erp_hostile", "copy_hostile"):
            site.execute(f"drop database if exists {name} with (force)", "postgres")
        site.execute("drop role thief", "postgres")


def _edit_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"server_major": 99}, 4, "is of PostgreSQL 99"),
        ({"pg_dump_version": "99.1"}, 4, "was written by pg_dump 99.1"),
        ({"roles": ["erp_owner", "nobody here"]}, 4, "roles that this cluster does not have: nobody here"),
        (
            {"extensions": [{"name": "postgis", "version": "3.4", "schema": "public", "trusted": False}]},
            4,
            "extension postgis 3.4, which is not installed",
        ),
    ],
)
def test_archive_that_cannot_be_restored_here_is_refused(
    site: Site, changes: dict[str, object], code: int, says: str
) -> None:
    folder = Path(site.ask("archive")["folder"])
    _edit_manifest(folder, **changes)
    assert says in site.refused("restore", "database", *CONSENT, code=code)
    assert _databases(site) == ["erp"]


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_archive_is_refused(site: Site, damage: str) -> None:
    folder = Path(site.ask("archive")["folder"])
    victim = max(folder.glob("full_*/*.gz"), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content if damage == "flip" else content[:-1])
    assert "is damaged" in site.refused("restore", "database", *CONSENT, code=ExitCode.NOT_PROVEN)
    assert _databases(site) == ["erp"]
    assert _roles(site) == 0


def test_rows_that_did_not_come_back_stop_the_swap(site: Site) -> None:
    folder = Path(site.ask("archive")["folder"])
    manifest = json.loads((folder / "manifest.json").read_text())
    next(t for t in manifest["tables"] if t["key"] == "sales.lines")["rows"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    line = site.refused("restore", "database", *CONSENT, code=ExitCode.NOT_PROVEN)
    assert "sales.lines: 900 rows instead of 901" in line
    assert _databases(site) == ["erp"]
    assert _roles(site) == 0


def test_full_disk_unknown_archive_and_concurrent_restore_are_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no archive in" in site.refused("restore", "database", *CONSENT)
    site.ask("archive")
    assert "no archive 20200101_000000" in site.refused("restore", "database", "--archive", "20200101_000000")
    assert "no archive of 2020-01-01 or before" in site.refused("restore", "database", "--archive", "2020-01-01")
    with operation_lock(hostconfig.load(site.folder / "host.yml"), "restore database"):
        site.refused("restore", "database", *CONSENT, code=ExitCode.BUSY)
    with monkeypatch.context() as full:
        usage = shutil.disk_usage(site.folder)
        full.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
        assert "not enough disk" in site.refused("restore", "database", *CONSENT)
    assert _databases(site) == ["erp"]


def test_killed_restore_leaves_the_live_database_as_it_was(site: Site) -> None:
    site.execute("create table sales.big as select g, repeat(md5(g::text), 30) from generate_series(1, 60000) g")
    site.ask("archive")
    before = _fingerprint(site)
    command = [sys.executable, "-m", "pgdr.cli.main", "--config", str(site.folder / "host.yml")]
    process = subprocess.Popen(
        [*command, "restore", "database", *CONSENT, "--jobs", "1"], env=dict(os.environ), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while not any(name.startswith("erp_restore_") for name in _databases(site)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert fingerprint_model.compare(before, _fingerprint(site)).equal
    assert _roles(site) == 1
    # It can be run again at once; what the killed one left does not matter to it.
    assert site.run("restore", "database", *CONSENT) == 0
    assert fingerprint_model.compare(before, _fingerprint(site)).equal
    (site.archives / ".20200101_000000.partial").mkdir()
    planned = site.ask("cleanup", "--plan")
    assert [item["kind"] for item in planned["leftovers"]] == ["archive", "database", "role"]
    assert _roles(site) == 1
    assert site.ask("cleanup")["leftovers"] == planned["leftovers"]
    assert _roles(site) == 0
    assert site.ask("cleanup", "--plan")["leftovers"] == []
    kept = [item["name"] for item in planned["kept"]]
    assert _databases(site) == ["erp", *kept]
    assert "nobody has confirmed" in site.refused("cleanup", "--drop-kept", kept[0])
    assert "has kept anything called erp" in site.refused("cleanup", "--drop-kept", "erp", "--confirm", "erp-test")
    site.ask("cleanup", "--drop-kept", kept[0], "--confirm", "erp-test")
    assert _databases(site) == ["erp"]


def test_cleanup_gives_way_to_work_that_goes_on(site: Site) -> None:
    (site.archives / ".20200101_000000.partial").mkdir()
    with operation_lock(hostconfig.load(site.folder / "host.yml"), "archive", scope=ARCHIVES):
        site.refused("cleanup", code=ExitCode.BUSY)
    assert (site.archives / ".20200101_000000.partial").exists()
