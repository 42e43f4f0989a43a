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
    site.ask("restore", "schema", "core", *cluster)
    assert _image(site, "p.tenant_id = 1") is None
    # Here the parents are gone: no foreign key to them could be validated, were the children not removed before.
    site.ask("restore", "schema", "sales", *cluster)
    assert site.value("select count(*) from sales.orders where tenant_id = 1") == 0
    assert _image(site, "p.tenant_id <> 1") == others
    site.ask("restore", "database", "--disconnect", *cluster)
    assert _image(site, "p.tenant_id = 1") is None
    assert _image(site, "p.tenant_id <> 1") == others
