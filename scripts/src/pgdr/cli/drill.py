"""``pgdr drill``: what a drill of the whole disaster measured, judged and kept; and its client."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ConfigError, NotProvenError, UnreachableError

if TYPE_CHECKING:
    from pgdr.drilling import Verdict

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Drills of the whole disaster: playbooks/dr-drill.yml."
)
_QUERY = "SELECT max(beat_at) FROM pgdr.heartbeat"


@app.command()
def record(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What dr-drill.yml wrote; - for standard input.")],
    finding: Annotated[list[str] | None, typer.Option(help="What somebody noted; repeat it.")] = None,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Judge a drill by the policy's objectives and write it into this host's journal, for status and report.

    Ends with 5 when an objective was missed, a schema is not back or the application's tests failed.

    \b
    Example:
      pgdr drill record drill.json --finding 'the passphrase took 20 minutes to find'
    """
    from pgdr import drilling  # noqa: PLC0415 - start-up time, see main

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"cannot read {file}: {reason}") from error
    drill = drilling.read_drill(text, str(file))
    drill.findings += finding or []
    verdict = drilling.judge(drill, policy_of(policy))
    number = drilling.record(invocation(context).host, drill, verdict)
    if output_format is OutputFormat.JSON:
        output.json_result({**verdict.model_dump(mode="json"), "passed": verdict.passed, "entry": number})
    else:
        _show(verdict)
    if not verdict.passed:
        missed = [f"{item.name}: {item.detail}" for item in verdict.items if item.answer == "missed"]
        raise NotProvenError(f"the drill missed what was promised: {'; '.join(missed)}", remedy="see pgdr report")


@app.command()
def begin(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the drill: the folder of its evidence.")],
    host: Annotated[str, typer.Option(help="Where the cluster is to be brought up.")],
    disaster: Annotated[str, typer.Option(metavar="TIME", help="When the disaster is declared, with its offset.")],
) -> None:
    """Write down that a drill begins. One that has not ended after twice the RTO is then recorded as failed.

    \b
    Example:
      pgdr drill begin 20261124T020000Z --host dr1 --disaster 2026-11-24T02:00:00+00:00
    """
    from pgdr import drillbook  # noqa: PLC0415 - start-up time, see main

    try:
        moment = datetime.fromisoformat(disaster)
    except ValueError as error:
        raise typer.BadParameter(f"--disaster: {error}") from error
    if moment.tzinfo is None:
        raise typer.BadParameter("--disaster: add the offset, for example +00:00")
    number = drillbook.begin(invocation(context).host, name, host, moment)
    output.result(f"the drill {name} begins: entry {number}")


@app.command()
def fail(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the drill.")],
    reason: Annotated[str, typer.Option(help="Why it failed; status and report show it.")],
    finding: Annotated[list[str] | None, typer.Option(help="What somebody noted; repeat it.")] = None,
) -> None:
    """Write down that a drill failed: it is evidence as one that went well is. `pgdr watch` does it where nobody does.

    \b
    Example:
      pgdr drill fail 20261124T020000Z --reason 'the escrow could not be opened' --finding 'the paper is damp'
    """
    from pgdr import drillbook  # noqa: PLC0415

    number = drillbook.fail(invocation(context).host, name, reason, finding or ())
    output.result(f"the drill {name} failed: entry {number}")


@app.command()
def wait(
    dsn: Annotated[str, typer.Option(help="Where the service is to answer; the password in PGPASSFILE.")],
    query: Annotated[str, typer.Option(help="Query that returns the time of the newest row.")] = _QUERY,
    seconds: Annotated[float, typer.Option(min=0.0, help="Wait at most so long.")] = 86_400.0,
) -> None:
    """Be the client of a drill: ask until the service answers, and say when that was and what was there, as JSON.

    \b
    Example:
      PGPASSFILE=client.pgpass pgdr drill wait --dsn 'host=dr1 dbname=erp_generic user=erp_user'
    """
    import psycopg  # noqa: PLC0415

    deadline = time.monotonic() + seconds
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=5, autocommit=True) as connection:
                row = connection.execute(query.encode()).fetchone()
            break
        except psycopg.Error as error:
            if time.monotonic() >= deadline:
                last = " ".join(str(error).split())
                raise UnreachableError(f"the service did not answer within {seconds:.0f} s: {last}") from error
            time.sleep(1.0)
    newest = row[0] if row else None
    if newest is not None and not isinstance(newest, datetime):
        raise ConfigError(f"the client's query returned {newest!r}, which is no time", remedy="change --query")
    output.json_result(
        {
            "answered_at": datetime.now(UTC).isoformat(),
            "newest_at": newest.astimezone(UTC).isoformat() if newest else None,
        }
    )


def _show(verdict: Verdict) -> None:
    output.table(("checklist", "", "seen"), [(item.name, str(item.answer), item.detail) for item in verdict.items])
    for finding in verdict.findings:
        output.result(f"finding: {finding}")
