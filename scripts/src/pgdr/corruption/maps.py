"""What is made of a table and can be made of it again: its visibility map, and a view that keeps its rows."""

from __future__ import annotations

from psycopg import sql

from pgdr.corruption.examine import in_block, named
from pgdr.corruption.model import Damage
from pgdr.corruption.naming import APPLICATION
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import connected

_TRUNCATE = """
select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where e.extname = 'pg_visibility'
"""
# Two bits a page, behind the header (access/visibilitymap.c).
_PAGES_OF_A_MAP_PAGE = (8192 - 24) * 4


def rebuild(config: HostConfig, damage: Damage, lock_timeout: str) -> None:
    """Throw a visibility map away where the extension is there, and have a vacuum write it from the table.

    Without the extension a vacuum that freezes and trusts no bit does it: a map page that cannot be read counts as
    empty. Where memory holds the page as it should be, the vacuum may have nothing to write: locking a row of a frozen
    page takes a bit away, and so the page goes to the disk.

    Raises:
        PgdrError: it could not be done.
    """
    settings = {"statement_timeout": "0", "lock_timeout": lock_timeout}
    with connected(config, damage.database or "postgres", application_name=APPLICATION, settings=settings) as live:
        table = named(live, damage.oid)
        row = live.execute(_TRUNCATE).fetchone()
        if row is not None:
            live.execute(
                sql.SQL("select {}.pg_truncate_visibility_map({}::oid::regclass)").format(
                    sql.Identifier(row[0]), sql.Literal(damage.oid)
                )
            )
            live.execute(sql.SQL("vacuum (disable_page_skipping) {}").format(table))
        else:
            live.execute(sql.SQL("vacuum (freeze, disable_page_skipping) {}").format(table))
            for block in damage.blocks if not damage.name.startswith("of pg_toast.") else ():
                pages = in_block(block * _PAGES_OF_A_MAP_PAGE, (block + 1) * _PAGES_OF_A_MAP_PAGE - 1)
                live.execute(sql.SQL("select from only {} where {} limit 1 for key share").format(table, pages))
        live.execute("checkpoint")


def refresh(config: HostConfig, damage: Damage, lock_timeout: str) -> None:
    """Fill a materialized view again from what it is made of.

    Raises:
        PgdrError: it could not be done.
    """
    settings = {"statement_timeout": "0", "lock_timeout": lock_timeout}
    with connected(config, damage.database, application_name=APPLICATION, settings=settings) as live:
        live.execute(sql.SQL("refresh materialized view {}").format(named(live, damage.oid)))
