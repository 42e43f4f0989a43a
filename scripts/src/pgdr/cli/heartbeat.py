"""``pgdr heartbeat``: one row a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig

app = typer.Typer(rich_markup_mode=None)


@app.command()
def heartbeat(
    context: typer.Context,
    init: Annotated[
        bool, typer.Option("--init", help="Create schema and table pgdr.heartbeat; safe to repeat.")
    ] = False,
) -> None:
    """Write one heartbeat row and remove old ones. Says nothing when all is well; cron runs it each minute.

    On a standby nothing is written and the exit code is 0: its primary's rows arrive by themselves.

    \b
    Example:
      pgdr heartbeat --init
    """
    from pgdr import heartbeat as work  # noqa: PLC0415 - start-up time, see main

    host = invocation(context).host
    _sweep(host)
    if init:
        created = work.initialise(host)
        output.result("created pgdr.heartbeat" if created else "pgdr.heartbeat is there already")
    elif work.beat(host) is None:
        output.message(f"{host.cluster_name} is a standby: no heartbeat written")
    else:
        _hourly(host)


def _sweep(host: HostConfig) -> None:
    """Remove side instances whose time is over; each does it itself unless it was killed."""
    notes = host.state_directory / "side"
    if not notes.is_dir() or not any(notes.iterdir()):  # quick, since it is asked each minute
        return
    from pgdr.errors import PgdrError  # noqa: PLC0415
    from pgdr.side import manage  # noqa: PLC0415

    try:
        for name in manage.sweep(host):
            output.message(f"side instance {name} was removed: its time is over")
    except PgdrError as error:
        output.error(f"a side instance could not be removed: {error}")


def _due(host: HostConfig) -> bool:
    from pgdr import relationmap  # noqa: PLC0415

    return relationmap.relation_map(host).due()


def _hourly(host: HostConfig) -> None:
    """Once an hour remember which files belong to which table: `pgdr when` needs it."""
    if not _due(host):
        return
    from pgdr import relationmap  # noqa: PLC0415
    from pgdr.errors import PgdrError  # noqa: PLC0415

    try:
        relationmap.refresh(host)
    except PgdrError as error:
        output.message(f"warning: the relation map was not renewed: {error}")
