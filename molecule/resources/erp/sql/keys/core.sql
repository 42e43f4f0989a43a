-- Primary keys, unique keys and indexes, added when the data is in. One task a table.
-- @task core.tenants
ALTER TABLE core.tenants ADD PRIMARY KEY (id), ADD UNIQUE (code);

-- @task core.currencies
ALTER TABLE core.currencies ADD PRIMARY KEY (code);

-- @task core.countries
ALTER TABLE core.countries ADD PRIMARY KEY (code);

-- @task core.partners
ALTER TABLE core.partners ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, id), ADD UNIQUE (tenant_id, code);
CREATE INDEX partners_name_key ON core.partners (tenant_id, name_key);
CREATE INDEX partners_tags ON core.partners USING gin (tags);

-- @task core.partner_contacts
ALTER TABLE core.partner_contacts ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX partner_contacts_one_primary ON core.partner_contacts (partner_id) WHERE is_primary;

-- @task core.addresses
ALTER TABLE core.addresses ADD PRIMARY KEY (partner_id, address_no);
CREATE INDEX addresses_position ON core.addresses USING gist (position);

-- @task core.departments
ALTER TABLE core.departments ADD PRIMARY KEY (id);

-- @task core.employees
ALTER TABLE core.employees ADD PRIMARY KEY (id);
CREATE INDEX employees_manager ON core.employees (manager_id);
CREATE INDEX employees_department ON core.employees (department_id);

-- @task core.documents
ALTER TABLE core.documents ADD PRIMARY KEY (id);
CREATE INDEX documents_partner ON core.documents (partner_id);
CREATE INDEX documents_checksum ON core.documents USING hash (checksum);

-- @task core.tags
ALTER TABLE core.tags ADD PRIMARY KEY (id), ADD UNIQUE NULLS NOT DISTINCT (tenant_id, name);
