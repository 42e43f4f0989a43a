-- @task projects.projects
ALTER TABLE projects.projects ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, code);

-- @task projects.tasks
ALTER TABLE projects.tasks ADD PRIMARY KEY (project_id, task_no);

-- @task projects.milestones
ALTER TABLE projects.milestones ADD PRIMARY KEY (project_id, name);

-- @task projects.timesheets
ALTER TABLE projects.timesheets ADD PRIMARY KEY (id);
CREATE INDEX timesheets_employee ON projects.timesheets (employee_id, worked_on);

-- @task projects.resource_bookings
ALTER TABLE projects.resource_bookings ADD PRIMARY KEY (id);
