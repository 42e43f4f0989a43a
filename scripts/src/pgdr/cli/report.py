"""``pgdr report``: one page for an auditor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ConfigError, PgdrError, RefusedError

app = typer.Typer(rich_markup_mode=None)

_DAYS = 90
_LONGEST = 366 * 8


@app.command()
def report(
    context: typer.Context,
    begin: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC); default: 90 days ago.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); default: today.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Write this file; default: standard output.")] = None,
    status: Annotated[bool, typer.Option("--status/--no-status", help="Look at the host now, too.")] = True,
    policy: POLICY = None,
    output_format: Annotated[OutputFormat, typer.Option("--output", help="table: the HTML page; json: its data.")] = (
        OutputFormat.TABLE
    ),
) -> None:
    """Write the evidence of a period as one HTML page that needs nothing else, or as JSON.

    Calendar of backups and proofs, recoverable window, RPO and RTO against the objectives, drills, restores,
    erasures, holds, who did what, the journal verified, and which control is answered by what.

    \b
    Example:
      pgdr report --from 2026-10-01 --to 2026-12-31 --file q4.html
    """
    from pgdr.report import collect, page  # noqa: PLC0415 - start-up time, see main

    last = (end or datetime.now(UTC)).date()
    first = begin.date() if begin else last - timedelta(days=_DAYS - 1)
    if not first <= last or (last - first).days > _LONGEST:
        raise RefusedError(f"{first} to {last} is no period of at most eight years", remedy="write --from before --to")
    host, plan = invocation(context).host, policy_of(policy)
    document = collect.collect(host, plan, first, last, _status(context, policy) if status else None)
    text = _json(document) if output_format is OutputFormat.JSON else page.html(document)
    if file is None:
        output.result(text.rstrip())
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}", remedy="name another file") from error
    output.message(f"{file}: {len(text) // 1024} KiB")


def _status(context: typer.Context, policy: Path | None) -> dict[str, Any] | None:
    from pgdr.status import report as work  # noqa: PLC0415

    try:
        return work.document(work.status(invocation(context).host, policy_of(policy)))
    except PgdrError as error:
        output.message(f"the status is missing from the report: {error}")
        return None


def _json(document: dict[str, Any]) -> str:
    import json  # noqa: PLC0415

    return json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n"
