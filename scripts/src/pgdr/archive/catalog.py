"""Read from the catalog, in the archive's snapshot, what its manifest says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from pgdr.archive import model
from pgdr.archive.dependencies import FOREIGN_KEY, Edge
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.facts import one

_OWN = re.compile(r"OWN\((\w+), ([\w.]+)\)")


def _expand(statement: str) -> str:
    """Spell out the two conditions that nearly every statement below has.

    ``USER_SCHEMA``: the schema ``n`` is not the system's. ``OWN(catalog, oid)``: the object was not made by an
    extension, whose content no dump carries.
    """
    own = (
        r"not exists (select from pg_catalog.pg_depend x where x.classid = 'pg_catalog.\1'::regclass"
        r" and x.objid = \2 and x.deptype = 'e')"
    )
    return _OWN.sub(own, statement.replace("USER_SCHEMA", "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"))


_SCHEMAS = """
select n.nspname, n.oid::bigint, pg_catalog.pg_get_userbyid(n.nspowner),
       OWN(pg_namespace, n.oid),
       exists (select from pg_catalog.pg_class c where c.relnamespace = n.oid and OWN(pg_class, c.oid))
       or exists (select from pg_catalog.pg_proc p where p.pronamespace = n.oid and OWN(pg_proc, p.oid))
       or exists (select from pg_catalog.pg_type t where t.typnamespace = n.oid and OWN(pg_type, t.oid)
                  and t.typelem = 0 and t.typtype in ('d', 'e', 'b', 'r'))
from pg_catalog.pg_namespace n where USER_SCHEMA order by 1
"""

_TABLES = """
select n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), c.oid::bigint, c.relkind::text,
       case when c.relkind in ('r', 'm') then pg_catalog.pg_table_size(c.oid) else 0 end,
       case when c.relispartition then (select format('%I.%I', pn.nspname, p.relname)
         from pg_catalog.pg_inherits i join pg_catalog.pg_class p on p.oid = i.inhparent
         join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace where i.inhrelid = c.oid limit 1) end,
       (select coalesce(json_agg(json_build_array(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
                                                  a.attgenerated <> '') order by a.attnum), '[]'::json)
        from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)::text
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'm', 'f') and c.relpersistence <> 't' and USER_SCHEMA and OWN(pg_class, c.oid)
order by 3
"""

# Kind "n" (not null, from PostgreSQL 18 on) is left out: older dumps have none.
_CONSTRAINTS = """
select format('%I.%I', n.nspname, c.relname), k.conname, k.contype::text, k.convalidated
from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where k.contype in ('c', 'f', 'p', 'u', 'x') and USER_SCHEMA and OWN(pg_class, c.oid)
order by 1, 2
"""

# A partition's copy of its parent's key comes with the parent's.
_FOREIGN_KEYS = """
select k.oid::bigint, n.nspname, c.relname, k.conname,
       array(select a.attname::text from unnest(k.conkey) with ordinality u(n, o)
             join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n order by o),
       fn.nspname, f.relname,
       array(select a.attname::text from unnest(k.confkey) with ordinality u(n, o)
             join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n order by o),
       k.confupdtype::text, k.confdeltype::text, k.confmatchtype::text, k.condeferrable, k.condeferred
from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class f on f.oid = k.confrelid join pg_catalog.pg_namespace fn on fn.oid = f.relnamespace
where k.contype = 'f' and k.conparentid = 0 and USER_SCHEMA and OWN(pg_class, c.oid)
order by 2, 3, 4
"""

_SEQUENCES = """
select format('%I.%I', n.nspname, c.relname), pg_catalog.pg_sequence_last_value(c.oid)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'S' and c.relpersistence <> 't' and USER_SCHEMA and OWN(pg_class, c.oid) order by 1
"""

_EXTENSIONS = """
select e.extname, e.extversion, n.nspname, coalesce((select v.trusted from pg_catalog.pg_available_extension_versions v
         where v.name = e.extname and v.version = e.extversion), false)
from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace order by 1
"""

_COLLATIONS = """
select format('%I.%I', n.nspname, c.collname), c.collprovider::text, c.collversion
from pg_catalog.pg_collation c join pg_catalog.pg_namespace n on n.oid = c.collnamespace
where c.collversion is not null and (n.nspname <> 'pg_catalog' or exists (
  select from pg_catalog.pg_attribute a where a.attcollation = c.oid))
order by 1
"""

# The bootstrap superuser is pinned and stands in no list of dependencies; it exists everywhere.
_ROLES = """
select distinct pg_catalog.pg_get_userbyid(d.refobjid) from pg_catalog.pg_shdepend d
where d.refclassid = 'pg_catalog.pg_authid'::regclass
  and (d.dbid = (select oid from pg_catalog.pg_database where datname = current_database())
       or (d.dbid = 0 and d.classid = 'pg_catalog.pg_database'::regclass
           and d.objid = (select oid from pg_catalog.pg_database where datname = current_database())))
union select pg_catalog.pg_get_userbyid(datdba) from pg_catalog.pg_database where datname = current_database()
union select pg_catalog.pg_get_userbyid(setrole) from pg_catalog.pg_db_role_setting s
  join pg_catalog.pg_database b on b.oid = s.setdatabase where b.datname = current_database() and setrole <> 0
order by 1
"""

_SETTINGS = """
select case when s.setrole <> 0 then pg_catalog.pg_get_userbyid(s.setrole) end,
       split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
from pg_catalog.pg_db_role_setting s join pg_catalog.pg_database b on b.oid = s.setdatabase
cross join lateral unnest(s.setconfig) c where b.datname = current_database() order by 1 nulls first, 2
"""

_TABLESPACES = """
select distinct t.spcname::text from pg_catalog.pg_class c join pg_catalog.pg_tablespace t on t.oid = c.reltablespace
where t.spcname !~ '^pg_' order by 1
"""
_ARCHIVER = """
select archived_count, failed_count, last_archived_wal, last_archived_time, last_failed_time
from pg_catalog.pg_stat_archiver
"""

_OWNERS = """
select pg_catalog.pg_get_userbyid(x.owner), a.type, a.object_names, a.object_args
from (OBJECTS) x cross join lateral pg_catalog.pg_identify_object_as_address(x.classid, x.objid, 0) a
order by 1, 2, 3
"""

_OWNED = (
    # A sequence that belongs to a column follows its table.
    (
        "pg_class",
        "relowner",
        "relkind in ('r', 'p', 'v', 'm', 'S', 'f') and relpersistence <> 't' and not exists ("
        "select from pg_catalog.pg_depend s where s.classid = 'pg_catalog.pg_class'::regclass and s.objid = o.oid "
        "and s.deptype in ('a', 'i') and o.relkind = 'S')",
        "relnamespace",
    ),
    (
        "pg_type",
        "typowner",
        "typtype in ('b', 'd', 'e', 'r', 'c') and not (typlen = -1 and typelem <> 0) and (typrelid = 0 or exists ("
        "select from pg_catalog.pg_class t where t.oid = typrelid and t.relkind = 'c'))",
        "typnamespace",
    ),
    ("pg_proc", "proowner", "true", "pronamespace"),
    ("pg_operator", "oprowner", "true", "oprnamespace"),
    ("pg_opclass", "opcowner", "true", "opcnamespace"),
    ("pg_opfamily", "opfowner", "true", "opfnamespace"),
    ("pg_collation", "collowner", "true", "collnamespace"),
    ("pg_conversion", "conowner", "true", "connamespace"),
    ("pg_ts_dict", "dictowner", "true", "dictnamespace"),
    ("pg_ts_config", "cfgowner", "true", "cfgnamespace"),
    ("pg_statistic_ext", "stxowner", "true", "stxnamespace"),
    ("pg_namespace", "nspowner", "true", "oid"),
    ("pg_largeobject_metadata", "lomowner", "true", None),
)


def _owned_sql() -> str:
    parts = []
    for catalog, owner, condition, namespace in _OWNED:
        schema = "true"
        if namespace is not None:
            schema = f"exists (select from pg_catalog.pg_namespace n where n.oid = {namespace} and USER_SCHEMA)"
        classid = "pg_largeobject" if catalog == "pg_largeobject_metadata" else catalog
        columns = f"{owner} as owner, 'pg_catalog.{classid}'::regclass::oid as classid, o.oid as objid"
        parts.append(" ".join(("select", columns, "from", f"pg_catalog.{catalog} o", "where", condition)))
        parts[-1] += f" and {schema} and OWN({classid}, o.oid)"
    return _OWNERS.replace("OBJECTS", " union all ".join(parts))


# Of things outside of all schemas only names are wanted. Numbers below 16384 are PostgreSQL's own.
_OUTSIDE = """
select 'cast', pg_catalog.pg_describe_object('pg_catalog.pg_cast'::regclass, c.oid, 0) from pg_catalog.pg_cast c
  where c.oid >= 16384 and OWN(pg_cast, c.oid)
union all select 'transform', pg_catalog.pg_describe_object('pg_catalog.pg_transform'::regclass, t.oid, 0)
  from pg_catalog.pg_transform t where OWN(pg_transform, t.oid)
union all select 'event trigger', evtname from pg_catalog.pg_event_trigger e where OWN(pg_event_trigger, e.oid)
union all select 'publication', pubname from pg_catalog.pg_publication
union all select 'foreign server', srvname from pg_catalog.pg_foreign_server s where OWN(pg_foreign_server, s.oid)
union all select 'default privileges of role', pg_catalog.pg_get_userbyid(defaclrole) from pg_catalog.pg_default_acl
  where defaclnamespace = 0
union all select 'large objects', count(*)::text from pg_catalog.pg_largeobject_metadata having count(*) > 0
order by 1, 2
"""


def read_database(connection: Connection[TupleRow]) -> model.DatabaseFacts:
    """How this database was made."""
    row = connection.execute(
        b"select to_jsonb(d) || jsonb_build_object('owner', pg_catalog.pg_get_userbyid(d.datdba),"
        b" 'encoding_name', pg_catalog.pg_encoding_to_char(d.encoding))"
        b" from pg_catalog.pg_database d where d.datname = current_database()"
    ).fetchone()
    assert row is not None  # noqa: S101 - we are connected to it
    facts: dict[str, Any] = row[0]
    settings = connection.execute(_SETTINGS.encode()).fetchall()
    return model.DatabaseFacts(
        name=facts["datname"],
        owner=facts["owner"],
        encoding=facts["encoding_name"],
        locale_provider=facts.get("datlocprovider", "c"),
        collate=facts["datcollate"],
        ctype=facts["datctype"],
        # PostgreSQL 15 and 16 call it by its only provider.
        locale=facts.get("datlocale") or facts.get("daticulocale"),
        collation_version=facts.get("datcollversion"),
        settings=tuple(model.Setting(role=row[0], name=row[1], value=row[2]) for row in settings),
    )


def read_tables(connection: Connection[TupleRow]) -> tuple[model.TableEntry, ...]:
    """All tables, without their counts."""
    return tuple(
        model.TableEntry(
            schema=row[0],
            name=row[1],
            key=row[2],
            oid=row[3],
            kind=row[4],
            rows=None,
            size=row[5],
            parent=row[6],
            columns=tuple(model.Column(name=c[0], type=c[1], generated=c[2]) for c in json.loads(row[7])),
        )
        for row in connection.execute(_expand(_TABLES).encode()).fetchall()
    )


def read_unlogged(connection: Connection[TupleRow]) -> frozenset[int]:
    """Numbers of the tables whose rows are in no WAL."""
    rows = connection.execute("select oid::bigint from pg_catalog.pg_class where relpersistence = 'u'").fetchall()
    return frozenset(row[0] for row in rows)


def read_constraints(connection: Connection[TupleRow]) -> tuple[model.ConstraintEntry, ...]:
    """All constraints of tables."""
    rows = connection.execute(_expand(_CONSTRAINTS).encode()).fetchall()
    return tuple(model.ConstraintEntry(table=r[0], name=r[1], kind=r[2], validated=r[3]) for r in rows)


def read_foreign_keys(connection: Connection[TupleRow]) -> tuple[model.ForeignKeyEntry, ...]:
    """All foreign keys."""
    names = (
        *("oid", "schema", "table", "name", "columns", "parent_schema", "parent_table", "parent_columns"),
        *("on_update", "on_delete", "match", "deferrable", "deferred"),
    )
    rows = connection.execute(_expand(_FOREIGN_KEYS).encode()).fetchall()
    return tuple(model.ForeignKeyEntry.model_validate(dict(zip(names, row, strict=True))) for row in rows)


def read_sequences(connection: Connection[TupleRow]) -> tuple[model.SequenceEntry, ...]:
    """All sequences and where they stand."""
    rows = connection.execute(_expand(_SEQUENCES).encode()).fetchall()
    return tuple(model.SequenceEntry(key=row[0], last_value=row[1]) for row in rows)


def read_extensions(connection: Connection[TupleRow]) -> tuple[model.Extension, ...]:
    """All extensions."""
    rows = connection.execute(_EXTENSIONS.encode()).fetchall()
    return tuple(model.Extension(name=r[0], version=r[1], schema=r[2], trusted=r[3]) for r in rows)


def read_collations(connection: Connection[TupleRow]) -> tuple[model.Collation, ...]:
    """The collations in use that have a version."""
    rows = connection.execute(_COLLATIONS.encode()).fetchall()
    return tuple(model.Collation(name=row[0], provider=row[1], version=row[2]) for row in rows)


def read_roles(connection: Connection[TupleRow]) -> tuple[str, ...]:
    """The roles that this database's objects, privileges and settings name."""
    return tuple(row[0] for row in connection.execute(_ROLES.encode()).fetchall())


def read_owners(connection: Connection[TupleRow]) -> tuple[model.OwnedObject, ...]:
    """Who owns what."""
    rows = connection.execute(_expand(_owned_sql()).encode()).fetchall()
    return tuple(model.OwnedObject(owner=r[0], type=r[1], names=tuple(r[2]), arguments=tuple(r[3] or ())) for r in rows)


def read_archiver(connection: Connection[TupleRow]) -> model.ArchiverStatus:
    """The state of WAL archiving."""
    row = one(connection, _ARCHIVER)
    return model.ArchiverStatus(
        archived_count=row[0],
        failed_count=row[1],
        last_archived_wal=row[2],
        last_archived_at=row[3],
        last_failed_at=row[4],
    )


def read_tablespaces(connection: Connection[TupleRow]) -> tuple[str, ...]:
    """Tablespaces that a dump of this database names."""
    return tuple(row[0] for row in connection.execute(_TABLESPACES.encode()).fetchall())


def read_large_objects(connection: Connection[TupleRow]) -> int:
    """How many large objects there are."""
    return int(one(connection, "select count(*) from pg_catalog.pg_largeobject_metadata")[0])


def read_schemas(connection: Connection[TupleRow]) -> list[tuple[str, int, str]]:
    """The schemas that can hold data of ours: name, number, owner.

    A schema that an extension made is the extension's; ``public`` counts when something of ours is in it.
    """
    rows = connection.execute(_expand(_SCHEMAS).encode()).fetchall()
    return [(row[0], row[1], row[2]) for row in rows if row[3] and (row[0] != "public" or row[4])]


def read_lacks(
    connection: Connection[TupleRow],
    schemas: Iterable[str],
    edges: Iterable[Edge],
    roles: Iterable[str],
    settings: Iterable[model.Setting],
) -> dict[str, tuple[model.Lack, ...]]:
    """What each schema's dump does not carry, by schema.

    What stands outside of all schemas (casts, event triggers, large objects...) is named for each of them: which
    schema's code counts on it cannot be known.
    """
    outside = [
        model.Lack(kind=row[0], name=row[1], needed=False)
        for row in connection.execute(_expand(_OUTSIDE).encode()).fetchall()
    ]
    outside += [model.Lack(kind="role", name=role, needed=False) for role in roles]
    outside += [
        model.Lack(
            kind="database setting", name=f"{item.name} (role {item.role})" if item.role else item.name, needed=False
        )
        for item in settings
    ]
    found: dict[str, list[model.Lack]] = {schema: [] for schema in schemas}
    for edge in edges:
        lacks = found.get(edge.schema)
        if lacks is None:
            continue
        if edge.extension is not None:
            lack = model.Lack(kind="extension", name=edge.extension, needed=True)
        elif edge.kind == FOREIGN_KEY:
            if edge.needs_kind != "table":  # the key's index, which comes with its table
                continue
            lack = model.Lack(kind="target of", name=f"foreign key {edge.identity}: {edge.needs_identity}", needed=True)
        else:
            lack = model.Lack(kind=edge.needs_kind, name=edge.needs_identity, needed=True)
        if lack not in lacks:
            lacks.append(lack)
    return {schema: (*lacks, *outside) for schema, lacks in found.items()}
