"""What a standby says of itself: whose it is, how far it has replayed, and whether its primary still speaks to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgdr.chain import Entry
from pgdr.corruption.examine import Options, examine
from pgdr.corruption.model import Findings
from pgdr.errors import RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import Connection, TupleRow, connected
from pgdr.postgres.facts import ServerFacts, one, server_facts
from pgdr.recovery.lsn import parse_lsn

Told = Callable[[str], None]

EXAMINED = "standby examine"
#: Damage comes with time: what was clean longer ago says little.
EXAMINATION_COUNTS = timedelta(hours=24)
# An idle primary speaks every 30 s (wal_sender_timeout). A host that lost its power leaves the state as it was.
_SPEAKS_WITHIN = timedelta(seconds=60)
_STANDING = """
select pg_is_wal_replay_paused(), coalesce(pg_last_wal_replay_lsn(), '0/0')::text, pg_last_xact_replay_timestamp(),
       current_setting('recovery_min_apply_delay'), current_setting('restore_command'),
       current_setting('archive_mode'), current_setting('synchronous_standby_names')
"""
_RECEIVER = """
select coalesce(sender_host, 'a local socket'), clock_timestamp() - coalesce(last_msg_receipt_time, '-infinity')
from pg_stat_wal_receiver where status = 'streaming'
"""


@dataclass(frozen=True)
class Standing:
    """A standby at one moment.

    Attributes:
        facts: identity, timeline and clock.
        paused: its replay was paused by somebody.
        replayed: end of the last record that it has replayed.
        last_commit_at: time of the last commit that it has replayed.
        delay: how long it holds commits back, as PostgreSQL writes it.
        restore_command: how it fetches archived WAL, empty where it does not.
        archive_mode: whether it will archive as a primary.
        synchronous: the standbys that its commits will wait for.
        sender: who streams to it at this moment, empty where nobody does.
    """

    facts: ServerFacts
    paused: bool
    replayed: str
    last_commit_at: datetime | None
    delay: str
    restore_command: str
    archive_mode: str
    synchronous: str
    sender: str

    @property
    def position(self) -> int:
        """How far it has replayed, as a number."""
        return parse_lsn(self.replayed)

    @property
    def line(self) -> str:
        """For a person."""
        said = f"streams from {self.sender}" if self.sender else "nobody streams to it"
        paused = ", its replay is paused" if self.paused else ""
        delay = f", delayed by {self.delay}" if self.delay != "0" else ""
        commit = f", last commit {self.last_commit_at:%Y-%m-%d %H:%M:%S%z}" if self.last_commit_at else ""
        return f"timeline {self.facts.timeline}, replayed up to {self.replayed}{commit}; {said}{paused}{delay}"


def look(connection: Connection[TupleRow]) -> Standing | None:
    """Ask the server; ``None`` where it is no standby."""
    facts = server_facts(connection)
    if not facts.in_recovery:
        return None
    paused, replayed, commit, delay, restore, archive, synchronous = one(connection, _STANDING)
    receiver = connection.execute(_RECEIVER).fetchone()
    sender = str(receiver[0]) if receiver is not None and receiver[1] < _SPEAKS_WITHIN else ""
    return Standing(facts, paused, replayed, commit, delay, restore, archive, synchronous, sender)


def standing(config: HostConfig) -> Standing:
    """Look at this host's standby.

    Raises:
        RefusedError: it is none.
        UnreachableError: it does not answer.
    """
    with connected(config, "postgres", application_name="pgdr standby") as connection:
        found = look(connection)
    if found is None:
        raise RefusedError(
            f"{config.cluster_name} on this host is no standby: it takes writes",
            remedy="run it on the standby's host; nothing was changed",
        )
    return found


def examine_standby(
    config: HostConfig, client: PgBackRest, options: Options, *, told: Told
) -> tuple[Standing, Findings]:
    """Look at everything that a promotion would make the truth, and write down what was found.

    A standby copies WAL and no pages: what a disk broke on the primary is whole here as a rule. But WAL carries whole
    pages too, and logical damage as any change: so only what was looked at counts.

    Raises:
        RefusedError: this is no standby.
        PgdrError: it could not be looked at.
    """
    found = standing(config)
    findings = examine(config, client, options, told=told).findings
    Journal.of(config).append(
        operation=EXAMINED,
        result="ok" if findings.clean else "not proven",
        details={
            "system_identifier": found.facts.system_identifier,
            "timeline": found.facts.timeline,
            "replayed": found.replayed,
            "damages": [f"{one.subject}: {one.detail}" for one in findings.damages],
            "unseen": findings.unseen,
        },
    )
    return found, findings


@dataclass(frozen=True)
class Proof:
    """What the last examination of a standby says.

    Attributes:
        problem: why nobody knows that it is whole; empty where it is.
        line: what was seen, and what was not.
    """

    problem: str
    line: str = ""


def proof(config: HostConfig, found: Standing) -> Proof:
    """What is known of this standby's data."""
    last = _last_examination(config, found.facts)
    if last is None:
        return Proof("it was never examined")
    if last.result != "ok":
        damages = list(last.details.get("damages", []))
        return Proof(f"it is damaged too: {damages[0] if damages else 'see pgdr standby examine'}")
    age = found.facts.now - datetime.fromisoformat(last.at)
    if age > EXAMINATION_COUNTS:
        return Proof(f"it was last examined {age.days} days ago")
    unseen = list(last.details.get("unseen", []))
    limits = f"; not looked at: {unseen[0]}" + (f" and {len(unseen) - 1} more" if unseen[1:] else "") if unseen else ""
    return Proof("", f"examined {age.total_seconds() / 60:.0f} min ago, no damage was found{limits}")


def examined_on(config: HostConfig, facts: ServerFacts) -> int | None:
    """The timeline that this server was on when it was last examined as a standby; ``None`` where it never was."""
    last = _last_examination(config, facts)
    return None if last is None else int(last.details["timeline"])


def _last_examination(config: HostConfig, facts: ServerFacts) -> Entry | None:
    last = None
    for entry in Journal.of(config).entries():
        if entry.operation == EXAMINED and entry.details.get("system_identifier") == facts.system_identifier:
            last = entry
    return last
