"""``pgdr fingerprint``: what a database holds, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.output import OutputFormat
from pgdr.cli.progress import byte_progress
from pgdr.errors import NotProvenError

if TYPE_CHECKING:
    from pgdr.fingerprint_model import Comparison, Fingerprint

app = typer.Typer(rich_markup_mode=None)

_SHOWN = 20


@app.command()
def fingerprint(
    context: typer.Context,
    database: Annotated[str | None, typer.Option(help="Database; default: the ERP's.")] = None,
    schema: Annotated[list[str] | None, typer.Option(help="This schema only; may be repeated.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=64, help="Connections that read; default: one a processor, at most 8.")
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the fingerprint to this file.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with a saved one; exit code 5 if it differs.")
    ] = None,
    output_format: Annotated[
        OutputFormat, typer.Option("--output", help="table for people, json for scripts.")
    ] = OutputFormat.TABLE,
) -> None:
    """Count and checksum every table in one snapshot, over several connections.

    Works on a standby and during a recovery. Foreign and unlogged tables are listed, not counted;
    materialized views are shown for information.

    \b
    Examples:
      pgdr fingerprint --save before.json
      pgdr fingerprint --against before.json
    """
    from pgdr import fingerprint as work  # noqa: PLC0415 - start-up time, see main
    from pgdr import fingerprint_model as model  # noqa: PLC0415

    # Read first: a wrong file name must not cost an hour of reading tables.
    reference = model.load(against) if against is not None else None
    host = invocation(context).host
    with byte_progress("fingerprint") as report:
        found = work.take(host, database, schemas=schema or None, jobs=jobs, on_progress=report)
    if save is not None:
        found.save(save)
    comparison = model.compare(reference, found) if reference is not None else None
    if output_format is OutputFormat.JSON:
        output.json_result(_document(found, comparison))
    elif comparison is None:
        _show(found)
    else:
        _show_comparison(comparison)
    if comparison is not None and not comparison.equal:
        raise NotProvenError(
            f"{len(comparison.differences)} differences to {against}; the first: {comparison.differences[0]}",
            remedy="the whole list is above",
        )


def _document(found: Fingerprint, comparison: Comparison | None) -> dict[str, Any]:
    document = found.model_dump(mode="json")
    if comparison is not None:
        document["comparison"] = {
            "equal": comparison.equal,
            "tables": comparison.tables,
            "rows": comparison.rows,
            "differences": [{"key": item.key, "what": item.what} for item in comparison.differences],
            "notes": [{"key": item.key, "what": item.what} for item in comparison.notes],
        }
    return document


def _show(found: Fingerprint) -> None:
    rows = [(key, str(total.rows), total.checksum) for key, total in found.tables.items()]
    output.table(("table", "rows", "checksum"), rows, right=frozenset({"rows"}))
    views = [
        (key, "-" if total is None else str(total.rows), "never filled" if total is None else total.checksum)
        for key, total in found.materialized_views.items()
    ]
    if views:
        output.table(("materialized view", "rows", "checksum"), views, right=frozenset({"rows"}))
    for title, names in (("unlogged", found.unlogged), ("foreign table", found.foreign_tables)):
        for name in names:
            output.result(f"not counted, {title}: {name}")
    where = "in recovery, " if found.in_recovery else ""
    output.result(
        f"{found.database}: {found.totals.tables} tables, {found.totals.rows} rows, "
        f"{len(found.sequences)} sequences; PostgreSQL {found.server_version}, system {found.system_identifier}, "
        f"{where}timeline {found.timeline}, LSN {found.lsn}, {found.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _show_comparison(comparison: Comparison) -> None:
    for item in comparison.differences:
        output.result(f"differs: {item}")
    for item in comparison.notes[:_SHOWN]:
        output.result(f"note: {item}")
    if len(comparison.notes) > _SHOWN:
        output.result(f"note: and {len(comparison.notes) - _SHOWN} more; see --output json")
    verdict = "equal" if comparison.equal else f"{len(comparison.differences)} differences"
    output.result(f"{comparison.tables} tables, {comparison.rows} rows compared: {verdict}")
