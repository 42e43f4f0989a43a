-- @task inventory.categories over=categories
INSERT INTO inventory.categories (id, tenant_id, parent_id, name)
SELECT i, erp_gen.tenant(erp_gen.tenant_no(i)),
       CASE WHEN i > 3 * erp_gen.n('tenants') THEN erp_gen.tenant_no(i) + erp_gen.n('tenants') * erp_gen.pick(500, i, 3) END,
       erp_gen.title(erp_gen.word(erp_gen.h(501, i)))
FROM erp_gen.slice() i;

-- @task inventory.products over=products chunk=10000
INSERT INTO inventory.products (id, tenant_id, category_id, sku, name, description, price, weight_kg, size_cm, attributes,
                                thumbnail, created_at)
SELECT i, erp_gen.tenant(erp_gen.tenant_no(i)), erp_gen.mate(erp_gen.tenant_no(i), 510, i, erp_gen.n('categories')),
       'SKU-' || upper(to_hex(i * 2654435761)), erp_gen.title(erp_gen.phrase(511, i, 3)),
       erp_gen.phrase(512, i, 20 + erp_gen.pick(513, i, 40)::integer), erp_gen.product_price(i),
       erp_gen.pick(514, i, 100000)::double precision / 777,
       ARRAY[1 + erp_gen.pick(515, i, 200), 1 + erp_gen.pick(516, i, 100), 1 + erp_gen.pick(517, i, 50)]::numeric[],
       jsonb_build_object('colour', erp_gen.word(erp_gen.h(518, i)), 'ean', erp_gen.pick(519, i, 10000000000000),
                          'hazard', erp_gen.pick(520, i, 50) = 0, 'origin', erp_gen.country(erp_gen.h(521, i))),
       CASE WHEN erp_gen.pick(522, i, 4) = 0 THEN erp_gen.noise(523, i, 8 + erp_gen.pick(524, i, 16)::integer) END,
       erp_gen.moment(525, i)
FROM erp_gen.slice() i;

-- @task inventory.warehouses over=warehouses
INSERT INTO inventory.warehouses (id, tenant_id, code, name, position, opening_hours)
SELECT i, erp_gen.tenant(erp_gen.tenant_no(i)), 'W' || i, 'Lager ' || erp_gen.city(erp_gen.h(530, i)),
       point(5 + erp_gen.pick(531, i, 10000) / 1000.0, 45 + erp_gen.pick(532, i, 10000) / 1000.0),
       '{"mon": ["08:00", "17:00"], "sat": null}'
FROM erp_gen.slice() i;

-- @task inventory.stock over=products chunk=20000
INSERT INTO inventory.stock (warehouse_id, product_id, tenant_id, on_hand, reserved, updated_at)
SELECT erp_gen.tenant_no(i) + erp_gen.n('tenants') * w, i, erp_gen.tenant(erp_gen.tenant_no(i)),
       10 + erp_gen.pick(540, i * 2 + w, 1000), erp_gen.pick(541, i * 2 + w, 10), erp_gen.moment(542, i * 2 + w)
FROM erp_gen.slice() i, generate_series(0, 1) w;

-- @task inventory.stock_moves over=orders chunk=20000
INSERT INTO inventory.stock_moves (id, tenant_id, warehouse_id, product_id, order_id, quantity, reason, moved_at)
OVERRIDING SYSTEM VALUE
SELECT i * 8 + l, erp_gen.tenant(t), erp_gen.mate(t, 550, i, erp_gen.n('warehouses')), erp_gen.line_product(t, i * 8 + l),
       i, -erp_gen.line_quantity(i * 8 + l), 'sale', erp_gen.moment_of(i, erp_gen.n('orders')) + interval '1 day'
FROM (SELECT i, erp_gen.order_tenant(i) AS t FROM erp_gen.slice() i WHERE erp_gen.order_stage(i) >= 6 OFFSET 0) shipped,
     generate_series(1, erp_gen.order_lines(i)) l;

-- @task inventory.lots over=products chunk=40000
INSERT INTO inventory.lots (product_id, lot_code, expires_on, quantity)
SELECT i, 'L' || to_hex(erp_gen.h(560, i * 4 + l)), erp_gen.day(561, i * 4 + l) + 365, 1 + erp_gen.pick(562, i * 4 + l, 500)
FROM erp_gen.slice() i, generate_series(1, erp_gen.pick(563, i, 3)::integer) l;

-- @task inventory.Größentabelle over=categories
INSERT INTO inventory."Größentabelle" ("Größe", "Kategorie Nr", tenant_id, "Maß ""cm""", "order")
SELECT s, i, erp_gen.tenant(erp_gen.tenant_no(i)), 30 + erp_gen.pick(570, i * 8 + o, 900) * 0.1, o
FROM erp_gen.slice() i, unnest(ARRAY['S', 'M', 'L', 'XL', 'Übergröße']) WITH ORDINALITY AS sizes (s, o);
