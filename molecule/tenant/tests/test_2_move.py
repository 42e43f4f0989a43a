"""A tenant is copied into a database of its own by a play, while it and all others work on."""

from __future__ import annotations

from typing import Any

from drill.client import ErpClient
from drill.host import Host

FOLDER, DATABASE = "/backups/export-of-one", "erp_of_one"
COUNTS = (
    "SELECT (SELECT count(*) FROM sales.orders WHERE tenant_id = '{0}'), (SELECT count(*) FROM core.partners"
    " WHERE tenant_id = '{0}'), (SELECT count(*) FROM core.tenants WHERE id = '{0}')"
)


def test_a_tenant_arrives_in_a_database_of_its_own(plays: Any, db1: Host, erp: ErpClient, victim: str) -> None:
    assert "Say which tenant and where to" in plays.error("move-tenant.yml", tenant=victim, folder="export")
    assert "is not empty" in plays.error("move-tenant.yml", tenant=victim, folder="/backups/postgres")
    db1.postgres("createdb", DATABASE)
    said = plays.succeed("move-tenant.yml", tenant=victim, folder=FOLDER, to_database=DATABASE)
    assert "proven" in said
    there = db1.sql(COUNTS.format(victim), DATABASE)
    assert there == db1.sql(COUNTS.format(victim))
    assert there.endswith("|1")
    assert db1.sql("SELECT count(*) FROM core.tenants", DATABASE) == "1"
    assert erp.writes
    db1.postgres("dropdb", DATABASE)
    db1.run("rm", "-r", FOLDER)
