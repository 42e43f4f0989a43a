"""``pgdr standby``: a standby examined, its primary fenced, the standby promoted.

The playbook ``promote-standby.yml`` calls these commands in order on the two hosts; they can be typed by hand.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.corruption import progress, show_findings
from pgdr.cli.options import FORMAT, JOBS
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode, RefusedError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.standby.plan import PromotionPlan
    from pgdr.standby.promote import Promoted

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="A standby takes its primary's place: examine it, fence the primary, promote it.",
)

_CONFIRM = Annotated[str, typer.Option(metavar="CLUSTER", help="The cluster's name, typed by a person.")]
_PLAN = Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")]
_WAIT = Annotated[int, typer.Option(min=0, help="Seconds to wait for a backup or another operation to end.")]


@app.command()
def examine(
    context: typer.Context,
    heapallindexed: Annotated[
        bool, typer.Option("--heapallindexed", help="Hold every row against every index: reads both whole.")
    ] = False,
    jobs: JOBS = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """On the standby: whose it is, how far it is, and whether it is whole. It goes on replaying meanwhile.

    The same examination as pgdr corruption examine. A standby copies WAL and no pages, so what a disk broke on the
    primary is whole here as a rule; what was written wrongly was replicated. Only an examination of the last 24 hours
    that found nothing lets this standby be promoted.

    Ends with 0 where nothing is damaged, with 5 where something is, with 4 where this is no standby.

    Example: pgdr standby examine --heapallindexed
    """
    from pgdr.corruption.examine import Options  # noqa: PLC0415 - start-up time, see main
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.standby.look import examine_standby  # noqa: PLC0415

    host = invocation(context).host
    options = Options(thorough=heapallindexed, jobs=jobs or os.cpu_count() or 1)
    found, findings = examine_standby(host, PgBackRest(host), options, told=progress())
    if output_format is OutputFormat.JSON:
        facts = {"system_identifier": found.facts.system_identifier, "timeline": found.facts.timeline}
        output.json_result({**findings.document(), **facts, "replayed": found.replayed, "standby": found.line})
    else:
        show_findings(findings, host)
        output.result(f"standby: {found.line}")
    if not findings.clean:
        raise typer.Exit(int(ExitCode.NOT_PROVEN))


@app.command()
def fence(
    context: typer.Context,
    plan: _PLAN = False,
    confirm: _CONFIRM = "",
    patience: Annotated[int, typer.Option(min=1, help="Seconds until a server that does not react is killed.")] = 30,
    wait: _WAIT = 0,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """On the primary: stop it cleanly, archive all WAL that it has, and keep it from starting again.

    A clean stop waits until every standby that streams has all, its last record included. A server that hangs is killed
    with all its processes, and what it has committed is archived from its WAL. Then no ordinary start gets through,
    neither systemd's after a reboot nor a person's: PostgreSQL's log names the reason. With --output json it writes
    what the standby must know (pgdr standby promote --handover). Typed again, it says the same again. pgdr standby
    unfence takes it back, as long as no standby was promoted.

    Example: pgdr standby fence --confirm erp-prod --output json > handover.json
    """
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415 - start-up time, see main
    from pgdr.standby.end import primary_end  # noqa: PLC0415
    from pgdr.standby.fence import fence as work  # noqa: PLC0415

    host = invocation(context).host
    if plan:
        end = primary_end(host)
    else:
        _require_consent(host, confirm, "stop this primary for good")
        end = work(host, PgBackRest(host), wait=wait, told=output.message, patience=patience)
    if output_format is OutputFormat.JSON:
        output.json_result(end.model_dump(mode="json"))
        return
    output.result(end.line)
    if plan and not end.stopped:
        output.result("it would be stopped, its last WAL archived, and kept from starting again")
    if end.not_archived:
        output.result(f"not archived: {end.not_archived}")
    if end.fenced:
        output.result(f"start it again, if no standby was promoted: pgdr standby unfence --confirm {host.cluster_name}")


@app.command()
def unfence(context: typer.Context, confirm: _CONFIRM = "") -> None:
    """On a fenced primary: let it start again. Refused where a repository holds the timeline of a promoted standby.

    The fence archived its last WAL segment before that was full, so it begins a timeline of its own; standbys follow.

    Example: pgdr standby unfence --confirm erp-prod
    """
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415 - start-up time, see main
    from pgdr.standby.fence import unfence as work  # noqa: PLC0415

    host = invocation(context).host
    _require_consent(host, confirm, "let this primary start again")
    branches = work(host, PgBackRest(host))
    output.result(f"{host.cluster_name} may start again: systemctl start {host.service_unit}")
    if branches:
        output.result("it begins a new timeline: its last WAL segment is archived as it was. Then: pgdr backup full")


@app.command()
def promote(
    context: typer.Context,
    plan: _PLAN = False,
    confirm: _CONFIRM = "",
    handover: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What pgdr standby fence wrote on the primary; - reads it here.")
    ] = None,
    unfenced: Annotated[
        str,
        typer.Option(metavar="CLUSTER", help="Its name once more: promote though nobody could stop the primary."),
    ] = "",
    accept_loss: Annotated[
        str,
        typer.Option(metavar="CLUSTER", help="Its name once more: promote without the primary's last WAL."),
    ] = "",
    most_behind: Annotated[int, typer.Option(min=0, help="Bytes of WAL that the standby may be behind.")] = 2**30,
    patience: Annotated[int, typer.Option(min=1, help="Seconds without progress until the rest is given up.")] = 60,
    archiving: Annotated[
        bool, typer.Option("--archiving/--no-archiving", help="See each repository get the new timeline's WAL.")
    ] = True,
    disaster_time: Annotated[str, typer.Option(help="When it broke, with offset; gives RTO and RPO.")] = "",
    wait: _WAIT = 0,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """On the standby: replay the primary's last record, promote, take writes, archive on the new timeline.

    What was fenced (--handover) says where its WAL ends. The standby is promoted only when it has replayed that record:
    then no committed row is lost. What it lacks it fetches from the archive. Otherwise it stays a standby, the
    message says how much is missing, and --accept-loss goes on without.

    Where the primary's host is lost, --unfenced is the consent to promote without knowing whether it lives; refused as
    long as it streams to this standby. Killed half-way, type the same line again.

    Ends with 4 where it must not be promoted (nothing was changed), with 5 where the last record was not replayed, or
    where it is promoted and a repository does not get its WAL.

    \b
    Examples:
      pgdr standby promote --plan --handover handover.json
      pgdr standby promote --handover handover.json --confirm erp-prod
    """
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415 - start-up time, see main
    from pgdr.recovery.target import parse_time  # noqa: PLC0415
    from pgdr.standby.end import read_end  # noqa: PLC0415
    from pgdr.standby.plan import Wish, make_plan  # noqa: PLC0415
    from pgdr.standby.promote import promote as work  # noqa: PLC0415

    host = invocation(context).host
    for name in (unfenced, accept_loss):
        _require_name(host, name)
    wish = Wish(
        end=read_end(_text(handover), str(handover)) if handover is not None else None,
        unfenced=bool(unfenced),
        accept_loss=bool(accept_loss),
        most_behind=most_behind,
        patience=patience,
        disaster_at=parse_time(disaster_time, what="disaster_time") if disaster_time else None,
        archiving=archiving,
        wait=wait,
    )
    client = PgBackRest(host)
    decided = make_plan(host, client, wish, planning=plan)
    if output_format is OutputFormat.TABLE or not plan:
        _show_plan(decided, quiet=output_format is OutputFormat.JSON)
    if plan:
        if output_format is OutputFormat.JSON:
            output.json_result(decided.document())
        decided.require_ready()
        return
    decided.require_ready()
    _require_consent(host, confirm, "promote this standby")
    done = work(host, client, wish, decided, told=output.message)
    if output_format is OutputFormat.JSON:
        output.json_result(done.document())
    else:
        _show(done, host)
    done.require_archiving()


def _text(path: Path) -> str:
    """A document of the other host.

    Raises:
        RefusedError: it cannot be read.
    """
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RefusedError(f"cannot read {path}: {reason}", remedy="nothing was changed") from error


def _require_name(host: HostConfig, name: str) -> None:
    if name and name != host.cluster_name:
        raise RefusedError(
            f"{name!r} is not the name of this cluster", remedy=f"it is {host.cluster_name}; nothing was changed"
        )


def _require_consent(host: HostConfig, confirm: str, what: str) -> None:
    _require_name(host, confirm)
    if not confirm and output.interactive():
        confirm = typer.prompt(f"type {host.cluster_name} to {what}", err=True)
        _require_name(host, confirm)
    if not confirm:
        raise RefusedError(
            "nobody has confirmed it",
            remedy=f"look at it with --plan, then add --confirm {host.cluster_name}; nothing was changed",
        )


def _show_plan(plan: PromotionPlan, *, quiet: bool) -> None:
    say = output.message if quiet else output.result
    for line in plan.lines:
        say(line)
    for line in plan.blockers:
        say(f"stands in the way: {line}")


def _show(done: Promoted, host: HostConfig) -> None:
    output.result(f"{host.cluster_name} takes writes on timeline {done.timeline}; replayed up to {done.replayed}")
    output.result(done.lost or "the primary's last record was replayed: no committed row is lost")
    rto = f"{done.rto_seconds:.1f} s" if done.rto_seconds is not None else "not known"
    rpo = f"{done.rpo_seconds:.1f} s" if done.rpo_seconds is not None else "not known"
    output.result(f"RTO {rto}, RPO {rpo}")
    for line in done.archiving:
        output.result(f"archiving: {line}")
    for line in done.not_archiving:
        output.result(f"not archiving: {line}")
    for line in done.left_to_do:
        output.result(f"left to do: {line}")
