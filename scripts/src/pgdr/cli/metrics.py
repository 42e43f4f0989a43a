"""``pgdr metrics``: the status as Prometheus metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import POLICY, policy_of

app = typer.Typer(rich_markup_mode=None)


@app.command()
def metrics(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--file", help="Write this file in one step; default: standard output.")
    ] = None,
    policy: POLICY = None,
) -> None:
    """Write the status as metrics for Prometheus, for the textfile collector of the node exporter.

    \b
    Examples:
      pgdr metrics
      pgdr metrics --file /var/lib/prometheus/node-exporter/pgdr.prom
    """
    from pgdr import metrics as prometheus  # noqa: PLC0415 - start-up time, see main
    from pgdr.status.report import status  # noqa: PLC0415

    found = status(invocation(context).host, policy_of(policy))
    if file is not None:
        prometheus.write(found, file)
    else:
        output.result(prometheus.text(found).rstrip())
