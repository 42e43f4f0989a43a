"""The looks that ask buckets and servers elsewhere: taken by ``pgdr watch``, kept for the status, which cannot wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from pydantic import Field

from pgdr.errors import PgdrError
from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.lookout import certificates, escrow, replication
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.proof.findings import Findings, record
from pgdr.proof.usual import ago
from pgdr.statefile import State, StateFile

_log = logging.getLogger(__name__)

KIND = "far"
_CHECK = "far-look"
_STALE = timedelta(hours=1)


class Far(State):
    """What the looks measured.

    Attributes:
        at: when.
        lag: seconds by which a repository's copy is behind, by the repository's key.
        expires: when certificates expire, by whose they are.
        kit: which recovery kit was tried with which passphrase.
    """

    at: datetime | None = None
    lag: dict[int, float] = Field(default_factory=dict)
    expires: dict[str, datetime] = Field(default_factory=dict)
    kit: str = ""


def far_file(config: HostConfig) -> StateFile[Far]:
    """The last looks of this host."""
    return StateFile(config.state_directory / "far.json", Far)


def look(config: HostConfig, policy: Policy, now: datetime) -> list[Check]:
    """Look, and keep what was found for the status.

    Raises:
        ConfigError: the state cannot be written.
    """
    before, found = far_file(config).read(), Far(at=now)

    def one(named: S3Repository) -> list[Check]:
        try:
            lag = replication.measure(config, policy, named)
        except PgdrError as error:
            return [replication.unknown(error, named)]
        if lag is None:
            return []
        found.lag[named.id] = lag.seconds(now)
        return [replication.judge(lag, named, now)]

    def kit() -> list[Check]:
        if not policy.s3_repositories:
            return []
        try:
            check, found.kit = escrow.check(config, policy, before.kit)
        except PgdrError as error:
            found.kit = before.kit
            return [escrow.unknown(error)]
        return [check]

    def expiring() -> list[Check]:
        seen = certificates.look(config, policy)
        found.expires.update({item.what: item.expires for item in seen if item.expires is not None})
        return [certificates.judge(item, now) for item in seen]

    looks: list[tuple[str, Callable[[], list[Check]]]] = [("escrow", kit), ("certificates", expiring)]
    looks += [(f"repository {named.id}", partial(one, named)) for named in policy.s3_repositories]
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(_safely, what, work) for what, work in looks]
        checks = [check for done in asked for check in done.result()]
    with far_file(config).change() as state:
        state.at, state.lag, state.expires, state.kit = now, found.lag, found.expires, found.kit
    record(config, KIND, checks, now)
    return checks


def _safely(what: str, work: Callable[[], list[Check]]) -> list[Check]:
    """Look; what goes wrong in a way that nobody thought of must not keep people from hearing of the rest."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - see above; the traceback is in the log
        _log.warning("%s could not be looked at", what, exc_info=True)
        return [
            Check(
                f"{_CHECK}-{what.replace(' ', '-')}",
                Level.AMBER,
                f"{what} could not be looked at: {error!r}",
                endangers="that somebody hears of what is wrong there",
                remedy="pgdr -v watch shows where; this is a bug: please report it",
            )
        ]


def kept(findings: Findings, now: datetime) -> list[Check]:
    """What the last look found; nothing on a host where nobody has looked yet."""
    last = findings.looks.get(KIND)
    if last is None:
        return []
    checks = [item.check() for item in last.findings.values()]
    if now - last.at > _STALE:
        checks.append(
            Check(
                _CHECK,
                Level.AMBER,
                f"replica, escrow and certificates were last looked at {ago((now - last.at).total_seconds())} ago",
                since=last.at,
                endangers="that somebody hears of what changed there since",
                remedy="pgdr watch; journalctl -t erp-backup says why cron's does not run",
            )
        )
    return checks
