"""What the objects of one schema need from another: the catalog's own record, edge by edge.

The same list says whether a schema's dump restores alone, what stands in the way of swapping a schema, and which
foreign keys are to be taken off and put back.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgdr.postgres.connection import Connection, TupleRow

# Each object that can need another or be needed, with its schema; parts of a table count for the table's.
# An extension's own objects are its business.
_EDGES = """
with object(classid, oid, nsp) as (
  select 'pg_catalog.pg_class'::regclass::oid, oid, relnamespace from pg_catalog.pg_class
  union all select 'pg_catalog.pg_type'::regclass, oid, typnamespace from pg_catalog.pg_type
  union all select 'pg_catalog.pg_proc'::regclass, oid, pronamespace from pg_catalog.pg_proc
  union all select 'pg_catalog.pg_constraint'::regclass, oid, connamespace from pg_catalog.pg_constraint
  union all select 'pg_catalog.pg_operator'::regclass, oid, oprnamespace from pg_catalog.pg_operator
  union all select 'pg_catalog.pg_opclass'::regclass, oid, opcnamespace from pg_catalog.pg_opclass
  union all select 'pg_catalog.pg_opfamily'::regclass, oid, opfnamespace from pg_catalog.pg_opfamily
  union all select 'pg_catalog.pg_collation'::regclass, oid, collnamespace from pg_catalog.pg_collation
  union all select 'pg_catalog.pg_conversion'::regclass, oid, connamespace from pg_catalog.pg_conversion
  union all select 'pg_catalog.pg_ts_config'::regclass, oid, cfgnamespace from pg_catalog.pg_ts_config
  union all select 'pg_catalog.pg_ts_dict'::regclass, oid, dictnamespace from pg_catalog.pg_ts_dict
  union all select 'pg_catalog.pg_statistic_ext'::regclass, oid, stxnamespace from pg_catalog.pg_statistic_ext
  union all select 'pg_catalog.pg_attrdef'::regclass, d.oid, c.relnamespace
    from pg_catalog.pg_attrdef d join pg_catalog.pg_class c on c.oid = d.adrelid
  union all select 'pg_catalog.pg_rewrite'::regclass, r.oid, c.relnamespace
    from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
  union all select 'pg_catalog.pg_policy'::regclass, p.oid, c.relnamespace
    from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid
  union all select 'pg_catalog.pg_trigger'::regclass, t.oid, c.relnamespace
    from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid where not t.tgisinternal
), extension_member(classid, oid, extension) as (
  select d.classid, d.objid, e.extname from pg_catalog.pg_depend d
  join pg_catalog.pg_extension e on e.oid = d.refobjid
  where d.deptype = 'e' and d.refclassid = 'pg_catalog.pg_extension'::regclass
), edge as (
  select distinct d.classid, d.objid, d.refclassid, d.refobjid, a.nsp as from_nsp, b.nsp as to_nsp, m.extension
  from pg_catalog.pg_depend d
  join object a on a.classid = d.classid and a.oid = d.objid
  join object b on b.classid = d.refclassid and b.oid = d.refobjid
  left join extension_member m on m.classid = d.refclassid and m.oid = d.refobjid
  where (a.nsp <> b.nsp or m.extension is not null)
    and not exists (select from extension_member x where x.classid = d.classid and x.oid = d.objid)
)
select fn.nspname, coalesce(case when c.contype = 'f' then 'foreign key' end,
         case when k.relispartition and e.refclassid = 'pg_catalog.pg_class'::regclass then 'partition' end, f.type),
       f.identity, e.classid::bigint, e.objid::bigint,
       tn.nspname, t.type, t.identity, e.extension
from edge e
join pg_catalog.pg_namespace fn on fn.oid = e.from_nsp
join pg_catalog.pg_namespace tn on tn.oid = e.to_nsp
left join pg_catalog.pg_constraint c on e.classid = 'pg_catalog.pg_constraint'::regclass and c.oid = e.objid
left join pg_catalog.pg_class k on e.classid = 'pg_catalog.pg_class'::regclass and k.oid = e.objid
cross join lateral pg_catalog.pg_identify_object(e.classid, e.objid, 0) f
cross join lateral pg_catalog.pg_identify_object(e.refclassid, e.refobjid, 0) t
where fn.nspname !~ '^pg_' and fn.nspname <> 'information_schema'
  and (e.extension is not null or (tn.nspname !~ '^pg_' and tn.nspname <> 'information_schema'))
order by 1, 2, 3, 6, 7, 8
"""
FOREIGN_KEY = "foreign key"
VIEW = "rule"


@dataclass(frozen=True)
class Edge:
    """One object needs another that stands in another schema or belongs to an extension.

    Attributes:
        schema: schema of the one that needs.
        kind: what it is: ``foreign key``, ``partition``, ``rule`` of a view, ``table column``, ``function``...
        identity: its name as SQL writes it.
        classid: its catalog.
        objid: its number in that catalog.
        needs_schema: schema of the other.
        needs_kind: what the other is.
        needs_identity: its name.
        extension: the extension that the other belongs to.
    """

    schema: str
    kind: str
    identity: str
    classid: int
    objid: int
    needs_schema: str
    needs_kind: str
    needs_identity: str
    extension: str | None

    def __str__(self) -> str:
        return f"{self.kind} {self.identity} -> {self.needs_kind} {self.needs_identity}"


def read_edges(connection: Connection[TupleRow]) -> tuple[Edge, ...]:
    """List what needs what across the schemas of a database; ``search_path`` must be empty."""
    return tuple(Edge(*row) for row in connection.execute(_EDGES.encode()).fetchall())
