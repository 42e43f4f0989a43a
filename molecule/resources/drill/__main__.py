"""``python -m drill run``: what ``make drill`` runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from drill.play import lab_folder
from drill.scenario import Drill, Size, require_proven
from lab import doctor, lifecycle
from pgdr.edge import exit_code

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Rehearse the disaster in the lab.")
# A log has no width of its own: the tables need one.
_console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@app.callback()
def root() -> None:
    """Rehearse the disaster in the lab."""


@app.command()
def run(
    lab: Annotated[str, typer.Option(help="Name of the lab; one that exists is thrown away first.")] = "drill",
    size_mb: Annotated[int, typer.Option(help="Size of the ERP sample in MB.")] = 300,
    load_seconds: Annotated[float, typer.Option(help="Seconds of load between last backup and disaster.")] = 75.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running, to look at it.")] = False,
) -> None:
    """Protect an ERP database, destroy it under load, rebuild it elsewhere, prove every row.

    Example: python -m drill run --size-mb 1000 --keep
    """
    doctor.ensure_able(_console.print)
    # Also what a killed run of another checkout left: its disks would be taken for the new hosts'.
    lifecycle.down(lab)
    try:
        report, proof = Drill(lab, Size(megabytes=size_mb, load_seconds=load_seconds), _console).run()
        report.show(_console, proof)
        _console.print(f"report: {lab_folder(lab) / 'report.json'}")
        require_proven(report)
    finally:
        if not keep:
            lifecycle.down(lab)
    _console.print("[bold green]Proven: the restored database is the lost one.[/bold green]")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; the codes are those of ``pgdr``."""
    return exit_code(app, argv, name="drill", say=_error)


def _error(line: str) -> None:
    _console.print(f"drill: error: {line}", markup=False, style="red", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
