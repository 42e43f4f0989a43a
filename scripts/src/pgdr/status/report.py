"""The status as a whole: gathered, judged, dated, and as a document."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pgdr.errors import PgdrError
from pgdr.health import Check, Level, worst
from pgdr.hostconfig import HostConfig
from pgdr.lookout import standbys
from pgdr.lookout.kept import Far, far_file, kept
from pgdr.notify.delivery import delivery_checks
from pgdr.policy.model import Policy
from pgdr.proof.findings import record
from pgdr.proof.verify import check_document
from pgdr.shipping.check import journal_copy_check
from pgdr.status.facts import Facts, gather
from pgdr.status.host import host_checks, state_checks
from pgdr.status.judge import judge
from pgdr.status.measures import Measures, measure
from pgdr.status.rivals import rival_checks
from pgdr.surgery.shipping import ledger_checks


@dataclass(frozen=True)
class Status:
    """The status of a host at one moment."""

    facts: Facts
    measures: Measures
    checks: tuple[Check, ...]
    far: Far

    @property
    def level(self) -> Level:
        """The worst of all."""
        return worst(self.checks)


def status(config: HostConfig, policy: Policy, facts: Facts | None = None, *, patient: bool = True) -> Status:
    """Look at the host and judge what is there.

    Args:
        config: this host.
        policy: what was promised.
        facts: what was gathered already; else it is gathered now.
        patient: wait for a slow repository; see :func:`pgdr.status.facts.gather`.

    Raises:
        ConfigError: host configuration cannot be read.
    """
    facts = facts or gather(config, policy, patient=patient)
    measures = measure(facts)
    checks = [*judge(facts, measures), *standbys.judge(facts.readers, policy, facts.now, facts.findings)]
    unread = list(facts.unread)
    looks: tuple[Callable[[], Iterable[Check]], ...] = (
        lambda: host_checks(config, facts),
        lambda: rival_checks(config, facts),
        lambda: delivery_checks(config, policy.notification),
        lambda: ledger_checks(config, policy),
        lambda: journal_copy_check(config, policy, facts.now),
    )
    for look in looks:
        try:
            checks += look()
        except PgdrError as error:
            unread.append(error)  # one file that is damaged must not hide what all others say
    checks += state_checks(unread)
    try:
        dated = record(config, "status", checks, facts.now)
        checks = [dated[check.key] for check in checks]
    except PgdrError:
        pass  # a full disk must not silence the status; it is one of its findings
    checks += kept(facts.findings, facts.now)  # they have their dates already
    worst_first = tuple(sorted(checks, key=lambda check: -check.level.rank))
    return Status(facts, measures, worst_first, far_file(config).read())


def document(found: Status) -> dict[str, Any]:
    """Write the status as the JSON document of ``pgdr status --output json``."""
    policy = found.facts.policy
    verified = found.facts.findings.looks.get("verify")
    return {
        "cluster": policy.cluster.name,
        "at": _time(found.facts.now),
        "level": str(found.level),
        "rpo_seconds": found.measures.rpo_seconds,
        "rpo_objective_seconds": policy.objectives.rpo.seconds,
        "rto_estimate_seconds": found.measures.rto_seconds,
        "rto_objective_seconds": policy.objectives.rto.seconds,
        "last_verification": _time(verified.at) if verified else None,
        "proven": {"backup": found.measures.proven, "at": _time(found.measures.proven_at)},
        "archive_proven": {"archive": found.measures.archive_proven, "at": _time(found.measures.archive_proven_at)},
        "repositories": [
            {key: _time(value) if isinstance(value, datetime) else value for key, value in asdict(window).items()}
            for window in found.measures.windows
        ],
        "slots": found.measures.slots,
        "disks": [disk.model_dump(mode="json") for disk in found.facts.disks],
        "replication_lag_seconds": found.far.lag,
        "certificates": {what: _time(at) for what, at in sorted(found.far.expires.items())},
        "keys_due": {what: _time(at) for what, at in sorted(found.far.keys.items())},
        "holds": len(found.facts.holds.holds),
        "jobs": {name: _time(at) for name, at in sorted(found.facts.history.last_ok.items())},
        "checks": [check_document(check) for check in found.checks],
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
