"""``pgdr hold``: keep a backup from being removed, with a reason and a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from pgdr.retention.holds import Hold

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Keep backups from being removed.")


@app.command()
def add(
    context: typer.Context,
    label: Annotated[
        str, typer.Argument(help="The backup set, as pgdr info lists it, or the archive, as pgdr archives list does.")
    ],
    reason: Annotated[str, typer.Option(help="Why, for whoever finds it in five years.")],
    repo: Annotated[int | None, typer.Option("--repo", min=1, help="In this repository only.")] = None,
    policy: POLICY = None,
) -> None:
    """Hold a backup set, and what it builds on, or an archive on the volume: it stays until it is released.

    Copies in the cloud go by the bucket's own rules, which no host may change: fetch an archive first to hold it.

    \b
    Examples:
      pgdr hold add 20261124-020000F --reason 'litigation 2026-17'
      pgdr hold add 20261124_030000 --reason 'litigation 2026-17'
    """
    from pgdr.archive.names import is_label  # noqa: PLC0415 - start-up time, see main
    from pgdr.cli.archives import store_of  # noqa: PLC0415
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.proof.look import now  # noqa: PLC0415
    from pgdr.retention import holds  # noqa: PLC0415
    from pgdr.retention.archives import ARCHIVES_PLACE  # noqa: PLC0415

    host = invocation(context).host
    if is_label(label):
        if repo is not None:
            raise RefusedError(f"{label} is an archive, and in no repository", remedy="leave --repo out")
        store_of(policy).find(label)
        made = holds.add(host, label, reason, now(), place=ARCHIVES_PLACE)
        output.result(f"archive {made.label} is held by {made.person}: {made.reason}")
        return
    found = PgBackRest(host).info(repo)
    if found.find(label, repo) is None:
        found.readable()
        raise RefusedError(f"no repository holds a set {label}", remedy="see pgdr info")
    made = holds.add(host, label, reason, now(), place=f"repository {repo}" if repo else "")
    output.result(f"{made.label} is held by {made.person}: {made.reason}")


@app.command("list")
def list_holds(context: typer.Context, output_format: FORMAT = OutputFormat.TABLE) -> None:
    """List what is held, why and by whom.

    \b
    Example:
      pgdr hold list --output json
    """
    from pgdr.retention.holds import holds_file  # noqa: PLC0415 - start-up time, see main

    found = holds_file(invocation(context).host).read().holds
    if output_format is OutputFormat.JSON:
        output.json_result([hold.model_dump(mode="json") for hold in found])
        return
    _show(found)


def _show(found: Iterable[Hold]) -> None:
    rows = [(h.label, h.place or "everywhere", f"{h.at:%Y-%m-%d}", h.person, h.reason, h.host or "here") for h in found]
    output.table(("copy", "where", "since", "who", "why", "typed on"), rows)


@app.command()
def fetch(
    context: typer.Context,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="A journal that is broken: be content with what stands before that; repeat it."),
    ] = None,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Take over what other hosts of this cluster hold: one that was lost, or whose place a standby took.

    Their journals in the bucket say it. pgdr expire does the same each time before it removes anything, and removes
    nothing on a host where it never could.

    \b
    Examples:
      pgdr hold fetch
      pgdr hold fetch --leave-out 0f3c9a1be2d45c77
    """
    from pgdr.retention.inherit import inherit  # noqa: PLC0415 - start-up time, see main

    found = inherit(invocation(context).host, policy_of(policy), leave_out or ())
    if output_format is OutputFormat.JSON:
        output.json_result(
            {
                "added": [hold.model_dump(mode="json") for hold in found.added],
                "released": [hold.model_dump(mode="json") for hold in found.released],
            }
        )
        return
    output.result(f"{len(found.added)} holds came from other hosts, {len(found.released)} were released there")
    if found.added:
        _show(found.added)


@app.command()
def release(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The held copy.")],
    reason: Annotated[str, typer.Option(help="Why it may go now.")],
) -> None:
    """Release a hold: the next expiry decides by the policy again.

    \b
    Example:
      pgdr hold release 20261124-020000F --reason 'case closed'
    """
    from pgdr.retention import holds  # noqa: PLC0415 - start-up time, see main

    for hold in holds.release(invocation(context).host, label, reason):
        output.result(f"{hold.label} is released; it was held since {hold.at:%Y-%m-%d}: {hold.reason}")
