"""The drill's proof finds what is missing, what is too much and what differs."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from drill.proof import Proof, prove
from erp.ledger import Ledger

RUN = UUID(int=1)
EARLY, LATE, DOUBT, STRANGER = UUID(int=11), UUID(int=12), UUID(int=13), UUID(int=99)
REFERENCE = {"sales.orders": {"rows": 10, "sum0": 100, "sum1": 200}, "core.partners": {"rows": 3, "sum0": 7, "sum1": 8}}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Two acknowledged transactions at 0/100 and 0/200, and one whose COMMIT never returned."""
    lines: list[dict[str, object]] = [{"event": "run", "run_id": str(RUN)}]
    for number, txn_id in enumerate((EARLY, LATE, DOUBT), start=1):
        change = {"sales.orders": {"rows": 1, "sum0": number, "sum1": 10 * number, "touched": 1}}
        begin = {
            "event": "begin",
            "txn_id": str(txn_id),
            "kind": "order",
            "xid": number,
            "orders": [],
            "changes": change,
        }
        lines.append(begin)
    for txn_id, at, lsn in (
        (EARLY, "2026-11-22T10:00:00+00:00", "0/100"),
        (LATE, "2026-11-22T10:00:05+00:00", "0/200"),
    ):
        lines.append({"event": "committed", "txn_id": str(txn_id), "at": at, "lsn": lsn})
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Ledger.read(path)


def restored(rows: int, sum0: int, sum1: int) -> dict[str, dict[str, int]]:
    return {**REFERENCE, "sales.orders": {"rows": rows, "sum0": sum0, "sum1": sum1}}


def test_what_was_archived_survives_and_the_rest_is_counted_as_lost(ledger: Ledger) -> None:
    proof = prove(REFERENCE, restored(11, 101, 210), ledger, {EARLY}, "0/180")
    assert proof.holds
    assert (proof.tables_compared, proof.rows_compared) == (2, 14)
    assert (proof.transactions_survived, proof.transactions_lost, proof.rows_lost) == (1, 1, 1)
    assert str(proof.last_surviving_commit_at) == "2026-11-22 10:00:00+00:00"


def test_a_transaction_in_doubt_may_survive(ledger: Ledger) -> None:
    assert prove(REFERENCE, restored(13, 106, 260), ledger, {EARLY, LATE, DOUBT}, "0/300").holds


def faults(proof: Proof) -> str:
    assert not proof.holds
    return "; ".join(proof.faults)


def test_one_changed_row_is_found(ledger: Ledger) -> None:
    assert "table differs: sales.orders" in faults(prove(REFERENCE, restored(11, 101, 211), ledger, {EARLY}, "0/180"))


def test_a_missing_table_is_found(ledger: Ledger) -> None:
    only = {"sales.orders": {"rows": 11, "sum0": 101, "sum1": 210}}
    assert "table differs: core.partners" in faults(prove(REFERENCE, only, ledger, {EARLY}, "0/180"))


def test_a_commit_that_was_reached_and_is_missing_is_data_loss(ledger: Ledger) -> None:
    assert "but missing" in faults(prove(REFERENCE, restored(11, 101, 210), ledger, {EARLY}, "0/200"))


def test_a_transaction_that_nobody_sent_is_found(ledger: Ledger) -> None:
    assert "never sent" in faults(prove(REFERENCE, restored(11, 101, 210), ledger, {EARLY, STRANGER}, "0/180"))


def test_comparing_nothing_proves_nothing(ledger: Ledger) -> None:
    assert "no table was compared" in faults(prove({}, {}, ledger, set(), "0/0"))
