"""Connections to PostgreSQL over the local socket, as the operating system user, without a password."""
