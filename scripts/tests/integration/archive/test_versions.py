"""The same on the newest PostgreSQL: its catalogs and its dump format differ from 16's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pgdr import fingerprint, fingerprint_model, hostconfig

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site
    from scripts.tests.integration.conftest import Cluster


def test_archive_and_every_restore_on_postgresql_18(pg18: Cluster, make_site: Callable[..., Site]) -> None:
    site = make_site(cluster=pg18)
    host = hostconfig.load(site.folder / "host.yml")
    site.execute("alter table core.partners alter name set not null")
    before = fingerprint.take(host, "erp")
    site.ask("archive")
    assert site.run("archives", "verify") == 0
    site.execute("delete from sales.lines where n = 1")
    site.ask("restore", "table", "sales.lines", "--missing-only", "--confirm", "erp-test")
    assert fingerprint_model.compare(before, fingerprint.take(host, "erp")).equal
    site.execute("delete from sales.log")
    kept = site.ask("restore", "schema", "sales", "--confirm", "erp-test")["plan"]["kept_as"]
    site.ask("cleanup", "--drop-kept", kept, "--confirm", "erp-test")
    assert fingerprint_model.compare(before, fingerprint.take(host, "erp")).equal
    site.execute("drop schema sales cascade")
    site.ask("restore", "database", "--confirm", "erp-test", "--disconnect")
    assert fingerprint_model.compare(before, fingerprint.take(host, "erp")).equal
