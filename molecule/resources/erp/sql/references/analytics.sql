-- analytics.events_raw has no reference on purpose: an import must not wait for locks.
-- @task analytics.kpi_snapshots
ALTER TABLE analytics.kpi_snapshots ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task analytics.dashboards
ALTER TABLE analytics.dashboards
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (owner_id) REFERENCES auth.users ON DELETE CASCADE;
