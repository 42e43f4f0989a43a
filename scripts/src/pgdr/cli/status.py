"""``pgdr status``: can I restore right now, how far back, how fast, and how do I know?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat

if TYPE_CHECKING:
    from pgdr.status.report import Status

app = typer.Typer(rich_markup_mode=None)

_MONITOR = {"green": ("OK", 0), "amber": ("WARNING", 1), "red": ("CRITICAL", 2)}


@app.command()
def status(
    context: typer.Context,
    monitor: Annotated[
        bool, typer.Option("--monitor", help="One line and the exit code that monitoring plugins use: 0, 1, 2.")
    ] = False,
    all_checks: Annotated[bool, typer.Option("--all", help="Also list what is well.")] = False,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Show on one screen what could be restored now, and what is wrong.

    Ends with 0 when nothing is red (amber is shown), with 5 when something promised is not there, with 7 when only
    a repository or the server does not answer. With --monitor: 0 green, 1 amber, 2 red, 3 when pgdr itself failed.

    \b
    Examples:
      pgdr status
      pgdr status --monitor
      pgdr status --output json
    """
    from pgdr.errors import PgdrError  # noqa: PLC0415 - start-up time, see main
    from pgdr.health import exit_code  # noqa: PLC0415
    from pgdr.status import report as work  # noqa: PLC0415

    try:
        # A monitor or a script is told what is so; a person is not kept waiting by a store that hangs.
        patient = monitor or output_format is OutputFormat.JSON
        found = work.status(invocation(context).host, policy_of(policy), patient=patient)
    except PgdrError as error:
        if not monitor:
            raise
        output.result(f"PGDR UNKNOWN - {' '.join(str(error).split())}")
        raise typer.Exit(3) from error
    if monitor:
        raise typer.Exit(_monitor(found))
    if output_format is OutputFormat.JSON:
        output.json_result(work.document(found))
    else:
        _show(found, everything=all_checks)
    raise typer.Exit(int(exit_code(found.checks)))


def _monitor(found: Status) -> int:
    word, code = _MONITOR[str(found.level)]
    bad = [str(check) for check in found.checks if check.level.rank]
    rpo, rto = found.measures.rpo_seconds, found.measures.rto_seconds
    figures = [f"rpo={rpo:.0f}s" if rpo is not None else "", f"rto={rto:.0f}s" if rto is not None else ""]
    text = f"{len(bad)} findings: {bad[0]}" if bad else f"{len(found.checks)} checks are green"
    output.result(f"PGDR {word} - {text.replace('|', '/')} | {' '.join(filter(None, figures))}".rstrip("| "))
    return code


def _show(found: Status, *, everything: bool) -> None:
    from pgdr.proof.usual import ago  # noqa: PLC0415 - start-up time, see main

    facts, measures = found.facts, found.measures
    objectives = facts.policy.objectives
    output.result(f"{facts.policy.cluster.name}: {str(found.level).upper()} at {facts.now:%Y-%m-%d %H:%M:%S} UTC")
    rpo = "unknown" if measures.rpo_seconds is None else ago(measures.rpo_seconds)
    rto = "never measured" if measures.rto_seconds is None else f"about {ago(measures.rto_seconds)}"
    output.result(f"RPO now {rpo} (objective {objectives.rpo}); RTO estimate {rto} (objective {objectives.rto})")
    proven = f"{measures.proven}, {_when(measures.proven_at)}" if measures.proven else "never"
    archive = (
        f", archive {measures.archive_proven}, {_when(measures.archive_proven_at)}" if measures.archive_proven else ""
    )
    output.result(f"last proven by a restore: {proven}{archive}; holds: {len(facts.holds.holds)}")
    output.result("")
    rows = [
        (
            f"{window.repository}  {window.place}",
            _when(window.begins),
            _when(window.ends),
            f"{window.wanted_days} d {'filled' if window.filled else 'filling'}",
            f"{window.backups} sets, {window.segments} WAL",
            "-" if window.rpo_seconds is None else ago(window.rpo_seconds),
            _when(window.verified_at),
        )
        for window in measures.windows
    ]
    output.table(("repository", "recoverable from", "to (UTC)", "window", "holds", "RPO now", "last verified"), rows)
    for name, label in measures.slots.items():
        output.result(f"slot {name}: {label or 'EMPTY'}")
    output.result("")
    shown = [check for check in found.checks if everything or check.level.rank]
    for check in shown:
        output.result(f"{str(check.level).upper():<6} {check}")
    if not shown:
        output.result(f"all {len(found.checks)} checks are green (--all lists them)")


def _when(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
