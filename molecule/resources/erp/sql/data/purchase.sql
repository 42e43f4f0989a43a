-- @task purchase.orders over=purchase_orders chunk=40000
INSERT INTO purchase.orders (id, tenant_id, number, partner_id, ordered_on, expected_during, amount, is_received)
SELECT i, erp_gen.tenant(t), 'PO-' || lpad(i::text, 8, '0'), erp_gen.mate(t, 600, i, erp_gen.n('partners')), d,
       daterange(d + 7, d + 8 + erp_gen.pick(601, i, 20)::integer),
       (SELECT sum((1 + erp_gen.pick(603, i * 8 + l, 100)) * erp_gen.product_price(erp_gen.mate(t, 604, i * 8 + l, erp_gen.n('products'))))
        FROM generate_series(1, 1 + erp_gen.pick(602, i, 4)::integer) l), i % 5 <> 0
FROM (SELECT i, erp_gen.order_tenant(-i) AS t, erp_gen.moment_of(i, erp_gen.n('purchase_orders'))::date AS d
      FROM erp_gen.slice() i OFFSET 0) numbered;

-- @task purchase.order_lines over=purchase_orders chunk=40000
INSERT INTO purchase.order_lines (order_id, line_no, product_id, quantity, unit_price)
SELECT i, l, product, 1 + erp_gen.pick(603, i * 8 + l, 100), erp_gen.product_price(product)
FROM (SELECT i, l, erp_gen.mate(erp_gen.order_tenant(-i), 604, i * 8 + l, erp_gen.n('products')) AS product
      FROM erp_gen.slice() i, generate_series(1, 1 + erp_gen.pick(602, i, 4)::integer) l OFFSET 0) lines;

-- @task purchase.receipts over=purchase_orders chunk=40000
INSERT INTO purchase.receipts (id, tenant_id, order_id, warehouse_id, received_at, note)
OVERRIDING SYSTEM VALUE
SELECT i, erp_gen.tenant(t), i, erp_gen.mate(t, 610, i, erp_gen.n('warehouses')),
       erp_gen.moment_of(i, erp_gen.n('purchase_orders')) + interval '9 days',
       CASE WHEN i % 4 = 0 THEN erp_gen.phrase(611, i, 8) END
FROM (SELECT i, erp_gen.order_tenant(-i) AS t FROM erp_gen.slice() i WHERE i % 5 <> 0 OFFSET 0) received;

-- @task purchase.vendor_ratings over=partners chunk=40000
INSERT INTO purchase.vendor_ratings (partner_id, rated_on, score, remark)
SELECT i, date '2025-01-15' + q * 91, erp_gen.pick(620, i * 8 + q, 1000)::real / 333,
       CASE WHEN erp_gen.pick(621, i * 8 + q, 3) = 0 THEN erp_gen.phrase(622, i * 8 + q, 6) END
FROM erp_gen.slice() i, generate_series(0, 3) q
WHERE erp_gen.pick(123, i, 4) >= 2;
