"""``python -m faults run``: what ``make faults`` runs."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from drill.client import ErpClient
from drill.play import ROOT, lab_folder, run_play
from faults.catalogue import FAULTS
from faults.ground import HOST, Ground
from faults.measure import Row, measure
from lab import doctor, lifecycle
from lab.api import Lab
from pgdr.edge import exit_code
from pgdr.errors import NotProvenError, RefusedError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make silent faults in a lab, and see who notices.")
_SAMPLE_MB = 25
_console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)


@app.callback()
def root() -> None:
    """Make silent faults in a lab, and see who notices."""


@app.command()
def run(
    lab: Annotated[str, typer.Option(help="Name of the lab; one that exists is thrown away first.")] = "faults",
    only: Annotated[list[str] | None, typer.Option(help="Faults with these words in their name; repeat it.")] = None,
    reuse: Annotated[bool, typer.Option("--reuse", help="Take the lab as it is: protected, with backups.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running, to look at it.")] = False,
) -> None:
    """Protect a host, make one fault after the other, measure when people know, cure it, count lost rows.

    Example: python -m faults run --only journal --keep
    """
    chosen = [fault for fault in FAULTS if not only or any(word in fault.name for word in only)]
    if not chosen:
        raise RefusedError("no fault has such a name", remedy=", ".join(fault.name for fault in FAULTS))
    doctor.ensure_able(_console.print)
    if not reuse:
        lifecycle.down(lab)
    try:
        ground = Ground(Lab.load(lab) if reuse else _protected(lab))
        ground.prepare()
        if not reuse:
            for words in (("backup", "full"), ("archive",), ("archives", "verify")):
                ground.well(*words)
        ground.pgdr("verify")
        ground.pgdr("rehearse", "--repo", "1")
        ground.pgdr("watch")
        rows = []
        for number, fault in enumerate(chosen, start=1):
            began = time.monotonic()
            _console.print(f"{number:>2}/{len(chosen)} {fault.name}", markup=False)
            rows.append(measure(ground, fault, lambda what: _console.print(f"      {what}", markup=False)))
            _console.print(f"      {time.monotonic() - began:.0f} s", markup=False)
            _write(lab, rows)
        _show(lab, rows)
    finally:
        if not keep:
            lifecycle.down(lab)
    broken = [row.name for row in rows if not row.kept]
    if broken:
        raise NotProvenError(f"promises were not kept: {'; '.join(broken)}", remedy=f"see {_report(lab)}")


def _protected(name: str) -> Lab:
    lab = Lab.up(name, [HOST])
    _console.print("protecting the host: playbooks/site.yml", markup=False)
    run_play(name, "site.yml")
    # What is rehearsed must be an ERP: its schemas and smoke queries are part of the proof.
    ErpClient(lab).create(HOST, _SAMPLE_MB)
    return lab


def _report(lab: str) -> Path:
    """The lab's own folder: what was measured in one lab must not replace what was measured in another."""
    return (lab_folder(lab) / "report.json").relative_to(ROOT)


def _write(lab: str, rows: list[Row]) -> None:
    path = ROOT / _report(lab)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"made_at": made, "faults": [row.document() for row in rows]}, indent=2) + "\n")
    (path.with_name("table.md")).write_text(_markdown(rows), encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.fault or "-",
        row.name,
        row.by,
        "never" if row.detected_seconds is None else f"{row.detected_seconds:.0f}",
        str(row.promised_seconds),
        row.notified or "-",
        "yes" if row.cured else "NO",
        "-" if row.data_lost_rows is None else str(row.data_lost_rows),
    )


_HEADERS = ("fault", "what happens", "noticed by", "seconds", "promised", "message", "cured", "rows lost")


def _markdown(rows: list[Row]) -> str:
    lines = [f"| {' | '.join(_HEADERS)} |", "|" + "---|" * len(_HEADERS)]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)]) + "\n"


def _show(lab: str, rows: list[Row]) -> None:
    table = Table(*_HEADERS)
    for row in rows:
        table.add_row(*_cells(row), style=None if row.kept else "red")
    _console.print(table)
    _console.print(f"report: {_report(lab)}", markup=False)
    for row in rows:
        if row.wrong:
            _console.print(f"{row.name}: {row.wrong}", markup=False, style="red")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; the codes are those of ``pgdr``."""
    return exit_code(app, argv, name="faults", say=_error)


def _error(line: str) -> None:
    _console.print(f"faults: error: {line}", markup=False, style="red")


if __name__ == "__main__":
    sys.exit(main())
