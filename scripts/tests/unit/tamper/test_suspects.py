"""What pgBackRest does to its repository is not suspicious, and what it never does is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, cast

import pytest

from pgdr.errors import RefusedError
from pgdr.pgbackrest.info import Backup
from pgdr.policy.cloud import Layout
from pgdr.tamper.examine import Engine, groups_of
from pgdr.tamper.history import History, Version
from pgdr.tamper.suspects import Deed, needed, suspects

if TYPE_CHECKING:
    from pgdr.pgbackrest.client import PgBackRest

_LAYOUT = Layout(repository="pgbackrest/", stanza="erp")
_T0 = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
_FULL, _NEXT = "20261124-020000F", "20261125-020000F"
_SEGMENT = "pgbackrest/archive/erp/16-1/0000000100000000/000000010000000000000005-" + "a" * 40 + ".zst"
_LABEL = "pgbackrest/archive/erp/16-1/0000000100000000/000000010000000000000005.00000028.backup"
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
        # histories and labels are written anew with every attempt; what they say is looked at elsewhere
        [
            _v("pgbackrest/archive/erp/16-1/00000002.history", 1),
            _v("pgbackrest/archive/erp/16-1/00000002.history", 2, "b"),
        ],
        [_v(_LABEL, 1), _v(_LABEL, 2, "b")],
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


class _Said:
    """The engine, for what files said at a moment: minutes after the beginning to text."""

    def __init__(self, texts: dict[float, str]) -> None:
        self.texts = texts
        self.asked = 0

    def read_file(self, _path: str, _repository: int, *, as_of: datetime) -> str:
        self.asked += 1
        text = self.texts[(as_of - _T0).total_seconds() / 60]
        if not text:
            raise RefusedError("cannot be decrypted")
        return text


@pytest.mark.parametrize(
    ("texts", "altered"),
    [
        ({1: "label", 2: "label", 3: "label"}, []),
        ({1: "label", 2: "label", 3: "lied"}, [3]),
        ({1: "label", 2: "lied", 3: ""}, [3, 2]),  # the newest is noise to the engine
        ({1: "label", 2: "lied", 3: "label"}, []),  # it was undone
        ({1: "", 2: "label", 3: "label"}, []),  # nobody can say any more what the first one said
    ],
)
def test_a_label_that_says_something_else_is_found_whatever_its_bytes(
    texts: dict[float, str], altered: list[int]
) -> None:
    history = History(_LAYOUT, [_v(_LABEL, minutes, etag) for minutes, etag in ((3, "c"), (2, "b"), (1, "a"))])
    said = _Said(texts)
    found = Engine(cast("PgBackRest", said), 1, history).altered(_LABEL)
    assert [(version.at - _T0).total_seconds() / 60 for version in found] == altered


def test_thousands_of_attempts_to_archive_a_history_cost_two_questions() -> None:
    versions = [_v(_LABEL, minutes / 60, str(minutes)) for minutes in range(2000, 0, -1)]
    said = _Said({minutes / 60: "label" for minutes in range(1, 2001)})
    assert Engine(cast("PgBackRest", said), 1, History(_LAYOUT, versions)).altered(_LABEL) == []
    assert said.asked == 2


def test_another_length_needs_no_question() -> None:
    first, second = _v(_LABEL, 1), replace(_v(_LABEL, 2, "b"), size=11)
    said = _Said({1: "label"})
    assert Engine(cast("PgBackRest", said), 1, History(_LAYOUT, [second, first])).altered(_LABEL) == [second]
    assert said.asked == 1
