"""A sequence as it stands, and how it is made again."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.facts import one
from pgdr.surgery.model import server_text

# The table of the column that a sequence belongs to, or is the default of.
FEEDS = """
coalesce((select min(d.refobjid::pg_catalog.regclass::text)
          from pg_catalog.pg_depend d
          where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
            and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjsubid > 0
            and d.deptype in ('a', 'i')),
         (select min(ad.adrelid::pg_catalog.regclass::text)
          from pg_catalog.pg_depend d join pg_catalog.pg_attrdef ad on ad.oid = d.objid
          where d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
            and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = c.oid), '')
"""
# What a standby knows of an unlogged sequence is its name.
_DEFINITIONS = f"""
select n.nspname::text, c.relname::text, pg_catalog.format_type(s.seqtypid, null), s.seqstart, s.seqincrement,
       s.seqmin, s.seqmax, s.seqcache, s.seqcycle, c.relpersistence = 'u', pg_catalog.pg_get_userbyid(c.relowner)::text,
       array(select array[coalesce(g.rolname::text, ''), a.privilege_type, a.is_grantable::text]
             from pg_catalog.aclexplode(c.relacl) a left join pg_catalog.pg_roles g on g.oid = a.grantee
             where a.grantee = 0 or g.rolname is not null order by 1),
       pg_catalog.obj_description(c.oid, 'pg_class'), {FEEDS}
from unnest(%s::text[], %s::text[]) as wanted (schema_name, name)
join pg_catalog.pg_namespace n on n.nspname = wanted.schema_name
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
join pg_catalog.pg_sequence s on s.seqrelid = c.oid
where c.relpersistence <> 't' and not (c.relpersistence = 'u' and pg_catalog.pg_is_in_recovery())
"""  # noqa: S608 - made of constants


class Standing(BaseModel):
    """A sequence as it stands.

    Attributes:
        grants: role (empty for everybody), privilege, and whether it may pass it on.
        feeds: table of a column that it is the default of, or is owned by; empty for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool
    unlogged: bool
    owner: str
    grants: tuple[tuple[str, str, bool], ...]
    comment: str | None
    feeds: str
    last_value: int
    is_called: bool

    @property
    def following(self) -> int:
        """The number that it would give out next."""
        return self.last_value + self.increment if self.is_called else self.last_value

    def stands_with(self, other: Standing) -> bool:
        """Whether no number lies between the two."""
        return (self.last_value, self.is_called) == (other.last_value, other.is_called)

    def behind(self, other: Standing) -> bool:
        """Whether it would give out numbers that the other has given out."""
        return self.following < other.following if self.increment > 0 else self.following > other.following


def read_standings(
    connection: Connection[TupleRow], wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Standing]:
    """Those that are there."""
    if not wanted:
        return {}
    places = [list(part) for part in zip(*wanted, strict=True)]
    there: dict[tuple[str, str], Standing] = {}
    for row in connection.execute(_DEFINITIONS.encode(), places).fetchall():
        schema, name, kind, start, increment, minimum, maximum, cache, cycle, unlogged, *more = row
        owner, grants, comment, feeds = more
        last_value, is_called = one(
            connection,
            sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, name)).as_string(connection),
        )
        there[(schema, name)] = Standing(
            type=kind,
            start=start,
            increment=increment,
            minimum=minimum,
            maximum=maximum,
            cache=cache,
            cycle=cycle,
            unlogged=unlogged,
            owner=owner,
            grants=tuple((role, privilege, passes_on == "true") for role, privilege, passes_on in grants),
            comment=comment,
            feeds=feeds,
            last_value=last_value,
            is_called=is_called,
        )
    return {place: there[place] for place in wanted if place in there}


def set_value(connection: Connection[TupleRow], name: sql.Identifier, standing: Standing) -> None:
    """Let a sequence stand where it shall."""
    connection.execute(
        sql.SQL("select pg_catalog.setval({}::pg_catalog.regclass, {}, {})").format(
            sql.Literal(name.as_string()), sql.Literal(standing.last_value), sql.Literal(standing.is_called)
        )
    )


def make(connection: Connection[TupleRow], name: sql.Identifier, standing: Standing) -> None:
    """Make a sequence as it was, with its owner and rights."""
    connection.execute(
        sql.SQL(
            "create {unlogged} sequence {name} as {type} increment by {increment} minvalue {minimum}"
            " maxvalue {maximum} start with {start} cache {cache} {cycle}"
        ).format(
            unlogged=sql.SQL("unlogged" if standing.unlogged else ""),
            name=name,
            type=server_text(standing.type),
            increment=sql.Literal(standing.increment),
            minimum=sql.Literal(standing.minimum),
            maximum=sql.Literal(standing.maximum),
            start=sql.Literal(standing.start),
            cache=sql.Literal(standing.cache),
            cycle=sql.SQL("cycle" if standing.cycle else "no cycle"),
        )
    )
    if standing.comment is not None:
        connection.execute(sql.SQL("comment on sequence {} is {}").format(name, sql.Literal(standing.comment)))
    if standing.owner:
        connection.execute(sql.SQL("alter sequence {} owner to {}").format(name, sql.Identifier(standing.owner)))
    for role, privilege, passes_on in standing.grants:
        connection.execute(
            sql.SQL("grant {} on sequence {} to {}{}").format(
                server_text(privilege),
                name,
                sql.Identifier(role) if role else sql.SQL("public"),
                sql.SQL(" with grant option" if passes_on and role != standing.owner else ""),
            )
        )
