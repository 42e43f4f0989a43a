"""A lock in the database itself: locks on a host's disk do not reach a second host that works on the same cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgdr.errors import BusyError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import one

# Any number, as long as it is always the same one; locks of this kind belong to one database.
_DATABASE = "postgres"
_KEY = 7_346_105_918_220_617
_POLL = 5.0
_TRY = f"select pg_try_advisory_lock({_KEY})"
_SINCE = f"""
select to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')
from pg_locks join pg_stat_activity using (pid)
where locktype = 'advisory' and granted and ((classid::int8 << 32) | objid::int8) = {_KEY}
"""  # noqa: S608 - a number of our own


@contextmanager
def backup_lock(config: HostConfig, *, wait: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be the only one that backs this cluster up, from whatever host; it ends with the connection, however that ends.

    Args:
        config: what this host is.
        wait: seconds to wait for another backup; 0 gives way at once.
        on_wait: told that there is one, when the waiting begins.

    Raises:
        BusyError: another backup runs (still, after ``wait``).
        UnreachableError: the server does not answer.
    """
    deadline = time.monotonic() + wait
    told = False
    settings = {"idle_session_timeout": "0"}
    with connected(config, _DATABASE, application_name="pgdr backup lock", settings=settings) as connection:
        while not one(connection, _TRY)[0]:
            if time.monotonic() >= deadline:
                found = connection.execute(_SINCE.encode()).fetchone()
                since = f" since {found[0]}" if found else ""
                raise BusyError(
                    f"gave way: another pgdr backs this cluster up{since}, from another host or with other settings",
                    remedy="nothing was changed",
                )
            if not told:
                on_wait()
                told = True
            time.sleep(min(_POLL, max(0.01, deadline - time.monotonic())))
        yield
