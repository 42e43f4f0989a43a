"""``pgdr expire``: remove what is past its time, and never the last verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, WAIT, policy_of, seconds_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode

if TYPE_CHECKING:
    from pgdr.retention.expire import Expired

app = typer.Typer(rich_markup_mode=None)


@app.command()
def expire(
    context: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be removed and why; change nothing.")] = False,
    wait: WAIT = "2h",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Remove backups that no rule keeps, each by name, in every repository, and archives on the volume.

    A backup goes only when a newer verified one reaches back as far as the policy promises; what a person holds
    stays, also what was held on a host that is lost (pgdr hold fetch). Without a verified backup nothing goes, nor
    while this host's clock is ahead of a store's (exit code 4).

    \b
    Examples:
      pgdr expire --plan
      pgdr expire --output json
    """
    from pgdr.lookout.clock import require_not_ahead  # noqa: PLC0415 - start-up time, see main
    from pgdr.retention import expire as work  # noqa: PLC0415
    from pgdr.retention.inherit import keep_up, known_file  # noqa: PLC0415

    host = invocation(context).host
    require_not_ahead(host)
    terms = policy_of(policy)
    if not plan:
        keep_up(host, terms, output.message)
    elif terms.s3_repositories and known_file(host).read().at is None:
        output.message("what other hosts of this cluster hold was not looked up yet: pgdr hold fetch")
    results = work.expire(host, work.places_of(host, terms), plan_only=plan, wait=0 if plan else seconds_of(wait))
    if output_format is OutputFormat.JSON:
        output.json_result(work.document(results))
    else:
        for item in results:
            _show(item, plan_only=plan)
    for item in results:
        if item.error:
            output.error(item.error)
    codes = [item.exit_code for item in results if item.exit_code is not ExitCode.OK]
    raise typer.Exit(int(codes[0]) if codes else 0)


def _show(item: Expired, *, plan_only: bool) -> None:
    output.result(item.place)
    if item.plan is not None:
        gone = "would go" if plan_only else "removed"
        rows = [
            (
                decision.copy.label,
                f"{decision.copy.at:%Y-%m-%d %H:%M}",
                "yes" if decision.copy.good else "no",
                "stays" if decision.keep else gone,
                "; ".join(decision.reasons),
            )
            for decision in item.plan.decisions
        ]
        output.table(("copy", "of (UTC)", "verified", "", "why"), rows)
        for conflict in item.plan.conflicts:
            output.result(f"conflict: {conflict}")
    output.result("")
