"""Read tables, keys and references from the catalog.

The connection must have an empty ``search_path`` (:data:`pgdr.rowhash.SESSION_SETTINGS`): then the server qualifies
every name in the expressions that it prints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from pgdr.errors import RefusedError
from pgdr.postgres.connection import Connection, TupleRow
from pgdr.postgres.relations import OWN_SCHEMA
from pgdr.surgery.model import EQUALS, Column, ForeignKey, KeyPart, Operator, Schema, Table, UniqueRule, quoted

_SCOPE = """
scope as materialized (
    select c.oid, c.relkind, c.relispartition, n.nspname, c.relname, c.relowner
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relpersistence <> 't' and c.relkind in ('r', 'p', 'f')
      and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', %(own)s)
      and (%(only)s::text[] is null or n.nspname = any (%(only)s::text[]))
)
"""
_TABLES = """
select s.oid, s.relkind::text, s.nspname, s.relname, pg_catalog.pg_get_userbyid(s.relowner)
from scope s where not s.relispartition order by s.nspname, s.relname
"""
# The sequence of a column: owned by it (serial, identity), or named in its default.
_COLUMNS = """
select s.oid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attgenerated <> '', a.attidentity::text, a.atthasdef or a.attidentity <> '', q.nspname, q.relname,
       e.nspname, e.oprname
from scope s
join pg_catalog.pg_attribute a on a.attrelid = s.oid and a.attnum > 0 and not a.attisdropped
left join lateral (
    select sn.nspname, sc.relname
    from pg_catalog.pg_depend d
    join pg_catalog.pg_class sc on sc.relkind = 'S'
    join pg_catalog.pg_namespace sn on sn.oid = sc.relnamespace
    where (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = sc.oid
           and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
           and d.refobjid = s.oid and d.refobjsubid = a.attnum and d.deptype in ('a', 'i'))
       or (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
           and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = sc.oid
           and d.objid = (select ad.oid from pg_catalog.pg_attrdef ad where ad.adrelid = s.oid and ad.adnum = a.attnum))
    order by d.deptype desc limit 1
) q on a.atthasdef or a.attidentity <> ''
left join lateral (
    select opn.nspname, op.oprname
    from pg_catalog.pg_type ty
    join pg_catalog.pg_opclass oc on oc.opcdefault
         and oc.opcintype = case when ty.typtype = 'd' then ty.typbasetype else ty.oid end
    join pg_catalog.pg_am am on am.oid = oc.opcmethod and am.amname = 'btree'
    join pg_catalog.pg_amop ao on ao.amopfamily = oc.opcfamily and ao.amoplefttype = oc.opcintype
         and ao.amoprighttype = oc.opcintype and ao.amopstrategy = 3
    join pg_catalog.pg_operator op on op.oid = ao.amopopr
    join pg_catalog.pg_namespace opn on opn.oid = op.oprnamespace
    where ty.oid = a.atttypid
    limit 1
) e on true
where not s.relispartition
order by s.oid, a.attnum
"""
_UNIQUE = """
select s.oid, ic.relname, i.indisprimary, i.indisunique,
       coalesce(con.condeferrable, false), i.indnullsnotdistinct,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid, false),
       i.indexprs is not null,
       array(select pg_catalog.pg_get_indexdef(i.indexrelid, k, false)
                    || case when i.indcollation[k - 1] not in (0, 100)
                       then (select ' COLLATE ' || format('%%I.%%I', cn.nspname, col.collname)
                             from pg_catalog.pg_collation col
                             join pg_catalog.pg_namespace cn on cn.oid = col.collnamespace
                             where col.oid = i.indcollation[k - 1]) else '' end
             from generate_series(1, i.indnkeyatts) k order by k),
       array(select array[opn.nspname::text, op.oprname::text]
             from generate_series(1, i.indnkeyatts) k
             join pg_catalog.pg_opclass oc on oc.oid = i.indclass[k - 1]
             left join pg_catalog.pg_amop ao on ao.amopfamily = oc.opcfamily and ao.amoplefttype = oc.opcintype
                  and ao.amoprighttype = oc.opcintype and ao.amopstrategy = 3 and ao.amoppurpose = 's'
             left join pg_catalog.pg_operator op on op.oid = coalesce(con.conexclop[k], ao.amopopr)
             left join pg_catalog.pg_namespace opn on opn.oid = op.oprnamespace
             order by k),
       array(select a.attname::text from generate_series(1, i.indnkeyatts) k
             left join pg_catalog.pg_attribute a on a.attrelid = s.oid and a.attnum = i.indkey[k - 1] and a.attnum > 0
             order by k),
       array(select distinct a.attname::text from pg_catalog.pg_attribute a
             where a.attrelid = s.oid and a.attnum > 0
               and (a.attnum = any (i.indkey)
                    or exists (select from pg_catalog.pg_depend d
                               where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = ic.oid
                                 and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                                 and d.refobjid = s.oid and d.refobjsubid = a.attnum))),
       (select bool_and(a.attnotnull) from pg_catalog.pg_attribute a
        where a.attrelid = s.oid and a.attnum = any (i.indkey[0:i.indnkeyatts - 1]))
from scope s
join pg_catalog.pg_index i on i.indrelid = s.oid
join pg_catalog.pg_class ic on ic.oid = i.indexrelid
left join pg_catalog.pg_constraint con on con.conindid = i.indexrelid and con.conrelid = s.oid
     and con.contype in ('p', 'u', 'x')
where not s.relispartition and i.indislive and (i.indisunique or i.indisexclusion)
order by s.oid, not i.indisprimary, ic.relname
"""
# Keys of PostgreSQL itself on partitions have a parent; those that somebody put on one partition have none.
_FOREIGN_KEYS = """
select con.conname,
       case when ch.relispartition then pg_catalog.pg_partition_root(ch.oid) else ch.oid end::oid,
       case when pa.relispartition then pg_catalog.pg_partition_root(pa.oid) else pa.oid end::oid,
       array(select a.attname::text from unnest(con.conkey) with ordinality k (n, o)
             join pg_catalog.pg_attribute a on a.attrelid = con.conrelid and a.attnum = k.n order by k.o),
       array(select a.attname::text from unnest(con.confkey) with ordinality k (n, o)
             join pg_catalog.pg_attribute a on a.attrelid = con.confrelid and a.attnum = k.n order by k.o),
       array(select array[opn.nspname::text, op.oprname::text] from unnest(con.conpfeqop) with ordinality k (n, o)
             join pg_catalog.pg_operator op on op.oid = k.n
             join pg_catalog.pg_namespace opn on opn.oid = op.oprnamespace order by k.o),
       con.confdeltype = 'c',
       con.convalidated and coalesce((to_jsonb(con) ->> 'conenforced')::boolean, true),
       case when ch.relispartition then pg_catalog.pg_get_partition_constraintdef(ch.oid) end,
       case when pa.relispartition then array[pan.nspname::text, pa.relname::text] end,
       coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false)
from pg_catalog.pg_constraint con
join pg_catalog.pg_class ch on ch.oid = con.conrelid
join pg_catalog.pg_class pa on pa.oid = con.confrelid
join pg_catalog.pg_namespace pan on pan.oid = pa.relnamespace
where con.contype = 'f' and con.conparentid = 0
order by ch.relnamespace::pg_catalog.regnamespace::text, ch.relname, con.conname
"""
_TRIGGERS = """
select case when c.relispartition then pg_catalog.pg_partition_root(c.oid) else c.oid end::oid,
       'trigger ' || t.tgname, t.tgenabled in ('A', 'R'), t.tgconstraint <> 0
from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
where not t.tgisinternal and t.tgparentid = 0
union all
select r.ev_class, 'rule ' || r.rulename, true, false
from pg_catalog.pg_rewrite r where r.ev_type <> '1' and r.ev_enabled in ('A', 'R')
order by 2
"""


def _in_scope(query: str) -> bytes:
    return f"with {_SCOPE} {query}".encode()


def read_schema(connection: Connection[TupleRow], only: Collection[str] | None = None) -> Schema:
    """Read what a database holds.

    Args:
        connection: open in the database, ``search_path`` empty.
        only: these schemas only; ``None`` for all but the system's and our own.

    Raises:
        RefusedError: the database uses something that row surgery cannot follow.
    """
    wanted = {"own": OWN_SCHEMA, "only": None if only is None else list(only)}
    columns: dict[int, list[Column]] = defaultdict(list)
    for row in connection.execute(_in_scope(_COLUMNS), wanted):
        sequence = (row[7], row[8]) if row[7] is not None else None
        equality = Operator(row[9], row[10]) if row[9] is not None else EQUALS
        name, kind, not_null, generated, identity, default = row[1:7]
        columns[row[0]].append(Column(name, kind, not_null, generated, identity, default, sequence, equality))
    rules, keys = _rules(connection, wanted)
    triggers = connection.execute(_TRIGGERS.encode()).fetchall()
    tables: dict[int, Table] = {}
    skipped: list[str] = []
    for oid, kind, schema, name, owner in connection.execute(_in_scope(_TABLES), wanted):
        if kind == "f":
            skipped.append(f"{quoted(schema)}.{quoted(name)}: a foreign table, its rows are elsewhere")
            continue
        tables[oid] = Table(
            oid=oid,
            schema=schema,
            name=name,
            partitioned=kind == "p",
            columns=tuple(columns[oid]),
            key=keys.get(oid, ()),
            unique_rules=tuple(rules[oid]),
            always_firing=tuple(what for on, what, always, _ in triggers if on == oid and always),
            constraint_triggers=tuple(
                what for on, what, always, check in triggers if on == oid and check and not always
            ),
            owner=owner,
        )
    return Schema(tables, tuple(_foreign_keys(connection, tables)), tuple(skipped))


def _rules(
    connection: Connection[TupleRow], wanted: dict[str, Any]
) -> tuple[dict[int, list[UniqueRule]], dict[int, tuple[KeyPart, ...]]]:
    rules: dict[int, list[UniqueRule]] = defaultdict(list)
    keys: dict[int, tuple[KeyPart, ...]] = {}
    for row in connection.execute(_in_scope(_UNIQUE), wanted):
        oid, name, primary, unique, deferrable, nulls_equal, predicate, expressions = row[:8]
        texts, operators, names, used, not_null = row[8:]
        parts = tuple(
            KeyPart(text, Operator(*operator), column)
            for text, operator, column in zip(texts, operators, names, strict=True)
        )
        rules[oid].append(UniqueRule(name, parts, predicate, nulls_equal, deferrable, frozenset(used)))
        plain = unique and predicate is None and not expressions and not_null
        equal = all(part.operator.name == "=" for part in parts)
        if equal and (primary or plain):
            keys.setdefault(oid, parts)
    return rules, keys


def _foreign_keys(connection: Connection[TupleRow], tables: dict[int, Table]) -> list[ForeignKey]:
    found = []
    for row in connection.execute(_FOREIGN_KEYS.encode()):
        name, child, parent, child_columns, parent_columns, operators, cascades, enforced = row[:8]
        condition, partition, period = row[8:]
        if child not in tables or parent not in tables:
            continue
        if period:
            raise RefusedError(
                f"{tables[child].label}: foreign key {quoted(name)} is temporal (PERIOD)",
                remedy="row surgery cannot check such a key yet",
            )
        found.append(
            ForeignKey(
                name=name,
                child=child,
                parent=parent,
                child_columns=tuple(child_columns),
                parent_columns=tuple(parent_columns),
                operators=tuple(Operator(*operator) for operator in operators),
                cascades=cascades,
                enforced=enforced,
                child_condition=condition,
                parent_relation=None if partition is None else (partition[0], partition[1]),
            )
        )
    return found
