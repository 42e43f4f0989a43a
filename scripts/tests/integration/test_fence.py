"""A primary that hangs is fenced too: it goes on to a clean end where it can, and is killed with all that it was."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from scripts.tests.integration.chain import world_of
from scripts.tests.integration.pair import Pair, pair_of, wait_until

from pgdr.errors import ExitCode
from pgdr.recovery.ground import server_process
from pgdr.recovery.halt import server_processes

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import ClusterFactory, SiteFactory

NAME = "erp-test"
SEIZE, INTERRUPT = 0x4206, 0x4207
# A client that holds on to its connection: it does not go away by itself.
BUSY = "select pg_sleep(600)"


@pytest.fixture(scope="module")
def pair(new_site: SiteFactory, new_cluster: ClusterFactory) -> Pair:
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "20"})
    site.cluster.create_database("erp")
    site.cluster.execute("create table said (id int primary key)", "erp")
    world = world_of(site, "erp")
    world.pgdr("backup", "full", "--repo", "1")
    return pair_of(world, new_cluster(16, start=False))


@pytest.fixture
def busy(pair: Pair) -> Iterator[psycopg.Connection[Any]]:
    """Somebody works on the primary."""
    connection = pair.primary.site.cluster.connect("erp")
    connection.pgconn.send_query(BUSY.encode())
    yield connection
    connection.close()


def said(pair: Pair, number: int) -> None:
    """What a client was told is committed."""
    pair.primary.site.cluster.execute(f"insert into said values ({number})", "erp")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Hold a process as a debugger does: it hears no signal but the one that kills it."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long] * 4
    if ptrace(SEIZE, pid, 0, 0) or ptrace(INTERRUPT, pid, 0, 0):
        pytest.skip(f"this machine lets nobody trace a process: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        # Its tracer is its parent in this: it stays a zombie until that one has looked.
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def fence(pair: Pair, *more: str) -> tuple[dict[str, Any], str]:
    done = pair.primary.pgdr("standby", "fence", "--confirm", NAME, "--output", "json", *more)
    pair.primary.site.cluster.running = False
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


def test_a_primary_that_was_stopped_by_a_signal_ends_cleanly(pair: Pair, busy: psycopg.Connection[Any]) -> None:
    """All of its processes, as somebody's kill -STOP or a supervisor leaves them; nobody gets an answer."""
    data = pair.primary.site.cluster.data
    said(pair, 1)
    # What a fence of long ago left, and then this host came back as a standby: its outage is not this one.
    fences = pair.primary.host.state_directory / "fence.json"
    fences.write_text('{"began": "2025-01-01T00:00:00Z"}')
    pair.primary.site.owned(fences)
    postmaster = server_process(data)
    assert postmaster is not None
    os.kill(postmaster, signal.SIGSTOP)
    for pid in server_processes(data):
        with suppress(ProcessLookupError):  # one that had just ended its work
            os.kill(pid, signal.SIGSTOP)
    plan = pair.primary.pgdr("standby", "fence", "--plan").stdout
    assert "would be stopped" in plan
    end, told = fence(pair)
    assert (end["clean"], end["fenced"], end["not_archived"]) == (True, True, ""), told
    assert datetime.now(UTC) - datetime.fromisoformat(end["began"]) < timedelta(minutes=5)
    assert not server_processes(data)
    with pytest.raises(RuntimeError, match="could not start server"):
        pair.primary.site.cluster.start()
    # It was a mistake. What the fence archived of its last segment is not what the server would make of it.
    assert "new timeline" in pair.primary.pgdr("standby", "unfence", "--confirm", NAME).stdout
    pair.primary.site.cluster.start()
    wait_until(lambda: not pair.primary.site.cluster.value("select pg_is_in_recovery()"))
    assert not (data / "recovery.signal").exists()
    assert pair.primary.site.cluster.value("select count(*) from said", "erp") == 1
    pair.primary.archive()
    pair.caught_up()


def test_a_primary_that_hears_no_signal_is_killed_and_nothing_is_lost(
    pair: Pair, busy: psycopg.Connection[Any]
) -> None:
    """Its postmaster hangs as in a disk that does not answer; its other processes would work on without it."""
    primary, standby = pair.primary, pair.standby
    data = primary.site.cluster.data
    standby.pgdr("standby", "examine")
    standby.site.cluster.execute("alter system set primary_slot_name = 'of_another'")
    standby.site.cluster.execute("alter system set primary_conninfo = ''")
    standby.site.cluster.execute("select pg_reload_conf()")
    wait_until(lambda: standby.site.cluster.value("select count(*) from pg_stat_wal_receiver") == 0)
    said(pair, 2)
    postmaster = server_process(data)
    assert postmaster is not None
    with frozen(postmaster):
        began = time.monotonic()
        end, told = fence(pair, "--patience", "2")
    assert "did not react within 2 s: it hangs" in told
    assert time.monotonic() - began < 60
    assert (end["stopped"], end["clean"], end["fenced"], end["not_archived"]) == (True, False, True, "")
    assert not server_processes(data), "a child of the killed server lives"
    handover = primary.site.folder / "handover.json"
    handover.write_text(json.dumps(end))
    done = standby.pgdr(
        *("standby", "promote", "--handover", str(handover), "--confirm", NAME, "--output", "json"),
    )
    assert json.loads(done.stdout)["proven"]
    assert standby.site.cluster.value("select array_agg(id order by id) from said", "erp") == [1, 2]
    assert standby.site.cluster.value("show primary_slot_name") == ""
    again = primary.pgdr("standby", "unfence", "--confirm", NAME, expect=ExitCode.REFUSED).stderr
    assert "a standby was promoted" in again
