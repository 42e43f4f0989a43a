-- @task core.tenants over=tenants
INSERT INTO core.tenants (id, code, name, settings, is_active, created_at)
SELECT erp_gen.tenant(i), 'tenant-' || i, erp_gen.title(erp_gen.phrase(110, i, 2)) || ' ' || (ARRAY['AG', 'SA', 'Ltd', 'S.r.l.'])[1 + i % 4],
       jsonb_build_object('language', (ARRAY['de', 'fr', 'en', 'it'])[1 + i % 4], 'fiscal_start', 1 + i % 12),
       i % 17 <> 0, erp_gen.moment(111, i)
FROM erp_gen.slice() i;

-- @task core.currencies
INSERT INTO core.currencies (code, name, decimals)
VALUES ('EUR', 'Euro', 2), ('USD', 'US dollar', 2), ('CHF', 'Schweizer Franken', 2), ('PLN', 'Złoty', 2),
       ('CZK', 'Koruna', 2), ('DKK', 'Krone', 2), ('SEK', 'Krona', 2), ('HUF', 'Forint', 2), ('JPY', '円', 0);

-- @task core.countries
INSERT INTO core.countries (code, name, currency_code)
VALUES ('DE', 'Deutschland', 'EUR'), ('FR', 'France', 'EUR'), ('ES', 'España', 'EUR'), ('IT', 'Italia', 'EUR'),
       ('PL', 'Polska', 'PLN'), ('CZ', 'Česko', 'CZK'), ('DK', 'Danmark', 'DKK'), ('CH', 'Schweiz', 'CHF'),
       ('AT', 'Österreich', 'EUR'), ('PT', 'Portugal', 'EUR'), ('HU', 'Magyarország', 'HUF'), ('SE', 'Sverige', 'SEK');

-- @task core.partners over=partners chunk=20000
INSERT INTO core.partners (id, tenant_id, code, name, kind, email, country_code, credit_limit, balance, tags,
                           attributes, created_at, updated_at)
SELECT i, erp_gen.tenant(erp_gen.tenant_no(i)), 'P' || lpad(i::text, 7, '0'),
       erp_gen.title(erp_gen.phrase(120, i, 2)) || ' ' || erp_gen.person(121, i),
       (ARRAY['customer', 'customer', 'vendor', 'both'])[1 + erp_gen.pick(123, i, 4)]::core.partner_kind,
       'office' || i || '@partner.example', erp_gen.country(erp_gen.h(124, i)),
       erp_gen.pick(125, i, 100) * 1000, 0,
       ARRAY[erp_gen.word(erp_gen.h(126, i)), erp_gen.word(erp_gen.h(127, i))],
       jsonb_build_object('vat', 'DE' || erp_gen.pick(128, i, 1000000000), 'rating', erp_gen.pick(129, i, 6),
                          'terms', jsonb_build_object('days', 30, 'discount', erp_gen.pick(130, i, 4) * 0.5)),
       erp_gen.moment(131, i), erp_gen.moment(131, i) + interval '1 hour'
FROM erp_gen.slice() i;

-- @task core.partner_contacts over=partners chunk=40000
INSERT INTO core.partner_contacts (id, partner_id, name, phone, email, is_primary)
OVERRIDING SYSTEM VALUE
SELECT i * 2 + c, i, erp_gen.person(132, i * 2 + c), '+49 30 ' || erp_gen.pick(134, i * 2 + c, 10000000),
       'contact' || i * 2 + c || '@partner.example', c = 0
FROM erp_gen.slice() i, generate_series(0, erp_gen.pick(135, i, 2)::integer) c;

-- @task core.addresses over=partners chunk=40000
INSERT INTO core.addresses (partner_id, address_no, street, postcode, city, country_code, position)
SELECT i, a, erp_gen.title(erp_gen.word(erp_gen.h(136, i * 4 + a))) || 'straße ' || 1 + erp_gen.pick(137, i * 4 + a, 200),
       lpad(erp_gen.pick(138, i * 4 + a, 100000)::text, 5, '0'), erp_gen.city(erp_gen.h(139, i * 4 + a)),
       erp_gen.country(erp_gen.h(124, i)),
       point(5 + erp_gen.pick(140, i * 4 + a, 10000) / 1000.0, 45 + erp_gen.pick(141, i * 4 + a, 10000) / 1000.0)
FROM erp_gen.slice() i, generate_series(1, 1 + erp_gen.pick(142, i, 2)::integer) a;

-- @task core.departments over=departments
INSERT INTO core.departments (id, tenant_id, name, head_employee_id)
SELECT i, erp_gen.tenant(erp_gen.tenant_no(i)),
       (ARRAY['Sales', 'Finanzen', 'Logistique', 'IT'])[1 + ((i - 1) / erp_gen.n('tenants')) % 4],
       erp_gen.mate(erp_gen.tenant_no(i), 145, i, erp_gen.n('employees'))
FROM erp_gen.slice() i;

-- @task core.employees over=employees chunk=40000
INSERT INTO core.employees (id, tenant_id, department_id, manager_id, user_id, name, hired_on, notice_period, salary, skills)
SELECT i, erp_gen.tenant(erp_gen.tenant_no(i)),
       erp_gen.mate(erp_gen.tenant_no(i), 146, i, erp_gen.n('departments')),
       CASE WHEN i > erp_gen.n('tenants') THEN erp_gen.tenant_no(i) + erp_gen.n('tenants')
                 * erp_gen.pick(147, i, (i - 1) / erp_gen.n('tenants')) END,
       CASE WHEN i <= erp_gen.n('users') THEN erp_gen.uuid('user', i) END,
       erp_gen.person(148, i), date '2005-01-01' + erp_gen.pick(150, i, 7000)::integer,
       make_interval(months => 1 + erp_gen.pick(151, i, 6)::integer), 2000 + erp_gen.cents(152, i, 600000),
       ARRAY[erp_gen.word(erp_gen.h(153, i)), erp_gen.word(erp_gen.h(154, i)), erp_gen.word(erp_gen.h(155, i))]
FROM erp_gen.slice() i;

-- @task core.documents over=documents chunk=1000
INSERT INTO core.documents (id, tenant_id, partner_id, kind, title, body, content, created_at)
SELECT erp_gen.uuid('document', i),
       CASE WHEN i % 25 <> 0 THEN erp_gen.tenant(erp_gen.tenant_no(i)) END,
       CASE WHEN i % 25 <> 0 THEN erp_gen.mate(erp_gen.tenant_no(i), 160, i, erp_gen.n('partners')) END,
       (ARRAY['contract', 'scan', 'letter', 'template'])[1 + i % 4], erp_gen.title(erp_gen.phrase(161, i, 5)),
       CASE WHEN i % 3 <> 0 THEN erp_gen.article(162, i, 10 + erp_gen.pick(163, i, 50)::integer) END,
       CASE WHEN i % 3 <> 1 THEN erp_gen.noise(164, i, 64 + erp_gen.pick(165, i, 448)::integer) END,
       erp_gen.moment_of(i, erp_gen.n('documents'))
FROM erp_gen.slice() i;

-- @task core.tags over=tags
INSERT INTO core.tags (id, tenant_id, name, colour)
OVERRIDING SYSTEM VALUE
SELECT i, CASE WHEN i > 10 THEN erp_gen.tenant(erp_gen.tenant_no(i)) END, erp_gen.word(i) || '-' || i,
       '#' || lpad(to_hex(erp_gen.pick(170, i, 16777216)), 6, '0')
FROM erp_gen.slice() i;
