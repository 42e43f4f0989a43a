"""pgdr: careful backup and recovery work on one PostgreSQL host."""

__version__ = "0.1.0"
