-- Functions and triggers. They come after the data, so that loading it leaves no traces in the audit trail.

CREATE FUNCTION system.current_tenant() RETURNS uuid STABLE LANGUAGE sql
AS $$ SELECT nullif(current_setting('erp.tenant_id', true), '')::uuid $$;

CREATE FUNCTION system.touch() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- The audit trail is written with the owner's rights: whoever changes a row may not change what is told of it.
CREATE FUNCTION system.write_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    before_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after_row  jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    either     jsonb := coalesce(after_row, before_row);
BEGIN
    INSERT INTO system.audit_logs (tenant_id, event, table_name, row_key, old_data, new_data)
    VALUES ((either ->> 'tenant_id')::uuid, TG_OP, TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, either ->> 'id',
            before_row, after_row);
    RETURN NULL;
END
$$;

-- Lines decide what their order costs.
CREATE FUNCTION sales.total_orders() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE sales.orders o
    SET net_amount = coalesce((SELECT sum(l.amount) FROM sales.order_lines l WHERE l.order_id = o.id), 0)
    WHERE o.id IN (SELECT c.order_id FROM changed c);
    RETURN NULL;
END
$$;

CREATE FUNCTION sales.order_weight(order_id bigint) RETURNS double precision STABLE LANGUAGE sql
BEGIN ATOMIC
    SELECT sum(l.quantity * p.weight_kg)
    FROM sales.order_lines l JOIN inventory.products p ON p.id = l.product_id
    WHERE l.order_id = order_weight.order_id;
END;

-- A payment moves its invoice and what the partner owes.
CREATE FUNCTION financial.apply_payment() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE financial.invoices i
    SET paid_amount = i.paid_amount + NEW.amount,
        status = CASE WHEN i.paid_amount + NEW.amount >= i.amount THEN 'paid' ELSE 'partial' END::financial.invoice_status
    WHERE i.id = NEW.invoice_id;
    UPDATE core.partners p
    SET balance = p.balance - NEW.amount
    FROM financial.invoices i
    WHERE i.id = NEW.invoice_id AND p.id = i.partner_id;
    RETURN NULL;
END
$$;

-- The next number of a tenant's documents, without gaps.
CREATE FUNCTION system.next_number(wanted_tenant uuid, wanted_document text) RETURNS text LANGUAGE sql
AS $$
    UPDATE system.number_sequences s
    SET last_value = s.last_value + 1
    WHERE s.tenant_id = wanted_tenant AND s.document = wanted_document
    RETURNING s.prefix || lpad(s.last_value::text, 8, '0')
$$;
