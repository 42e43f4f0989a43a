"""Prove that a restored database is the lost one, to the row, with what the client itself had written down.

The reference is a fingerprint taken before the load began; the ledger says what each transaction of the load changed
in each table. Checksums add up, so *reference + surviving transactions* is what every table must hold now.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from erp.ledger import Ledger, Reference, compare_checksums, expected_checksums


@dataclass(frozen=True)
class Proof:
    """What the comparison found.

    Attributes:
        tables_compared: tables whose content was compared.
        rows_compared: rows in them.
        differing: tables that do not hold what they must.
        transactions_survived: transactions of the load that are in the restored database.
        transactions_lost: committed transactions that are not.
        rows_lost: rows that those had written.
        lost_before_reached: committed transactions at or before the reached position that are missing: data loss.
        unexpected: transactions in the database that the client never sent.
        last_surviving_commit_at: by the client's clock.
    """

    tables_compared: int
    rows_compared: int
    differing: list[str]
    transactions_survived: int
    transactions_lost: int
    rows_lost: int
    lost_before_reached: list[str]
    unexpected: list[str]
    last_surviving_commit_at: datetime | None

    @property
    def fingerprints_match(self) -> bool:
        """Every table holds exactly what it must."""
        return self.tables_compared > 0 and not self.differing

    @property
    def holds(self) -> bool:
        """The data is proven."""
        return self.fingerprints_match and not self.lost_before_reached and not self.unexpected

    @property
    def faults(self) -> list[str]:
        """What is wrong, one line each."""
        found = [f"table differs: {name}" for name in self.differing]
        found += [f"committed before the reached position, but missing: {txn}" for txn in self.lost_before_reached]
        found += [f"in the database, but never sent: {txn}" for txn in self.unexpected]
        if not self.tables_compared:
            found.append("no table was compared")
        return found


def read_tables(path: Path) -> dict[str, dict[str, int]]:
    """Read the tables of a result of ``pgdr fingerprint --output json``."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: {"rows": int(table["rows"]), "sum0": int(table["sum0"]), "sum1": int(table["sum1"])}
        for name, table in document["tables"].items()
    }


def prove(
    reference: Reference,
    restored: Reference,
    ledger: Ledger,
    surviving: Collection[UUID],
    reached_lsn: str,
) -> Proof:
    """Compare the restored tables with what they must hold.

    Args:
        reference: fingerprint before the load: rows, sum0, sum1 by table.
        restored: fingerprint after the restore.
        ledger: what the client sent and what was acknowledged.
        surviving: ids of the transactions that the restored database holds.
        reached_lsn: position at which recovery stopped.
    """
    survivors = ledger.compare_survivors(surviving, reached_lsn)
    # What the client never sent cannot be added up; it is a fault of its own.
    known = set(surviving) - set(survivors.unexpected)
    mismatches = compare_checksums(expected_checksums(reference, ledger, known), restored)
    return Proof(
        tables_compared=len(restored),
        rows_compared=sum(table["rows"] for table in restored.values()),
        differing=[mismatch.table for mismatch in mismatches],
        transactions_survived=survivors.survived,
        transactions_lost=len(survivors.lost),
        rows_lost=survivors.rows_lost,
        lost_before_reached=[str(one.txn_id) for one in survivors.lost_before_reached_lsn],
        unexpected=[str(txn_id) for txn_id in survivors.unexpected],
        last_surviving_commit_at=survivors.last_surviving_commit_time,
    )
