-- A tenant sees its own rows and those that all share. The owner sees all, but for keys.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT n.nspname, c.relname
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE n.nspname IN ('auth', 'core', 'financial', 'inventory', 'purchase', 'sales', 'analytics', 'projects', 'system')
          AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY 1, 2
    LOOP
        EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', found.nspname, found.relname);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I.%I USING (tenant_id IS NULL OR tenant_id = system.current_tenant())',
            found.nspname, found.relname
        );
    END LOOP;
END
$$;
ALTER TABLE auth.api_keys FORCE ROW LEVEL SECURITY;
