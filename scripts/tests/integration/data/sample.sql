-- Names, types and shapes that break careless code.
create schema core;
create schema "Größe %s ""x""";
create table core.partners (
    id bigint generated always as identity primary key, tenant_id int not null, name text, balance numeric(12, 2),
    rate double precision, born date, seen timestamptz, every interval, payload jsonb, raw bytea,
    doubled int generated always as (tenant_id * 2) stored);
insert into core.partners (tenant_id, name, balance, rate, born, seen, every, payload, raw)
select g % 7, case when g % 5 = 0 then null else 'Näme ' || g || E'\n"quoted", 100%' end, g / 3.0, sqrt(g),
       date '2020-01-01' + g, timestamptz '2024-03-31 00:30:00+00' + g * interval '1 hour', g * interval '61 minutes',
       jsonb_build_object('g', g, 'list', array[g, g + 1]), decode(md5(g::text), 'hex')
from generate_series(1, 3000) g;
create table "Größe %s ""x"""."a.b ""c"" %I" (row_of_table text, "row_of_table_" int, "t" text);
insert into "Größe %s ""x"""."a.b ""c"" %I" select 'x' || g, g, null from generate_series(1, 11) g;
create table public."select" ();
insert into public."select" select from generate_series(1, 4);
create table core.audit_logs (id bigint not null, at date not null, what text) partition by range (at);
create table core.audit_2024 partition of core.audit_logs for values from ('2024-01-01') to ('2025-01-01')
    partition by list (what);
create table core.audit_2024_a partition of core.audit_2024 for values in ('a');
create table core.audit_2024_rest partition of core.audit_2024 default;
-- The same columns in another order, with a dropped one in front.
create table public.audit_other (gone int, what text, at date not null, id bigint not null);
alter table public.audit_other drop column gone;
alter table core.audit_logs attach partition public.audit_other for values from ('2025-01-01') to ('2026-01-01');
insert into core.audit_logs
select g, date '2024-06-01' + g % 400, chr(97 + g % 3) from generate_series(1, 2000) g;
create table core.empty_root (id int) partition by hash (id);
create table core.parent (id int);
create table core.child (extra text) inherits (core.parent);
insert into core.parent values (1);
insert into core.child values (2, 'x'), (3, 'y');
create unlogged table core.scratch (id int);
insert into core.scratch values (1);
create materialized view core.totals as select tenant_id, sum(balance) from core.partners group by 1;
create materialized view core.never as select 1 with no data;
create sequence core."odd ""seq""" increment by -3;
select nextval('core."odd ""seq"""'), nextval('core."odd ""seq"""');
create sequence core.untouched;
create schema pgdr;
create table pgdr.heartbeat (id int);
