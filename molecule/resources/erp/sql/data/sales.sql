-- @task sales.price_lists over=price_lists
INSERT INTO sales.price_lists (id, tenant_id, name, currency_code, valid_during)
SELECT i, CASE WHEN i > 3 THEN erp_gen.tenant(erp_gen.tenant_no(i)) END,
       CASE i WHEN 1 THEN 'Standard' WHEN 2 THEN 'Grosshandel' WHEN 3 THEN 'Export' ELSE 'List ' || i END,
       (ARRAY['EUR', 'EUR', 'USD'])[1 + i % 3], daterange('2024-12-01', CASE WHEN i % 2 = 0 THEN '2026-12-31'::date END)
FROM erp_gen.slice() i;

-- @task sales.price_list_items over=products chunk=40000
INSERT INTO sales.price_list_items (price_list_id, product_id, price)
SELECT l, i, round(erp_gen.product_price(i) * (100 - 10 * l) / 100, 2)
FROM erp_gen.slice() i, generate_series(1, 2) l
WHERE erp_gen.pick(630, i, 2) = 0;

-- @task sales.orders over=orders chunk=10000
INSERT INTO sales.orders (id, tenant_id, number, partner_id, price_list_id, created_by, status, currency_code, ordered_at,
                          net_amount, tax_rate, shipping, "Kundenreferenz", notes, created_at, updated_at)
SELECT i, erp_gen.tenant(t), 'SO-' || lpad(i::text, 9, '0'), erp_gen.mate(t, 400, i, erp_gen.n('partners')),
       1 + erp_gen.pick(401, i, 3), erp_gen.uuid('user', erp_gen.mate(t, 402, i, erp_gen.n('users'))),
       (CASE WHEN stage < 2 THEN 'draft' WHEN stage < 3 THEN 'cancelled' WHEN stage < 6 THEN 'confirmed'
             WHEN stage < 10 THEN 'shipped' ELSE 'invoiced' END)::sales.order_status,
       'EUR', at, erp_gen.order_net(i), 19,
       jsonb_build_object('method', (ARRAY['parcel', 'freight', 'pickup'])[1 + erp_gen.pick(403, i, 3)],
                          'city', erp_gen.city(erp_gen.h(404, i)), 'weight', erp_gen.pick(405, i, 90000) * 0.01),
       CASE WHEN i % 3 = 0 THEN 'Ihre Bestellung ' || to_hex(erp_gen.h(406, i)) END,
       CASE WHEN i % 4 = 0 THEN erp_gen.phrase(407, i, 6 + erp_gen.pick(408, i, 20)::integer) END, at, at + interval '2 days'
FROM (SELECT i, erp_gen.order_tenant(i) AS t, erp_gen.order_stage(i) AS stage, erp_gen.moment_of(i, erp_gen.n('orders')) AS at
      FROM erp_gen.slice() i OFFSET 0) numbered;

-- @task sales.order_lines over=orders chunk=20000
INSERT INTO sales.order_lines (order_id, line_no, product_id, quantity, unit_price, discount)
SELECT i, l, product, erp_gen.line_quantity(i * 8 + l), erp_gen.product_price(product), erp_gen.line_discount(i * 8 + l)
FROM (SELECT i, l, erp_gen.line_product(erp_gen.order_tenant(i), i * 8 + l) AS product
      FROM erp_gen.slice() i, generate_series(1, erp_gen.order_lines(i)) l OFFSET 0) lines;

-- @task sales.shipments over=orders chunk=40000
INSERT INTO sales.shipments (id, order_id, carrier, tracking, shipped_at)
OVERRIDING SYSTEM VALUE
SELECT i, i, (ARRAY['DHL', 'UPS', 'Spedition Weiß'])[1 + erp_gen.pick(640, i, 3)], upper(to_hex(erp_gen.h(641, i))),
       erp_gen.moment_of(i, erp_gen.n('orders')) + interval '1 day'
FROM erp_gen.slice() i
WHERE erp_gen.order_stage(i) >= 6;
