"""``pgdr journal``: who did what, when, how it ended, and proof that nobody changed the record."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.output import OutputFormat
from pgdr.errors import NotProvenError, RefusedError

if TYPE_CHECKING:
    from pgdr.journal import Journal

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Read and verify the record of every operation.")

_Format = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]
_File = Annotated[
    Path | None, typer.Option("--file", help="A journal elsewhere, for example a copy; default: this host's.")
]


def _journal(context: typer.Context, path: Path | None) -> Journal:
    from pgdr.journal import Journal  # noqa: PLC0415 - start-up time, see main

    # A copy can be read where there is no host configuration.
    return Journal(path if path is not None else invocation(context).host.journal_path)


@app.command("list")
def list_entries(
    context: typer.Context,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="So many of the newest entries.")] = 20,
    operation: Annotated[str | None, typer.Option(help="Entries of this operation only.")] = None,
    file: _File = None,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """List the newest entries, oldest of them first.

    \b
    Example:
      pgdr journal list -n 50 --operation backup
    """
    entries = _journal(context, file).entries()
    chosen = deque((entry for entry in entries if operation in {None, entry.operation}), maxlen=last)
    if output_format is OutputFormat.JSON:
        output.json_result([asdict(entry) for entry in chosen])
        return
    rows = [
        (str(e.seq), e.at[:19], e.actor, e.operation, e.cluster, e.result, f"{sum(e.times.values()):.1f}")
        for e in chosen
    ]
    headers = ("number", "at (UTC)", "who", "operation", "cluster", "result", "seconds")
    output.table(headers, rows, right=frozenset({"number", "seconds"}))


@app.command()
def show(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, help="Number of the entry.")],
    file: _File = None,
) -> None:
    """Show one entry with all its details, as JSON.

    \b
    Example:
      pgdr journal show 17
    """
    for entry in _journal(context, file).entries():
        if entry.seq == number:
            output.json_result(asdict(entry))
            return
    raise RefusedError(f"the journal has no entry {number}", remedy="see pgdr journal list")


@app.command()
def verify(context: typer.Context, file: _File = None, output_format: _Format = OutputFormat.TABLE) -> None:
    """Follow the chain of hashes from the first entry to the last; exit code 5 names the first bad one.

    \b
    Example:
      pgdr journal verify
    """
    journal = _journal(context, file)
    found = journal.verify()
    problem = found.problem
    if output_format is OutputFormat.JSON:
        output.json_result({"file": str(journal.path), **asdict(found)})
    elif problem is None:
        output.result(f"{journal.path}: {found.entries} entries, unbroken; last hash {found.head}")
    if problem is not None:
        raise NotProvenError(
            f"{journal.path}, line {problem.line}: {problem.what}",
            remedy=f"{found.entries} entries before it are good; compare with the copy off this host",
        )


@app.command("append-internal", hidden=True)
def append_internal(
    context: typer.Context,
    operation: Annotated[str, typer.Option(help="What was done.")],
    outcome: Annotated[str, typer.Option("--result", help="How it ended.")],
    details: Annotated[str, typer.Option(help="A JSON object; no secrets.")] = "{}",
) -> None:
    """Write an entry; for playbooks, whose work spans hosts.

    \b
    Example:
      pgdr journal append-internal --operation site --result ok --details '{"changed": 3}'
    """
    from pgdr.journal import Journal, SecretRefusedError  # noqa: PLC0415

    host = invocation(context).host
    try:
        content = json.loads(details)
        if not isinstance(content, dict):
            raise TypeError("not an object")  # noqa: TRY301 - one way out for all that is wrong with it
        entry = Journal(host.journal_path, host.cluster_name).append(
            operation=operation, result=outcome, details=content
        )
    except SecretRefusedError as error:
        raise RefusedError(str(error)) from error
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"--details: {error}") from error
    output.result(f"entry {entry.seq}, hash {entry.hash}")
