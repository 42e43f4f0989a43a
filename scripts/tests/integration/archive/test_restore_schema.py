"""Schemas restored beside the live one and swapped in, with what ties them to others, on real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgdr import fingerprint, fingerprint_model, hostconfig
from pgdr.errors import ExitCode

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site

CONSENT = ("--confirm", "erp-test")


@pytest.fixture(autouse=True)
def _nothing_is_left(pg16: Any) -> Iterator[None]:
    yield
    assert pg16.value("select count(*) from pg_roles where rolname like 'pgdr%'") == 0
    assert pg16.value("select count(*) from pg_database where datname ~ '_restore_'") == 0


def _fingerprint(site: Site, *schemas: str) -> fingerprint_model.Fingerprint:
    return fingerprint.take(hostconfig.load(site.folder / "host.yml"), site.database, schemas=schemas or None)


def _schemas(site: Site) -> list[str]:
    with site.cluster.connect(site.database) as connection:
        rows = connection.execute("select nspname from pg_namespace where nspname !~ '^pg_' order by 1").fetchall()
    return [row[0] for row in rows]


def _constraints(site: Site, schema: str) -> Any:
    with site.cluster.connect(site.database) as connection:
        return connection.execute(
            "select array_agg(conname || ' ' || pg_get_constraintdef(oid) || convalidated order by conname, conrelid)"
            " from pg_constraint where connamespace = %s::regnamespace and contype <> 'n'",
            (schema,),
        ).fetchone()


def test_schema_comes_back_whole_and_tied_to_the_others(site: Site) -> None:
    site.execute("comment on schema sales is 'ours'; grant usage on schema sales to erp_reader")
    site.execute("alter table core.partners add favourite bigint references sales.orders")
    # The view's owner is bound by row-level security.
    site.execute("alter database erp set erp.tenant_id = '1'")
    turnover = site.value("select sum(total) from core.turnover")
    assert turnover > 0
    before, constraints = _fingerprint(site, "sales"), _constraints(site, "sales")
    inward = _constraints(site, "core")
    site.ask("archive")
    site.execute(
        "delete from sales.log; update sales.orders set total = 0; insert into core.partners"
        " (tenant_id, name) values (1, 'newer')"
    )
    plan = site.ask("restore", "schema", "sales", "--plan")
    assert plan["ties"]["blocking"] == []
    assert [item["name"] for item in plan["ties"]["constraints"]] == ["partners_favourite_fkey"]
    assert [item["name"] for item in plan["ties"]["views"]] == ["turnover"]
    done = site.ask("restore", "schema", "sales", *CONSENT)
    assert fingerprint_model.compare(before, _fingerprint(site, "sales")).equal
    assert _constraints(site, "sales") == constraints
    assert _constraints(site, "core") == inward
    # The view of the other schema reads the restored rows, the newer partner is still there.
    assert site.value("select sum(total) from core.turnover") == turnover
    assert site.value("select count(*) from core.partners") == 31
    assert _fingerprint(site, done["plan"]["kept_as"]).tables[f"{done['plan']['kept_as']}.lines"].rows == 900
    assert site.value(f"select to_regclass('{done['plan']['kept_as']}.orders') is not null")
    assert site.value("select obj_description('sales'::regnamespace)") == "ours"
    assert site.value("select has_table_privilege('erp_reader', 'sales.orders', 'select')")
    assert site.value("select has_schema_privilege('erp_reader', 'sales', 'usage')")
    assert (
        site.value("select pg_get_userbyid(relowner) from pg_class where oid = 'sales.lines'::regclass") == "erp_owner"
    )
    assert (
        site.value("select count(*) from pg_trigger where tgrelid = 'sales.lines'::regclass and tgname = 'touch'") == 1
    )
    # What is kept is no forgotten schema: the next archive does not complain, and holds it all the same.
    archived = site.ask("archive")
    assert archived["schemas"] == ["core", "sales"]
    assert archived["rows"] > before.totals.rows + 900
    # What is kept does not hold the others: a partner of old orders may go.
    site.execute("delete from sales.orders where partner_id = 3; delete from core.partners where id = 3")
    site.execute("insert into sales.orders (tenant_id, partner_id, total) values (1, 1, 1)")


def test_dropped_schema_comes_back(site: Site) -> None:
    before = _fingerprint(site, "sales")
    site.ask("archive")
    site.execute("drop schema sales cascade")
    site.ask("restore", "schema", "sales", *CONSENT)
    assert fingerprint_model.compare(before, _fingerprint(site, "sales")).equal
    assert _schemas(site).count("sales") == 1


def test_what_stands_in_the_way_is_listed_and_nothing_is_changed(site: Site) -> None:
    site.ask("archive")
    site.execute(
        "create table core.copy (o sales.orders); create materialized view core.frozen as select * from sales.orders;"
        "create publication news for table sales.lines"
    )
    schemas = _schemas(site)
    line = site.refused("restore", "schema", "sales", *CONSENT)
    assert "stand in the way" in line
    for name in ("core.copy", "core.frozen", "publication news publishes sales.lines"):
        assert name in line
    assert _schemas(site) == schemas
    site.execute("drop publication news")


def test_rows_that_no_longer_fit_leave_the_live_schema_as_it_is(site: Site) -> None:
    site.ask("archive")
    site.execute("delete from sales.orders where partner_id = 3; delete from core.partners where id = 3")
    before = _fingerprint(site)
    line = site.refused("restore", "schema", "sales", *CONSENT, code=ExitCode.FAILED)
    assert "do not fit" in line
    assert "(3)" in line
    assert fingerprint_model.compare(before, _fingerprint(site)).equal
    assert site.ask("cleanup", "--plan")["leftovers"] == []


def test_schema_with_a_hostile_name(make_site: Callable[..., Site]) -> None:
    name = 'a*b"c; %s ' + "ü" * 20
    quoted = '"' + name.replace('"', '""') + '"'
    site = make_site(
        sql=(
            'create schema S; create table S."T %" (id serial primary key, v text); insert into S."T %" (v)'
            ' values (1), (2); create table S.child (id int references S."T %"); insert into S.child values (1)'
        ).replace("S", quoted),
        schemas=(name,),
        database="erp_names",
    )
    site.ask("archive")
    before = _fingerprint(site, name)
    site.execute(f"truncate {quoted}.child")
    site.ask("restore", "schema", name, *CONSENT)
    assert fingerprint_model.compare(before, _fingerprint(site, name)).equal
    line = site.refused("restore", "table", f'{quoted}."T %"x', "--overwrite", *CONSENT)
    assert "is no name of a table" in line
    site.execute(f"truncate {quoted}.child")
    site.ask("restore", "table", f"{quoted}.child", "--missing-only", *CONSENT)
    assert fingerprint_model.compare(before, _fingerprint(site, name)).equal


def test_refusals(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ask("archive")
    assert "has no schema sale" in site.refused("restore", "schema", "sale", *CONSENT)
    assert "nobody has confirmed" in site.refused("restore", "schema", "sales")
    monkeypatch.setattr("pgdr.restoring.schema._LOCK_TIMEOUT", "200ms")
    before = _fingerprint(site)
    with psycopg.connect(host=str(site.cluster.folder), user="postgres", dbname="erp") as other:
        other.execute("update sales.orders set total = 1 where id = 1")
        site.refused("restore", "schema", "sales", *CONSENT, code=ExitCode.BUSY)
    assert fingerprint_model.compare(before, _fingerprint(site)).equal
    site.execute("alter table sales.orders drop constraint orders_partner_id_fkey; drop table core.partners cascade")
    assert "which the live database does not have" in site.refused("restore", "schema", "sales", *CONSENT)


def test_killed_restore_leaves_the_live_schema_and_what_cleanup_removes(site: Site) -> None:
    site.execute("create table sales.big as select g, repeat(md5(g::text), 30) from generate_series(1, 60000) g")
    site.ask("archive")
    before = _fingerprint(site)
    command = [sys.executable, "-m", "pgdr.cli.main", "--config", str(site.folder / "host.yml")]
    process = subprocess.Popen(
        [*command, "restore", "schema", "sales", *CONSENT, "--jobs", "1"], env=dict(os.environ), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not any(name.startswith("sales_restore_") for name in _schemas(site)):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    planned = site.ask("cleanup", "--plan")["leftovers"]
    assert [item["kind"] for item in planned] == ["archive", "database", "schema", "role"]
    assert site.ask("cleanup")["leftovers"] == planned
    assert site.ask("cleanup", "--plan")["leftovers"] == []
    assert fingerprint_model.compare(before, _fingerprint(site)).equal
