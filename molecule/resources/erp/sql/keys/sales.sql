-- @task sales.price_lists
ALTER TABLE sales.price_lists ADD PRIMARY KEY (id);

-- @task sales.price_list_items
ALTER TABLE sales.price_list_items ADD PRIMARY KEY (price_list_id, product_id);

-- @task sales.orders
ALTER TABLE sales.orders ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, id), ADD UNIQUE (tenant_id, number);
CREATE INDEX orders_partner ON sales.orders (partner_id);
CREATE INDEX orders_ordered_at ON sales.orders (ordered_at);
CREATE INDEX orders_drafts ON sales.orders (tenant_id, ordered_at) WHERE status = 'draft';

-- @task sales.order_lines
ALTER TABLE sales.order_lines ADD PRIMARY KEY (order_id, line_no);
CREATE INDEX order_lines_product ON sales.order_lines (product_id) INCLUDE (quantity);

-- @task sales.shipments
ALTER TABLE sales.shipments ADD PRIMARY KEY (id);
CREATE INDEX shipments_order ON sales.shipments (order_id);
