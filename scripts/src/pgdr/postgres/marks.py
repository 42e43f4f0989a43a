"""Comments by which databases and schemas that we made, or set aside, are known: they are nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from pgdr.postgres.connection import Connection, TupleRow


def mark(kind: str, **facts: Any) -> str:
    """The comment by which a database that we made is known."""
    return json.dumps({"pgdr": kind, **facts}, ensure_ascii=False)


def marks(connection: Connection[TupleRow]) -> dict[str, dict[str, Any]]:
    """All databases that carry a mark of ours."""
    rows = connection.execute(
        "select d.datname, s.description from pg_catalog.pg_database d"
        " join pg_catalog.pg_shdescription s on s.objoid = d.oid and s.classoid = 'pg_catalog.pg_database'::regclass"
    ).fetchall()
    return _marked(rows)


def schema_marks(connection: Connection[TupleRow]) -> dict[str, dict[str, Any]]:
    """All schemas of a database that carry a mark of ours."""
    rows = connection.execute(
        "select n.nspname, d.description from pg_catalog.pg_namespace n join pg_catalog.pg_description d"
        " on d.objoid = n.oid and d.classoid = 'pg_catalog.pg_namespace'::regclass"
    ).fetchall()
    return _marked(rows)


def _marked(rows: Iterable[TupleRow]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, text in rows:
        with suppress(ValueError):
            content = json.loads(text)
            if isinstance(content, dict) and "pgdr" in content:
                found[name] = content
    return found
