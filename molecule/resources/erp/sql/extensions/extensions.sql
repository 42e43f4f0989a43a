-- Extensions that the owner of a database may create without being superuser ("trusted"), and what uses them.
-- In "public", as nearly everybody has them: a dump of one of the nine schemas does not bring them along.
CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;

ALTER TABLE auth.users ALTER COLUMN email TYPE public.citext;

CREATE INDEX partners_name_trgm ON core.partners USING gin (name public.gin_trgm_ops);

ALTER TABLE projects.resource_bookings
    ADD CONSTRAINT resource_bookings_once EXCLUDE USING gist (tenant_id WITH =, resource WITH =, during WITH &&);

CREATE FUNCTION auth.password_matches(wanted_user uuid, password text) RETURNS boolean STABLE LANGUAGE sql
AS $$ SELECT password_hash = public.crypt(password, password_hash) FROM auth.users WHERE id = wanted_user $$;
