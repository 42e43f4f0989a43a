"""One tenant brought back from an archive, through the command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import yaml

from pgdr.errors import ExitCode
from pgdr.locks import PAST, operation_lock

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site

CONSENT = ("--confirm", "1")


@pytest.fixture(autouse=True)
def _nothing_is_left(pg16: Any) -> Iterator[None]:
    yield
    assert pg16.value("select count(*) from pg_roles where rolname like 'pgdr%'") == 0
    assert pg16.value("select count(*) from pg_database where datname ~ '_restore_'") == 0


@pytest.fixture
def tenants(site: Site) -> Site:
    """The site with a policy that says how its rows belong to tenants."""
    path = site.folder / "policy.yml"
    policy = yaml.safe_load(path.read_text())
    policy["recovery_policy"]["tenancy"] = {
        "column": "tenant_id",
        "shared": [{"schema": "sales", "table": "log"}],
    }
    path.write_text(yaml.safe_dump(policy))
    return site


def _image(site: Site, condition: str) -> Any:
    rows = (
        f"select 'p', id, name from core.partners p where {condition}"
        f" union all select 'o', id, total::text from sales.orders p where {condition}"
        f" union all select 'l', l.order_id, l.what from sales.lines l join sales.orders p on p.id = l.order_id"
        f" where {condition}"
    )
    return site.value(f"select md5(string_agg(r::text, '|' order by r::text)) from ({rows}) r")


def test_a_tenant_comes_back_from_an_archive_while_others_stay_as_they_are(tenants: Site) -> None:
    site = tenants
    before = _image(site, "p.tenant_id = 1")
    label = site.ask("archive")["label"]
    site.execute(
        "delete from sales.orders where tenant_id = 1 and id % 2 = 0;"
        "update core.partners set name = name || '!' where tenant_id in (1, 2)"
    )
    others = _image(site, "p.tenant_id <> 1")
    assert _image(site, "p.tenant_id = 1") != before
    plan = site.ask("restore", "tenant", "1", "--archive", label, "--plan")
    assert plan["ready"] is True
    assert _image(site, "p.tenant_id = 1") != before
    # Without a name it is the newest archive.
    done = site.ask("restore", "tenant", "1", *CONSENT)
    assert done["outcome"]["changed"] > 0
    assert _image(site, "p.tenant_id = 1") == before
    assert _image(site, "p.tenant_id <> 1") == others


def test_a_tenants_own_sequence_comes_back_from_an_archive(tenants: Site, capfd: pytest.CaptureFixture[str]) -> None:
    site = tenants
    path = site.folder / "policy.yml"
    policy = yaml.safe_load(path.read_text())
    policy["recovery_policy"]["tenancy"]["sequences"] = [{"schema": "sales", "name": "invoice_no_{tenant}"}]
    path.write_text(yaml.safe_dump(policy))
    site.execute(
        "create sequence sales.invoice_no_1; alter sequence sales.invoice_no_1 owner to erp_owner;"
        "grant usage on sequence sales.invoice_no_1 to erp_reader; select setval('sales.invoice_no_1', 41)"
    )
    site.ask("archive")
    site.execute("drop sequence sales.invoice_no_1")
    capfd.readouterr()
    assert site.run("restore", "tenant", "1", *CONSENT) == 0
    assert "sequence sales.invoice_no_1 is made again: none -> next 42" in capfd.readouterr().out
    assert site.value("select nextval('sales.invoice_no_1')") == 42
    assert site.value("select has_sequence_privilege('erp_reader', 'sales.invoice_no_1', 'usage')")
    assert site.value("select relowner::regrole::text from pg_class where relname = 'invoice_no_1'") == "erp_owner"


def test_an_archive_that_is_damaged_changes_nothing(tenants: Site) -> None:
    site = tenants
    label = site.ask("archive")["label"]
    site.execute("delete from sales.lines")
    part = max(site.archives.glob("**/full_*/*.gz"), key=lambda path: path.stat().st_size)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    site.refused("restore", "tenant", "1", "--archive", label, *CONSENT, code=ExitCode.NOT_PROVEN)
    assert site.value("select count(*) from sales.lines") == 0


def test_an_archive_that_is_read_from_is_no_leftover(tenants: Site) -> None:
    """While one is restored beside the live database, cleanup gives way, and a second one does."""
    site = tenants
    site.ask("archive")
    host = site.cluster.host(site.folder, site.database)
    with operation_lock(host, "archive of tuesday to read from", scope=PAST):
        for command in (["cleanup"], ["restore", "tenant", "1", "--plan"]):
            assert "archive of tuesday to read from" in site.refused(*command, code=ExitCode.BUSY)
    assert site.run("restore", "tenant", "1", "--plan") == 0


def test_two_sources_are_refused(tenants: Site) -> None:
    assert tenants.run("restore", "tenant", "1", "--archive", "x", "--side", "y") == ExitCode.USAGE


def test_who_was_erased_stays_erased_whatever_is_restored(tenants: Site, aws: None) -> None:
    site = tenants
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="erp-archives")
    # Nobody else's orders may hang on the partners that go.
    site.execute(
        "update sales.orders o set partner_id = (select min(id) from core.partners p where p.tenant_id = o.tenant_id)"
    )
    site.ask("archive")
    site.ask("tenant", "erase", "1", *CONSENT)
    assert _image(site, "p.tenant_id = 1") is None
    others = _image(site, "p.tenant_id <> 1")
    assert "was erased on" in site.refused("restore", "tenant", "1", *CONSENT)
    cluster = ("--confirm", "erp-test")
    site.ask("restore", "table", "core.partners", "sales.orders", "sales.lines", "--missing-only", *cluster)
    assert _image(site, "p.tenant_id = 1") is None
    # Rows that do not say whose they are: their parents do, and those are gone.
    site.execute("delete from sales.lines where order_id % 2 = 0")
    table = ("restore", "table", "sales.lines")
    for how in (("--missing-only", "--plan"), ("--missing-only", *cluster), ("--overwrite", *cluster)):
        done = site.ask(*table, *how)
        assert done["erased"] == {"sales.lines": 300}
    assert done["changes"]["sales.lines"]["unchanged"] == 600, "everything else is home"
    site.ask(*table, "--into", "lines_then", *cluster)
    assert site.value("select count(*) from sales.lines_then") == 600
    assert site.value("select count(*) from sales.lines_then where order_id % 3 = 1") == 0
    site.execute("drop table sales.lines_then")
    site.capture.readouterr()
    assert site.run(*table, "--missing-only", *cluster) == 0
    assert "sales.lines: 300 archived rows stay away" in site.capture.readouterr().out
    # An order whose partner was erased has one all the same, if it is another tenant's.
    assert _image(site, "p.tenant_id <> 1") == others
    site.ask("restore", "schema", "core", *cluster)
    assert _image(site, "p.tenant_id = 1") is None
    # Here the parents are gone: no foreign key to them could be validated, were the children not removed before.
    site.ask("restore", "schema", "sales", *cluster)
    assert site.value("select count(*) from sales.orders where tenant_id = 1") == 0
    assert _image(site, "p.tenant_id <> 1") == others
    site.ask("restore", "database", "--disconnect", *cluster)
    assert _image(site, "p.tenant_id = 1") is None
    assert _image(site, "p.tenant_id <> 1") == others


def test_rows_whose_owners_are_in_another_schema_stay_erased_too(tenants: Site, aws: None) -> None:
    """A note says nothing of a tenant; the order that it is on does, and that is in another schema."""
    site = tenants
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="erp-archives")
    path = site.folder / "policy.yml"
    policy = yaml.safe_load(path.read_text())
    policy["recovery_policy"]["schemas"].append("extra")
    path.write_text(yaml.safe_dump(policy))
    site.execute(
        "update sales.orders o set partner_id = (select min(id) from core.partners p where p.tenant_id = o.tenant_id);"
        "create schema extra authorization erp_owner; set role erp_owner;"
        "create table extra.notes (id int primary key, order_id bigint not null references sales.orders, what text);"
        "insert into extra.notes select id, id, 'note ' || id from sales.orders;"
        "create table extra.marks (note_id int references extra.notes, what text);"
        "insert into extra.marks select id, 'mark' from extra.notes"
    )
    site.ask("archive")
    site.ask("tenant", "erase", "1", *CONSENT)
    site.execute("delete from extra.marks; delete from extra.notes")
    site.ask("restore", "schema", "extra", "--confirm", "erp-test")
    for table in ("notes", "marks"):
        assert site.value(f"select count(*) from extra.{table}") == 200
    assert site.value("select count(*) from extra.notes n join sales.orders o on o.id = n.order_id") == 200
    valid = "select count(*) from pg_constraint where contype = 'f' and convalidated"
    assert site.value(f"{valid} and connamespace = 'extra'::regnamespace") == 2
