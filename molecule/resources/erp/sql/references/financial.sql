-- @task financial.accounts
ALTER TABLE financial.accounts
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD CONSTRAINT accounts_parent FOREIGN KEY (parent_id) REFERENCES financial.accounts;

-- @task financial.fiscal_periods
ALTER TABLE financial.fiscal_periods ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task financial.exchange_rates
ALTER TABLE financial.exchange_rates ADD FOREIGN KEY (currency_code) REFERENCES core.currencies;

-- @task financial.tax_rates
ALTER TABLE financial.tax_rates
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (country_code) REFERENCES core.countries;

-- @task financial.budgets
ALTER TABLE financial.budgets
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (account_id) REFERENCES financial.accounts;

-- An invoice and its order belong to the same tenant: the key has both columns.
-- @task financial.invoices
ALTER TABLE financial.invoices
    ADD FOREIGN KEY (tenant_id, order_id) REFERENCES sales.orders (tenant_id, id),
    ADD FOREIGN KEY (tenant_id, partner_id) REFERENCES core.partners (tenant_id, id);

-- @task financial.payments
ALTER TABLE financial.payments
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (invoice_id) REFERENCES financial.invoices;

-- @task financial.journal_entries
ALTER TABLE financial.journal_entries ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task financial.journal_lines
ALTER TABLE financial.journal_lines
    ADD FOREIGN KEY (entry_id) REFERENCES financial.journal_entries ON DELETE CASCADE,
    ADD FOREIGN KEY (account_id) REFERENCES financial.accounts;
