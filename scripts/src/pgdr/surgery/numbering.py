"""Sequences of one tenant, which the policy finds by their names: ``sales.invoice_no_4711``.

A number that was given out stands on paper somewhere: none is given out twice. So a sequence only moves on, to where
it stood in the past if that is further, and one that is gone is made again as it was. All of that is part of the
transaction: ``ALTER SEQUENCE`` keeps others from taking numbers until its end, which is also how an undo knows whether
somebody has taken one since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from pgdr.errors import ConfigError
from pgdr.policy.tenancy import Tenancy
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.surgery.model import quoted
from pgdr.surgery.standing import FEEDS, Standing, make, read_standings, set_value

_LONGEST = 63
_NAMES = f"""
select n.nspname::text, c.relname::text, {FEEDS}
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'S' and c.relpersistence <> 't' and n.nspname = any (%s)
"""  # noqa: S608 - made of constants


class Change(BaseModel):
    """What happens to a sequence: ``None`` where there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_name: str
    name: str
    before: Standing | None
    after: Standing | None

    @property
    def label(self) -> str:
        """Its name for people."""
        return f"{quoted(self.schema_name)}.{quoted(self.name)}"

    @property
    def identifier(self) -> sql.Identifier:
        """Its qualified name, quoted."""
        return sql.Identifier(self.schema_name, self.name)

    def reversed(self) -> Change:
        """The way back."""
        return self.model_copy(update={"before": self.after, "after": self.before})


@dataclass(frozen=True)
class SequencePlan:
    """One sequence in a plan.

    Attributes:
        sequence: its name.
        action: what happens to it.
        now: the number that it would give out next; ``None`` where it is not there.
        then: the same afterwards.
    """

    sequence: str
    action: str
    now: int | None
    then: int | None


@dataclass
class Found:
    """What would be done, and what a person should know.

    Attributes:
        changes: in the order of their names.
        blockers: what stands in the way.
        notes: the rest.
    """

    changes: list[Change]
    blockers: list[str]
    notes: list[str]

    @property
    def plans(self) -> tuple[SequencePlan, ...]:
        """The changes as a plan shows them."""
        return tuple(_plan(change) for change in self.changes)


def _plan(change: Change) -> SequencePlan:
    now = None if change.before is None else change.before.following
    then = None if change.after is None else change.after.following
    action = "stands elsewhere"
    if change.before is None:
        action = "is made again"
    elif change.after is None:
        action = "is removed"
    elif change.before.behind(change.after):
        action = "moves on"
    elif change.after.behind(change.before):
        action = "goes back: nobody has taken a number"
    return SequencePlan(change.label, action, now, then)


def names(tenancy: Tenancy, tenant: str) -> list[tuple[str, str]]:
    """Schema and name of each sequence that a tenant may have.

    Args:
        tenancy: the policy's part.
        tenant: its id as the database writes it.

    Raises:
        ConfigError: a name would be longer than PostgreSQL allows.
    """
    found: dict[tuple[str, str], None] = {}
    for one in tenancy.sequences:
        name = one.of(tenant)
        if len(name.encode()) > _LONGEST:
            raise ConfigError(
                f"tenancy.sequences: {name!r} is longer than the {_LONGEST} bytes of a name",
                remedy="correct the pattern, or say other_characters",
            )
        found[(one.schema_, name)] = None
    return list(found)


def tenants_named(connection: Connection[TupleRow], tenancy: Tenancy) -> set[str]:
    """Ids of tenants that names of sequences give away, where the pattern keeps the id as it is."""
    plain = [one for one in tenancy.sequences if one.other_characters is None]
    return {
        who
        for schema, name, feeds in _named(connection, tenancy)
        for one in plain
        if not feeds and one.schema_ == schema and (who := one.tenant_of(name)) is not None
    }


def unnamed(connection: Connection[TupleRow], tenancy: Tenancy) -> list[tuple[str, str]]:
    """Sequences of tenants whose names do not say of which: the pattern replaces characters of the id."""
    replacing = [one for one in tenancy.sequences if one.other_characters is not None]
    return [
        (schema, name)
        for schema, name, feeds in _named(connection, tenancy)
        if not feeds and any(one.schema_ == schema and one.tenant_of(name) is not None for one in replacing)
    ]


def of_others(connection: Connection[TupleRow], tenancy: Tenancy, tenant: str) -> set[tuple[str, str]]:
    """Sequences of all tenants but one. One that feeds a column is a table's, whatever its name."""
    mine = set(names(tenancy, tenant))
    return {
        (schema, name)
        for schema, name, feeds in _named(connection, tenancy)
        if (schema, name) not in mine
        and not feeds
        and any(one.schema_ == schema and one.tenant_of(name) is not None for one in tenancy.sequences)
    }


def _named(connection: Connection[TupleRow], tenancy: Tenancy) -> list[TupleRow]:
    return connection.execute(_NAMES.encode(), (sorted({one.schema_ for one in tenancy.sequences}),)).fetchall()


def to_restore(
    past: Connection[TupleRow], live: Connection[TupleRow], tenancy: Tenancy, tenant: str, *, gate: bool
) -> Found:
    """What a restore does to the tenant's sequences.

    Args:
        past: the source.
        live: in the transaction of the change.
        tenancy: the policy's part.
        tenant: its id as the database writes it.
        gate: keep others from taking numbers of those that will move.
    """
    wanted = names(tenancy, tenant)
    then = read_standings(past, wanted)
    found = _compared(then, read_standings(live, wanted), live)
    if gate and found.changes:
        hold(live, found.changes)
        found = _compared(then, read_standings(live, wanted), live)
    return found


def _compared(
    then: dict[tuple[str, str], Standing], now: dict[tuple[str, str], Standing], live: Connection[TupleRow]
) -> Found:
    found = Found([], [], [])
    roles = {row[0] for row in live.execute("select rolname::text from pg_catalog.pg_roles")}
    for (schema, name), old in then.items():
        new = now.get((schema, name))
        change = Change(schema_name=schema, name=name, before=new, after=old)
        if new is None:
            missing = sorted({old.owner, *(role for role, _, _ in old.grants if role)} - roles)
            if missing:
                found.notes.append(f"{change.label}: no role {', '.join(missing)} here, so no rights for it")
            found.notes.append(
                f"{change.label} is gone and is made again as it was then: numbers that it gave out since are not known"
            )
            kept = tuple(grant for grant in old.grants if not grant[0] or grant[0] in roles)
            owner = old.owner if old.owner in roles else ""
            found.changes.append(
                change.model_copy(update={"after": old.model_copy(update={"grants": kept, "owner": owner})})
            )
        elif old.cycle or new.cycle:
            found.notes.append(f"{change.label} begins again when it has come to its end: left where it stands")
        elif new.behind(old):
            if not new.minimum <= old.last_value <= new.maximum:
                found.blockers.append(
                    f"{change.label} stood at {old.last_value} and now ends at {new.minimum} and {new.maximum}"
                )
            moved = new.model_copy(update={"last_value": old.last_value, "is_called": old.is_called})
            found.changes.append(change.model_copy(update={"after": moved}))
    for place in now.keys() - then.keys():
        found.notes.append(f"{quoted(place[0])}.{quoted(place[1])} did not exist then: left as it is")
    return found


def to_erase(
    live: Connection[TupleRow], tenancy: Tenancy, tenant: str, others: Collection[str], *, gate: bool
) -> Found:
    """What an erasure does to the tenant's sequences: they go.

    Args:
        live: in the transaction of the change.
        tenancy: the policy's part.
        tenant: its id as the database writes it.
        others: ids of all tenants; two of them may have one name.
        gate: keep others from taking numbers.
    """
    found = Found([], [], [])
    shared = {place for other in others if other != tenant for place in names(tenancy, other)}
    for place, standing in read_standings(live, names(tenancy, tenant)).items():
        change = Change(schema_name=place[0], name=place[1], before=standing, after=None)
        if standing.feeds:
            found.blockers.append(f"{change.label} feeds a column of {standing.feeds}: it is not one tenant's alone")
        if place in shared:
            found.blockers.append(f"{change.label} is the name of another tenant's sequence too")
        found.changes.append(change)
    if gate and not found.blockers:
        hold(live, found.changes)
    return found


def to_undo(live: Connection[TupleRow], done: Iterable[Change], *, gate: bool) -> Found:
    """The way back of what an operation did, for sequences of which nobody has taken a number since."""
    back = [change.reversed() for change in done]
    if gate:
        there = read_standings(live, [(change.schema_name, change.name) for change in back])
        hold(live, [change for change in back if (change.schema_name, change.name) in there])
    now = read_standings(live, [(change.schema_name, change.name) for change in back])
    found = Found([], [], [])
    for change in back:
        standing = now.get((change.schema_name, change.name))
        same = standing is None if change.before is None else standing and standing.stands_with(change.before)
        if same:
            found.changes.append(change.model_copy(update={"before": standing}))
        elif standing is not None:
            found.notes.append(f"{change.label}: numbers were taken since, it stays where it stands")
    return found


def hold(live: Connection[TupleRow], changes: Iterable[Change]) -> None:
    """Keep everybody from taking numbers until the end of the transaction."""
    for change in changes:
        if change.before is not None:
            # LOCK does not know sequences; saying what is so already takes the lock and changes nothing.
            live.execute(
                sql.SQL("alter sequence {} cache {}").format(change.identifier, sql.Literal(change.before.cache))
            )


def remove(live: Connection[TupleRow], places: Collection[tuple[str, str]]) -> None:
    """Let sequences go, as part of the transaction."""
    for place in places:
        live.execute(sql.SQL("drop sequence {}").format(sql.Identifier(*place)))


def carry_out(live: Connection[TupleRow], changes: Iterable[Change]) -> tuple[str, ...]:
    """Do it, as part of the transaction; returns the names."""
    done = []
    for change in changes:
        if change.after is None:
            remove(live, [(change.schema_name, change.name)])
        else:
            if change.before is None:
                make(live, change.identifier, change.after)
            else:
                # A sequence that is begun anew is taken back with the transaction, and so is what follows.
                live.execute(sql.SQL("alter sequence {} restart").format(change.identifier))
            set_value(live, change.identifier, change.after)
        done.append(change.label)
    return tuple(done)
