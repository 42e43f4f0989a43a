-- @task system.audit_logs
ALTER TABLE system.audit_logs ADD PRIMARY KEY (id, created_at);
CREATE INDEX audit_logs_row ON system.audit_logs (table_name, row_key);
CREATE INDEX audit_logs_txid ON system.audit_logs (txid);

-- @task system.client_transactions
ALTER TABLE system.client_transactions ADD PRIMARY KEY (txn_id);

-- @task system.number_sequences
ALTER TABLE system.number_sequences ADD PRIMARY KEY (tenant_id, document);

-- @task system.settings
ALTER TABLE system.settings ADD UNIQUE NULLS NOT DISTINCT (tenant_id, key);

-- @task system.job_queue
ALTER TABLE system.job_queue ADD PRIMARY KEY (id);
CREATE INDEX job_queue_due ON system.job_queue (run_at) WHERE attempts < 3;

-- @task system.schema_migrations
ALTER TABLE system.schema_migrations ADD PRIMARY KEY (version);

-- @task system.notifications
ALTER TABLE system.notifications ADD PRIMARY KEY (id);
CREATE INDEX notifications_unread ON system.notifications (user_id) WHERE NOT is_read;
