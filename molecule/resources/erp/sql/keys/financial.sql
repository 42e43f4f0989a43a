-- @task financial.accounts
ALTER TABLE financial.accounts ADD PRIMARY KEY (id), ADD UNIQUE NULLS NOT DISTINCT (tenant_id, code);
CREATE INDEX accounts_parent ON financial.accounts (parent_id);

-- @task financial.fiscal_periods
ALTER TABLE financial.fiscal_periods ADD PRIMARY KEY (tenant_id, year, month);

-- @task financial.exchange_rates
ALTER TABLE financial.exchange_rates ADD PRIMARY KEY (currency_code, valid_on);

-- @task financial.tax_rates
ALTER TABLE financial.tax_rates ADD PRIMARY KEY (id);

-- @task financial.budgets
ALTER TABLE financial.budgets ADD PRIMARY KEY (tenant_id, account_id, year);

-- @task financial.invoices
ALTER TABLE financial.invoices ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, number), ADD UNIQUE (reference);
CREATE INDEX invoices_order ON financial.invoices (order_id);
CREATE INDEX invoices_open ON financial.invoices (tenant_id, due_on) WHERE status IN ('open', 'partial');

-- @task financial.payments
ALTER TABLE financial.payments ADD PRIMARY KEY (id);
CREATE INDEX payments_invoice ON financial.payments (invoice_id);

-- @task financial.journal_entries
ALTER TABLE financial.journal_entries ADD PRIMARY KEY (id);
CREATE INDEX journal_entries_date ON financial.journal_entries USING brin (entry_date);

-- @task financial.journal_lines
ALTER TABLE financial.journal_lines ADD PRIMARY KEY (entry_id, line_no);
CREATE INDEX journal_lines_account ON financial.journal_lines (account_id);
