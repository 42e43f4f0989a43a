-- @task projects.projects
ALTER TABLE projects.projects
    ADD FOREIGN KEY (tenant_id, partner_id) REFERENCES core.partners (tenant_id, id),
    ADD FOREIGN KEY (manager_id) REFERENCES core.employees;

-- @task projects.tasks
ALTER TABLE projects.tasks
    ADD FOREIGN KEY (project_id) REFERENCES projects.projects ON DELETE CASCADE,
    ADD FOREIGN KEY (project_id, parent_task_no) REFERENCES projects.tasks,
    ADD FOREIGN KEY (assignee_id) REFERENCES core.employees;

-- @task projects.milestones
ALTER TABLE projects.milestones ADD FOREIGN KEY (project_id) REFERENCES projects.projects ON DELETE CASCADE;

-- @task projects.timesheets
ALTER TABLE projects.timesheets
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (employee_id) REFERENCES core.employees,
    ADD FOREIGN KEY (project_id, task_no) REFERENCES projects.tasks;

-- @task projects.resource_bookings
ALTER TABLE projects.resource_bookings ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;
