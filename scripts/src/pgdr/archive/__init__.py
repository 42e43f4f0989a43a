"""Logical archives: every schema and the whole database in one snapshot, with a manifest that proves a restore."""
