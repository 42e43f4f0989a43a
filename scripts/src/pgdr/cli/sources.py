"""Where ``pgdr restore`` takes the past from: an archive, or one that is made of a side instance."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.archives import store_of
from pgdr.cli.context import invocation
from pgdr.cli.options import policy_of

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.restoring.source import Source

ARCHIVE = Annotated[
    str,
    typer.Option(
        "--archive",
        metavar="WHICH",
        help="Label, date (the last archive until then) or folder of an archive; default: the newest.",
    ),
]
SIDE = Annotated[
    str,
    typer.Option(
        "--side", metavar="NAME", help="Not an archive, but a point in time: a side instance that is ready (pgdr side)."
    ),
]


def source_of(policy: Path | None, wanted: str) -> Source:
    """The archive that is meant; one that is named by its folder needs no policy."""
    from pgdr.archive.local import LocalStore  # noqa: PLC0415 - start-up time, see main
    from pgdr.restoring.source import choose  # noqa: PLC0415

    return choose(LocalStore(Path(wanted)) if "/" in wanted else store_of(policy), wanted)


def archive_of(context: typer.Context, policy: Path | None, archive: str, side: str, jobs: int | None) -> Source:
    """Where a restore takes the past from: an archive, or one that is made of a side instance for this command."""
    if not side:
        return source_of(policy, archive)
    if archive:
        raise typer.BadParameter("name one source of the past: --archive or --side")
    return context.with_resource(_archived(invocation(context).host, policy, side, jobs))


def side_of(host: HostConfig, name: str, database: str | None = None) -> tuple[HostConfig, str]:
    """How a side instance is reached: this host but for its server, and the database's name in it.

    Raises:
        RefusedError: there is none of that name, it is not ready, or the database was left out of it.
    """
    from pgdr.side.manage import connection  # noqa: PLC0415 - start-up time, see main

    found = connection(host, name, database)
    return host.model_copy(update={"socket_directory": Path(found.host), "port": found.port}), found.dbname


@contextmanager
def _archived(host: HostConfig, policy: Path | None, side: str, jobs: int | None) -> Iterator[Source]:
    """An archive of what a side instance shows, on the backup volume, for as long as the command runs."""
    from pgdr.archive.names import label_of, working_name  # noqa: PLC0415 - start-up time, see main
    from pgdr.archive.run import make_past_archive  # noqa: PLC0415
    from pgdr.restoring.source import Source  # noqa: PLC0415

    past, database = side_of(host, side)
    # Under this name `pgdr cleanup` finds what a killed command leaves.
    folder = store_of(policy).root / working_name(label_of(datetime.now(UTC)), "restoring")
    folder.mkdir(mode=0o700)
    try:
        output.message(f"side instance {side}: reading {database}")
        made = make_past_archive(past, policy_of(policy), folder, jobs=jobs)
        yield Source(made, made.manifest())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
