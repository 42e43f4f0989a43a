"""``pgdr restore-point``: a name for this moment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.output import OutputFormat

app = typer.Typer(rich_markup_mode=None)


@app.command()
def restore_point(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name, at most 63 bytes; not one that was used before.")],
    output_format: Annotated[
        OutputFormat, typer.Option("--output", help="table for people, json for scripts.")
    ] = OutputFormat.TABLE,
) -> None:
    """Give this moment a name, before a deployment for example; a recovery can go back to it.

    The WAL segment is closed, so that the point reaches the repositories at once. Refused on a standby.
    `pgdr info` lists the points.

    \b
    Example:
      pgdr restore-point before_release_42
    """
    from pgdr import restorepoint  # noqa: PLC0415 - start-up time, see main

    point = restorepoint.create(invocation(context).host, name)
    if point.map_error:
        output.message(f"warning: the relation map was not renewed: {point.map_error}")
    if output_format is OutputFormat.JSON:
        output.json_result(asdict(point))
        return
    output.result(f"restore point {point.name} at {point.lsn}, timeline {point.timeline}, in segment {point.segment}")
