CREATE TRIGGER touch BEFORE UPDATE ON auth.users FOR EACH ROW EXECUTE FUNCTION system.touch();
CREATE TRIGGER touch BEFORE UPDATE ON core.partners FOR EACH ROW EXECUTE FUNCTION system.touch();
CREATE TRIGGER touch BEFORE UPDATE ON sales.orders FOR EACH ROW EXECUTE FUNCTION system.touch();
CREATE TRIGGER touch BEFORE UPDATE ON financial.invoices FOR EACH ROW EXECUTE FUNCTION system.touch();
CREATE TRIGGER touch BEFORE UPDATE ON inventory.stock FOR EACH ROW EXECUTE FUNCTION system.touch();

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON auth.users
    FOR EACH ROW EXECUTE FUNCTION system.write_audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON core.partners
    FOR EACH ROW EXECUTE FUNCTION system.write_audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON sales.orders
    FOR EACH ROW EXECUTE FUNCTION system.write_audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON financial.invoices
    FOR EACH ROW EXECUTE FUNCTION system.write_audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON financial.payments
    FOR EACH ROW EXECUTE FUNCTION system.write_audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON purchase.orders
    FOR EACH ROW EXECUTE FUNCTION system.write_audit();

-- Once a statement, not once a line.
CREATE TRIGGER total_inserted AFTER INSERT ON sales.order_lines REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sales.total_orders();
CREATE TRIGGER total_updated AFTER UPDATE ON sales.order_lines REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sales.total_orders();
CREATE TRIGGER total_deleted AFTER DELETE ON sales.order_lines REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sales.total_orders();

CREATE TRIGGER apply_payment AFTER INSERT ON financial.payments
    FOR EACH ROW EXECUTE FUNCTION financial.apply_payment();
