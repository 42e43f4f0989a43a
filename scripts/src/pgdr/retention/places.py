"""Where copies are kept. Retention knows them through one protocol, so that archives join without a word here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from pgdr.errors import NotProvenError
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.info import StanzaInfo
from pgdr.policy.model import Policy
from pgdr.policy.repository import Repository
from pgdr.proof.marks import Marks
from pgdr.retention.plan import Copy, Plan, Rule


class Place(Protocol):
    """A place that holds copies."""

    @property
    def name(self) -> str:
        """What people and holds call it: ``repository 2``."""
        ...

    @property
    def rule(self) -> Rule:
        """What is kept there."""
        ...

    def copies(self) -> Sequence[Copy]:
        """What is there.

        Raises:
            PgdrError: it cannot be read.
        """
        ...

    def remove(self, plan: Plan) -> Sequence[str]:
        """Remove what a plan dooms and return the labels that are gone.

        Raises:
            PgdrError: something could not be removed, or more is gone than was asked for.
        """
        ...


class RepositoryPlace:
    """A pgBackRest repository.

    Args:
        client: pgBackRest.
        repository: what the policy says of it.
        policy: the policy.
        marks: which sets are good.
    """

    def __init__(self, client: PgBackRest, repository: Repository, policy: Policy, marks: Marks) -> None:
        self._client = client
        self._key = repository.id
        self._marks = marks
        self._rule = repository_rule(repository, policy)

    @property
    def name(self) -> str:
        """``repository 2``."""
        return f"repository {self._key}"

    @property
    def rule(self) -> Rule:
        """The policy's retention of this repository."""
        return self._rule

    def copies(self) -> Sequence[Copy]:
        """The sets of all cluster histories in the repository."""
        found = self._readable()
        return [
            Copy(
                label=item.label,
                at=item.stopped,
                base=item.prior or "",
                good=self._marks.of(self._key, item.label).good and not item.error,
                size=item.info.repository.delta,
            )
            for item in found.backups(self._key)
        ]

    def remove(self, plan: Plan) -> Sequence[str]:
        """Remove sets one by one, then the WAL that no kept set needs.

        WAL stays whole from the anchor on; an older set that is kept for a slot or a hold keeps only what it needs to
        become consistent.
        """
        doomed = {copy.label: copy for copy in plan.doomed}
        kept = {copy.label for copy in plan.kept}
        fulls = [copy for copy in plan.kept if not copy.base]
        anchor = next((copy for copy in fulls if copy.label == plan.anchor), fulls[0] if fulls else None)
        window = [copy for copy in fulls if anchor is not None and copy.at >= anchor.at]
        for copy in doomed.values():
            # A set goes together with the one that it builds on.
            if copy.base not in doomed:
                self._client.expire_set(self._key, copy.label, keep_wal_of=max(len(window), 1))
        if doomed:
            self._client.expire_set(self._key, None, keep_wal_of=max(len(window), 1))
        left = self._readable().labels(self._key)
        lost = sorted(kept - left)
        if lost:
            raise NotProvenError(
                f"expiry removed {', '.join(lost)} from repository {self._key}, which were to be kept",
                remedy="take a full backup now; in a versioned bucket the sets can be brought back",
            )
        return sorted(doomed.keys() - left)

    def _readable(self) -> StanzaInfo:
        found = self._client.info(self._key)
        entry = found.repository(self._key)
        status = found.status if entry is None else entry.status
        if status.code not in {0, 2}:
            raise status.as_error(f"expiry of repository {self._key}")
        return found


def repository_rule(repository: Repository, policy: Policy) -> Rule:
    """What the policy keeps in a repository."""
    cap = policy.compliance.erasure_cap
    return Rule(
        window=timedelta(days=repository.retention.full.days),
        slots={name: timedelta(days=kept.days) for name, kept in repository.retention.slots.items()},
        cap=timedelta(days=cap.days) if cap else None,
    )
