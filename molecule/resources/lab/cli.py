"""Command line of the lab. Only this module prints."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab import doctor as doctor_module
from lab import images, lifecycle
from lab.paths import LabPaths
from lab.state import LabState, all_names, load
from pgdr.edge import exit_code

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    help="Database hosts with real systemd and a real S3 server, in containers on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
s3_app = typer.Typer(help="The S3 server of a lab.", no_args_is_help=True)
app.add_typer(s3_app, name="s3")


_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)

LabName = Annotated[str, typer.Argument(metavar="NAME", help="The lab's name.")]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="A host of the lab.")]
HostOption = Annotated[list[str] | None, typer.Option("--host", help="A host to have; may be given several times.")]


class Output(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="How to print the result.")]


class _ProgressHandler(logging.Handler):
    """Shows each step while it is done: a line that stays, and a spinner with the step at hand."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._started = time.monotonic()
        self._status = _err.status("starting")

    def emit(self, record: logging.LogRecord) -> None:
        """Show one step."""
        text = escape(record.getMessage())
        _err.print(f"[dim]{time.monotonic() - self._started:6.1f} s[/dim]  {text}", highlight=False)
        self._status.update(text)

    def __enter__(self) -> None:
        self._status.start()

    def __exit__(self, *_: object) -> None:
        self._status.stop()


@contextmanager
def _progress() -> Iterator[None]:
    log = logging.getLogger("lab")
    handler = _ProgressHandler()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with handler:
            yield
    finally:
        log.removeHandler(handler)


def _print_lab(state: LabState, output: Output) -> None:
    if output is Output.json:
        found = {"status": lifecycle.statuses(state), **state.model_dump(mode="json")}
        _out.print_json(data=found)
        return
    status = lifecycle.statuses(state)
    table = Table("what", "where", "status", "how", title=f"lab {state.name} ({state.subnet})", title_justify="left")
    config = LabPaths(state.name).ssh_config
    for host, entry in sorted(state.hosts.items()):
        table.add_row(host, entry.ip, status[host], f"ssh -F {config} {host}")
    if state.s3 is not None:
        table.add_row("s3", state.s3.ip, status["s3"], f"{state.s3.url} bucket {state.s3.bucket}")
    _out.print(table)


@app.command()
def doctor(
    *,
    install: Annotated[bool, typer.Option("--install", help="Install by apt what is missing.")] = False,
) -> None:
    """Say what this machine lacks to run systemd in containers; exit code 4 if it lacks anything."""
    with _progress():
        found = doctor_module.make_able(_err.print) if install else doctor_module.diagnose()
    for check in found.checks:
        if check.able:
            _out.print(f"[green]ok[/green]       {check.name}: {escape(check.detail)}", highlight=False)
        else:
            line = f"{check.name}: {escape(check.detail)}; {escape(check.remedy)}"
            _out.print(f"[red]missing[/red]  {line}", highlight=False)
    found.require()


@app.command()
def up(
    *,
    name: LabName,
    host: HostOption = None,
    s3: Annotated[bool, typer.Option("--s3/--no-s3", help="Have the S3 server.")] = True,
    s3_memory: Annotated[str, typer.Option(help="How much the S3 server may hold, in memory.")] = "4GiB",
    output: OutputOption = Output.table,
) -> None:
    """Have a lab running with at least these hosts; run it again to finish or to add."""
    with _progress():
        state = lifecycle.up(name, host or [], with_s3=s3, s3_memory=s3_memory)
    _print_lab(state, output)


@app.command("add-host")
def add_host(name: LabName, host: HostName) -> None:
    """Add one empty host to a lab."""
    with _progress():
        state = lifecycle.add_host(name, host)
    _print_lab(state, Output.table)


@app.command("kill-host")
def kill_host(name: LabName, host: HostName) -> None:
    """Destroy a host without warning: SIGKILL, then its container and volumes are removed."""
    with _progress():
        lifecycle.kill_host(name, host)


@app.command()
def down(
    *,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The lab's name.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every lab of this checkout.")] = False,
) -> None:
    """Remove a lab with all that belongs to it; the images stay."""
    if (name is None) != everything:
        raise typer.BadParameter("give either a NAME or --all")
    for found in all_names() if name is None else [name]:
        existed = lifecycle.down(found)
        _err.print(f"lab {found}: {'removed' if existed else 'there was none'}", highlight=False)


@app.command("remove-images")
def remove_images() -> None:
    """Remove the images that the lab built; the next `lab up` builds them again."""
    for image in images.remove_all():
        _err.print(f"removed {image}", highlight=False)


@app.command()
def status(name: Annotated[str | None, typer.Argument()] = None, output: OutputOption = Output.table) -> None:
    """Show a lab, or the names of all labs."""
    if name is None:
        for found in all_names():
            _out.print(found)
        return
    _print_lab(load(name), output)


@s3_app.command("stop")
def s3_stop(name: LabName) -> None:
    """Stop the gateway's process only: clients get "connection refused", the data stays."""
    with _progress():
        lifecycle.stop_s3(name)


@s3_app.command("start")
def s3_start(name: LabName) -> None:
    """Start the gateway and wait until it answers."""
    with _progress():
        lifecycle.start_s3(name)


@s3_app.command("latency")
def s3_latency(name: LabName, milliseconds: Annotated[int, typer.Argument(help="0 takes the latency away.")]) -> None:
    """Make the server as far away as a cloud: each request waits that long. Restarts the gateway."""
    with _progress():
        lifecycle.set_s3_latency(name, milliseconds)


@s3_app.command("replica")
def s3_replica(
    name: LabName,
    *,
    frozen: Annotated[
        bool, typer.Option("--frozen/--fed", help="Frozen, it serves what it has: a replica that lags.")
    ] = False,
) -> None:
    """Have a second zone at port 444 to which everything is replicated; the gateway restarts when it is made."""
    with _progress():
        lifecycle.start_replica(name)
        lifecycle.set_replica_lag(name, frozen=frozen)


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code; what each means is in :class:`pgdr.errors.ExitCode`.
    """
    return exit_code(app, argv, name="lab", say=_error)


def _error(line: str) -> None:
    _err.print(f"lab: error: {escape(line)}", highlight=False)
