-- @task purchase.orders
ALTER TABLE purchase.orders ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, number);
CREATE INDEX orders_expected ON purchase.orders USING gist (expected_during);

-- @task purchase.order_lines
ALTER TABLE purchase.order_lines ADD PRIMARY KEY (order_id, line_no);

-- @task purchase.receipts
ALTER TABLE purchase.receipts ADD PRIMARY KEY (id);

-- @task purchase.vendor_ratings
ALTER TABLE purchase.vendor_ratings ADD PRIMARY KEY (partner_id, rated_on);
