"""Whether a standby may be promoted, what that loses, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pgdr.errors import PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.postgres.connection import connected
from pgdr.postgres.facts import ServerFacts, server_facts
from pgdr.recovery.archive import WalArchive
from pgdr.recovery.history import own_history
from pgdr.recovery.lsn import format_lsn
from pgdr.recovery.walend import ArchiveReader
from pgdr.standby.end import PrimaryEnd
from pgdr.standby.look import Standing, examined_on, look, proof

_TWO = "two servers would take orders, and no one can bring those together again"


@dataclass(frozen=True)
class Wish:
    """What a person asked for.

    Attributes:
        end: what the primary's host said; ``None`` where it cannot be reached.
        unfenced: promote although nobody stopped the primary.
        accept_loss: promote although the primary's last record was not replayed.
        most_behind: bytes of WAL that the standby may be behind.
        patience: seconds without progress after which the rest of WAL is given up.
        disaster_at: when it broke; gives RTO and RPO.
        archiving: see afterwards that each repository gets the new timeline's WAL.
        wait: seconds to wait for another operation.
    """

    end: PrimaryEnd | None = None
    unfenced: bool = False
    accept_loss: bool = False
    most_behind: int = 2**30
    patience: float = 60.0
    disaster_at: datetime | None = None
    archiving: bool = True
    wait: float = 0.0


@dataclass
class PromotionPlan:
    """What would be done.

    Attributes:
        facts: the server as it is.
        standing: the standby; ``None`` where it is promoted already.
        goal: the record that must have been replayed; ``None`` where nobody knows one.
        lines: for a person.
        blockers: what stands in the way.
    """

    facts: ServerFacts
    standing: Standing | None
    goal: int | None = None
    lines: list[str] = field(default_factory=list)
    blockers: list[str] = field(default_factory=list)

    def require_ready(self) -> None:
        """Refuse a plan that cannot be carried out.

        Raises:
            RefusedError: so it is.
        """
        if self.blockers:
            more = f"{len(self.blockers)} such, see --plan; " if len(self.blockers) > 1 else ""
            raise RefusedError(self.blockers[0], remedy=f"{more}nothing was changed here")

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {
            "system_identifier": self.facts.system_identifier,
            "timeline": self.facts.timeline,
            "replayed": self.standing.replayed if self.standing else None,
            "goal": format_lsn(self.goal) if self.goal is not None else None,
            "lines": self.lines,
            "blockers": self.blockers,
        }


def make_plan(config: HostConfig, client: PgBackRest, wish: Wish, *, planning: bool) -> PromotionPlan:
    """Look at the standby, hold it against its primary, and decide; nothing is changed.

    Args:
        config: what this host is.
        client: the engine.
        wish: what a person asked for.
        planning: only the plan was asked for: the primary may run still.

    Raises:
        UnreachableError: the standby does not answer.
    """
    with connected(config, "postgres", application_name="pgdr standby") as connection:
        found = look(connection)
        if found is not None and wish.end is not None and found.facts.timeline < wish.end.timeline:
            # It may have followed a promotion: its control file says so from the next restart point on.
            connection.execute("checkpoint")
            found = look(connection)
        facts = found.facts if found is not None else server_facts(connection)
    plan = PromotionPlan(facts, found, goal=wish.end.position if wish.end is not None else None)
    if wish.end is not None:
        plan.lines.append(f"primary: {wish.end.line}")
        _hold_against(wish.end, facts, plan)
    if found is None:
        _promoted_before(config, wish, plan)
        return plan
    plan.lines.append(f"standby: {found.line}")
    seen = proof(config, found)
    if seen.problem:
        plan.blockers.append(f"nobody has proven that this standby is whole: {seen.problem} (pgdr standby examine)")
    else:
        plan.lines.append(seen.line)
    if wish.end is not None:
        _with_primary(wish, wish.end, found, plan, planning=planning)
    else:
        _without_primary(config, client, wish, found, plan)
    if found.synchronous:
        plan.lines.append(
            f"commits will wait for {found.synchronous} (synchronous_standby_names): have it follow this server, or "
            "ALTER SYSTEM SET synchronous_standby_names = ''"
        )
    if found.archive_mode == "off":
        plan.lines.append("archive_mode is off here: nothing is archived after the promotion until a restart")
    return plan


def _hold_against(end: PrimaryEnd, facts: ServerFacts, plan: PromotionPlan) -> None:
    if end.system_identifier != facts.system_identifier:
        plan.blockers.append(
            f"this server is of another cluster: its system identifier is {facts.system_identifier}, that of "
            f"{end.cluster} on {end.host} is {end.system_identifier}"
        )


def _with_primary(wish: Wish, end: PrimaryEnd, found: Standing, plan: PromotionPlan, *, planning: bool) -> None:
    if end.timeline != found.facts.timeline:
        plan.blockers.append(
            f"this standby is on timeline {found.facts.timeline}, its primary on {end.timeline}: their histories differ"
        )
    if not (planning or (end.fenced and end.stopped)):
        plan.blockers.append(
            f"{end.host} was looked at and not fenced: {_TWO} (pgdr standby fence there, and hand over what it says)"
        )
    if found.sender and end.stopped:
        plan.blockers.append(
            f"a server at {found.sender} streams to this standby at this moment, so it is not the one that was fenced "
            f"on {end.host}"
        )
    behind = end.position - found.position
    if behind > wish.most_behind:
        plan.blockers.append(
            f"this standby is {size(behind)} of WAL behind (replayed {found.replayed}, the primary wrote {end.lsn}): "
            f"the service would wait for that (--most-behind {behind} if it shall)"
        )
    plan.lines.append(
        f"behind: {size(max(behind, 0))} of WAL; promoted only when the primary's last record is replayed"
        + (", or without it, as you said" if wish.accept_loss else "")
    )
    if end.not_archived:
        plan.lines.append(f"the archive may lack the primary's last WAL: {end.not_archived}")


def _without_primary(config: HostConfig, client: PgBackRest, wish: Wish, found: Standing, plan: PromotionPlan) -> None:
    if found.sender:
        plan.blockers.append(
            f"a server at {found.sender} streams to this standby at this moment: its primary lives. Fence it there: "
            "pgdr standby fence"
        )
    if not wish.unfenced:
        plan.blockers.append(
            f"nobody says that the old primary was fenced: it may be alive, and {_TWO}. Run pgdr standby fence on its "
            f"host; where it is lost or cut off for certain: --unfenced {config.cluster_name}"
        )
    else:
        plan.lines.append(f"the old primary was not fenced, as you said: if it lives, {_TWO}")
    plan.goal = _archived_end(config, client, found, plan)
    if plan.goal is None:
        plan.lines.append("no repository says where WAL ends: what this standby has received is all there is")
    else:
        plan.lines.append(
            f"the archive ends at {format_lsn(plan.goal)}, {size(max(plan.goal - found.position, 0))} ahead of this "
            "standby: that is replayed first; what the primary wrote behind it and did not send is lost"
        )


def _archived_end(config: HostConfig, client: PgBackRest, found: Standing, plan: PromotionPlan) -> int | None:
    """The last record that is archived on the standby's timeline in any repository, so far as they answer."""
    ends = []
    for repository in client.repositories:
        try:
            stored = client.info(repository.key).readable().current_archive(repository.key)
            if stored is not None:
                archive = WalArchive(client, repository.key, config.stanza, stored.id)
                reader = ArchiveReader(archive, config.bin_directory)
                ends.append(reader.end("current", found.facts.timeline).last_record)
        except PgdrError as error:
            plan.lines.append(f"repository {repository.key} was not asked where WAL ends: {error.message}")
    return max(ends, default=None)


def _promoted_before(config: HostConfig, wish: Wish, plan: PromotionPlan) -> None:
    """A server that takes writes: ours, promoted by the run that was killed, or one that never was a standby."""
    left = left_at(config, plan.facts.timeline)
    came_from = (
        wish.end.timeline if wish.end is not None else examined_on(config, plan.facts) if wish.unfenced else None
    )
    if left is None or left[0] != came_from:
        plan.blockers.append(f"{config.cluster_name} on this host is no standby: it takes writes")
    elif wish.end is not None and left[1] <= wish.end.position and not wish.accept_loss:
        plan.blockers.append(
            f"this server was promoted at {format_lsn(left[1])}, before the primary's last record ({wish.end.lsn})"
        )
    else:
        plan.lines.append(f"promoted already, at {format_lsn(left[1])} on timeline {plan.facts.timeline}")


def left_at(config: HostConfig, timeline: int) -> tuple[int, int] | None:
    """The timeline before this one, and the position at which it was left."""
    history = own_history(config.data_directory, timeline)
    return list(history.items())[-1] if history else None


def size(amount: int) -> str:
    """Bytes for a person; a few of them may be the one record that counts."""
    if amount < 2**20:
        return f"{amount} bytes"
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.1f} MiB"
