-- @task inventory.categories
ALTER TABLE inventory.categories
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (parent_id) REFERENCES inventory.categories;

-- @task inventory.products
ALTER TABLE inventory.products
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (category_id) REFERENCES inventory.categories;

-- @task inventory.warehouses
ALTER TABLE inventory.warehouses ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task inventory.stock
ALTER TABLE inventory.stock
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (warehouse_id) REFERENCES inventory.warehouses,
    ADD FOREIGN KEY (product_id) REFERENCES inventory.products;

-- @task inventory.stock_moves
ALTER TABLE inventory.stock_moves
    ADD FOREIGN KEY (warehouse_id, product_id) REFERENCES inventory.stock,
    ADD FOREIGN KEY (order_id) REFERENCES sales.orders;

-- @task inventory.lots
ALTER TABLE inventory.lots ADD FOREIGN KEY (product_id) REFERENCES inventory.products ON DELETE CASCADE;

-- @task inventory.Größentabelle
ALTER TABLE inventory."Größentabelle"
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY ("Kategorie Nr") REFERENCES inventory.categories;
