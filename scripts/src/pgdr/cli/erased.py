"""Who was erased stays erased: what every restore does with the erasure ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pgdr.cli import output
from pgdr.cli.surgery import policy_of
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.restoring.owners import Erasures

# Takes the name of a database and returns how many rows were removed from it again.
Keep = Callable[[str], int]


def keeper(host: HostConfig, policy: Path | None) -> Keep:
    """Return what removes erased subjects from a database again; it does nothing where nobody was ever erased.

    Call it before any work: what it needs is looked at now.

    Raises:
        ConfigError: there are erasures, and the policy does not say how rows belong to tenants.
        NotProvenError: the ledger is damaged.
    """
    found = erasures(host, policy)
    return (lambda _database: 0) if found is None else found.keep


def erasures(host: HostConfig, policy: Path | None) -> Erasures | None:
    """Who was erased, and how rows belong to tenants; ``None`` where nobody ever was.

    Raises:
        ConfigError: there are erasures, and the policy does not say how rows belong to tenants.
        NotProvenError: the ledger is damaged.
    """
    from pgdr.journal import Journal  # noqa: PLC0415 - start-up time, see main
    from pgdr.restoring.owners import Erasures  # noqa: PLC0415
    from pgdr.surgery import erase  # noqa: PLC0415
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415

    ledger = Ledger(host)
    if not ledger.erasures():
        return None
    _, tenancy = policy_of(policy)

    def keep(database: str) -> int:
        found = erase.replay(erase.Request(host, tenancy, database), ledger)
        details = {"database": database, "removed": {str(number): rows for number, rows in found.removed.items()}}
        Journal.of(host).append(operation="erasures replay", result="ok", details=details)
        for number, rows in found.removed.items():
            output.message(f"erasure {number}: {rows} rows came back with the past and were removed again")
        return sum(found.removed.values())

    return Erasures(tenancy, ledger, keep)


def require_not_erased(host: HostConfig, policy: Path | None, tenant: str, database: str | None) -> None:
    """Refuse to bring back a tenant that was erased.

    Raises:
        RefusedError: it was.
    """
    from pgdr.surgery import erase  # noqa: PLC0415
    from pgdr.surgery.ledger import DONE, Ledger  # noqa: PLC0415

    ledger = Ledger(host)
    done = {erasure.subject: erasure for erasure in ledger.erasures() if erasure.state == DONE}
    if not done:
        return
    _, tenancy = policy_of(policy)
    found = done.get(erase.subject_of(erase.Request(host, tenancy, database), tenant, ledger))
    if found is not None:
        raise RefusedError(
            f"this tenant was erased on {found.at} (erasure {found.number}) and stays erased",
            remedy="the ledger is the proof of a promise: nothing brings this tenant back",
        )
