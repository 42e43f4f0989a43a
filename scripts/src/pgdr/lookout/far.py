"""The looks that ask buckets and servers elsewhere: taken by ``pgdr watch``, kept for the status, which cannot wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

from pgdr.errors import PgdrError
from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.lookout import certificates, clock, escrow, keys, replication
from pgdr.lookout.kept import CHECK, KIND, Far, far_file
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.proof.findings import record

_log = logging.getLogger(__name__)


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

    def aging() -> list[Check]:
        try:
            stored = keys.look(config, policy, now)
        except PgdrError as error:
            found.keys = before.keys
            return [keys.unknown(error)]
        found.keys.update({key.what: key.due for key in stored})
        return [keys.judge(key, policy, now) for key in stored]

    looks: list[tuple[str, Callable[[], list[Check]]]] = [("escrow", kit), ("certificates", expiring), ("keys", aging)]
    looks += [("clocks", lambda: list(clock.look(config)))]
    looks += [(f"repository {named.id}", partial(one, named)) for named in policy.s3_repositories]
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(_safely, what, work) for what, work in looks]
        checks = [check for done in asked for check in done.result()]
    with far_file(config).change() as state:
        state.at, state.lag, state.expires, state.kit, state.keys = now, found.lag, found.expires, found.kit, found.keys
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
                f"{CHECK}-{what.replace(' ', '-')}",
                Level.AMBER,
                f"{what} could not be looked at: {error!r}",
                endangers="that somebody hears of what is wrong there",
                remedy="pgdr -v watch shows where; this is a bug: please report it",
            )
        ]
