"""``python -m bench run``: what ``make bench`` runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from bench import report
from bench.cases import archive, backup, increments, recovery, relations, side, site, status, tenant, wal, when
from bench.ground import SOURCE, TARGET, Ground, Size
from bench.report import Row
from drill.play import lab_folder
from lab import doctor, lifecycle
from lab.api import Lab
from pgdr.edge import exit_code
from pgdr.errors import OperationFailedError, PgdrError, RefusedError

# In the order in which they are run: the last one leaves the protected cluster's repository to another host.
CASES: dict[str, Callable[[Ground], list[Row]]] = {
    "site": site.measure,
    "relations": relations.measure,
    "wal": wal.measure,
    "status": status.measure,
    "when": when.measure,
    "backup": backup.measure,
    "archive": archive.measure,
    "tenant": tenant.measure,
    "side": side.measure,
    "increments": increments.measure,
    "recovery": recovery.measure,
}
_S3_MEMORY = "6GiB"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure our way beside the bare tools.",
)
_console = Console(highlight=False)
if not _console.is_terminal:
    # A log has no width; at rich's 80 columns the table would be unreadable.
    _console = Console(highlight=False, width=140)


@app.callback()
def root() -> None:
    """Measure our way beside the bare tools."""


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help=f"Only these cases: {', '.join(CASES)}; repeat it.")] = None,
    size_mb: Annotated[int, typer.Option(min=40, help="Size of the ERP sample in MB.")] = Size.megabytes,
    relation_count: Annotated[
        int, typer.Option("--relations", min=100, help="Relations of the cluster with many.")
    ] = Size.relations,
    segments: Annotated[int, typer.Option(min=4, help="WAL segments that wait to be archived.")] = Size.segments,
    lab: Annotated[str, typer.Option(help="Name of the lab; one that exists is thrown away first.")] = "bench",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running, to look at it.")] = False,
    reuse: Annotated[bool, typer.Option("--reuse", help="Go on with a lab that --keep left.")] = False,
) -> None:
    """Measure everything on one lab; figures count only while the machine does nothing else.

    Ends with 1 when a goal is missed or a case failed; the report has every row in any case.

    Example: python -m bench run --only relations --keep
    """
    chosen = _chosen(only)
    doctor.ensure_able(_console.print)
    if not reuse:
        lifecycle.down(lab)
    path = lab_folder(lab) / "report.json"
    path.unlink(missing_ok=True)
    made = lab_folder(lab) / "bench.made"
    if not reuse:
        made.unlink(missing_ok=True)
    try:
        ground = Ground(
            Lab.up(lab, [SOURCE, TARGET], s3_memory=_S3_MEMORY),
            Size(megabytes=size_mb, relations=relation_count, segments=segments),
            _Clock(),
            made,
        )
        rows: list[Row] = []
        for name in chosen:
            rows += _measure(name, ground)
            # After each case, so that a run that is killed leaves what it has.
            report.write(rows, path)
    finally:
        if not keep:
            lifecycle.down(lab)
    report.show(rows, _console)
    _console.print(f"report: {path}")
    if wrong := report.missed(rows):
        raise OperationFailedError(f"{len(wrong)} of {len(rows)} rows missed their goal or failed")


def _chosen(only: list[str] | None) -> list[str]:
    unknown = sorted(set(only or []) - set(CASES))
    if unknown:
        raise RefusedError(f"there is no case {', '.join(unknown)}", remedy=f"there are: {', '.join(CASES)}")
    return [name for name in CASES if not only or name in only]


def _measure(name: str, ground: Ground) -> list[Row]:
    ground.say(f"case {name}")
    try:
        return CASES[name](ground)
    except (PgdrError, subprocess.SubprocessError) as error:
        # One case that cannot be measured must not hide the others, nor be hidden.
        ground.say(f"case {name} failed: {error}")
        return [report.failure(name, str(error))]


class _Clock:
    """Shows lines of progress with the seconds since the beginning."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __call__(self, text: str) -> None:
        _console.print(f"{time.monotonic() - self._begun:6.0f} s  {text}", markup=False)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; the codes are those of ``pgdr``."""
    return exit_code(app, argv, name="bench", say=_error)


def _error(line: str) -> None:
    _console.print(f"bench: error: {line}", markup=False, style="red")


if __name__ == "__main__":
    sys.exit(main())
