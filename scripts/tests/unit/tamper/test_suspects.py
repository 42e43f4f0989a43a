"""What pgBackRest does to its repository is not suspicious, and what it never does is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from pgdr.pgbackrest.info import Backup
from pgdr.policy.cloud import Layout
from pgdr.tamper.examine import groups_of
from pgdr.tamper.history import History, Version
from pgdr.tamper.suspects import Deed, needed, suspects

_LAYOUT = Layout(repository="pgbackrest/", stanza="erp")
_T0 = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
_FULL, _NEXT = "20261124-020000F", "20261125-020000F"
_SEGMENT = "pgbackrest/archive/erp/16-1/0000000100000000/000000010000000000000005-" + "a" * 40 + ".zst"
_numbers = count(1)


def _v(key: str, minutes: float, etag: str = "a", *, marker: bool = False) -> Version:
    at = _T0 + timedelta(minutes=minutes)
    return Version(key, str(next(_numbers)), at, 0 if marker else 10, "" if marker else etag, marker)


def _set(label: str, start: str, stop: str, minutes: int) -> Backup:
    stopped = int((_T0 + timedelta(minutes=minutes)).timestamp())
    return Backup.model_validate(
        {
            "label": label,
            "type": "full",
            "archive": {"start": start, "stop": stop},
            "database": {"id": 1},
            "timestamp": {"start": stopped - 60, "stop": stopped},
        }
    )


_SETS = (_set(_FULL, "000000010000000000000004", "000000010000000000000006", 5),)
_BACKUP = f"{_LAYOUT.backups}{_FULL}/"


@pytest.mark.parametrize(
    "versions",
    [
        # the info files change all the time
        [_v(f"{_LAYOUT.backups}backup.info", 1), _v(f"{_LAYOUT.backups}backup.info", 9, "b")],
        # a file of a set that is not whole yet is sent again, and the copy of the manifest grows
        [_v(f"{_BACKUP}bundle/1", 1), _v(f"{_BACKUP}bundle/1", 2, "b"), _v(f"{_BACKUP}backup.manifest", 3)],
        [
            _v(f"{_BACKUP}backup.manifest.copy", 1),
            _v(f"{_BACKUP}backup.manifest", 3),
            _v(f"{_BACKUP}backup.manifest.copy", 3.1, "b"),
        ],
        # a set that never became whole is cleaned away
        [_v(f"{_BACKUP}bundle/1", 1), _v(f"{_BACKUP}bundle/1", 60, marker=True)],
        # the same request twice
        [_v(_SEGMENT, 1), _v(_SEGMENT, 1.1)],
    ],
)
def test_the_engine_s_own_work(versions: list[Version]) -> None:
    assert list(suspects(History(_LAYOUT, versions), lambda _moment: _SETS)) == []


@pytest.mark.parametrize(
    ("versions", "deed"),
    [
        ([_v(_SEGMENT, 1), _v(_SEGMENT, 60, "b")], Deed.OVERWRITTEN),
        ([_v(_SEGMENT, 1), _v(_SEGMENT, 60, marker=True)], Deed.DELETED),
        ([_v(f"{_BACKUP}backup.manifest", 3), _v(f"{_BACKUP}backup.manifest", 60, "b")], Deed.OVERWRITTEN),
        (
            [_v(f"{_BACKUP}bundle/1", 1), _v(f"{_BACKUP}backup.manifest", 3), _v(f"{_BACKUP}bundle/1", 60, "b")],
            Deed.OVERWRITTEN,
        ),
        (
            [
                _v(f"{_BACKUP}bundle/1", 1),
                _v(f"{_BACKUP}backup.manifest", 3),
                _v(f"{_BACKUP}bundle/1", 60, marker=True),
            ],
            Deed.DELETED,
        ),
        ([_v(f"{_LAYOUT.wal}archive.info", 1), _v(f"{_LAYOUT.wal}archive.info", 60, marker=True)], Deed.DELETED),
        # buried under a marker and put again
        ([_v(_SEGMENT, 1), _v(_SEGMENT, 2, marker=True), _v(_SEGMENT, 3, "b")], Deed.OVERWRITTEN),
    ],
)
def test_what_the_engine_never_does(versions: list[Version], deed: Deed) -> None:
    found = list(suspects(History(_LAYOUT, versions), lambda _moment: _SETS))
    assert deed in {one.deed for one in found}
    # What was done before a rebuild is not told again.
    assert list(suspects(History(_LAYOUT, versions), lambda _moment: _SETS, _T0 + timedelta(days=1))) == []


def test_a_set_may_go_when_it_is_listed_no_more() -> None:
    versions = [
        _v(f"{_BACKUP}bundle/1", 1),
        _v(f"{_BACKUP}backup.manifest", 3),
        _v(f"{_BACKUP}bundle/1", 60, marker=True),
    ]
    newer = (_set(_NEXT, "000000010000000000000009", "00000001000000000000000A", 1445),)
    assert list(suspects(History(_LAYOUT, versions), lambda _moment: newer)) == []
    # Where the list itself cannot be read, nothing is believed.
    assert len(list(suspects(History(_LAYOUT, versions), lambda _moment: None))) == 1


def test_wal_that_a_set_needs() -> None:
    sets = (*_SETS, _set(_NEXT, "000000010000000000000009", "00000001000000000000000A", 1445))
    assert needed("000000010000000000000005", sets)  # within a set
    assert not needed("000000010000000000000007", sets)  # between two sets
    assert needed("00000001000000000000000C", sets)  # since the newest full
    assert not needed("000000010000000000000003", sets)
    assert needed("00000002.history", sets)


def test_what_belongs_to_a_segment_is_wal() -> None:
    history = History(_LAYOUT, [])
    assert history.wal_of(_SEGMENT) == "000000010000000000000005"
    label = f"{_LAYOUT.wal}16-1/0000000100000000/000000010000000000000005.00000028.backup"
    assert history.wal_of(label) == "000000010000000000000005"
    assert history.wal_of(f"{_LAYOUT.wal}16-1/00000002.history") == "00000002.history"
    assert history.wal_of(f"{_LAYOUT.wal}archive.info") is None


def test_a_moment_is_a_whole_second() -> None:
    key = f"{_LAYOUT.backups}backup.info"
    early, late = _v(key, 0), _v(key, 0.005, "b")  # 300 ms later: the same second
    history = History(_LAYOUT, [late, early])
    assert history.current(key, _T0) == late
    assert history.current(key, _T0 - timedelta(seconds=1)) is None


def test_deeds_are_put_together() -> None:
    found = list(
        suspects(
            History(
                _LAYOUT,
                [
                    version
                    for number in range(3)
                    for version in (
                        _v(_SEGMENT.replace("0005-", f"000{number + 4}-"), 1),
                        _v(_SEGMENT.replace("0005-", f"000{number + 4}-"), 60 + number, "b"),
                    )
                ],
            ),
            lambda _moment: _SETS,
        )
    )
    (group,) = groups_of(found)
    assert (group.what, group.count, group.last - group.first) == ("WAL", 3, timedelta(minutes=2))
