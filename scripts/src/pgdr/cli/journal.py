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
from pgdr.cli.options import POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ConfigError, NotProvenError, PgdrError, RefusedError

if TYPE_CHECKING:
    from pgdr.journal import Journal
    from pgdr.shipping.journal import Compared, JournalCopy, Stored

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Read and verify the record of every operation.")

_Format = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]
_File = Annotated[
    Path | None, typer.Option("--file", help="A journal elsewhere, for example a copy; default: this host's.")
]


def _journal(context: typer.Context, path: Path | None) -> Journal:
    from pgdr.journal import Journal  # noqa: PLC0415 - start-up time, see main

    if path is None:
        return Journal.of(invocation(context).host)
    # A copy can be read where there is no host configuration. A name that was mistyped is no journal that is empty.
    if not path.exists():
        raise ConfigError(f"cannot read {path}: there is no such file", remedy="pgdr journal copies, then fetch --to")
    return Journal(path)


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
def verify(
    context: typer.Context,
    file: _File = None,
    local: Annotated[bool, typer.Option("--local", help="Follow the chain only; ask no bucket.")] = False,
    policy: POLICY = None,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Follow the chain of hashes from the first entry to the last, and compare it with the copy in the bucket.

    Exit code 5 names the first bad entry: one that was edited, removed or moved, and also an end that was cut off or a
    journal that was written anew, which only the copy shows. 7: the chain is unbroken, and the bucket does not answer.

    \b
    Examples:
      pgdr journal verify
      pgdr journal verify --file journal-of-the-lost-host.jsonl
    """
    journal = _journal(context, file)
    found = journal.verify()
    copy, compared, unasked = None, None, None
    try:
        copy = None if local or file is not None else _copy(context, policy, needed=False)
        compared = copy.compare(thorough=True) if copy is not None else None
    except PgdrError as error:
        unasked = error  # what stands here is said first: it may be broken, bucket or not
    problem = found.problem if compared is None or compared.problem is None else compared.problem
    place = copy.place if copy is not None else ""
    if output_format is OutputFormat.JSON:
        document = {"file": str(journal.path), **asdict(found), "problem": asdict(problem) if problem else None}
        missing = len(compared.missing) if compared is not None else None
        output.json_result({**document, "copy": {"place": place, "missing": missing}})
    elif problem is None:
        against = f"; {place} has {_amount(compared)}" if compared is not None else "; not compared with a copy"
        output.result(f"{journal.path}: {found.entries} entries, unbroken; last hash {found.head}{against}")
    if problem is not None:
        raise NotProvenError(
            f"{journal.path}, line {problem.line}: {problem.what}",
            remedy=f"{problem.line - 1} entries before it are good; who was on this host? "
            "pgdr journal fetch brings back what the bucket has",
        )
    if unasked is not None:
        raise unasked


def _amount(compared: Compared) -> str:
    there = compared.entries - len(compared.missing)
    return "all of them" if not compared.missing else f"{there} of them; pgdr journal ship copies the rest"


@app.command()
def ship(context: typer.Context, policy: POLICY = None, output_format: _Format = OutputFormat.TABLE) -> None:
    """Compare the journal with its copy in the bucket, and copy what is not there. `pgdr watch` does it all the time.

    \b
    Example:
      pgdr journal ship
    """
    copy = _needed_copy(context, policy)
    sent = copy.ship()
    if output_format is OutputFormat.JSON:
        output.json_result({"sent": sent, "place": copy.place})
    else:
        output.result(f"{sent} entries were copied to {copy.place}; the journal is there")


@app.command()
def copies(context: typer.Context, policy: POLICY = None, output_format: _Format = OutputFormat.TABLE) -> None:
    """List the journals in the bucket: of this host, and of those that were this cluster's before it.

    \b
    Example:
      pgdr journal copies
    """
    found = _needed_copy(context, policy).stored()
    if output_format is OutputFormat.JSON:
        output.json_result([asdict(one) for one in found])
    else:
        rows = [(one.host, one.journal, str(one.entries)) for one in found]
        output.table(("host", "journal", "entries"), rows, right=frozenset({"entries"}))


@app.command()
def fetch(
    context: typer.Context,
    journal: Annotated[
        str | None, typer.Argument(help="One of `pgdr journal copies`; default: the one this host lost or changed.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--to", help="Write it to this file and leave this host's journal alone.")
    ] = None,
    policy: POLICY = None,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Bring a journal back from the bucket, where this host's was changed; the changed one is kept beside it.

    \b
    Examples:
      pgdr journal fetch --to /tmp/was.jsonl
      diff /tmp/was.jsonl /var/lib/pgdr/journal.jsonl
      pgdr journal fetch
      pgdr journal fetch 0f3c9a1be2d45c77 --to old-host.jsonl
    """
    copy = _needed_copy(context, policy)
    if journal is not None and file is None:
        raise typer.BadParameter("a journal that is named goes to a file: add --to")
    aside = ""
    if file is None:
        entries, aside = copy.restore()
    else:
        lines = copy.fetch(_named(copy, journal) if journal is not None else None)
        entries = len(lines)
        try:
            file.write_bytes(b"".join(lines))
        except OSError as error:
            raise ConfigError(f"cannot write {file}: {error.strerror}", remedy="name another file") from error
    if output_format is OutputFormat.JSON:
        output.json_result({"entries": entries, "set_aside": aside, "file": str(file) if file else None})
        return
    kept = f"; what was here is kept as {aside}" if aside else ""
    output.result(f"{entries} entries came from the bucket{kept}")


def _named(copy: JournalCopy, journal: str) -> Stored:
    found = [one for one in copy.stored() if one.journal == journal]
    if len(found) != 1:
        raise RefusedError(f"the bucket has no journal {journal}", remedy="see pgdr journal copies")
    return found[0]


@app.command()
def renew(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; it stands in the first entry.")],
    confirm: Annotated[str, typer.Option(help="The cluster's name: people will ask about this.")],
    policy: POLICY = None,
) -> None:
    """Begin a new journal where the copy in the bucket is no good any more; it names what is there, nothing is lost.

    \b
    Example:
      pgdr journal renew --reason 'entry 812 of the copy was forged, incident 7' --confirm erp-production
    """
    host = invocation(context).host
    if confirm != host.cluster_name:
        raise RefusedError(f"--confirm must name the cluster {host.cluster_name}", remedy="nothing was changed")
    aside = _needed_copy(context, policy).renew(reason)
    output.result(f"a new journal was begun{f'; the old one is kept as {aside}' if aside else ''}")


def _needed_copy(context: typer.Context, path: Path | None) -> JournalCopy:
    copy = _copy(context, path, needed=True)
    if copy is None:
        raise ConfigError("the policy names no bucket", remedy="the journal's copy needs a repository of type s3")
    return copy


def _copy(context: typer.Context, path: Path | None, *, needed: bool) -> JournalCopy | None:
    from pgdr.policy.load import DEFAULT_PATH  # noqa: PLC0415 - start-up time, see main
    from pgdr.shipping.journal import journal_copy  # noqa: PLC0415

    if not needed and path is None and not DEFAULT_PATH.exists():
        return None  # a host that nobody protects yet
    return journal_copy(invocation(context).host, policy_of(path))


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
        entry = Journal.of(host).append(operation=operation, result=outcome, details=content)
    except SecretRefusedError as error:
        raise RefusedError(str(error)) from error
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"--details: {error}") from error
    output.result(f"entry {entry.seq}, hash {entry.hash}")
