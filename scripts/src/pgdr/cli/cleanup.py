"""``pgdr cleanup``: remove what killed operations left behind."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat

app = typer.Typer(rich_markup_mode=None)


@app.command()
def cleanup(
    context: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="List it, and remove nothing.")] = False,
    drop_kept: Annotated[
        str,
        typer.Option(metavar="NAME", help="Also remove this database or schema that a restore replaced and kept."),
    ] = "",
    confirm: Annotated[str, typer.Option(metavar="CLUSTER", help="The cluster's name; --drop-kept needs it.")] = "",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Remove what killed archives, restores and rehearsals left: folders, instances, databases, schemas, roles, rows.

    What a restore replaced is kept until you name it with --drop-kept. Ends with 6 while an operation runs.

    \b
    Examples:
      pgdr cleanup --plan
      pgdr cleanup
      pgdr cleanup --drop-kept erp_generic_before_20261124_031500 --confirm erp-prod
    """
    from pgdr.archive.local import LocalStore  # noqa: PLC0415 - start-up time, see main
    from pgdr.cli.restore import require_consent  # noqa: PLC0415
    from pgdr.restoring import cleanup as work  # noqa: PLC0415

    host, rules = invocation(context).host, policy_of(policy)
    store = LocalStore(Path(rules.archives.local.path)) if rules.archives is not None else None
    if drop_kept and not plan:
        require_consent(host, confirm)
        dropped = work.drop_kept(host, drop_kept)
        output.message(f"removed: {dropped.kind} {dropped.name} ({dropped.what})")
    found = work.clean(host, store, only_plan=plan)
    kept = work.kept(host)
    if output_format is OutputFormat.JSON:
        output.json_result(
            {"removed": not plan, "leftovers": [asdict(i) for i in found], "kept": [asdict(i) for i in kept]}
        )
        return
    verb = "would be removed" if plan else "removed"
    rows = [(verb, item.kind, item.name, item.what) for item in found]
    rows += [("kept", item.kind, item.name, item.what) for item in kept]
    if rows:
        output.table(("", "kind", "name", "what it is"), rows)
    else:
        output.result("nothing is left over")
