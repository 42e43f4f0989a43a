"""What the server still has in memory is written again: the damage was on the disk alone."""

from __future__ import annotations

import psycopg
from psycopg import sql

from pgdr.corruption.examine import in_block, named
from pgdr.corruption.model import Damage, Kind
from pgdr.corruption.naming import APPLICATION
from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import connected

_SETTINGS = {"statement_timeout": "0"}


def write_again(config: HostConfig, damage: Damage, lock_timeout: str) -> bool:
    """Have the server write damaged pages, or the control file, from its memory.

    A row lock changes a page, so that the next checkpoint writes it; nobody is kept from anything. Where a block holds
    no row that could be locked, a vacuum that freezes goes through all of them. A sequence gives out a number, which
    nobody gets: it must never stand behind one that was given out.

    Returns:
        whether it could read them all; if not, the memory had gone meanwhile, and nothing was changed.
    """
    settings = {**_SETTINGS, "lock_timeout": lock_timeout}
    try:
        with connected(config, damage.database or "postgres", application_name=APPLICATION, settings=settings) as live:
            if damage.kind is Kind.SEQUENCE:
                live.execute(sql.SQL("select nextval({}::oid::regclass)").format(sql.Literal(damage.oid)))
            elif damage.kind is not Kind.CONTROL_FILE:
                table = named(live, damage.oid)
                locked = damage.kind is not Kind.TOAST and all(
                    live.execute(
                        sql.SQL("select from only {} where {} limit 1 for key share").format(table, in_block(block))
                    ).rowcount
                    for block in damage.blocks
                )
                if not locked:
                    live.execute(sql.SQL("vacuum (freeze, disable_page_skipping) {}").format(table))
            live.execute("checkpoint")
    except (psycopg.Error, PgdrError):
        return False
    return True
