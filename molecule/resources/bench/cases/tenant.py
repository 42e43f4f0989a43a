"""One tenant of a hundred brought home from the past beside production, against a restore of the whole database."""

from __future__ import annotations

from bench.ground import CLUSTER, DATABASE, Ground
from bench.report import RatioAtLeast, Row

_PGDR = "/usr/local/bin/pgdr"
_PAST = "bench_past"
_TENANT = "select id from core.tenants order by id limit 1"
# What an import that went wrong does: orders cancelled, the lines of half the orders gone.
_DAMAGE = """
update sales.orders set status = 'cancelled' where tenant_id = '{tenant}';
delete from sales.order_lines l using sales.orders o
  where o.id = l.order_id and o.tenant_id = '{tenant}' and o.id % 2 = 0;
"""


def measure(ground: Ground) -> list[Row]:
    """Restore the archive into a database of its own, damage a tenant, and bring it home from there."""
    ground.sample()
    host = ground.source
    ground.say("tenant: archive, and its restore into a database of its own")
    host.run([_PGDR, "archive", "--local-only"], user="postgres")
    whole = host.seconds([_PGDR, "restore", "database", f"--into={_PAST}", f"--confirm={CLUSTER}"], user="postgres")
    try:
        tenant = host.run(["psql", "-XAtqc", _TENANT, DATABASE], user="postgres").strip()
        command = [_PGDR, "restore", "tenant", tenant, f"--source-database={_PAST}"]
        ground.say("tenant: plan, and bring it home")
        host.run(["psql", "-Xqv", "ON_ERROR_STOP=1", DATABASE], user="postgres", stdin=_DAMAGE.format(tenant=tenant))
        plan = host.seconds([*command, "--plan"], user="postgres")
        home = host.seconds([*command, f"--confirm={tenant}"], user="postgres")
    finally:
        host.run(["dropdb", "--force", _PAST], user="postgres")
    return [
        Row(
            "one tenant of a hundred, against a restore of the database",
            home,
            whole,
            "s",
            goal=RatioAtLeast(10),
            note="ours shows every difference, keeps a before-image, proves all other tenants untouched",
        ),
        Row("its plan alone", plan, whole, "s"),
    ]
