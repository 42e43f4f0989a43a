"""Who else reads this server's WAL: standbys that fall behind, and slots that keep WAL for readers who do not come."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pgdr.errors import PgdrError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.policy.model import Policy
from pgdr.postgres.connection import connected
from pgdr.proof.findings import Findings
from pgdr.proof.usual import ago

# A backup that streams WAL is no standby: it ends by itself.
_STANDBYS = """
select application_name, coalesce(client_addr::text, 'local'), state,
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint, extract(epoch from replay_lag)::float8
from pg_stat_replication
where state <> 'backup' and application_name not in ('pg_basebackup', 'pg_receivewal')
"""
_STANDBY = "standby-"
_REMEMBERED = timedelta(days=1)
_SETTINGS = {"statement_timeout": "10s"}
_SLOTS = """
select slot_name, active, wal_status, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
from pg_replication_slots
where not temporary
"""


@dataclass(frozen=True)
class Standby:
    """A server that follows this one.

    Attributes:
        name: how it calls itself.
        address: from where.
        state: ``streaming``, ``catchup``...
        behind_bytes: WAL that it has not replayed; ``None`` where it says nothing.
        behind_seconds: the same in time; ``None`` where nothing is written.
    """

    name: str
    address: str
    state: str
    behind_bytes: int | None
    behind_seconds: float | None


@dataclass(frozen=True)
class Slot:
    """A replication slot.

    Attributes:
        name: its name.
        active: whether somebody reads from it.
        wal_status: ``reserved``, ``extended``, ``unreserved`` or ``lost``.
        held_bytes: WAL that it keeps.
    """

    name: str
    active: bool
    wal_status: str | None
    held_bytes: int


@dataclass(frozen=True)
class Readers:
    """All of them, and the room that is left for what they hold.

    Attributes:
        standbys: the servers.
        slots: the slots.
        free_bytes: free in the file system of the data.
    """

    standbys: tuple[Standby, ...] = ()
    slots: tuple[Slot, ...] = field(default=())
    free_bytes: int = 0


def ask(config: HostConfig) -> Readers | None:
    """Ask the server; ``None`` where it does not answer or is a standby itself: other findings say so."""
    try:
        with connected(config, "postgres", application_name="pgdr", settings=_SETTINGS) as connection:
            row = connection.execute("select pg_is_in_recovery()").fetchone()
            if row is None or row[0]:
                return None
            standbys = tuple(Standby(*found) for found in connection.execute(_STANDBYS).fetchall())
            slots = tuple(Slot(*found) for found in connection.execute(_SLOTS).fetchall())
        room = os.statvfs(config.data_directory)
    except (PgdrError, OSError):
        return None
    return Readers(standbys, slots, room.f_bavail * room.f_frsize)


def judge(readers: Readers | None, policy: Policy, now: datetime, findings: Findings) -> Iterator[Check]:
    """Say what they mean.

    Args:
        readers: who reads.
        policy: how long is too long.
        now: the present.
        findings: since when a standby has been behind: one that stands still reports no lag in time.
    """
    if readers is None:
        return
    last = findings.looks.get("status")
    before = {key: item for key, item in last.findings.items() if key.startswith(_STANDBY)} if last else {}
    known = {key: item.since for key, item in before.items() if item.level is not Level.GREEN}
    here = _by_name(readers.standbys)
    for name, standby in here.items():
        yield _standby(name, standby, policy, now, known.get(name))
    for name in sorted(set(before) - set(here)):
        yield from _gone(name, policy, now, known.get(name) or now)
    bad = [check for slot in readers.slots if (check := _slot(slot, policy, readers.free_bytes)) is not None]
    yield from bad
    if readers.slots and not bad:
        held = max(slot.held_bytes for slot in readers.slots)
        yield green("replication-slots", f"{len(readers.slots)} slots hold at most {_size(held)} of WAL")


def _by_name(standbys: tuple[Standby, ...]) -> dict[str, Standby]:
    """Standbys without a name of their own share one: their address tells them apart, then the last of them counts."""
    names = Counter(standby.name for standby in standbys)
    found: dict[str, Standby] = {}
    for one in sorted(standbys, key=lambda one: one.behind_bytes or 0):
        found[_STANDBY + (one.name if names[one.name] == 1 else f"{one.name}@{one.address}")] = one
    return found


def _gone(name: str, policy: Policy, now: datetime, since: datetime) -> Iterator[Check]:
    """One that was there at the last look. After a day it is taken for given up."""
    lasted = now - since
    if lasted > _REMEMBERED:
        return
    yield Check(
        name,
        Level.RED if lasted.total_seconds() > policy.objectives.rpo.seconds else Level.AMBER,
        f"the standby {name.removeprefix(_STANDBY)} does not stream any more",
        since=since,
        endangers="every change since then, where a failover to it is the plan",
        remedy="start it, its log says why it stopped; given up for good, it is forgotten after a day",
    )


def _standby(name: str, standby: Standby, policy: Policy, now: datetime, known: datetime | None) -> Check:
    seconds, amount = standby.behind_seconds or 0.0, standby.behind_bytes or 0
    text = f"the standby {standby.name} at {standby.address} is {ago(seconds)} behind, {_size(amount)} of WAL"
    # Beyond what is kept for it, a standby without a slot cannot catch up any more.
    if seconds <= policy.wal.lag_alert.seconds and amount <= policy.wal.keep_size.bytes:
        return green(name, text)
    since = min(known or now, now - timedelta(seconds=seconds))
    return Check(
        name,
        Level.RED if (now - since).total_seconds() > policy.objectives.rpo.seconds else Level.AMBER,
        f"{text}; it is in state {standby.state}",
        since=since,
        endangers="every change since then, where a failover to it is the plan",
        remedy="select * from pg_stat_replication; the standby's log, disk and network",
    )


def _slot(slot: Slot, policy: Policy, free: int) -> Check | None:
    name = f"slot-{slot.name}"
    cure = f"start its reader, or: select pg_drop_replication_slot('{slot.name.replace(chr(39), chr(39) * 2)}')"
    if slot.wal_status == "lost":
        return Check(
            name,
            Level.RED,
            f"the replication slot {slot.name} has lost WAL that its reader needs",
            endangers="the standby or subscriber that reads from it: it can never catch up",
            remedy=f"make the reader anew; {cure}",
        )
    if slot.held_bytes <= policy.wal.keep_size.bytes:
        return None
    reader = "its reader is slow" if slot.active else "nobody reads from it"
    return Check(
        name,
        Level.RED if slot.held_bytes >= free or slot.wal_status == "unreserved" else Level.AMBER,
        f"the replication slot {slot.name} holds {_size(slot.held_bytes)} of WAL, and {_size(free)} are free: {reader}",
        endangers="the database: PostgreSQL stops when pg_wal is full",
        remedy=f"{cure}; max_slot_wal_keep_size bounds what a slot may hold",
    )


def _size(amount: int) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"
