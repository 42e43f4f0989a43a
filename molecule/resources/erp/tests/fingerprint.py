"""Exact row counts and checksums of a database, in the form in which `pgdr fingerprint` gives them."""

from __future__ import annotations

import psycopg
from psycopg import sql

from erp.create import SCHEMAS
from pgdr.rowhash import SESSION_SETTINGS, row_hash_sql

Figures = dict[str, dict[str, int]]


def fingerprint(dsn: str) -> Figures:
    """Read every table of the nine schemas in one snapshot, partitions as parts of their root. Needs a superuser."""
    hash0, hash1 = row_hash_sql("t")
    figures: Figures = {}
    with psycopg.connect(dsn) as connection:
        for name, value in SESSION_SETTINGS:
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.commit()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        tables = connection.execute(
            "SELECT n.nspname, c.relname, format('%%I.%%I', n.nspname, c.relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2",
            (list(SCHEMAS),),
        ).fetchall()
        for schema, table, name in tables:
            query = f"SELECT count(*), coalesce(sum({hash0}), 0), coalesce(sum({hash1}), 0) FROM {{}} AS t"  # noqa: S608
            row = connection.execute(
                sql.SQL(query).format(sql.Identifier(schema, table))  # type: ignore[arg-type,unused-ignore]
            ).fetchone()
            assert row is not None
            figures[name] = {
                "rows": int(row[0]),
                "sum0": int(row[1]) % 2**64,
                "sum1": int(row[2]) % 2**64,
            }
    return figures
