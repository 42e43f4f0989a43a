-- Accounts 1 to 40 are the template; each tenant has a chart of 40 after it. In each chart the first four are groups.
-- @task financial.accounts over=accounts chunk=40000
INSERT INTO financial.accounts (id, tenant_id, parent_id, code, name, kind, is_group)
SELECT i, CASE WHEN i > 40 THEN erp_gen.tenant((i - 1) / 40) END,
       CASE WHEN k > 4 THEN i - k + 1 + (k - 1) % 4 WHEN k > 1 THEN i - k + 1 END,
       (1000 * (1 + (k - 1) % 4) + k)::text, erp_gen.title(erp_gen.phrase(300, k, 2)),
       (ARRAY['asset', 'liability', 'income', 'expense'])[1 + (k - 1) % 4]::financial.account_kind, k <= 4
FROM (SELECT i, 1 + (i - 1) % 40 AS k FROM erp_gen.slice() i) numbered;

-- @task financial.fiscal_periods over=tenants
INSERT INTO financial.fiscal_periods (tenant_id, year, month, during, is_closed)
SELECT erp_gen.tenant(i), y, m, daterange(make_date(y, m, 1), (make_date(y, m, 1) + interval '1 month')::date), y < 2026
FROM erp_gen.slice() i, generate_series(2024, 2026) y, generate_series(1, 12) m;

-- @task financial.exchange_rates
INSERT INTO financial.exchange_rates (currency_code, valid_on, rate)
SELECT c, date '2024-12-01' + d, (50000000 + erp_gen.pick(310, d * 16 + c_no, 100000000))::numeric / 100000000
FROM unnest(ARRAY['USD', 'CHF', 'PLN', 'CZK', 'DKK', 'SEK', 'HUF', 'JPY']) WITH ORDINALITY AS currencies (c, c_no),
     generate_series(0, 689) d;

-- @task financial.tax_rates over=tax_rates
INSERT INTO financial.tax_rates (id, tenant_id, country_code, name, rate)
SELECT i, CASE WHEN i > 24 THEN erp_gen.tenant(erp_gen.tenant_no(i)) END, erp_gen.country(i),
       CASE WHEN i % 2 = 0 THEN 'standard' ELSE 'reduced' END, CASE WHEN i % 2 = 0 THEN 19 ELSE 7 END
FROM erp_gen.slice() i;

-- @task financial.budgets over=accounts chunk=40000
INSERT INTO financial.budgets (tenant_id, account_id, year, corridor)
SELECT erp_gen.tenant((i - 1) / 40), i, y,
       financial.money_range(1000 * (1 + erp_gen.pick(315, i * 8 + y, 50)), 1000 * (52 + erp_gen.pick(316, i * 8 + y, 50)))
FROM erp_gen.slice() i, generate_series(2025, 2026) y
WHERE i > 40;

-- @task financial.invoices over=orders chunk=10000
INSERT INTO financial.invoices (id, tenant_id, order_id, partner_id, number, reference, issued_on, amount, paid_amount, status, updated_at)
SELECT i, erp_gen.tenant(t), i, erp_gen.mate(t, 400, i, erp_gen.n('partners')), 'IN-' || lpad(i::text, 9, '0'),
       100000 + 7 * i, erp_gen.moment_of(i, erp_gen.n('orders'))::date + 2, gross,
       CASE WHEN stage = 0 THEN 0 WHEN stage < 3 THEN round(gross / 2, 2) ELSE gross END,
       (CASE WHEN stage = 0 THEN 'open' WHEN stage < 3 THEN 'partial' ELSE 'paid' END)::financial.invoice_status,
       erp_gen.moment_of(i, erp_gen.n('orders')) + interval '9 days'
FROM (SELECT i, erp_gen.order_tenant(i) AS t, erp_gen.payment_stage(i) AS stage, erp_gen.order_gross(i) AS gross
      FROM erp_gen.slice() i WHERE erp_gen.order_stage(i) >= 10 OFFSET 0) invoiced;

-- @task financial.payments over=orders chunk=10000
INSERT INTO financial.payments (id, tenant_id, invoice_id, paid_at, amount, method, gateway_response)
SELECT i, erp_gen.tenant(erp_gen.order_tenant(i)), i, erp_gen.moment_of(i, erp_gen.n('orders')) + interval '9 days',
       CASE WHEN stage < 3 THEN round(gross / 2, 2) ELSE gross END,
       (ARRAY['transfer', 'card', 'debit'])[1 + erp_gen.pick(320, i, 3)],
       jsonb_build_object('code', '00', 'trace', to_hex(erp_gen.h(321, i)), 'iban', 'DE' || erp_gen.h(322, i),
                          'provider', (ARRAY['adyen', 'stripe', 'bank'])[1 + erp_gen.pick(323, i, 3)])
FROM (SELECT i, erp_gen.payment_stage(i) AS stage, erp_gen.order_gross(i) AS gross
      FROM erp_gen.slice() i WHERE erp_gen.order_stage(i) >= 10 AND erp_gen.payment_stage(i) > 0 OFFSET 0) paid;

-- @task financial.journal_entries over=orders chunk=20000
INSERT INTO financial.journal_entries (id, tenant_id, entry_date, source, description)
SELECT i, erp_gen.tenant(erp_gen.order_tenant(i)), erp_gen.moment_of(i, erp_gen.n('orders'))::date + 2, 'invoice',
       'Invoice IN-' || lpad(i::text, 9, '0')
FROM erp_gen.slice() i
WHERE erp_gen.order_stage(i) >= 10;

-- Receivables to revenue and tax, each in the tenant's own chart.
-- @task financial.journal_lines over=orders chunk=10000
INSERT INTO financial.journal_lines (entry_id, line_no, account_id, debit, credit)
SELECT i, l, erp_gen.order_tenant(i) * 40 + CASE l WHEN 1 THEN 5 WHEN 2 THEN 7 ELSE 6 END + 4 * erp_gen.pick(330, i * 4 + l, 8),
       CASE WHEN l = 1 THEN gross ELSE 0 END,
       CASE l WHEN 1 THEN 0 WHEN 2 THEN gross - round(gross * 19 / 119, 2) ELSE round(gross * 19 / 119, 2) END
FROM (SELECT i, erp_gen.order_gross(i) AS gross FROM erp_gen.slice() i
      WHERE erp_gen.order_stage(i) >= 10 OFFSET 0) invoiced, generate_series(1, 3) l;
