-- What reports are made of.

-- No primary key: an append-only import.
CREATE TABLE analytics.events_raw (
    tenant_id    uuid             NOT NULL,
    occurred_at  timestamptz      NOT NULL,
    kind         text             NOT NULL,
    payload      jsonb            NOT NULL,
    value        double precision
);

CREATE TABLE analytics.kpi_snapshots (
    tenant_id  uuid             NOT NULL,
    taken_on   date             NOT NULL,
    kpi        text             NOT NULL,
    value      numeric          NOT NULL,
    ratio      double precision NOT NULL
);

-- Dashboards of the product itself have no tenant.
CREATE TABLE analytics.dashboards (
    id         uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id  uuid,
    owner_id   uuid,
    title      text NOT NULL,
    layout     json NOT NULL
);
