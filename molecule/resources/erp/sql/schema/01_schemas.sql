-- The nine schemas of the ERP, and the types that several of them share.
-- Tables come without keys and references: the data is loaded first, see ../keys and ../references.

-- Who made this database, so that --recreate never drops an ERP which is not this sample. Comes first.
CREATE SCHEMA system;
CREATE TABLE system.erp_sample (
    layout      integer NOT NULL,
    seed        bigint  NOT NULL,
    size_mb     integer NOT NULL,
    tenants     integer NOT NULL,
    extensions  boolean NOT NULL,
    complete    boolean NOT NULL DEFAULT false
);

CREATE SCHEMA auth;
CREATE SCHEMA core;
CREATE SCHEMA financial;
CREATE SCHEMA inventory;
CREATE SCHEMA purchase;
CREATE SCHEMA sales;
CREATE SCHEMA analytics;
CREATE SCHEMA projects;

COMMENT ON SCHEMA auth IS 'Users, roles, sessions and keys';
COMMENT ON SCHEMA core IS 'Tenants, partners, employees, documents';
COMMENT ON SCHEMA financial IS 'Chart of accounts, journals, invoices, payments';
COMMENT ON SCHEMA inventory IS 'Products, warehouses, stock';
COMMENT ON SCHEMA purchase IS 'Orders to vendors';
COMMENT ON SCHEMA sales IS 'Orders from customers';
COMMENT ON SCHEMA analytics IS 'Raw events, indicators, reports';
COMMENT ON SCHEMA projects IS 'Projects, tasks, time sheets';
COMMENT ON SCHEMA system IS 'Audit trail, settings, numbering, jobs';

CREATE DOMAIN core.country_code AS char(2) CHECK (VALUE ~ '^[A-Z]{2}$');
CREATE DOMAIN core.percentage AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN core.money_amount AS numeric(14, 2);

CREATE TYPE core.partner_kind AS ENUM ('customer', 'vendor', 'both');
CREATE TYPE financial.account_kind AS ENUM ('asset', 'liability', 'equity', 'income', 'expense');
CREATE TYPE financial.money_range AS RANGE (subtype = numeric);
CREATE TYPE financial.invoice_status AS ENUM ('open', 'partial', 'paid', 'void');
CREATE TYPE sales.order_status AS ENUM ('draft', 'confirmed', 'shipped', 'invoiced', 'cancelled');
CREATE TYPE projects.task_state AS ENUM ('todo', 'doing', 'done');
