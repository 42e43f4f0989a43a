-- Functions that turn a number into data, always the same for the same seed. They live in a schema of their own
-- which is dropped when the data is loaded. No random(), no now(). They read three settings of the session:
-- erp_gen.seed, erp_gen.counts (JSON, how many of each) and erp_gen.lo/hi (the slice that a task loads).
-- Those that read seed and counts call themselves immutable so that the planner computes them once.

CREATE SCHEMA erp_gen;

CREATE FUNCTION erp_gen.seed() RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT current_setting('erp_gen.seed')::bigint * 10000 $$;

CREATE FUNCTION erp_gen.n(what text) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT (current_setting('erp_gen.counts')::jsonb ->> what)::bigint $$;

-- The numbers of this task's slice.
CREATE FUNCTION erp_gen.slice() RETURNS SETOF bigint STABLE LANGUAGE sql
AS $$ SELECT generate_series(current_setting('erp_gen.lo')::bigint, current_setting('erp_gen.hi')::bigint) $$;

-- A hash of a number that is never negative; the salt tells one use from another.
CREATE FUNCTION erp_gen.h(salt integer, id bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT hashint8extended(id, erp_gen.seed() + salt) & 9223372036854775807 $$;

-- 0 to n - 1.
CREATE FUNCTION erp_gen.pick(salt integer, id bigint, n bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT (hashint8extended(id, erp_gen.seed() + salt) & 9223372036854775807) % n $$;

CREATE FUNCTION erp_gen.uuid(kind text, id bigint) RETURNS uuid IMMUTABLE LANGUAGE sql
AS $$ SELECT md5(kind || id || '.' || erp_gen.seed())::uuid $$;

-- Things are dealt to the tenants in turn: number i belongs to tenant 1 + (i - 1) % tenants.
CREATE FUNCTION erp_gen.tenant_no(id bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT 1 + (id - 1) % erp_gen.n('tenants') $$;

CREATE FUNCTION erp_gen.tenant(no bigint) RETURNS uuid IMMUTABLE LANGUAGE sql
AS $$ SELECT erp_gen.uuid('tenant', no) $$;

-- One of the `total` things, of the given tenant.
CREATE FUNCTION erp_gen.mate(no bigint, salt integer, id bigint, total bigint) RETURNS bigint
IMMUTABLE LANGUAGE sql
AS $$ SELECT no + erp_gen.n('tenants') * erp_gen.pick(salt, id, total / erp_gen.n('tenants')) $$;

-- Some second of the 690 days from 2024-12-01.
CREATE FUNCTION erp_gen.moment(salt integer, id bigint) RETURNS timestamptz IMMUTABLE LANGUAGE sql
AS $$ SELECT to_timestamp(1733011200 + erp_gen.pick(salt, id, 59616000)) $$;

-- The same days, in the order of the numbers, as an append-mostly table has them.
CREATE FUNCTION erp_gen.moment_of(id bigint, total bigint) RETURNS timestamptz IMMUTABLE LANGUAGE sql
AS $$ SELECT to_timestamp(1733011200 + id * 59616000 / (total + 1)) $$;

CREATE FUNCTION erp_gen.day(salt integer, id bigint) RETURNS date IMMUTABLE LANGUAGE sql
AS $$ SELECT date '2024-12-01' + erp_gen.pick(salt, id, 690)::integer $$;

CREATE FUNCTION erp_gen.cents(salt integer, id bigint, n bigint) RETURNS numeric IMMUTABLE LANGUAGE sql
AS $$ SELECT (100 + erp_gen.pick(salt, id, n)) * 0.01 $$;

CREATE FUNCTION erp_gen.word(i bigint) RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT (ARRAY['order', 'line', 'stock', 'price', 'delivery', 'invoice', 'partner', 'monthly', 'urgent',
  'steel', 'copper', 'cable', 'valve', 'pump', 'engine', 'bearing', 'filter', 'sensor', 'panel', 'switch', 'rail',
  'frame', 'wheel', 'gear', 'screw', 'nut', 'bolt', 'seal', 'hose', 'tank', 'motor', 'drive', 'paper', 'ink',
  'desk', 'chair', 'lamp', 'screen', 'cabinet', 'shelf', 'agreed', 'with', 'the', 'customer', 'before', 'after',
  'next', 'quarter', 'year', 'shipment', 'pallet', 'carton', 'and', 'without', 'under', 'review', 'approved',
  'pending', 'return', 'credit', 'note', 'für', 'größe', 'straße'])[1 + i % 64] $$;

-- The first letter is ASCII: the result must not depend on the locale of the database, as initcap() does.
CREATE FUNCTION erp_gen.title(words text) RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT upper(left(words, 1) COLLATE "C") || substr(words, 2) $$;

CREATE FUNCTION erp_gen.person(salt integer, id bigint) RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT (ARRAY['Anna', 'Björn', 'Chloé', 'Dimitri', 'Elif', 'Françoise', 'Gülsen', 'Håkon', 'Inés', 'Jürgen',
  'Katarzyna', 'Łukasz', 'María', 'Noël', 'Oksana', 'Pavel', 'Quentin', 'Rania', 'Søren', 'Tomáš', 'Uwe', 'Vera',
  'William', 'Xenia', 'Yusuf', 'Zoë', '健', '美咲', 'Nadia', 'Omar', 'Priya', 'Ravi'])[1 + erp_gen.pick(salt, id, 32)]
  || ' ' ||
  (ARRAY['Müller', 'Smith', 'García', 'Rossi', 'Dubois', 'Novák', 'Kowalski', 'Jensen', 'O''Brien', 'Yılmaz',
  'Ivanova', 'Papadopoulos', 'Nagy', 'Popescu', 'de Vries', 'Andersson', 'Silva', 'Schäfer', 'Weiß', 'Tanaka',
  'Okafor', 'Haddad', 'Singh', 'Nguyễn', 'Fischer', 'Moreau', 'Bianchi', 'Horvat', 'Lindqvist', 'Keller', 'Brown',
  'Costa'])[1 + erp_gen.pick(salt + 1, id, 32)] $$;

CREATE FUNCTION erp_gen.city(i bigint) RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT (ARRAY['Berlin', 'Köln', 'München', 'Zürich', 'Wien', 'Lyon', 'Genève', 'Madrid', 'Málaga', 'Porto',
  'Milano', 'Kraków', 'Gdańsk', 'Brno', 'Győr', 'København'])[1 + i % 16] $$;

CREATE FUNCTION erp_gen.country(i bigint) RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT (ARRAY['DE', 'FR', 'ES', 'IT', 'PL', 'CZ', 'DK', 'CH', 'AT', 'PT', 'HU', 'SE'])[1 + i % 12] $$;

-- Some words; the last argument says how many.
CREATE FUNCTION erp_gen.phrase(salt integer, id bigint, words integer) RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT string_agg(erp_gen.word(erp_gen.h(salt, id * 64 + g)), ' ' ORDER BY g) FROM generate_series(1, words) g $$;

-- Long texts are put together from these.
CREATE TABLE erp_gen.paragraphs AS
SELECT i::integer AS id,
       erp_gen.phrase(900, i, 40 + erp_gen.pick(901, i, 60)::integer) || E'.\n' AS body
FROM generate_series(0, 499) i;
ALTER TABLE erp_gen.paragraphs ADD PRIMARY KEY (id);
ANALYZE erp_gen.paragraphs;

CREATE FUNCTION erp_gen.article(salt integer, i bigint, paragraphs integer) RETURNS text STABLE LANGUAGE sql
AS $$ SELECT string_agg(p.body, '' ORDER BY g)
      FROM generate_series(1, paragraphs) g
      JOIN erp_gen.paragraphs p ON p.id = erp_gen.pick(salt, i * 100 + g, 500)::integer $$;

-- 64 bytes a block, and no compressor makes them smaller.
CREATE FUNCTION erp_gen.noise(salt integer, id bigint, blocks integer) RETURNS bytea IMMUTABLE LANGUAGE sql
AS $$ SELECT string_agg(sha512(int8send(erp_gen.h(salt, id * 4096 + g))), ''::bytea ORDER BY g)
      FROM generate_series(1, blocks) g $$;

-- What orders, lines, invoices, payments and journals must agree on. A few tenants have most of the orders.
CREATE FUNCTION erp_gen.order_tenant(id bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT 1 + erp_gen.pick(100, id, 1000000) * erp_gen.pick(101, id, 1000000)
            * erp_gen.n('tenants') / 1000000000000 $$;

CREATE FUNCTION erp_gen.order_lines(id bigint) RETURNS integer IMMUTABLE LANGUAGE sql
AS $$ SELECT 1 + erp_gen.pick(102, id, 6)::integer $$;

CREATE FUNCTION erp_gen.product_price(product bigint) RETURNS numeric IMMUTABLE LANGUAGE sql
AS $$ SELECT erp_gen.cents(103, product, 99900) $$;

CREATE FUNCTION erp_gen.line_product(tenant_no bigint, line bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT erp_gen.mate(tenant_no, 104, line, erp_gen.n('products')) $$;

CREATE FUNCTION erp_gen.line_quantity(line bigint) RETURNS integer IMMUTABLE LANGUAGE sql
AS $$ SELECT 1 + erp_gen.pick(105, line, 20)::integer $$;

CREATE FUNCTION erp_gen.line_discount(line bigint) RETURNS numeric IMMUTABLE LANGUAGE sql
AS $$ SELECT (erp_gen.pick(106, line, 4) * 5)::numeric $$;

CREATE FUNCTION erp_gen.order_net(id bigint) RETURNS numeric IMMUTABLE LANGUAGE sql
AS $$ SELECT sum(round(erp_gen.line_quantity(id * 8 + l)
                       * erp_gen.product_price(erp_gen.line_product(erp_gen.order_tenant(id), id * 8 + l))
                       * (100 - erp_gen.line_discount(id * 8 + l)) / 100, 2))
      FROM generate_series(1, erp_gen.order_lines(id)) l $$;

CREATE FUNCTION erp_gen.order_gross(id bigint) RETURNS numeric IMMUTABLE LANGUAGE sql
AS $$ SELECT round(erp_gen.order_net(id) * 119 / 100, 2) $$;

-- 0-1 draft, 2 cancelled, 3-5 confirmed, 6-9 shipped, 10 and more invoiced.
CREATE FUNCTION erp_gen.order_stage(id bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT erp_gen.pick(107, id, 30) $$;

-- 0 open, 1-2 half paid, 3 and more paid.
CREATE FUNCTION erp_gen.payment_stage(id bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
AS $$ SELECT erp_gen.pick(108, id, 10) $$;
