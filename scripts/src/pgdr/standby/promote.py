"""The standby replays its primary's last record, is promoted, takes writes, archives: each seen, none believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from pgdr.archiving import prove_archiving
from pgdr.errors import NotProvenError, OperationFailedError, PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import one, server_facts
from pgdr.recovery.lsn import format_lsn
from pgdr.standby.fetch import fetch_command
from pgdr.standby.look import Standing, look
from pgdr.standby.plan import PromotionPlan, Wish, left_at, size
from pgdr.surgery.records import Record, recorded

Told = Callable[[str], None]

_POLL = 0.2
_PROMOTE_SECONDS = 600
_ARCHIVED_SECONDS = 60.0
# What is there to stream comes by itself; only then is the archive asked.
_STREAM_SECONDS = 2.0


@dataclass
class Promoted:
    """What was done.

    Attributes:
        replayed: how far the old timeline was replayed.
        goal: the record that had to be; ``None`` where nobody knew one.
        proven: nothing that the primary wrote was lost.
        lost: what was, in words; empty where nothing was.
        timeline: the new timeline.
        rto_seconds: from the beginning of the outage until it took writes; ``None`` where nobody knows the beginning.
        rpo_seconds: work that was lost, in time; ``None`` where nobody can know.
        archiving: what each repository says.
        not_archiving: repositories that did not get the new timeline's WAL.
        left_to_do: what comes next.
    """

    replayed: str
    goal: str | None
    proven: bool
    lost: str = ""
    timeline: int = 0
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    archiving: list[str] = field(default_factory=list)
    not_archiving: list[str] = field(default_factory=list)
    left_to_do: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For a program."""
        return asdict(self)

    def require_archiving(self) -> None:
        """Fail where the new primary is open and not protected.

        Raises:
            NotProvenError: so it is.
        """
        if self.not_archiving:
            raise NotProvenError(
                f"promoted and open, but not protected: {self.not_archiving[0]}",
                remedy="playbooks/site.yml on this host, or see pg_stat_archiver; then run it again",
            )


def promote(config: HostConfig, client: PgBackRest, wish: Wish, plan: PromotionPlan, *, told: Told) -> Promoted:
    """Carry the plan out; a rerun goes on.

    Raises:
        NotProvenError: the primary's last record was not replayed; the standby is a standby still.
        PgdrError: it failed.
    """
    with recorded(
        config, "standby promote", wait=wish.wait, on_wait=lambda who, _: told(f"waiting for {who}"), plan=plan.lines
    ) as record:
        done = _opened(config, client, wish, plan, record, told)
        began = wish.disaster_at or (wish.end.began if wish.end is not None else None)
        now = _writable(config)
        done.rto_seconds = (now - began).total_seconds() if began is not None else None
        _settle(config, client)
        if wish.archiving:
            told("archiving on the new timeline")
            _prove_archiving(config, client, done)
        record.details.update(done.document())
        record.times.update({"rto": done.rto_seconds} if done.rto_seconds is not None else {})
        done.left_to_do.append("pgdr backup full (the new timeline has no full backup of its own yet)")
    return done


def _opened(
    config: HostConfig, client: PgBackRest, wish: Wish, plan: PromotionPlan, record: Record, told: Told
) -> Promoted:
    goal = format_lsn(plan.goal) if plan.goal is not None else None
    if plan.standing is None:  # a run before this one was killed after it had promoted
        left = left_at(config, plan.facts.timeline)
        position = left[1] if left is not None else 0
        proven = wish.end is not None and position > wish.end.position
        return Promoted(
            format_lsn(position),
            goal,
            proven,
            lost="" if proven else f"what the old primary committed behind {format_lsn(position)} is lost",
            timeline=plan.facts.timeline,
            rpo_seconds=0.0 if proven else None,
        )
    began = time.monotonic()
    with connected(config, "postgres", application_name="pgdr standby") as connection:
        _hurry(connection, plan.standing)
        last = _replay(client, connection, wish, plan.goal, told)
        record.times["replay"] = time.monotonic() - began
        reached = plan.goal is not None and last.position > plan.goal
        done = Promoted(last.replayed, goal, reached and wish.end is not None)
        done.lost = _lost(wish, plan, last, reached=reached)
        if plan.goal is not None and not reached and not wish.accept_loss:
            whose = "primary" if wish.end is not None else "archive"
            raise NotProvenError(
                f"the {whose}'s last record at {goal} was not replayed: {done.lost}",
                remedy="bring the missing WAL (archive, network) and run it again; or promote without it: "
                f"--accept-loss {config.cluster_name}. It is a standby still",
            )
        done.rpo_seconds = _rpo(wish, last, done)
        told(f"replayed up to {last.replayed}; promoting")
        began = time.monotonic()
        if not one(connection, f"select pg_promote(true, {_PROMOTE_SECONDS})")[0]:
            raise OperationFailedError(
                f"the standby was told to promote and did not within {_PROMOTE_SECONDS} s",
                remedy="see its log; run again",
            )
        record.times["promotion"] = time.monotonic() - began
        done.timeline = server_facts(connection).timeline
    return done


def _hurry(connection: Connection[TupleRow], before: Standing) -> None:
    """A pause or a delay that somebody set keeps what has come from being replayed."""
    if before.delay != "0":
        connection.execute("alter system set recovery_min_apply_delay = 0")
        connection.execute("select pg_reload_conf()")
    if before.paused:
        connection.execute("select pg_wal_replay_resume()")


def _replay(
    client: PgBackRest,
    connection: Connection[TupleRow],
    wish: Wish,
    goal: int | None,
    told: Told,
) -> Standing:
    """Wait until the goal is replayed, or until nothing more comes."""
    began = moved = time.monotonic()
    before, fetching = -1, False
    while True:
        now = look(connection)
        if now is None:
            raise OperationFailedError("somebody else promoted this standby", remedy="look at it: pgdr status")
        if goal is not None and now.position > goal:
            return now
        if now.position != before:
            before, moved = now.position, time.monotonic()
        if not fetching and time.monotonic() - began > _STREAM_SECONDS:
            fetching = True
            if not now.restore_command:
                told("fetching the rest from the archive")
                _fetch_from_archive(client, connection)
        # Where nobody knows an end, all that the archive has was tried a few times over.
        if time.monotonic() - moved > (wish.patience if goal is not None else min(wish.patience, 15.0)):
            return now
        time.sleep(_POLL)


def _fetch_from_archive(client: PgBackRest, connection: Connection[TupleRow]) -> None:
    connection.execute(sql.SQL("alter system set restore_command = {}").format(sql.Literal(fetch_command(client))))
    connection.execute("select pg_reload_conf()")


def _settle(config: HostConfig, client: PgBackRest) -> None:
    """Take back what was set for the replay, which a later standby of this directory would inherit.

    The checkpoint writes the new timeline into the control file: pgBackRest takes no backup before that.
    """
    with connected(config, "postgres", application_name="pgdr standby") as connection:
        connection.execute("checkpoint")
        # Its backups hold it too: who is restored from one would ask this server for a slot that it does not have.
        connection.execute("alter system reset primary_slot_name")
        if one(connection, "select current_setting('restore_command')")[0] == fetch_command(client):
            connection.execute("alter system reset restore_command")
        delay = "select setting = '0' and sourcefile like '%postgresql.auto.conf' from pg_settings where name = "
        if one(connection, f"{delay}'recovery_min_apply_delay'")[0]:
            connection.execute("alter system reset recovery_min_apply_delay")
        connection.execute("select pg_reload_conf()")


def _lost(wish: Wish, plan: PromotionPlan, last: Standing, *, reached: bool) -> str:
    if reached and wish.end is not None:
        return ""
    commit = f"; its last commit is of {last.last_commit_at:%Y-%m-%d %H:%M:%S%z}" if last.last_commit_at else ""
    if wish.end is None:
        return f"what the old primary committed behind {last.replayed} and did not send is lost{commit}"
    missing = (plan.goal or 0) - last.position
    wrote = f", the primary's of {wish.end.last_commit_at:%Y-%m-%d %H:%M:%S%z}" if wish.end.last_commit_at else ""
    return f"{size(missing)} of WAL behind {last.replayed} are missing{commit}{wrote}"


def _rpo(wish: Wish, last: Standing, done: Promoted) -> float | None:
    if done.proven:
        return 0.0
    until = wish.end.last_commit_at if wish.end is not None else wish.disaster_at
    if until is None or last.last_commit_at is None:
        return None
    return max((until - last.last_commit_at).total_seconds(), 0.0)


def _writable(config: HostConfig) -> datetime:
    """See that it takes a transaction, and say when."""
    with connected(config, "postgres", application_name="pgdr standby") as connection:
        one(connection, "select pg_current_xact_id()")
    return datetime.now(UTC)


def _prove_archiving(config: HostConfig, client: PgBackRest, done: Promoted) -> None:
    for repository in client.repositories:
        try:
            seen = prove_archiving(config, repository.key, timeout=_ARCHIVED_SECONDS)
        except PgdrError as error:
            done.not_archiving.append(f"repository {repository.key}: {error}")
        else:
            done.archiving.append(f"repository {repository.key} has {seen.segment}")
