-- Two entries an order: made, and changed once. The first month lies before the first partition, in the default one.
-- @task system.audit_logs over=orders chunk=10000
INSERT INTO system.audit_logs (id, tenant_id, created_at, event, table_name, row_key, old_data, new_data, actor, txid)
SELECT i * 2 + e, erp_gen.tenant(t), erp_gen.moment_of(i, erp_gen.n('orders')) + interval '2 days' * e,
       CASE e WHEN 0 THEN 'INSERT' ELSE 'UPDATE' END, 'sales.orders', i::text,
       CASE e WHEN 1 THEN jsonb_build_object('id', i, 'status', 'draft', 'partner_id', erp_gen.mate(t, 400, i, erp_gen.n('partners'))) END,
       jsonb_build_object('id', i, 'number', 'SO-' || lpad(i::text, 9, '0'), 'status', (ARRAY['draft', 'confirmed'])[1 + e],
                          'partner_id', erp_gen.mate(t, 400, i, erp_gen.n('partners')), 'currency_code', 'EUR'),
       'erp_user', 1000 + i * 2 + e
FROM (SELECT i, erp_gen.order_tenant(i) AS t FROM erp_gen.slice() i OFFSET 0) numbered, generate_series(0, 1) e;

-- @task system.number_sequences over=tenants
INSERT INTO system.number_sequences (tenant_id, document, prefix, last_value)
SELECT erp_gen.tenant(i), d, upper(left(d, 2)) || i || '-', erp_gen.pick(850, i, 1000)
FROM erp_gen.slice() i, unnest(ARRAY['invoice', 'credit note']) d;

-- @task system.settings over=tenants
INSERT INTO system.settings (tenant_id, key, value)
SELECT CASE WHEN i > 1 THEN erp_gen.tenant(i - 1) END, k, to_jsonb(erp_gen.pick(851, i * 4 + k_no, 100))
FROM generate_series(current_setting('erp_gen.lo')::bigint, current_setting('erp_gen.hi')::bigint + 1) i,
     unnest(ARRAY['mail.limit', 'ui.theme', 'jobs.parallel']) WITH ORDINALITY AS keys (k, k_no);

-- @task system.job_queue over=tenants
INSERT INTO system.job_queue (id, tenant_id, run_at, job, arguments, attempts)
OVERRIDING SYSTEM VALUE
SELECT i * 8 + j, CASE WHEN j > 0 THEN erp_gen.tenant(i) END, erp_gen.moment(852, i * 8 + j), 'report.' || erp_gen.word(i + j),
       jsonb_build_object('priority', j), j % 3
FROM erp_gen.slice() i, generate_series(0, 4) j;

-- @task system.schema_migrations
INSERT INTO system.schema_migrations (version, applied_at)
SELECT '2024' || lpad(i::text, 6, '0'), to_timestamp(1704067200 + i * 86400) FROM generate_series(1, 60) i;

-- @task system.notifications over=users chunk=40000
INSERT INTO system.notifications (id, user_id, message, is_read)
SELECT i * 4 + k, erp_gen.uuid('user', i), erp_gen.title(erp_gen.phrase(860, i * 4 + k, 8)), erp_gen.pick(861, i * 4 + k, 3) > 0
FROM erp_gen.slice() i, generate_series(0, 2) k;
