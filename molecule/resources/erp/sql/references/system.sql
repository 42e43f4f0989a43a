-- system.audit_logs has no reference on purpose: the trail outlives what it tells of.
-- @task system.number_sequences
ALTER TABLE system.number_sequences ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task system.settings
ALTER TABLE system.settings ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task system.job_queue
ALTER TABLE system.job_queue ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task system.notifications
ALTER TABLE system.notifications ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE CASCADE;
