-- @task purchase.orders
ALTER TABLE purchase.orders ADD FOREIGN KEY (tenant_id, partner_id) REFERENCES core.partners (tenant_id, id);

-- @task purchase.order_lines
ALTER TABLE purchase.order_lines
    ADD FOREIGN KEY (order_id) REFERENCES purchase.orders ON DELETE CASCADE,
    ADD FOREIGN KEY (product_id) REFERENCES inventory.products;

-- @task purchase.receipts
ALTER TABLE purchase.receipts
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (order_id) REFERENCES purchase.orders,
    ADD FOREIGN KEY (warehouse_id) REFERENCES inventory.warehouses;

-- @task purchase.vendor_ratings
ALTER TABLE purchase.vendor_ratings ADD FOREIGN KEY (partner_id) REFERENCES core.partners ON DELETE CASCADE;
