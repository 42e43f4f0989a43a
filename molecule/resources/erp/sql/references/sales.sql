-- @task sales.price_lists
ALTER TABLE sales.price_lists
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (currency_code) REFERENCES core.currencies;

-- @task sales.price_list_items
ALTER TABLE sales.price_list_items
    ADD FOREIGN KEY (price_list_id) REFERENCES sales.price_lists ON DELETE CASCADE,
    ADD FOREIGN KEY (product_id) REFERENCES inventory.products;

-- @task sales.orders
ALTER TABLE sales.orders
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (tenant_id, partner_id) REFERENCES core.partners (tenant_id, id),
    ADD FOREIGN KEY (price_list_id) REFERENCES sales.price_lists,
    ADD FOREIGN KEY (created_by) REFERENCES auth.users,
    ADD FOREIGN KEY (currency_code) REFERENCES core.currencies;

-- @task sales.order_lines
ALTER TABLE sales.order_lines
    ADD FOREIGN KEY (order_id) REFERENCES sales.orders ON DELETE CASCADE,
    ADD FOREIGN KEY (product_id) REFERENCES inventory.products;

-- @task sales.shipments
ALTER TABLE sales.shipments ADD FOREIGN KEY (order_id) REFERENCES sales.orders;
