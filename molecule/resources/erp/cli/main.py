"""``python -m erp``: make the sample, make many small relations, run the load. Only this module prints."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from erp.create import Wanted
from erp.create import create as create_sample
from erp.load.generator import Load, Options, Summary
from erp.relations import make_relations
from pgdr.edge import exit_code

_MIB = 2**20
_REPORT_SECONDS = 10

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Dsn = Annotated[
    str,
    typer.Option(
        envvar="ERP_DSN", help="Connection string. With a password: in the environment or ~/.pgpass, not here."
    ),
]


class _Phases:
    """Shows how far each phase is: bars for a person, a line a phase for a log."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._begun = time.monotonic()

    def __enter__(self) -> _Phases:
        self._bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bars.stop()

    def show(self, phase: str, done: int, total: int) -> None:
        """Called by the work."""
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=total)
        self._bars.update(self._tasks[phase], completed=done)
        if done == total and self._bars.disable:
            _say(f"{phase}: {total} of {total} after {time.monotonic() - self._begun:.1f} s")


@app.command()
def create(
    dsn: Dsn,
    size_mb: Annotated[int, typer.Option(min=1, help="Size of the database in MiB.")] = 300,
    tenants: Annotated[int, typer.Option(min=1, max=10_000, help="Tenants that share it.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=2**40, help="Another seed gives other data.")] = 42,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Connections that load at the same time.")] = 2,
    extensions: Annotated[
        bool, typer.Option("--extensions/--no-extensions", help="Use citext, pg_trgm, btree_gist and pgcrypto.")
    ] = True,
    recreate: Annotated[bool, typer.Option("--recreate", help="Drop an earlier sample first.")] = False,
    owner: Annotated[str | None, typer.Option(help="Role that shall own everything.  [default: who logs in]")] = None,
    app_role: Annotated[str, typer.Option(help="Role that gets the application's rights, if it exists.")] = "erp_user",
) -> None:
    """Make the ERP sample: nine schemas, with the same data for the same seed, size and tenants."""
    begun = time.monotonic()
    wanted = Wanted(
        dsn=dsn,
        size_mb=size_mb,
        tenants=tenants,
        seed=seed,
        extensions=extensions,
        jobs=jobs,
        recreate=recreate,
        owner=owner,
        app_role=app_role,
    )
    with _Phases() as phases:
        made = create_sample(wanted, phases.show)
    if not made.app_role_found:
        _say(f"role {app_role} does not exist: nobody but the owner was given rights")
    _result(f"ERP sample: {made.database_bytes / _MIB:.0f} MiB, seed {seed}, {time.monotonic() - begun:.1f} s")


@app.command()
def relations(
    dsn: Dsn,
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Relations: half tables, half indexes.")] = 10_000,
    recreate: Annotated[bool, typer.Option("--recreate", help="Drop earlier ones first.")] = False,
) -> None:
    """Make many small relations in the schema bench."""
    begun = time.monotonic()
    with _Phases() as phases:
        made = make_relations(dsn, count, phases.show, recreate=recreate)
    _result(f"bench: {made.relations} relations, {made.tables} tables, {time.monotonic() - begun:.1f} s")


@app.command()
def load(
    dsn: Dsn,
    ledger: Annotated[Path, typer.Option(help="File for what was committed; must not exist.")],
    connections: Annotated[int, typer.Option(min=1, max=100, help="Connections that write.")] = 4,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Transactions a second of all together.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="How long.  [default: until SIGTERM]")] = None,
    seed: Annotated[int, typer.Option(help="Decides what is done.")] = 42,
    reconnect: Annotated[
        bool, typer.Option("--reconnect", help="Go on when the server comes back, rather than end when it goes.")
    ] = False,
) -> None:
    """Keep committing business transactions, and write down what each of them changed."""
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    run = Load(
        Options(
            dsn=dsn,
            ledger=ledger,
            connections=connections,
            rate=rate,
            seconds=seconds,
            seed=seed,
            reconnect=reconnect,
        ),
        stop,
    )
    begun = reported = time.monotonic()

    def every_second() -> None:
        nonlocal reported
        if (now := time.monotonic()) - reported >= _REPORT_SECONDS:
            reported = now
            _say(f"load: {run.committed} committed, {run.committed / (now - begun):.0f} a second")

    summary = run.run(lambda: _say(f"load: run {run.run_id} started, ledger {ledger}"), every_second)
    _result(_describe(summary))


def _describe(summary: Summary) -> str:
    return (
        f"load: {summary.reason}; {summary.committed} committed in {summary.seconds:.1f} s,"
        f" {summary.in_doubt} in doubt, {summary.rolled_back} rolled back;"
        f" 95 % within {summary.p95_seconds * 1000:.1f} ms"
    )


def _say(text: str) -> None:
    sys.stderr.write(f"erp: {text}\n")
    sys.stderr.flush()


def _result(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code; the codes are those of ``pgdr``.

    Args:
        argv: the arguments without the program's name, or ``None`` for this process's own.
    """
    logging.basicConfig(stream=sys.stderr, format="erp: %(message)s", level=logging.WARNING)
    return exit_code(app, argv, name="erp", say=lambda line: _say(f"error: {' '.join(line.split())}"))
