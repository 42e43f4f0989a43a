CREATE VIEW sales.open_orders WITH (security_invoker = true) AS
SELECT o.id, o.tenant_id, o.number, p.name AS partner, o.ordered_at, o.gross_amount
FROM sales.orders o JOIN core.partners p ON p.id = o.partner_id
WHERE o.status IN ('confirmed', 'shipped');

CREATE VIEW inventory.low_stock WITH (security_invoker = true) AS
SELECT s.tenant_id, w.code AS warehouse, p.sku, s.available
FROM inventory.stock s
JOIN inventory.warehouses w ON w.id = s.warehouse_id
JOIN inventory.products p ON p.id = s.product_id
WHERE s.available < 20;

CREATE RECURSIVE VIEW financial.account_tree (id, tenant_id, path) AS
SELECT a.id, a.tenant_id, ARRAY[a.code] FROM financial.accounts a WHERE a.parent_id IS NULL
UNION ALL
SELECT a.id, a.tenant_id, t.path || a.code FROM financial.accounts a JOIN account_tree t ON t.id = a.parent_id;

CREATE MATERIALIZED VIEW analytics.daily_sales AS
SELECT o.tenant_id, o.ordered_at::date AS day, count(*) AS orders, sum(o.gross_amount) AS turnover
FROM sales.orders o
WHERE o.status NOT IN ('draft', 'cancelled')
GROUP BY o.tenant_id, o.ordered_at::date;
CREATE UNIQUE INDEX daily_sales_key ON analytics.daily_sales (tenant_id, day);

-- A view on the materialized view: a restore has to keep the order.
CREATE VIEW analytics.tenant_summary AS
SELECT t.code, d.tenant_id, sum(d.orders) AS orders, sum(d.turnover) AS turnover
FROM analytics.daily_sales d JOIN core.tenants t ON t.id = d.tenant_id
GROUP BY t.code, d.tenant_id;
