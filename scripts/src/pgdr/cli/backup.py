"""``pgdr backup``: full and incremental backups, proven in the repository."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.output import OutputFormat
from pgdr.cli.progress import LINE_EVERY, Report, byte_progress
from pgdr.errors import ExitCode

if TYPE_CHECKING:
    from pgdr.backup import BackupListener, BackupReport, RepositoryBackup
    from pgdr.locks import Holder
    from pgdr.pgbackrest.repositories import ConfiguredRepository

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Back the cluster up and see the set in the repository."
)

_Repository = Annotated[
    int | None, typer.Option("--repo", min=1, help="This repository only; default: all configured.")
]
_Format = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]
_TERMINAL_TICK = 5.0
_UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"^(\d+)([smh])$")


def _seconds(text: str) -> str:
    if _DURATION.match(text) is None:
        raise typer.BadParameter("a number with s, m or h, for example 90m")
    return text


@app.command()
def full(
    context: typer.Context,
    repo: _Repository = None,
    wait: Annotated[
        str, typer.Option(callback=_seconds, help="How long to wait for another operation to end: 90m, 2h, 0s.")
    ] = "2h",
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Take a full backup. Waits for another operation to end.

    \b
    Examples:
      pgdr backup full
      pgdr backup full --repo 2 --wait 30m
    """
    found = _DURATION.match(wait)
    limit = float(int(found[1]) * _UNITS[found[2]]) if found else 0.0
    raise typer.Exit(_run(context, "full", repo, limit, output_format))


@app.command()
def incr(context: typer.Context, repo: _Repository = None, output_format: _Format = OutputFormat.TABLE) -> None:
    """Take an incremental backup. Gives way at once to another operation (exit code 6).

    Without a full backup to build on, pgBackRest takes a full one.

    \b
    Example:
      pgdr backup incr
    """
    raise typer.Exit(_run(context, "incr", repo, 0.0, output_format))


def _run(
    context: typer.Context,
    kind: Literal["full", "incr"],
    repo: int | None,
    wait: float,
    output_format: OutputFormat,
) -> int:
    from pgdr import backup as work  # noqa: PLC0415 - start-up time, see main

    with ExitStack() as bars:
        report = work.back_up(invocation(context).host, kind, repository=repo, wait=wait, listener=_listener(bars))
    if output_format is OutputFormat.JSON:
        output.json_result(_document(report))
    else:
        for item in report.repositories:
            _show(item)
    for item in report.repositories:
        if item.message:
            output.error(item.message)
    if report.map_error:
        output.message(f"warning: the relation map was not renewed: {report.map_error}")
    if report.journal_error:
        output.error(f"the backup is not in the journal: {report.journal_error}")
    return int(report.exit_code)


def _document(report: BackupReport) -> dict[str, Any]:
    return {
        "requested": report.kind,
        "exit_code": int(report.exit_code),
        "repositories": [{**asdict(item), "exit_code": int(item.exit_code)} for item in report.repositories],
    }


def _show(item: RepositoryBackup) -> None:
    if item.exit_code is not ExitCode.OK:
        output.result(f"repository {item.repository}: {item.result}")
        return
    promoted = ", no full backup was there yet: this is one" if item.promoted else ""
    output.result(
        f"repository {item.repository}: {item.type} backup {item.label}{promoted}, "
        f"{output.bytes_text(item.size)} database, {output.bytes_text(item.stored)} stored, "
        f"{output.seconds_text(item.seconds)}"
    )


def _listener(bars: ExitStack) -> BackupListener:
    from pgdr.backup import BackupListener  # noqa: PLC0415

    class Listener(BackupListener):
        """Tells a person."""

        tick = _TERMINAL_TICK if output.interactive() else LINE_EVERY
        _report: Report | None = None

        def waiting(self, holder: Holder | None, waited: float) -> None:
            who = str(holder) if holder else "another operation"
            output.message(f"waiting for {who} to end, {output.seconds_text(waited)} so far")

        def started(self, kind: Literal["full", "incr"], repository: ConfiguredRepository) -> None:
            bars.close()
            title = f"{kind} backup to repository {repository.key} ({repository.place})"
            self._report = bars.enter_context(byte_progress(title, line_every=0))

        def progress(self, done: int, total: int) -> None:
            if self._report is not None:
                self._report(done, total)

        def finished(self, result: RepositoryBackup) -> None:
            bars.close()
            for warning in result.warnings:
                output.message(f"pgBackRest warns: {warning}")

    return Listener()
