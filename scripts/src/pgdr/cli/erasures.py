"""``pgdr erasures``: the ledger of erased tenants, and its replay after a restore."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import POLICY
from pgdr.cli.output import OutputFormat
from pgdr.cli.surgery import policy_of
from pgdr.errors import RefusedError

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The erasure ledger: who was erased stays erased, whatever is restored.",
)

_Database = Annotated[str | None, typer.Option(help="The database; default: the ERP's.")]
_Format = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]


@app.command()
def replay(
    context: typer.Context,
    database: _Database = None,
    policy: POLICY = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be removed again.")] = False,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Remove again what was erased before. Run it after every restore, before the service opens.

    Any exit code but 0 means: do not open the service.

    \b
    Example:
      pgdr erasures replay --database erp_generic
    """
    from pgdr.surgery import erase  # noqa: PLC0415 - start-up time, see main
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415

    host = invocation(context).host
    _, tenancy = policy_of(policy)
    request = erase.Request(host, tenancy, database)
    if plan:
        found = erase.replay(request, Ledger(host), plan_only=True)
    else:
        with recorded(host, "erasures replay", database=database or host.database) as record:
            found = erase.replay(request, Ledger(host))
            record.details["removed"] = {str(number): rows for number, rows in found.removed.items()}
    if output_format is OutputFormat.JSON:
        output.json_result(asdict(found))
        return
    word = "would be removed again" if plan else "removed again"
    for number, rows in found.removed.items():
        output.result(f"erasure {number}: {rows} rows {word}")
    output.result(f"{found.erasures} erasures in the ledger, {len(found.removed)} subjects {word}")


@app.command(name="list")
def list_command(context: typer.Context, output_format: _Format = OutputFormat.TABLE) -> None:
    """List erasures. The ledger names nobody: a subject is a keyed hash.

    \b
    Example:
      pgdr erasures list
    """
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415

    found = Ledger(invocation(context).host).erasures()
    if output_format is OutputFormat.JSON:
        output.json_result([asdict(one) for one in found])
        return
    rows = [(str(one.number), one.at, one.subject[:16], one.predicate, one.state, str(one.rows)) for one in found]
    output.table(("erasure", "at", "subject", "column", "state", "rows"), rows, right={"erasure", "rows"})


@app.command()
def settle(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Number of an erasure whose end is not known.")],
    done: Annotated[bool, typer.Option("--done/--withdrawn", help="Whether it was completed.")],
) -> None:
    """Say how an erasure ended that a crash left open and that the server cannot answer for.

    \b
    Example:
      pgdr erasures settle 3 --done
    """
    from pgdr.surgery.ledger import DONE, INTENDED, WITHDRAWN, Ledger  # noqa: PLC0415

    ledger = Ledger(invocation(context).host)
    if number not in {one.number for one in ledger.erasures() if one.state == INTENDED}:
        raise RefusedError(f"erasure {number} is not open", remedy="see pgdr erasures list")
    ledger.conclude(number, DONE if done else WITHDRAWN)
    output.result(f"erasure {number}: {DONE if done else WITHDRAWN}")
