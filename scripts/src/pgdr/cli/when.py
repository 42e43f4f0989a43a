"""``pgdr when``: find the transaction that did it."""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode, PgdrError, RefusedError

if TYPE_CHECKING:
    from pgdr.when.model import Answer, Candidate, Change, Question, TableChange

app = typer.Typer(rich_markup_mode=None)

_KINDS = ("delete", "truncate", "drop", "alter")
_MOST_JOBS = 8


@app.command()
def when(
    context: typer.Context,
    table: Annotated[
        list[str] | None, typer.Argument(help="schema.table, one or more; none for every table.", show_default=False)
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="delete, update, truncate, drop or alter; repeat it.  [default: delete, truncate, drop, alter]"
        ),
    ] = None,
    begin: Annotated[
        str, typer.Option("--from", help="From this time on, with its offset.  [default: a day before --to]")
    ] = "",
    end: Annotated[str, typer.Option("--to", help="Until this time, with its offset.  [default: now]")] = "",
    repo: Annotated[int, typer.Option(min=1, help="Number of the repository whose archive is read.")] = 1,
    timeline: Annotated[
        str, typer.Option(help="latest, or the number of a branch of history that was left.")
    ] = "latest",
    before: Annotated[
        int, typer.Option(min=0, metavar="N", help="Print the commands that bring back the moment before number N.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Show so many transactions, the largest first; 0 for all.")] = 20,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0 for one a core, at most 8.")] = 0,
    output_format: Annotated[
        OutputFormat, typer.Option("--output", help="table for people, json for scripts.")
    ] = OutputFormat.TABLE,
) -> None:
    """Search the archived WAL for the transaction that deleted, changed, emptied, dropped or altered something.

    alter finds who changed columns of a table: dropped, retyped or renamed them, gave them a default or a rule. Which,
    and what of it, WAL does not say: a look at the moment before does. A table that only got an index or a reference
    in such a transaction is listed too.

    Production is asked for its catalog only. The exit code is 5 when a part of the WAL is missing: then what was
    looked for may be in it.

    \b
    Examples:
      pgdr when sales.orders --kind delete --from '2026-11-24 14:00:00+01:00' --to '2026-11-24 15:00:00+01:00'
      pgdr when --kind drop --from '2026-11-24 00:00:00Z'
      pgdr when sales.orders --from '2026-11-24 14:00:00+01:00' --before 1
    """
    from pgdr.journal import Journal  # noqa: PLC0415 - start-up time, see main
    from pgdr.supervise import Supervisor  # noqa: PLC0415
    from pgdr.when.model import Question  # noqa: PLC0415

    host = invocation(context).host
    to = _time(end, "--to") if end else datetime.now(UTC)
    since = _time(begin, "--from") if begin else to - timedelta(days=1)
    if since >= to:
        raise RefusedError("--from is not before --to", remedy="both are read with their own offsets")
    question = Question(
        repository=repo,
        tables=tuple(table or ()),
        kinds=frozenset(_kinds(kind or list(_KINDS))),
        begin=since,
        end=to,
        timeline=_timeline(timeline),
        limit=max(limit, before) if limit else 0,
        jobs=jobs or min(os.cpu_count() or 1, _MOST_JOBS),
    )
    journal = Journal.of(host)
    facts = {
        "tables": list(question.tables),
        "kinds": sorted(question.kinds),
        "from": since.isoformat(),
        "to": to.isoformat(),
        "repository": repo,
    }
    try:
        with Supervisor():
            found = _answer(context, question)
    except PgdrError as error:
        journal.append(operation="when", result="failed", details={**facts, "error": error.message})
        raise
    journal.append(
        operation="when",
        result="ok" if found.complete else "not proven",
        details={**facts, "candidates": len(found.candidates) + found.omitted, "missing": found.missing},
        times={"read": found.seconds},
    )
    if before:
        _show_before(found, before, output_format)
    elif output_format is OutputFormat.JSON:
        output.json_result(found.model_dump(mode="json"))
    else:
        _show(found, question.kinds)
    if not found.complete:
        for what in [*(f"WAL segment {name} is not archived" for name in found.missing), *found.broken]:
            output.error(f"{what}: changes in it are not seen")
        raise typer.Exit(int(ExitCode.NOT_PROVEN))


def _answer(context: typer.Context, question: Question) -> Answer:
    from pgdr.cli.progress import byte_progress  # noqa: PLC0415
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.when.audit import with_audit  # noqa: PLC0415
    from pgdr.when.find import answer  # noqa: PLC0415

    host = invocation(context).host
    with byte_progress("reading WAL") as report:
        found = answer(host, PgBackRest(host), question, report)
    return with_audit(host, question, found)


def _time(text: str, what: str) -> datetime:
    from pgdr.recovery.target import parse_time  # noqa: PLC0415

    return parse_time(text, what=what)


def _timeline(text: str) -> str:
    if text != "latest" and not (text.isascii() and text.isdigit() and 0 < int(text) < 2**32):
        raise RefusedError(f"--timeline {text!r} is not a timeline", remedy="write latest or a number")
    return text


def _kinds(words: list[str]) -> list[Change]:
    from pgdr.when.model import Change  # noqa: PLC0415

    try:
        return [Change(word.lower()) for word in words]
    except ValueError as error:
        raise RefusedError(str(error), remedy=f"kinds: {', '.join(Change)}") from error


def _show(found: Answer, kinds: frozenset[Change]) -> None:
    from pgdr.when.model import Change  # noqa: PLC0415

    for note in found.notes:
        output.message(note)
    rows = [_row(item) for item in found.candidates]
    if rows:
        headers = ("#", "ended (UTC)", "xid", "end", "commit LSN", "what", "who")
        output.table(headers if any(row[-1] for row in rows) else headers[:-1], _trimmed(rows), right={"#", "xid"})
    else:
        others = [str(kind) for kind in Change if kind not in kinds]
        if others:
            output.message(f"--kind {', '.join(others)} was not asked for")
    if found.omitted:
        output.result(f"and {found.omitted} smaller ones: --limit 0 shows more, a shorter time range fewer")
    if found.audit:
        output.table(
            ("audit (UTC)", "table", "action", "xid", "who"),
            [
                (f"{a.at:%Y-%m-%d %H:%M:%S.%f}", a.table, a.action, str(a.xid) if a.xid is not None else "-", a.actor)
                for a in found.audit
            ],
        )
    rate = found.wal_bytes / found.seconds if found.seconds else 0.0
    output.result(
        f"{len(found.candidates) + found.omitted} found among {found.transactions} transactions in "
        f"{output.bytes_text(found.wal_bytes)} of WAL, {found.first_segment} to {found.last_segment}, "
        f"{output.seconds_text(found.seconds)}, {output.bytes_text(rate)}/s"
    )
    if any(item.before for item in found.candidates):
        output.message("the moment before one of them: the same command with --before NUMBER")


def _trimmed(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return rows if any(row[-1] for row in rows) else [row[:-1] for row in rows]


def _row(item: Candidate) -> tuple[str, ...]:
    status = f"{item.status} {item.gid!r}" if item.gid else str(item.status)
    what = "; ".join(_words(change) for change in item.tables)
    if item.partial:
        what += " (it began before --from: there may be more)"
    at = f"{item.at:%Y-%m-%d %H:%M:%S.%f}" if item.at else "-"
    return (str(item.number), at, str(item.xid), status, item.commit_lsn or "-", what, item.who)


def _words(change: TableChange) -> str:
    said = []
    if change.dropped:
        said.append("DROPPED")
    if change.altered:
        said.append("columns ALTERED, or those of a new table" if change.doubtful else "columns ALTERED")
    if change.truncated:
        said.append("TRUNCATED")
    if change.rewritten:
        said.append("rewritten")
    if change.deleted:
        said.append(f"{change.deleted} deleted")
    if change.updated:
        said.append(f"{change.updated} updated")
    parts = f" ({', '.join(change.parts)})" if change.parts else ""
    return f"{change.table}: {', '.join(said)}{parts}"


def _show_before(found: Answer, number: int, output_format: OutputFormat) -> None:
    item = next((candidate for candidate in found.candidates if candidate.number == number), None)
    if item is None:
        raise RefusedError(f"there is no number {number}", remedy=f"{len(found.candidates)} transactions were found")
    if item.before is None:
        raise RefusedError(
            f"transaction {item.xid} is {item.status}: it changed nothing for good", remedy="choose a committed one"
        )
    if output_format is OutputFormat.JSON:
        output.json_result({**item.before.model_dump(mode="json"), "xid": item.xid})
        return
    output.message(f"transaction {item.xid} committed at {item.at}: {'; '.join(_words(c) for c in item.tables)}")
    output.result("# the moment before it, beside production:")
    output.result(shlex.join(item.before.side))
    output.result("# or the whole cluster back to it, on a recovery host:")
    output.result(shlex.join(item.before.restore))
