-- Foreign keys, added last. One task a table.
-- @task core.countries
ALTER TABLE core.countries ADD FOREIGN KEY (currency_code) REFERENCES core.currencies;

-- @task core.partners
ALTER TABLE core.partners
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (country_code) REFERENCES core.countries;

-- @task core.partner_contacts
ALTER TABLE core.partner_contacts ADD FOREIGN KEY (partner_id) REFERENCES core.partners ON DELETE CASCADE;

-- @task core.addresses
ALTER TABLE core.addresses
    ADD FOREIGN KEY (partner_id) REFERENCES core.partners ON DELETE CASCADE,
    ADD FOREIGN KEY (country_code) REFERENCES core.countries;

-- The cycle: each side can only be written first when the check waits for the commit.
-- @task core.departments
ALTER TABLE core.departments
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD CONSTRAINT departments_head FOREIGN KEY (head_employee_id) REFERENCES core.employees
        DEFERRABLE INITIALLY DEFERRED;

-- @task core.employees
ALTER TABLE core.employees
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD CONSTRAINT employees_department FOREIGN KEY (department_id) REFERENCES core.departments
        DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT employees_manager FOREIGN KEY (manager_id) REFERENCES core.employees,
    ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE SET NULL;

-- @task core.documents
ALTER TABLE core.documents
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (partner_id) REFERENCES core.partners ON DELETE SET NULL;

-- @task core.tags
ALTER TABLE core.tags ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;
