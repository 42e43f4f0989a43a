"""Numbers of one tenant: a sequence for each tenant, found by its name, or a row of a table of counters."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import ValidationError

from pgdr.errors import BusyError, ConfigError, NotProvenError, OperationFailedError, RefusedError
from pgdr.policy.tenancy import Tenancy
from pgdr.surgery import erase, export, images, move, undo
from pgdr.surgery.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.tests.integration.surgery.conftest import Pair, PairFactory

PATTERN = [{"schema": "shop", "name": "invoice_no_{tenant}"}]
NUMBERS = """
create sequence shop.invoice_no_1; create sequence shop.invoice_no_2;
select setval('shop.invoice_no_1', 50), setval('shop.invoice_no_2', 60);
"""


@pytest.fixture(params=["pg16", "pg18"])
def pair(request: pytest.FixtureRequest, new_pair: PairFactory, shop: str) -> Pair:
    """A shop in which each tenant's invoices have a sequence of their own."""
    return new_pair(shop + NUMBERS, cluster=request.getfixturevalue(request.param), sequences=PATTERN)


def _next(pair: Pair, name: str = "shop.invoice_no_1", database: str | None = None) -> int:
    return int(pair.value(f"select nextval('{name}')", database))


def _stands(pair: Pair, name: str = "shop.invoice_no_1") -> Any:
    return pair.rows(f"select last_value, is_called from {name}")[0]


def test_a_sequence_moves_on_to_where_it_stood_and_never_back(pair: Pair) -> None:
    # Set back by accident: 6 to 50 are on paper. The other tenant's went on.
    pair.run("select setval('shop.invoice_no_1', 5); select setval('shop.invoice_no_2', 99)")
    (planned,) = pair.plan("1").plan.sequences
    assert (planned.sequence, planned.action, planned.now, planned.then) == ("shop.invoice_no_1", "moves on", 6, 51)
    assert _stands(pair) == (5, True), "a plan changed something"
    report = pair.restore("1")
    assert report.outcome is not None
    assert report.outcome.sequences == ("shop.invoice_no_1",)
    assert _next(pair) == 51
    assert pair.restore("2").plan.sequences == ()
    assert _next(pair, "shop.invoice_no_2") == 100


def test_an_undo_puts_a_sequence_back_unless_somebody_took_a_number(pair: Pair) -> None:
    pair.run("select setval('shop.invoice_no_1', 5); delete from shop.lines")
    done = pair.restore("1").operation
    plan, _, _ = undo.undo(pair.host, done, plan_only=True)
    assert [(one.now, one.then) for one in plan.sequences] == [(51, 6)]
    back = pair.undo(done)
    assert _stands(pair) == (5, True)
    forth = pair.undo(back)
    assert _stands(pair) == (50, True)
    assert _next(pair) == 51
    plan, _, _ = undo.undo(pair.host, forth)
    assert plan.sequences == ()
    assert plan.notes == ("shop.invoice_no_1: numbers were taken since, it stays where it stands",)
    assert _next(pair) == 52


def test_one_that_is_gone_is_made_again_as_it_was(pair: Pair) -> None:
    with suppress(psycopg.errors.DuplicateObject):
        pair.cluster.execute("create role numbers_owner; create role numbers_user")
    pair.both(
        "drop sequence shop.invoice_no_1; grant usage, create on schema shop to numbers_owner;"
        "create sequence shop.invoice_no_1 as integer increment 10 minvalue -5 maxvalue 9000 start 5 cache 7;"
        "comment on sequence shop.invoice_no_1 is 'it''s 100 %';"
        "alter sequence shop.invoice_no_1 owner to numbers_owner;"
        "grant usage, update on sequence shop.invoice_no_1 to numbers_user with grant option;"
        "grant select on sequence shop.invoice_no_1 to public; select setval('shop.invoice_no_1', 205)"
    )
    definition = (
        "select s.*, c.relowner::regrole::text, (select array_agg(a::text order by a::text) from unnest(c.relacl) a),"
        " obj_description(c.oid), n.last_value, n.is_called"
        " from pg_sequences q, pg_class c join pg_sequence s on s.seqrelid = c.oid, shop.invoice_no_1 n"
        " where q.sequencename = 'invoice_no_1' and c.oid = 'shop.invoice_no_1'::regclass"
    )
    before = pair.rows(definition)[0][1:]
    pair.run("drop sequence shop.invoice_no_1")
    report = pair.restore("1")
    assert [(one.action, one.now, one.then) for one in report.plan.sequences] == [("is made again", None, 215)]
    assert any("numbers that it gave out since are not known" in note for note in report.plan.notes)
    assert pair.rows(definition)[0][1:] == before
    back = pair.undo(report.operation)
    assert pair.value("select to_regclass('shop.invoice_no_1')") is None
    pair.undo(back)
    assert pair.rows(definition)[0][1:] == before


def test_an_owner_that_is_not_here_is_named(pair: Pair) -> None:
    pair.cluster.execute("drop role if exists passing_owner; create role passing_owner")
    pair.cluster.execute("alter sequence shop.invoice_no_1 owner to passing_owner", pair.past)
    pair.run("drop sequence shop.invoice_no_1")
    assert pair.restore("1").plan.sequences[0].action == "is made again"
    assert pair.value("select relowner::regrole::text from pg_class where relname = 'invoice_no_1'") == "passing_owner"
    pair.run("drop sequence shop.invoice_no_1")
    pair.cluster.execute("alter sequence shop.invoice_no_1 owner to postgres; drop role passing_owner", pair.past)
    assert pair.restore("1").plan.sequences[0].action == "is made again"


def test_counters_in_a_table_come_back_as_rows(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(
        f"{shop} create table shop.counters (tenant_id int not null references shop.tenants, what text, next int,"
        " primary key (tenant_id, what)); insert into shop.counters values (1, 'orders', 50), (2, 'orders', 60)"
    )
    pair.run("delete from shop.counters where tenant_id = 1; update shop.counters set next = 61")
    pair.restore("1")
    assert pair.rows("table shop.counters order by 1") == [(1, "orders", 50), (2, "orders", 61)]


def test_what_goes_wrong_leaves_the_sequences_as_they_were(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing before the commit fails, as a full disk would make it."""
    pair.both("select setval('shop.invoice_no_2', 61)")
    pair.run("select setval('shop.invoice_no_1', 5); delete from shop.lines")

    def fail(*_: object) -> None:
        raise OperationFailedError("no space left on device")

    monkeypatch.setattr(images, "save_manifest", fail)
    with pytest.raises(OperationFailedError, match="no space"):
        pair.restore("1")
    assert _stands(pair) == (5, True)
    pair.run("drop sequence shop.invoice_no_1")
    with pytest.raises(OperationFailedError, match="no space"):
        pair.restore("1")
    assert pair.value("select to_regclass('shop.invoice_no_1')") is None


def test_who_has_just_taken_a_number_is_waited_for(pair: Pair) -> None:
    pair.run("select setval('shop.invoice_no_1', 5)")
    with pair.connect() as other:
        other.execute("begin")
        other.execute("select nextval('shop.invoice_no_1')")
        with pytest.raises(BusyError, match="longer than 200ms"):
            pair.restore("1", lock_timeout="200ms")
        other.execute("commit")
    pair.restore("1", lock_timeout="200ms")
    assert _next(pair) == 51


def test_names_are_quoted_and_ids_with_dashes_find_theirs(new_pair: PairFactory) -> None:
    one, other = "0c7d3a52-16f2-4d7e-9d75-0a39b9ad2f11", "9e6a1a0e-7f43-4d1e-8a2e-6c1f6d6c3b22"
    plain = one.replace("-", "_")
    pair = new_pair(
        'create schema "My %s"; create table "My %s".tenants (id uuid primary key);'
        f"insert into \"My %s\".tenants values ('{one}'), ('{other}');"
        """create table "My %s"."it's" (tenant_id uuid references "My %s".tenants, what text);"""
        f"""insert into "My %s"."it's" values ('{one}', 'a'), ('{other}', 'b');"""
        f"""create sequence "My %s"."n""o {plain} 'x'"; create sequence "My %s"."d{one}";"""
        f"""create sequence "My %s"."d{other}";""",
        sequences=[
            {"schema": "My %s", "name": "n\"o {tenant} 'x'", "other_characters": "_"},
            {"schema": "My %s", "name": "d{tenant}"},
        ],
    )
    name = f"""'"My %s"."n""o {plain} ''x''"'"""
    pair.cluster.execute(f'select setval({name}, 30); select setval(\'"My %s"."d{one}"\', 7)', pair.past)
    # The id as people write it; the database has it in small letters.
    report = pair.restore(one.upper())
    assert [(s.now, s.then) for s in report.plan.sequences] == [(1, 31), (1, 8)]
    assert pair.value(f"select nextval({name})") == 31
    plan, outcome = erase.erase_tenant(
        erase.Request(pair.host, pair.tenancy, pair.live), one.upper(), Ledger(pair.host), plan_only=False
    )
    assert outcome is not None
    assert [s.action for s in plan.sequences] == ["is removed", "is removed"]
    assert pair.rows("select relname from pg_class where relkind = 'S'") == [(f"d{other}",)]


def test_patterns_that_cannot_be_are_refused(new_pair: PairFactory, shop: str) -> None:
    for name in ("invoice_no", "{tenant}{tenant}", "no_{Tenant}", "a\n{tenant}", ""):
        with pytest.raises(ValidationError):
            Tenancy.model_validate({"sequences": [{"schema": "shop", "name": name}]})
    pair = new_pair(shop, sequences=[{"schema": "shop", "name": "x" * 63 + "{tenant}"}])
    with pytest.raises(ConfigError, match="longer than the 63 bytes"):
        pair.plan("1")


def test_an_erasure_removes_the_tenants_sequence_and_no_other(pair: Pair) -> None:
    request, ledger = erase.Request(pair.host, pair.tenancy, pair.live), Ledger(pair.host)
    plan, _ = erase.erase_tenant(request, "1", ledger, plan_only=True)
    assert [(one.sequence, one.action) for one in plan.sequences] == [("shop.invoice_no_1", "is removed")]
    assert _stands(pair) == (50, True), "a plan changed something"
    _, outcome = erase.erase_tenant(request, "1", ledger, plan_only=False)
    assert outcome is not None
    assert outcome.sequences == ("shop.invoice_no_1",)
    assert pair.value("select to_regclass('shop.invoice_no_1')") is None
    assert _next(pair, "shop.invoice_no_2") == 61
    # A restore may bring the sequence alone: its name is the tenant's id.
    pair.run("create sequence shop.invoice_no_1")
    assert erase.replay(request, ledger).removed == {1: 0}
    assert pair.value("select to_regclass('shop.invoice_no_1')") is None
    assert erase.replay(request, ledger).removed == {}


def test_a_sequence_that_comes_back_alone_is_found_though_its_name_does_not_say_whose_it_was(
    new_pair: PairFactory,
) -> None:
    """A schema was restored in which only the numbers are, the tenant's rows are in another."""
    pair = new_pair(
        "create schema s; create schema n; create table s.tenants (id text primary key);"
        "insert into s.tenants values ('a-b'), ('c-d'), ('e-f');"
        'create sequence n."no""_a_b"; create sequence n."no""_c_d"; create sequence n."no""_x_y"',
        sequences=[{"schema": "n", "name": 'no"_{tenant}', "other_characters": "_"}],
        tables=[{"schema": "s", "table": "tenants", "column": "id"}],
    )
    request, ledger = erase.Request(pair.host, pair.tenancy, pair.live), Ledger(pair.host)
    erase.erase_tenant(request, "a-b", ledger, plan_only=False)
    erase.erase_tenant(request, "e-f", ledger, plan_only=False)
    assert "a_b" not in ledger.path.read_text()
    sequences = "select relname::text from pg_class where relkind = 'S' order by 1"
    kept = [('no"_c_d',), ('no"_x_y',)]
    assert pair.rows(sequences) == kept
    pair.run('create sequence n."no""_a_b"; create sequence n."no""_e_f"; insert into s.tenants values (\'e_f\')')
    assert erase.replay(request, Ledger(pair.host), plan_only=True).removed == {1: 0}
    assert len(pair.rows(sequences)) == 4
    assert erase.replay(request, Ledger(pair.host)).removed == {1: 0}
    # That of "e_f", who came since, has the same name as that of "e-f" had.
    assert pair.rows(sequences) == [*kept[:1], ('no"_e_f',), *kept[1:]]
    assert erase.replay(request, Ledger(pair.host)).removed == {}


def test_a_sequence_of_an_erasure_that_nobody_confirmed_stops_a_replay(new_pair: PairFactory) -> None:
    pair = new_pair(
        "create schema s; create table s.tenants (id text primary key); create sequence s.no_a_b",
        sequences=[{"schema": "s", "name": "no_{tenant}", "other_characters": "_"}],
        tables=[{"schema": "s", "table": "tenants", "column": "id"}],
    )
    ledger = Ledger(pair.host)
    sealed = [ledger.sequence(("s", "no_a_b"))]
    ledger.intend(ledger.subject("a-b"), "s.tenants.id", ("1", "a cluster that is no more"), 0, sealed)
    with pytest.raises(NotProvenError, match="begun and never confirmed"):
        erase.replay(erase.Request(pair.host, pair.tenancy, pair.live), ledger)
    assert pair.value("select count(*) from pg_class where relkind = 'S'") == 1


def test_a_sequence_that_is_not_one_tenants_alone_stops_an_erasure(new_pair: PairFactory, shop: str) -> None:
    pair = new_pair(shop + NUMBERS, sequences=PATTERN)
    pair.run("alter table shop.lines add extra bigint default nextval('shop.invoice_no_1')")
    request = erase.Request(pair.host, pair.tenancy, pair.live)
    with pytest.raises(RefusedError, match=r"shop\.invoice_no_1 feeds a column of shop\.lines"):
        erase.erase_tenant(request, "1", Ledger(pair.host), plan_only=False)
    assert pair.value("select count(*) from shop.orders where tenant_id = 1") == 30
    text = new_pair(
        "create schema s; create table s.tenants (id text primary key); insert into s.tenants values ('a-b'), ('a_b');"
        "create table s.t (tenant_id text references s.tenants); create sequence s.no_a_b",
        sequences=[{"schema": "s", "name": "no_{tenant}", "other_characters": "_"}],
    )
    with pytest.raises(RefusedError, match="another tenant's sequence too"):
        erase.erase_tenant(erase.Request(text.host, text.tenancy, text.live), "a-b", Ledger(text.host), plan_only=False)
    assert text.value("select count(*) from s.tenants") == 2


def test_a_move_takes_the_tenants_sequence_along_and_no_others(pair: Pair, tmp_path: Path) -> None:
    target = pair.cluster.create_database("dedicated_numbers")
    try:
        folder = tmp_path / "export"
        pair.run("create sequence shop.invoice_no_series; select setval('shop.invoice_no_series', 3)")
        pair.run("alter sequence shop.invoice_no_series owned by shop.lines.no")
        manifest = export.export_tenant(export.Request(pair.host, pair.tenancy, "1", pair.live), folder)
        assert "invoice_no_2" not in {one.name for one in manifest.sequences}
        move.load_tenant(pair.host, folder, move.LocalTarget(pair.host, target))
        assert pair.value("select to_regclass('shop.invoice_no_2')", target) is None
        assert _next(pair, database=target) == 51
        # It is a table's, whatever its name.
        assert _next(pair, "shop.invoice_no_series", target) == 4
        assert b"invoice_no_2" not in (folder / "schema.dump").read_bytes()
    finally:
        pair.cluster.execute("drop database dedicated_numbers with (force)")
