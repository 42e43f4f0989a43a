"""The smallest cure of each damage, and what a person is told where there is none."""

from __future__ import annotations

import pytest

from pgdr.corruption.model import Cure, Damage, Kind

_PAGE = {"blocks": (3,), "page_hit": True}


@pytest.mark.parametrize(
    ("kind", "facts", "cure"),
    [
        (Kind.HEAP, _PAGE, Cure.BLOCKS),
        (Kind.TOAST, _PAGE, Cure.BLOCKS),
        (Kind.SEQUENCE, _PAGE, Cure.BLOCKS),
        (Kind.CATALOG, {**_PAGE, "catalog": True, "named": True}, Cure.BLOCKS),
        # Nobody could be asked whose file it is: it may be an index.
        (Kind.CATALOG, {**_PAGE, "catalog": True}, Cure.CLUSTER),
        (Kind.SEQUENCE, {**_PAGE, "readable": True}, Cure.MEMORY),
        (Kind.HEAP, {**_PAGE, "unlogged": True}, Cure.NONE),
        (Kind.HEAP, {"blocks": (3,), "forgettable": True}, Cure.BLOCKS),
        (Kind.HEAP, {"blocks": (3,)}, Cure.CLUSTER),
        (Kind.HEAP, {"forgettable": True}, Cure.CLUSTER),
        (Kind.TOAST, {"blocks": (3,)}, Cure.CLUSTER),
        (Kind.INDEX, _PAGE, Cure.REINDEX),
        (Kind.MATERIALIZED_VIEW, _PAGE, Cure.REFRESH),
        (Kind.FREE_SPACE_MAP, _PAGE, Cure.MAPS),
        (Kind.VISIBILITY_MAP, {}, Cure.MAPS),
        (Kind.FILE, _PAGE, Cure.NONE),
    ],
)
def test_the_smallest_cure(kind: Kind, facts: dict[str, object], cure: Cure) -> None:
    assert Damage(kind, "sales.t", "broken", **facts).cure is cure  # type: ignore[arg-type]


def test_what_no_cure_is_for_has_a_way_out() -> None:
    table = Damage(Kind.HEAP, "sales.t", "broken", unlogged=True)
    assert "TRUNCATE" in table.by_hand
    sequence = Damage(Kind.SEQUENCE, "sales.s", "broken", unlogged=True)
    assert "make it anew" in sequence.by_hand
    assert "playbooks/README.md" in Damage(Kind.FILE, "base/1/2", "broken").by_hand
