"""``pgdr watch``: the look that cron takes every few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import POLICY, policy_of
from pgdr.errors import ExitCode, PgdrError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.status.report import Status

app = typer.Typer(rich_markup_mode=None)


@app.command()
def watch(
    context: typer.Context,
    metrics: Annotated[
        Path | None, typer.Option(help="Write Prometheus metrics to this file; default: as host.yml says.")
    ] = None,
    policy: POLICY = None,
) -> None:
    """Look at everything, tell people what has changed, write the metrics, call the dead-man's switch.

    A drill that never ended is written down as failed. What was written to the journal and to the erasure ledger is
    copied to the bucket, and the journal compared with what is there. Replica, recovery kit, keys and certificates are
    looked at, for `pgdr status` to know. All of that happens at once: what hangs holds up nothing but itself.

    Ends with 0 also when something is red: that has been told. It fails where nobody could be told.

    \b
    Example:
      pgdr watch
    """
    from pgdr import watch as work  # noqa: PLC0415 - start-up time, see main
    from pgdr.drillbook import conclude_broken  # noqa: PLC0415
    from pgdr.proof.look import now  # noqa: PLC0415

    host, plan = invocation(context).host, policy_of(policy)
    try:
        for drill in conclude_broken(host, plan, now()):
            output.message(f"the drill {drill.drill} has never ended: recorded as failed")
    except PgdrError as error:
        output.message(str(error))  # a journal that somebody changed, or a full disk, must not silence the rest
    found = work.look(host, plan, told=output.message)
    result = work.watch(host, plan, found)  # first of all: what fails below must not keep people from hearing
    for message, attempts in result.sent:
        way = next((a.channel for a in attempts if a.delivered), "nobody")
        output.message(f"{message.title} -> {way}")
        for attempt in attempts:
            if not attempt.delivered:
                output.message(f"{attempt.channel}: {attempt.error}")
    if result.unkept:
        output.message(f"what was told cannot be kept: {result.unkept}")
    if result.ping_error:
        output.message(f"dead-man's switch: {result.ping_error}")
    _keep(host, found, metrics or host.metrics_file, told=bool(result.unkept))
    if result.undelivered:
        output.error(f"{result.undelivered} messages could not be delivered (pgdr notify test)")
        raise typer.Exit(int(ExitCode.FAILED))


def _keep(host: HostConfig, found: Status, metrics: Path | None, *, told: bool) -> None:
    """Keep the figures of a look: one that cannot be kept does not cost the other.

    Args:
        host: this host.
        found: the look.
        metrics: the file for Prometheus.
        told: people were told already that nothing can be kept here.
    """
    from pgdr import metrics as prometheus  # noqa: PLC0415 - start-up time, see main
    from pgdr.status.trend import remember  # noqa: PLC0415

    try:
        if metrics is not None:
            prometheus.write(found, metrics)
    finally:
        try:
            remember(host, found)
        except PgdrError as error:
            if not told:
                raise
            output.message(str(error))
