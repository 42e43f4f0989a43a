-- @task analytics.events_raw over=events chunk=50000
INSERT INTO analytics.events_raw (tenant_id, occurred_at, kind, payload, value)
SELECT erp_gen.tenant(erp_gen.tenant_no(i)), erp_gen.moment_of(i, erp_gen.n('events')),
       (ARRAY['view', 'click', 'search', 'export'])[1 + erp_gen.pick(800, i, 4)],
       jsonb_build_object('path', '/' || erp_gen.word(erp_gen.h(801, i)) || '/' || erp_gen.pick(802, i, 10000),
                          'ms', erp_gen.pick(803, i, 3000), 'agent', erp_gen.pick(804, i, 50)),
       CASE WHEN erp_gen.pick(805, i, 5) > 0 THEN erp_gen.pick(806, i, 1000000)::double precision / 997 END
FROM erp_gen.slice() i;

-- @task analytics.kpi_snapshots over=tenants chunk=100
INSERT INTO analytics.kpi_snapshots (tenant_id, taken_on, kpi, value, ratio)
SELECT erp_gen.tenant(i), date '2024-12-01' + d * 7, k, erp_gen.pick(810, (i * 128 + d) * 4 + k_no, 1000000) * 0.001,
       erp_gen.pick(811, (i * 128 + d) * 4 + k_no, 1000000)::double precision / 1000003
FROM erp_gen.slice() i, generate_series(0, 97) d,
     unnest(ARRAY['turnover', 'margin', 'late orders']) WITH ORDINALITY AS kpis (k, k_no);

-- @task analytics.dashboards over=users chunk=20000
INSERT INTO analytics.dashboards (id, tenant_id, owner_id, title, layout)
SELECT erp_gen.uuid('dashboard', i), CASE WHEN i % 20 <> 0 THEN erp_gen.tenant(erp_gen.tenant_no(i)) END,
       CASE WHEN i % 20 <> 0 THEN erp_gen.uuid('user', i) END, erp_gen.title(erp_gen.phrase(820, i, 3)),
       json_build_object('rows', 1 + erp_gen.pick(821, i, 4), 'tiles', json_build_array(erp_gen.word(i), erp_gen.word(i + 7)))
FROM erp_gen.slice() i
WHERE i % 5 = 0;
