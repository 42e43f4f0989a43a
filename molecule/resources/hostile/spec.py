"""Draw a schema: names, keys, references, partitions. Nothing here knows the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

# Quotes, placeholders of every kind, patterns, keywords, words that a program could use itself, and 63 bytes.
NAMES = (
    "plain",
    'say "hi"',
    "100%",
    "%s",
    "%(x)s",
    "*",
    "two words",
    "Größe",
    "ж",
    "日本語",
    "select",
    "user",
    "it's",
    "$1",
    "a.b",
    "back\\slash",
    "UPPER",
    "{brace}",
    "{}",
    "n",
    "t",
    "p",
    "l",
    "tab",
    "tid",
    "kind",
    "act",
    "c1",
    "k1",
    "content",
    "row",
    "--",
    ";drop",
    "tableoid2",
    "x" * 60,
    "ü" * 30,
)
Key = Literal["always", "default", "serial", "text", "composite", "none"]
Kind = Literal["tenant", "child", "shared"]
TenantType = Literal["integer", "bigint", "text", "uuid", "varchar(80)"]


@dataclass(frozen=True)
class Ref:
    """A foreign key: to the table with that number."""

    parent: int
    nullable: bool
    deferrable: Literal["", "deferrable initially immediate", "deferrable initially deferred"]
    on_delete: Literal["", "on delete cascade"]


@dataclass(frozen=True)
class TableSpec:
    """A table."""

    number: int
    schema: int
    name: str
    names: tuple[str, ...]
    kind: Kind
    key: Key
    tenant_type: TenantType
    tenant_nullable: bool
    refs: tuple[Ref, ...]
    partitioned: bool
    unique: Literal["", "plain", "deferrable", "partial", "expression", "deferred"]
    generated: bool
    trigger: bool
    forced_rls: bool


@dataclass(frozen=True)
class Spec:
    """A database, and the seed of its rows."""

    tables: tuple[TableSpec, ...]
    tenants: tuple[str, str]
    seed: int
    mode: Literal["some", "all", "none"]


def short(name: str, suffix: str) -> str:
    """A name with a suffix that still fits into 63 bytes."""
    room = 63 - len(suffix.encode())
    return name.encode()[:room].decode(errors="ignore") + suffix


@st.composite
def _table(draw: st.DrawFn, number: int, owners: tuple[int, ...], types: tuple[TenantType, ...]) -> TableSpec:
    kind: Kind = "tenant" if number == 0 else draw(st.sampled_from(("tenant", "child", "child", "shared")))
    key: Key = draw(st.sampled_from(("always", "default", "serial", "text", "composite", "none")))
    if number == 0 and key == "none":
        key = "default"
    partitioned = key in {"text", "composite", "none"} and draw(st.integers(0, 3)) == 0
    refs = []
    if kind == "child":
        refs.append(draw(_ref(st.sampled_from(owners))))
    return TableSpec(
        number=number,
        schema=draw(st.integers(0, 1)),
        name=short(draw(st.sampled_from(NAMES)), f"{number}"),
        names=tuple(draw(st.lists(st.sampled_from(NAMES), min_size=8, max_size=8, unique=True))),
        kind=kind,
        key=key,
        tenant_type=draw(st.sampled_from(types)),
        tenant_nullable=draw(st.integers(0, 3)) == 0,
        refs=tuple(refs),
        partitioned=partitioned,
        unique=""
        if partitioned
        else draw(st.sampled_from(("", "plain", "deferrable", "deferred", "partial", "expression"))),
        generated=draw(st.booleans()),
        trigger=draw(st.booleans()),
        forced_rls=draw(st.integers(0, 3)) == 0,
    )


def _ref(parents: st.SearchStrategy[int]) -> st.SearchStrategy[Ref]:
    return st.builds(
        Ref,
        parent=parents,
        nullable=st.booleans(),
        deferrable=st.sampled_from(("", "deferrable initially immediate", "deferrable initially deferred")),
        on_delete=st.sampled_from(("", "on delete cascade")),
    )


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Schemas of two to six tables with references in all directions."""
    uuid = draw(st.booleans())
    types: tuple[TenantType, ...] = ("uuid", "text") if uuid else ("integer", "bigint", "text", "varchar(80)")
    tables: list[TableSpec] = []
    for number in range(draw(st.integers(2, 6))):
        owners = tuple(t.number for t in tables if t.key != "none" and t.kind != "shared")
        tables.append(draw(_table(number, owners, types)))
    result = []
    for table in tables:
        targets = [t.number for t in tables if t.key != "none" and (table.kind != "shared" or t.kind == "shared")]
        more = draw(st.lists(_ref(st.sampled_from(targets)), max_size=2)) if targets else []
        # A reference that is not the owner's may lead anywhere, backwards and to itself too: it must allow NULL.
        extra = tuple(Ref(r.parent, nullable=True, deferrable=r.deferrable, on_delete=r.on_delete) for r in more)
        result.append(TableSpec(**{**table.__dict__, "refs": (*table.refs, *extra)}))
    tenants = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222") if uuid else ("7", "12")
    return Spec(tuple(result), tenants, draw(st.integers(0, 2**32)), draw(st.sampled_from(("some", "some", "all"))))
