"""What is made of a table and can be made of it again: its two maps, and a view that keeps its rows."""

from __future__ import annotations

import os

from psycopg import sql

from pgdr.corruption.checksum import PAGE_SIZE
from pgdr.corruption.examine import in_block, named
from pgdr.corruption.model import Damage, Kind
from pgdr.corruption.naming import APPLICATION
from pgdr.errors import OperationFailedError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import one

_TRUNCATE = """
select n.nspname from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
where e.extname = 'pg_visibility'
"""
# Two bits a page, behind the header (access/visibilitymap.c).
_PAGES_OF_A_MAP_PAGE = (8192 - 24) * 4


def rebuild(config: HostConfig, damage: Damage, lock_timeout: str) -> None:
    """Throw a map away, and have a vacuum write it from the table.

    Of a free space map the damaged pages are emptied: an empty page is a sound one that offers no room. A visibility
    map goes as a whole where the extension is there. Without the extension a vacuum that freezes and trusts no bit does
    it: a map page that cannot be read counts as empty. Where memory holds the page as it should be, the vacuum may have
    nothing to write: locking a row of a frozen page takes a bit away, and so the page goes to the disk.

    Raises:
        PgdrError: it could not be done.
    """
    settings = {"statement_timeout": "0", "lock_timeout": lock_timeout}
    with connected(config, damage.database or "postgres", application_name=APPLICATION, settings=settings) as live:
        table = named(live, damage.oid)
        if damage.kind is Kind.FREE_SPACE_MAP:
            _empty(config, live, damage)
            live.execute(sql.SQL("vacuum {}").format(table))
            return
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


def _empty(config: HostConfig, live: Connection[TupleRow], damage: Damage) -> None:
    """Empty the damaged pages of a free space map on the disk; what the server has in memory stays as it is."""
    name = one(live, f"select pg_catalog.pg_relation_filepath({damage.oid}::oid)")[0]
    file = config.data_directory / f"{name}_fsm"
    try:
        with file.open("r+b", buffering=0) as handle:
            for block in damage.blocks:
                handle.seek(block * PAGE_SIZE)
                handle.write(bytes(PAGE_SIZE))
            os.fsync(handle.fileno())
    except OSError as error:
        raise OperationFailedError(
            f"{file} cannot be written: {error.strerror}", remedy="nothing else was changed; run again"
        ) from error


def refresh(config: HostConfig, damage: Damage, lock_timeout: str) -> None:
    """Fill a materialized view again from what it is made of.

    Raises:
        PgdrError: it could not be done.
    """
    settings = {"statement_timeout": "0", "lock_timeout": lock_timeout}
    with connected(config, damage.database, application_name=APPLICATION, settings=settings) as live:
        live.execute(sql.SQL("refresh materialized view {}").format(named(live, damage.oid)))
