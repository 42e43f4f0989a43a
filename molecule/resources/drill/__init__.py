"""The drill: protect an ERP database, destroy its host under load, rebuild it elsewhere, prove every row."""
