-- @task projects.projects over=projects
INSERT INTO projects.projects (id, tenant_id, partner_id, manager_id, code, name, during, budget)
SELECT i, erp_gen.tenant(t), erp_gen.mate(t, 700, i, erp_gen.n('partners')), erp_gen.mate(t, 701, i, erp_gen.n('employees')),
       'PR-' || i, erp_gen.title(erp_gen.phrase(702, i, 4)), daterange(erp_gen.day(703, i), erp_gen.day(703, i) + 120),
       erp_gen.cents(704, i, 20000000)
FROM (SELECT i, erp_gen.tenant_no(i) AS t FROM erp_gen.slice() i) numbered;

-- @task projects.tasks over=projects chunk=5000
INSERT INTO projects.tasks (project_id, task_no, parent_task_no, title, description, assignee_id, state, effort)
SELECT i, k, CASE WHEN k > 3 THEN 1 + erp_gen.pick(710, i * 64 + k, 3) END, erp_gen.title(erp_gen.phrase(711, i * 64 + k, 4)),
       erp_gen.phrase(712, i * 64 + k, 30), erp_gen.mate(erp_gen.tenant_no(i), 713, i * 64 + k, erp_gen.n('employees')),
       (ARRAY['todo', 'doing', 'done'])[1 + erp_gen.pick(714, i * 64 + k, 3)]::projects.task_state,
       make_interval(hours => 1 + erp_gen.pick(715, i * 64 + k, 80)::integer)
FROM erp_gen.slice() i, generate_series(1, 20) k;

-- @task projects.milestones over=projects
INSERT INTO projects.milestones (project_id, name, due_on)
SELECT i, 'Meilenstein ' || k, erp_gen.day(703, i) + k * 30
FROM erp_gen.slice() i, generate_series(1, 4) k;

-- @task projects.timesheets over=timesheets chunk=40000
INSERT INTO projects.timesheets (id, tenant_id, employee_id, project_id, task_no, worked_on, hours, note)
OVERRIDING SYSTEM VALUE
SELECT i, erp_gen.tenant(t), erp_gen.mate(t, 720, i, erp_gen.n('employees')), erp_gen.mate(t, 721, i, erp_gen.n('projects')),
       1 + erp_gen.pick(722, i, 20), erp_gen.day(723, i), (1 + erp_gen.pick(724, i, 32)) * 0.25,
       CASE WHEN i % 3 = 0 THEN erp_gen.phrase(725, i, 5) END
FROM (SELECT i, erp_gen.tenant_no(i) AS t FROM erp_gen.slice() i) numbered;

-- Bookings of one resource never overlap: each has a day of its own.
-- @task projects.resource_bookings over=tenants chunk=500
INSERT INTO projects.resource_bookings (id, tenant_id, resource, during)
SELECT (i - 1) * 100 + d, erp_gen.tenant(i), 'Raum ' || d % 5,
       tstzrange(to_timestamp(1740816000 + d * 86400 + erp_gen.pick(730, i * 128 + d, 8) * 3600),
                 to_timestamp(1740816000 + d * 86400 + erp_gen.pick(730, i * 128 + d, 8) * 3600 + 7200))
FROM erp_gen.slice() i, generate_series(1, 100) d;
