"""Bring a database, a schema or a table back from an archive: beside the live one first, proven, then in its place."""
