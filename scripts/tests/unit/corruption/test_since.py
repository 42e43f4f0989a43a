"""Since when: the lists of a backup name files in three ways, and each file of a large relation by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgdr.corruption.backups import with_since
from pgdr.corruption.files import Node, node_of
from pgdr.corruption.model import BackupSet, Damage, Kind

BEGIN = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "node"),
    [
        ("base/5/16393", Node(1663, 5, 16393)),
        ("pg_data/base/5/16393.2", Node(1663, 5, 16393)),
        ("base/5/16393_vm", Node(1663, 5, 16393, "vm")),
        ("global/1262", Node(1664, 0, 1262)),
        ("pg_tblspc/16389/PG_17_202406281/5/16393.1", Node(16389, 5, 16393)),
        ("pg_tblspc/16389/PG/5/16393", Node(16389, 5, 16393)),
        ("pg_wal/00000001", None),
    ],
)
def test_a_file_is_known_by_every_name(path: str, node: Node | None) -> None:
    assert node_of(path) == node


def _sets(*files: str) -> list[BackupSet]:
    return [
        BackupSet(f"set-{number}", 1, BEGIN + timedelta(days=number), (file,) if file else ())
        for number, file in enumerate(files)
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "there is no backup"),
        (("", "base/5/1"), "after backup set-1 (2026-11-23 00:00:00+00:00), which copied it whole"),
        (("", "base/5/7.3", "base/5/7"), "after set-0 (2026-11-22 00:00:00+00:00); backup set-1"),
        (("base/5/7", ""), "before the oldest backup; backup set-0"),
    ],
)
def test_a_damage_came_between_two_backups(files: tuple[str, ...], said: str) -> None:
    damage = Damage(Kind.HEAP, "public.t", "its checksum is wrong", "erp", 9, "base/5/7", (3,), page_hit=True)
    [one] = with_since([damage], _sets(*files))
    assert one.since.startswith(said)


def test_what_no_page_shows_is_in_no_backups_list() -> None:
    [one] = with_since([Damage(Kind.INDEX, "public.i", "amcheck: ...", "erp", 9, "base/5/7")], _sets("base/5/7"))
    assert one.since == ""
