-- Sequences go on after the loaded rows.
DO $$
DECLARE
    found record;
    top bigint;
BEGIN
    FOR found IN
        SELECT n.nspname, c.relname, a.attname
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attidentity <> '' AND c.relkind = 'r'
          AND n.nspname IN ('auth', 'core', 'financial', 'inventory', 'purchase', 'sales', 'analytics', 'projects', 'system')
        ORDER BY 1, 2
    LOOP
        EXECUTE format('SELECT max(%I) FROM %I.%I', found.attname, found.nspname, found.relname) INTO top;
        PERFORM setval(pg_get_serial_sequence(format('%I.%I', found.nspname, found.relname), found.attname), top)
        WHERE top IS NOT NULL;
    END LOOP;
END
$$;
SELECT setval('sales.order_number_seq', (SELECT max(id) FROM sales.orders)),
       setval('purchase.order_number_seq', (SELECT max(id) FROM purchase.orders)),
       setval('financial.invoice_reference_seq', (SELECT max(reference) FROM financial.invoices)),
       setval('system.audit_log_id_seq', (SELECT max(id) FROM system.audit_logs));
