"""Reading a ledger, and saying what a database must hold because of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from erp.ledger import (
    Change,
    Checksum,
    Ledger,
    LedgerError,
    Mismatch,
    compare_checksums,
    expected_checksums,
)
from erp.ledger_writer import LedgerWriter
from pgdr.errors import RefusedError

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOP = 2**64 - 1


def _write(path: Path, count: int, *, without_end: int = 0) -> list[UUID]:
    """A ledger of ``count`` transactions a second apart, each with one order; the last have no ``committed``."""
    ids = [uuid4() for _ in range(count)]
    with LedgerWriter(path, uuid4(), seed=1) as writer:
        for number, txn_id in enumerate(ids):
            changes = {"sales.orders": Change(1, 10, TOP, 1), "core.partners": Change(0, TOP, 5, 2)}
            writer.begin(txn_id, "order", 700 + number, (number,), changes)
            if number < count - without_end:
                writer.committed(txn_id, 700 + number, NOON + timedelta(seconds=number), f"1/{number * 256:08X}")
    return ids


def test_reads_what_was_written(tmp_path: Path) -> None:
    ids = _write(tmp_path / "ledger", 3, without_end=1)

    ledger = Ledger.read(tmp_path / "ledger")

    assert [one.txn_id for one in ledger.transactions] == ids
    assert [one.txn_id for one in ledger.committed] == ids[:2]
    assert [one.txn_id for one in ledger.in_doubt] == ids[2:]
    second = ledger.transactions[1]
    assert (second.kind, second.xid, second.orders, second.touched) == ("order", 701, (1,), 3)
    assert second.committed_at == NOON + timedelta(seconds=1)
    assert second.lsn == 2**32 + 256
    assert not ledger.torn


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ids = _write(path, 2)
    whole = path.read_bytes()
    last_line = whole.rstrip(b"\n").rfind(b"\n") + 1

    for end in range(last_line + 1, len(whole)):
        path.write_bytes(whole[:end])
        ledger = Ledger.read(path)
        assert ledger.torn
        assert [one.txn_id for one in ledger.committed] == ids[:1]
        assert [one.txn_id for one in ledger.in_doubt] == ids[1:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], lines[1][:40], *lines[2:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [lines[0], lines[1].replace(b'"begin"', b'"maybe"'), *lines[2:]],
        lambda lines: lines[1:],
        lambda _lines: [b"[]"],
        lambda _lines: [],
    ],
    ids=["cut in the middle", "commit before begin", "unknown event", "no run", "no object", "empty"],
)
def test_damage_elsewhere_is_an_error(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "ledger"
    _write(path, 2)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in damage(lines)))  # type: ignore[operator]

    with pytest.raises(LedgerError):
        Ledger.read(path)


def test_missing_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="No such file"):
        Ledger.read(tmp_path / "nothing")


def test_a_ledger_holds_one_run(tmp_path: Path) -> None:
    _write(tmp_path / "ledger", 1)

    with pytest.raises(RefusedError, match="exists"):
        LedgerWriter(tmp_path / "ledger", uuid4(), seed=1)


def test_full_disk_stops_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a line nothing may follow, or the file could not be read any more."""
    path = tmp_path / "ledger"
    with LedgerWriter(path, uuid4(), seed=1) as writer:
        writer.begin(uuid4(), "order", 1, (), {})
        with monkeypatch.context() as patched:
            from erp import ledger_writer  # noqa: PLC0415

            real = ledger_writer.os.write  # type: ignore[attr-defined]
            patched.setattr(ledger_writer.os, "write", lambda file, data: real(file, data[:5]))  # type: ignore[attr-defined]
            with pytest.raises(LedgerError, match="cannot write the ledger"):
                writer.begin(uuid4(), "order", 2, (), {})
        with pytest.raises(LedgerError):
            writer.begin(uuid4(), "order", 3, (), {})

    ledger = Ledger.read(path)
    assert ledger.torn
    assert [one.xid for one in ledger.transactions] == [1]


def test_expected_checksums_add_up_the_survivors(tmp_path: Path) -> None:
    ids = _write(tmp_path / "ledger", 3)
    reference = {
        "sales.orders": {"rows": 100, "sum0": TOP, "sum1": 7},
        "core.partners": {"rows": 5, "sum0": 1, "sum1": -3},
        "core.tags": {"rows": 1, "sum0": 2, "sum1": 3},
    }

    expected = expected_checksums(reference, Ledger.read(tmp_path / "ledger"), ids[:2])

    assert expected == {
        "sales.orders": Checksum(102, 19, 5),
        "core.partners": Checksum(5, TOP, 7),
        "core.tags": Checksum(1, 2, 3),
    }
    actual = {table: checksum._asdict() for table, checksum in expected.items()}
    assert compare_checksums(expected, actual) == []
    actual["core.tags"]["sum1"] = 4
    del actual["core.partners"]
    actual["core.new"] = {"rows": 0, "sum0": 0, "sum1": 0}
    assert compare_checksums(expected, actual) == [
        Mismatch("core.new", None, Checksum(0, 0, 0)),
        Mismatch("core.partners", Checksum(5, TOP, 7), None),
        Mismatch("core.tags", Checksum(1, 2, 3), Checksum(1, 2, 4)),
    ]


def test_expected_checksums_need_all_there_is_to_know(tmp_path: Path) -> None:
    ids = _write(tmp_path / "ledger", 1)
    ledger = Ledger.read(tmp_path / "ledger")

    with pytest.raises(LedgerError, match=r"the load changed core\.partners"):
        expected_checksums({"sales.orders": {"rows": 0, "sum0": 0, "sum1": 0}}, ledger, ids)
    with pytest.raises(LedgerError, match="not in the ledger"):
        expected_checksums({}, ledger, [uuid4()])


def test_survivors_are_compared(tmp_path: Path) -> None:
    ids = _write(tmp_path / "ledger", 6, without_end=2)
    ledger = Ledger.read(tmp_path / "ledger")
    stranger = uuid4()

    # 0 and 1 survived, 2 and 3 are lost, 4 is in doubt and there, 5 is in doubt and not there.
    report = ledger.compare_survivors([ids[0], ids[1], ids[4], stranger], "1/0000013F")

    assert report.survived == 4
    assert [one.txn_id for one in report.lost] == ids[2:4]
    assert report.lost_before_reached_lsn == ()
    assert report.unexpected == (stranger,)
    assert report.in_doubt_survived == 1
    assert report.last_surviving_commit_time == NOON + timedelta(seconds=1)
    assert report.first_lost_commit_time == NOON + timedelta(seconds=2)
    assert report.rows_lost == 6
    assert not report.explained

    # Recovery says that it reached the commit of 2: then 2 must be there.
    reached = ledger.compare_survivors([ids[0], ids[1]], "1/00000200")
    assert [one.txn_id for one in reached.lost_before_reached_lsn] == [ids[2]]
    assert not reached.explained
    assert ledger.compare_survivors(ids[:3], "1/00000200").explained


def test_nothing_lost_is_said_so(tmp_path: Path) -> None:
    ids = _write(tmp_path / "ledger", 2)

    report = Ledger.read(tmp_path / "ledger").compare_survivors(ids, "2/0")

    assert (report.lost, report.rows_lost, report.first_lost_commit_time) == ((), 0, None)
    assert report.explained


def test_refused_commit_is_neither_lost_nor_in_doubt(tmp_path: Path) -> None:
    path, refused = tmp_path / "ledger", uuid4()
    with LedgerWriter(path, uuid4(), seed=1) as writer:
        writer.begin(refused, "order", 1, (), {})
        writer.rolled_back(refused)
        writer.end("told to stop")

    ledger = Ledger.read(path)

    assert ledger.in_doubt == ledger.committed == ()
    assert ledger.compare_survivors([], "1/0").lost == ()
    assert ledger.compare_survivors([refused], "1/0").unexpected == (refused,)


def test_every_line_is_json_with_a_zone_in_its_times(tmp_path: Path) -> None:
    _write(tmp_path / "ledger", 2)

    for line in (tmp_path / "ledger").read_text().splitlines():
        record = json.loads(line)
        if "at" in record:
            assert datetime.fromisoformat(record["at"]).utcoffset() == timedelta(0)
