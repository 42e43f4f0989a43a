"""Tables brought back row by row, on real PostgreSQL, through the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pgdr.errors import ExitCode, RefusedError
from pgdr.restoring.part import parse_name

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site

CONSENT = ("--confirm", "erp-test")


@pytest.fixture(autouse=True)
def _nothing_is_left(pg16: Any) -> Iterator[None]:
    yield
    assert pg16.value("select count(*) from pg_roles where rolname like 'pgdr%'") == 0
    assert pg16.value("select count(*) from pg_database where datname ~ '_restore_'") == 0


def _rows(site: Site, table: str) -> list[Any]:
    with site.cluster.connect(site.database) as connection:
        return sorted(connection.execute(f"table {table}".encode()).fetchall(), key=str)


def _restore(site: Site, *arguments: str) -> Any:
    return site.ask("restore", "table", *arguments, *CONSENT)


def test_missing_rows_come_back_and_others_stay(site: Site) -> None:
    before = _rows(site, "sales.lines")
    site.ask("archive")
    site.execute(
        "delete from sales.lines where n = 2; update sales.lines set what = 'newer' where order_id = 1 and n = 1;"
        "insert into sales.lines values (1, 99, 'new')"
    )
    plan = site.ask("restore", "table", "sales.lines", "--missing-only", "--plan")
    assert plan["changes"]["sales.lines"]["inserted"] == 300
    assert site.value("select count(*) from sales.lines") == 601
    done = _restore(site, "sales.lines", "--missing-only")
    assert done["changes"] == plan["changes"]
    assert done["changes"]["sales.lines"]["kept"] == 2
    assert site.value("select what from sales.lines where order_id = 1 and n = 1") == "newer"
    assert site.value("select count(*) from sales.lines") == 901
    site.execute("delete from sales.lines where n = 99; update sales.lines set what = 'line 1' where what = 'newer'")
    assert _rows(site, "sales.lines") == before
    assert site.value("select count(*) from pg_trigger where tgname = 'touch' and tgenabled = 'O'") == 1


def test_overwrite_makes_every_row_as_it_was_and_keeps_those_of_now(site: Site) -> None:
    before = _rows(site, "sales.orders")
    site.ask("archive")
    site.execute(
        "update sales.orders set total = 0 where id <= 10; delete from sales.orders where id between 11 and 15;"
        "insert into sales.orders (tenant_id, total) values (7, 7)"
    )
    done = _restore(site, "sales.orders", "--overwrite")
    changed = done["changes"]["sales.orders"]
    assert (changed["inserted"], changed["updated"], changed["deleted"]) == (5, 10, 1)
    assert _rows(site, "sales.orders") == before
    kept = changed["before"]
    assert len(_rows(site, f"sales.{kept}")) == 11
    assert any(row[1] == 7 for row in _rows(site, f"sales.{kept}"))
    # Lines of the deleted orders went with them: they are not asked for, and not brought back.
    assert site.value("select count(*) from sales.lines") == 885


def test_children_come_back_with_their_parents(site: Site) -> None:
    before = _rows(site, "sales.orders"), _rows(site, "sales.lines")
    site.ask("archive")
    site.execute("delete from sales.orders where id < 100")
    done = _restore(site, "sales.orders", "--missing-only", "--with-children")
    assert set(done["changes"]) == {"sales.orders", "sales.lines"}
    assert (_rows(site, "sales.orders"), _rows(site, "sales.lines")) == before


def test_children_that_would_go_away_silently_are_named(site: Site) -> None:
    site.ask("archive")
    site.execute(
        "insert into sales.orders (id, tenant_id) values (9001, 1); insert into sales.lines values (9001, 1, 'x')"
    )
    line = site.refused("restore", "table", "sales.orders", "--overwrite", *CONSENT)
    assert "1 rows of sales.lines would be deleted" in line
    assert site.value("select count(*) from sales.lines where order_id = 9001") == 1
    done = _restore(site, "sales.orders", "--overwrite", "--with-children")
    assert done["changes"]["sales.lines"]["deleted"] == 1


def test_child_without_its_parent_is_refused_by_its_constraint(site: Site) -> None:
    site.ask("archive")
    site.execute("delete from sales.orders where id = 5")
    line = site.refused("restore", "table", "sales.lines", "--missing-only", *CONSENT, code=ExitCode.FAILED)
    assert "a constraint refuses the archived rows" in line
    assert site.value("select count(*) from sales.lines") == 897


def test_partitions_keyless_tables_and_duplicates(site: Site) -> None:
    site.execute("insert into sales.log select '2026-02-02', 'twice' from generate_series(1, 3)")
    before = _rows(site, "sales.log")
    site.ask("archive")
    site.execute(
        "delete from sales.log where ctid in (select ctid from sales.log where what = 'twice' limit 2)"
        " and what = 'twice'; delete from sales.log where at > '2026-09-01'; insert into sales.log values"
        " ('2026-01-01', 'newer')"
    )
    done = _restore(site, "sales.log", "--overwrite")
    assert done["changes"]["sales.log"]["deleted"] == 1
    assert _rows(site, "sales.log") == before
    assert "is a partition of sales.log" in site.refused("restore", "table", "sales.log_1", "--overwrite", *CONSENT)


def test_copy_beside_the_table(site: Site) -> None:
    before = _rows(site, "sales.orders")
    site.ask("archive")
    site.execute("delete from sales.orders")
    name = 'of "Tuesday"; drop %s'
    _restore(site, "sales.orders", "--into", name)
    quoted = 'sales."of ""Tuesday""; drop %s"'
    assert _rows(site, quoted) == before
    assert site.value("select count(*) from sales.orders") == 0
    assert "exists already" in site.refused("restore", "table", "sales.orders", "--into", name, *CONSENT)
    assert site.run("restore", "table", "sales.orders", "--into", "other", "--plan") == 0
    assert "other has columns and rows, and no keys" in site.capture.readouterr().err


def test_forced_row_security_hides_nothing_from_a_restore(site: Site) -> None:
    before = _rows(site, "core.partners")
    site.ask("archive")
    site.execute("update core.partners set name = name || '!'")
    assert _restore(site, "core.partners", "--overwrite")["changes"]["core.partners"]["updated"] == 30
    assert _rows(site, "core.partners") == before


def test_changed_structure_is_shown_and_refused_where_values_have_no_place(site: Site) -> None:
    site.ask("archive")
    site.execute("alter table sales.lines add column note text default 'x'; delete from sales.lines where n = 1")
    done = _restore(site, "sales.lines", "--missing-only")
    assert done["drift"] == [{"table": "sales.lines", "what": "column note text added since"}]
    assert site.value("select count(*) from sales.lines where n = 1 and note = 'x'") == 300
    site.execute("alter table sales.lines alter n type bigint, drop column what")
    line = site.refused("restore", "table", "sales.lines", "--missing-only", *CONSENT)
    assert "column what dropped since" in line
    assert "column n was integer, is bigint" in line


def _map(site: Site, *columns: dict[str, str]) -> tuple[str, str]:
    """The option with a column map, about sales.orders where no other table is named."""
    path = site.folder / "map.yml"
    path.write_text(yaml.safe_dump({"columns": [{"schema": "sales", "table": "orders", **one} for one in columns]}))
    return "--column-map", str(path)


def test_a_column_map_says_where_values_of_then_belong_now(site: Site) -> None:
    """Renamed, of another type, given up, new without a value of then: each where somebody decided, and only there."""
    content = "select string_agg(format('%s %s %s', id, tenant_id, total), '|' order by id) from sales.orders"
    site.ask("archive")
    before = site.value(content)
    site.execute(
        "drop view core.turnover; drop materialized view sales.totals;"
        'alter table sales.orders rename partner_id to "Partner %"; alter table sales.orders drop doubled,'
        " drop constraint orders_total_check;"
        " alter table sales.orders alter total type text; alter table sales.orders add channel text default 'web';"
        " update sales.orders set total = 'lost', channel = 'shop' where id % 2 = 0;"
        " delete from sales.lines where order_id % 3 = 0; delete from sales.orders where id % 3 = 0"
    )
    renamed, retyped = {"column": "Partner %", "from": "partner_id"}, {"column": "total", "from": "total"}
    for chosen, missing in (
        ([retyped], "column partner_id dropped since"),
        ([renamed], "column total was numeric"),
        ([renamed, {"column": "total", "from": "no such"}], "had no column no such"),
        ([renamed, retyped, {"column": "gone", "from": "total"}], "has no column gone"),
        ([{"column": "id"}, renamed, retyped], "column id dropped since"),
        ([{"column": "id"}, {"drop": "id"}, renamed, retyped], "column id of the primary key"),
    ):
        error = site.refused("restore", "table", "sales.orders", "--overwrite", *_map(site, *chosen), *CONSENT)
        assert missing in error
    assert site.value("select count(*) from sales.orders") == 200
    done = _restore(site, "sales.orders", "--overwrite", *_map(site, renamed, retyped))
    changes = done["changes"]["sales.orders"]
    assert (changes["inserted"], changes["updated"], changes["deleted"]) == (100, 100, 0)
    assert site.value(content) == before
    assert site.value('select count(*) from sales.orders where "Partner %" = id % 30 + 1') == 300
    # New since: who is there keeps the value of now, who comes back gets the default.
    channels = "select string_agg(distinct channel, ',') from sales.orders where "
    assert site.value(channels + "id % 6 = 2") == "shop"
    assert site.value(channels + "id % 3 = 0") == "web"


def test_a_value_that_does_not_fit_its_new_type_changes_nothing(site: Site) -> None:
    site.ask("archive")
    site.execute("alter table sales.lines alter what type int using n; delete from sales.lines where n = 1")
    path = site.folder / "map.yml"
    path.write_text(
        yaml.safe_dump({"columns": [{"schema": "sales", "table": "lines", "column": "what", "from": "what"}]})
    )
    error = site.refused(
        *("restore", "table", "sales.lines", "--missing-only", "--column-map", str(path), *CONSENT),
        code=ExitCode.FAILED,
    )
    assert "invalid input syntax for type integer" in error
    assert site.value("select count(*) from sales.lines") == 600
    assert site.run("restore", "table", "sales.lines", "--into", "x", "--column-map", str(path)) == ExitCode.USAGE


def test_table_that_somebody_works_on_is_busy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgdr.restoring.rows._LOCK_TIMEOUT", "200ms")
    site.ask("archive")
    with psycopg.connect(host=str(site.cluster.folder), user="postgres", dbname="erp") as other:
        other.execute("update sales.lines set what = 'mine' where n = 1")
        line = site.refused("restore", "table", "sales.lines", "--missing-only", *CONSENT, code=ExitCode.BUSY)
        assert "somebody works on sales.lines" in line


def test_unknown_names_and_missing_consent_are_refused(site: Site) -> None:
    site.ask("archive")
    assert "did you mean sales.orders?" in site.refused("restore", "table", "sales.order", "--overwrite", *CONSENT)
    assert "no table Sales.orders" in site.refused("restore", "table", "Sales.orders", "--overwrite", *CONSENT)
    assert "is no name of a table" in site.refused("restore", "table", "orders", "--overwrite", *CONSENT)
    assert "nobody has confirmed" in site.refused("restore", "table", "sales.orders", "--overwrite")
    assert site.run("restore", "table", "sales.orders", *CONSENT) == ExitCode.USAGE


def test_code_in_a_check_of_the_live_table_gets_no_rights(make_site: Callable[..., Site]) -> None:
    site = make_site(
        database="erp_check",
        sql="""
        create role thief2;
        create schema core authorization erp_owner;
        set role erp_owner;
        create function core.steal() returns boolean language plpgsql as $$ begin
          begin execute 'reset role'; exception when others then null; end;
          begin execute 'alter role thief2 superuser'; exception when others then null; end;
          return true; end $$;
        create table core.trap (id int primary key, v text check (core.steal()));
        insert into core.trap values (1, 'a'), (2, 'b');
        reset role; alter role thief2 nosuperuser;
        """,
        schemas=("core",),
    )
    try:
        site.ask("archive")
        site.execute("delete from core.trap where id = 1; alter role thief2 nosuperuser")
        _restore(site, "core.trap", "--missing-only")
        assert site.value("select count(*) from core.trap") == 2
        assert site.value("select rolsuper from pg_roles where rolname = 'thief2'") is False
    finally:
        site.execute("drop database erp_check with (force)", "postgres")
        site.execute("drop role thief2", "postgres")


@given(schema=st.text(min_size=1), table=st.text(min_size=1))
def test_every_quoted_name_is_read_as_it_is(schema: str, table: str) -> None:
    text = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))
    assert parse_name(text) == (schema, table)


@pytest.mark.parametrize("text", ["", ".", "a", "a.", ".b", "a.b.c", '"a.b', '"a"b.c', 'a."b" '])
def test_what_is_no_name_of_a_table_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        parse_name(text)
