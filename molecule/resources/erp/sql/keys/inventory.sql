-- @task inventory.categories
ALTER TABLE inventory.categories ADD PRIMARY KEY (id);

-- @task inventory.products
ALTER TABLE inventory.products ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, sku);
CREATE INDEX products_attributes ON inventory.products USING gin (attributes jsonb_path_ops);
CREATE INDEX products_search ON inventory.products USING gin (to_tsvector('simple', name || ' ' || description));

-- @task inventory.warehouses
ALTER TABLE inventory.warehouses ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, code);

-- @task inventory.stock
ALTER TABLE inventory.stock ADD PRIMARY KEY (warehouse_id, product_id),
    ADD CONSTRAINT stock_reserved CHECK (reserved >= 0);

-- @task inventory.stock_moves
ALTER TABLE inventory.stock_moves ADD PRIMARY KEY (id);
CREATE INDEX stock_moves_product ON inventory.stock_moves (product_id, moved_at);
CREATE INDEX stock_moves_order ON inventory.stock_moves (order_id);

-- @task inventory.lots
ALTER TABLE inventory.lots ADD PRIMARY KEY (product_id, lot_code);

-- @task inventory.Größentabelle
ALTER TABLE inventory."Größentabelle" ADD PRIMARY KEY ("Kategorie Nr", "Größe");
