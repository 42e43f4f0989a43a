"""Ask the audit table, where the policy names one: it may know who it was."""

from __future__ import annotations

from datetime import UTC

from psycopg import sql

from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.policy.load import load_policy
from pgdr.policy.model import Audit
from pgdr.postgres.connection import connected
from pgdr.when.model import Answer, AuditEntry, Question

_MOST = 200
_SETTINGS = {"statement_timeout": "30s", "default_transaction_read_only": "on"}


def with_audit(config: HostConfig, question: Question, found: Answer) -> Answer:
    """Add what the audit table says; without one, or if it cannot be read, the answer stays and says so."""
    try:
        audit = load_policy(config.policy_path).audit if config.policy_path.exists() else None
        if audit is None:
            return found
        entries = _entries(config, audit, question)
    except PgdrError as error:
        return found.model_copy(update={"notes": [*found.notes, f"the audit table was not read: {error}"]})
    # The audit column may be of type xid8, with the epoch in its upper half; WAL has the lower half.
    actors = {entry.xid % 2**32: entry.actor for entry in entries if entry.xid is not None and entry.actor}
    named = [item.model_copy(update={"who": actors.get(item.xid, "")}) for item in found.candidates]
    return found.model_copy(update={"audit": entries, "candidates": named})


def _entries(config: HostConfig, audit: Audit, question: Question) -> list[AuditEntry]:
    def column(name: str | None) -> sql.Composable:
        return sql.Identifier(name) if name else sql.SQL("NULL")

    names = [form for table in question.tables for form in (table, table.partition(".")[2] or table)]
    query = sql.SQL(
        "SELECT {at}, {table}::text, {action}::text, {xid}::text, {actor}::text FROM {audit}"
        " WHERE {at} BETWEEN %(begin)s AND %(end)s AND (%(all)s OR {table}::text = ANY (%(names)s))"
        " ORDER BY {at} DESC LIMIT %(most)s"
    ).format(
        at=sql.Identifier(audit.at_column),
        table=sql.Identifier(audit.table_column),
        action=sql.Identifier(audit.action_column),
        xid=column(audit.xid_column),
        actor=column(audit.actor_column),
        audit=sql.Identifier(audit.schema_, audit.table),
    )
    values = {"begin": question.begin, "end": question.end, "all": not names, "names": names, "most": _MOST}
    with connected(config, application_name="pgdr when", settings=_SETTINGS) as connection:
        rows = connection.execute(query, values).fetchall()
    return [
        AuditEntry(
            at=row[0] if row[0].tzinfo else row[0].replace(tzinfo=UTC),
            table=row[1] or "",
            action=row[2] or "",
            xid=int(row[3]) if row[3] and row[3].isdigit() else None,
            actor=row[4] or "",
        )
        for row in rows
    ]
