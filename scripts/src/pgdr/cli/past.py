"""Where a command on rows takes the past from: an archive, a side instance, a database, a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli.context import invocation
from pgdr.cli.sources import side_of, source_of

if TYPE_CHECKING:
    from pgdr.surgery.source import PastSource


PAST_ARCHIVE = Annotated[
    str | None,
    typer.Option(metavar="WHICH", help="Label, date or folder of an archive; without any source the newest one."),
]
PAST_DATABASE = Annotated[
    str | None, typer.Option(metavar="NAME", help="A database of this cluster that holds the past.")
]
PAST_SERVICE = Annotated[
    str | None, typer.Option(metavar="NAME", help="A service of pg_service.conf that leads to the past.")
]


@contextmanager
def past_of(
    context: typer.Context,
    policy: Path | None,
    given: Mapping[str, str | None],
    database: str | None = None,
    *,
    wait: float = 0.0,
) -> Iterator[PastSource]:
    """The past for a block of work: an archive is restored beside the live database for as long.

    Args:
        context: of the command.
        policy: where archives are.
        given: the kinds of source, with the name of the one that is meant; none for the newest archive.
        database: the database that is meant in a side instance; ``None`` for the ERP's.
        wait: seconds to wait for another that reads an archive.
    """
    from pgdr.locks import PAST, operation_lock  # noqa: PLC0415
    from pgdr.surgery.source import LocalDatabase, ServiceDatabase  # noqa: PLC0415 - start-up time, see main

    named = {kind: name for kind, name in given.items() if name is not None}
    if len(named) > 1:
        raise typer.BadParameter(f"name one source of the past, not {len(named)}: {', '.join(named)}")
    host = invocation(context).host
    kind, name = next(iter(named.items()), ("archive", ""))
    if kind == "service":
        yield ServiceDatabase(name)
    elif kind == "database":
        yield LocalDatabase(host, name)
    elif kind == "side":
        place, found = side_of(host, name, database)
        yield LocalDatabase(place, found, title=f"side instance {name}")
    else:
        from pgdr.cli.archive import waiting  # noqa: PLC0415
        from pgdr.cli.restore import phases  # noqa: PLC0415
        from pgdr.restoring.database import scratch  # noqa: PLC0415

        archive = source_of(policy, name)
        label = archive.manifest.label
        with (
            operation_lock(host, f"archive {label} to read from", scope=PAST, wait=wait, on_wait=waiting),
            phases(f"archive {label}") as on_phase,
            scratch(host, archive, on_phase=on_phase) as restored,
        ):
            yield LocalDatabase(host, restored, title=f"archive {label}")
