-- @task auth.users
ALTER TABLE auth.users ADD PRIMARY KEY (id), ADD UNIQUE (tenant_id, email);

-- @task auth.roles
ALTER TABLE auth.roles ADD PRIMARY KEY (id), ADD UNIQUE NULLS NOT DISTINCT (tenant_id, name);

-- @task auth.permissions
ALTER TABLE auth.permissions ADD PRIMARY KEY (code);

-- @task auth.role_permissions
ALTER TABLE auth.role_permissions ADD PRIMARY KEY (role_id, permission_code);

-- @task auth.user_roles
ALTER TABLE auth.user_roles ADD PRIMARY KEY (user_id, role_id);

-- @task auth.sessions
ALTER TABLE auth.sessions ADD PRIMARY KEY (id);
CREATE INDEX sessions_user ON auth.sessions (user_id);
CREATE INDEX sessions_valid ON auth.sessions USING gist (valid_during);

-- @task auth.api_keys
ALTER TABLE auth.api_keys ADD PRIMARY KEY (id), ADD UNIQUE (key_hash);
