"""A tenant is copied into a database of its own by a play, while it and all others work on."""

from __future__ import annotations

from typing import Any

from drill.client import ErpClient
from drill.host import Host

FOLDER, OTHER, DATABASE = "/backups/export-of-one", "/backups/export-elsewhere", "erp_of_one"
SERVICE = "/var/lib/postgresql/.pg_service.conf"
COUNTS = (
    "SELECT (SELECT count(*) FROM sales.orders WHERE tenant_id = '{0}'), (SELECT count(*) FROM core.partners"
    " WHERE tenant_id = '{0}'), (SELECT count(*) FROM core.tenants WHERE id = '{0}')"
)


def test_a_tenant_arrives_in_a_database_of_its_own(plays: Any, db1: Host, erp: ErpClient, victim: str) -> None:
    assert "Say which tenant and where to" in plays.error("move-tenant.yml", tenant=victim, folder="export")
    assert "is not empty" in plays.error("move-tenant.yml", tenant=victim, folder="/backups/postgres")
    db1.postgres("createdb", DATABASE)
    # As an administrator says where another server is; its password would be in .pgpass.
    db1.postgres("tee", SERVICE, input=f"[dedicated]\nhost=/var/run/postgresql\ndbname={DATABASE}\n")
    assert "no service 'another'" in plays.error("move-tenant.yml", tenant=victim, folder=OTHER, to_service="another")
    said = plays.succeed("move-tenant.yml", tenant=victim, folder=FOLDER, to_service="dedicated")
    assert "proven" in said
    there = db1.sql(COUNTS.format(victim), DATABASE)
    assert there == db1.sql(COUNTS.format(victim))
    assert there.endswith("|1")
    assert db1.sql("SELECT count(*) FROM core.tenants", DATABASE) == "1"
    assert erp.writes
    db1.postgres("dropdb", DATABASE)
    # And into a database of the same cluster, named by itself: this one is in use.
    database = {"folder": f"{FOLDER}-too", "to_database": "erp_generic"}
    assert "is not empty" in plays.error("move-tenant.yml", tenant=victim, **database)
    db1.run("rm", "-r", "-f", FOLDER, f"{FOLDER}-too", OTHER, SERVICE)
