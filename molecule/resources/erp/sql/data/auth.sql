-- @task auth.users over=users chunk=20000
INSERT INTO auth.users (id, tenant_id, email, password_hash, full_name, is_active, preferences, last_login_at,
                        created_at, updated_at)
SELECT erp_gen.uuid('user', i), erp_gen.tenant(erp_gen.tenant_no(i)), 'user' || i || '@tenant' || erp_gen.tenant_no(i) || '.example',
       '$2b$12$' || translate(encode(sha256(int8send(erp_gen.h(200, i))), 'base64'), '+=', './'), erp_gen.person(201, i),
       erp_gen.pick(203, i, 20) > 0,
       jsonb_build_object('theme', (ARRAY['dark', 'light'])[1 + erp_gen.pick(204, i, 2)], 'page_size', 25 * (1 + erp_gen.pick(205, i, 4)),
                          'columns', jsonb_build_array(erp_gen.word(erp_gen.h(206, i)), erp_gen.word(erp_gen.h(207, i)))),
       CASE WHEN erp_gen.pick(208, i, 5) > 0 THEN erp_gen.moment(209, i) END,
       erp_gen.moment(210, i), erp_gen.moment(210, i)
FROM erp_gen.slice() i;

-- @task auth.roles over=roles
INSERT INTO auth.roles (id, tenant_id, name)
SELECT i, CASE WHEN i > 4 THEN erp_gen.tenant(erp_gen.tenant_no(i)) END,
       CASE i WHEN 1 THEN 'administrator' WHEN 2 THEN 'accountant' WHEN 3 THEN 'seller' WHEN 4 THEN 'reader'
              ELSE erp_gen.word(i) || ' ' || i END
FROM erp_gen.slice() i;

-- @task auth.permissions
INSERT INTO auth.permissions (code, description)
SELECT s || '.' || a, 'May ' || a || ' in ' || s
FROM unnest(ARRAY['auth', 'core', 'financial', 'inventory', 'purchase', 'sales', 'analytics', 'projects', 'system']) s,
     unnest(ARRAY['read', 'create', 'change', 'delete']) a;

-- @task auth.role_permissions over=roles
INSERT INTO auth.role_permissions (role_id, permission_code)
SELECT i, s || '.' || a
FROM erp_gen.slice() i,
     unnest(ARRAY['auth', 'core', 'financial', 'inventory', 'purchase', 'sales', 'analytics', 'projects', 'system'])
         WITH ORDINALITY AS schemas (s, s_no),
     unnest(ARRAY['read', 'create', 'change', 'delete']) WITH ORDINALITY AS actions (a, a_no)
WHERE i = 1 OR erp_gen.pick(215, i * 64 + s_no * 4 + a_no, 3) = 0;

-- @task auth.user_roles over=users chunk=50000
INSERT INTO auth.user_roles (user_id, role_id, tenant_id, granted_at)
SELECT erp_gen.uuid('user', i), r, erp_gen.tenant(erp_gen.tenant_no(i)), erp_gen.moment(220, i)
FROM erp_gen.slice() i, generate_series(1, 4) r
WHERE erp_gen.pick(221, i * 4 + r, 3) = 0;

-- @task auth.sessions over=users chunk=20000
INSERT INTO auth.sessions (id, user_id, ip, user_agent, valid_during)
SELECT erp_gen.uuid('session', i * 8 + s), erp_gen.uuid('user', i), '10.0.0.0'::inet + erp_gen.pick(225, i * 8 + s, 16777216),
       'Mozilla/5.0 (X11; Linux x86_64) Firefox/' || 100 + erp_gen.pick(226, i * 8 + s, 40),
       tstzrange(erp_gen.moment(227, i * 8 + s), erp_gen.moment(227, i * 8 + s) + interval '8 hours')
FROM erp_gen.slice() i, generate_series(1, 1 + erp_gen.pick(228, i, 6)::integer) s;

-- @task auth.api_keys over=users chunk=50000
INSERT INTO auth.api_keys (id, tenant_id, user_id, key_hash, scopes, expires_at)
OVERRIDING SYSTEM VALUE
SELECT i, erp_gen.tenant(erp_gen.tenant_no(i)), erp_gen.uuid('user', i), sha256(int8send(erp_gen.h(230, i))),
       ARRAY['sales.read', 'core.' || (ARRAY['read', 'change'])[1 + erp_gen.pick(231, i, 2)]],
       CASE WHEN i % 2 = 0 THEN erp_gen.moment(232, i) END
FROM erp_gen.slice() i
WHERE erp_gen.pick(233, i, 4) = 0;
