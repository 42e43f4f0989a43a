-- @task analytics.events_raw
CREATE INDEX events_raw_occurred_at ON analytics.events_raw USING brin (occurred_at);

-- @task analytics.kpi_snapshots
ALTER TABLE analytics.kpi_snapshots ADD PRIMARY KEY (tenant_id, kpi, taken_on);

-- @task analytics.dashboards
ALTER TABLE analytics.dashboards ADD PRIMARY KEY (id);
