"""A primary and its streaming standby on one machine, both with the real pgBackRest and the same repositories."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scripts.tests.integration.chain import World, world_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.tests.integration.conftest import Cluster, Site

# A standby may have standbys of its own.
_WRITTEN = "select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end"


@dataclass
class Pair:
    """Two hosts.

    Attributes:
        primary: the host whose server takes writes.
        standby: the host whose server follows.
    """

    primary: World
    standby: World

    def caught_up(self) -> None:
        """Wait until the standby has replayed all that the primary has written."""
        wanted = self.primary.site.cluster.value(_WRITTEN)
        behind = f"select pg_wal_lsn_diff('{wanted}', coalesce(pg_last_wal_replay_lsn(), '0/0')) <= 0"
        wait_until(lambda: self.standby.site.cluster.value(behind))


def wait_until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for something that comes by itself."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def standby_of(primary: Site, cluster: Cluster, settings: dict[str, str] | None = None) -> Site:
    """Have an empty cluster follow a primary: a base backup, its socket, its archiving into the same repositories."""
    cluster.program(
        *("pg_basebackup", "-h", str(primary.cluster.folder), "-p", str(primary.cluster.port), "-U", "postgres"),
        *("-D", str(cluster.data), "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
    )
    site = replace(primary, cluster=cluster, folder=cluster.folder / "site")
    push = site.prepare(primary.folder)
    # A standby asks every 5 s by default whether its primary is back.
    archiving = {"archive_command": f"'{push} archive-push %p'", "wal_retrieve_retry_interval": "'200ms'"}
    cluster.configure({**archiving, **(settings or {})})
    cluster.start()
    return site


def pair_of(primary: World, cluster: Cluster, settings: dict[str, str] | None = None) -> Pair:
    """A standby for a host, and the host that it runs on."""
    pair = Pair(primary, world_of(standby_of(primary.site, cluster, settings), primary.host.database))
    pair.caught_up()
    return pair
