"""How a recovery's plan looks to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdr.cli import output

if TYPE_CHECKING:
    from pgdr.recovery.model import Plan

_TIME = "%Y-%m-%d %H:%M:%S+00:00"


def show_plan(decided: Plan, resumed: bool) -> None:
    """Show a plan to a person."""
    from rich.table import Table  # noqa: PLC0415

    title = "Recovery plan (taken up again)" if resumed else "Recovery plan"
    table = Table(title=title, show_header=False, title_justify="left")
    for label, value in plan_rows(decided):
        table.add_row(label, value)
    output.console().print(table)
    for warning in decided.warnings:
        output.message(f"warning: {warning}")


def behind_text(decided: Plan) -> str:
    """How far the archive is behind the disaster."""
    if decided.behind_seconds is None:
        return "unknown: the archive's last segments hold no transaction"
    return f"{output.seconds_text(decided.behind_seconds)} of work before the disaster are not in this archive"


def plan_rows(decided: Plan) -> list[tuple[str, str]]:
    """The lines of a plan as a person reads them."""
    last = f"{decided.wal_last_commit_at:{_TIME}}" if decided.wal_last_commit_at else "unknown"
    rows = [
        ("cluster", f"{decided.cluster_name} (system identifier {decided.system_identifier})"),
        ("from", f"{decided.place or f'repository {decided.repository}'}, stanza {decided.stanza}"),
        (
            "backup set",
            f"{decided.backup_label} ({decided.backup_type}, {decided.backup_stop_at:{_TIME}})",
        ),
        ("target", decided.target.text),
        ("archive ends", f"{decided.wal_end_lsn} in {decided.wal_end_segment}, last transaction {last}"),
        ("behind", behind_text(decided)),
        ("into", decided.data_directory),
        ("size", f"{output.bytes_text(decided.backup_bytes)}, free {output.bytes_text(decided.free_bytes)}"),
    ]
    rows += [("set aside", f"{source} -> {kept}") for source, kept in decided.set_aside]
    if decided.stop_first:
        rows.append(("stopped first", "the cluster that runs here now"))
    return rows
