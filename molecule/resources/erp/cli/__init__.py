"""The command line of the ERP sample."""
