-- @task auth.users
ALTER TABLE auth.users ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task auth.roles
ALTER TABLE auth.roles ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task auth.role_permissions
ALTER TABLE auth.role_permissions
    ADD FOREIGN KEY (role_id) REFERENCES auth.roles ON DELETE CASCADE,
    ADD FOREIGN KEY (permission_code) REFERENCES auth.permissions;

-- @task auth.user_roles
ALTER TABLE auth.user_roles
    ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE CASCADE,
    ADD FOREIGN KEY (role_id) REFERENCES auth.roles,
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants;

-- @task auth.sessions
ALTER TABLE auth.sessions ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE CASCADE;

-- @task auth.api_keys
ALTER TABLE auth.api_keys
    ADD FOREIGN KEY (tenant_id) REFERENCES core.tenants,
    ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE CASCADE;
