"""``pgdr repository``: a repository that somebody tampered with: since when, and back to what it was."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pgdr.hostconfig import HostConfig
    from pgdr.journal import Journal
    from pgdr.pgbackrest.info import Backup
    from pgdr.tamper.examine import Findings
    from pgdr.tamper.rebuild import RebuildPlan
    from pgdr.tamper.versions import Place

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="A repository in a bucket that somebody tampered with: find the last good moment, make it current again.",
)

_REPO = Annotated[int, typer.Option("--repo", min=1, help="Number of the repository.")]
_TIME = "%Y-%m-%dT%H:%M:%S+00:00"


@app.command()
def examine(
    context: typer.Context,
    repo: _REPO,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Only what was done later.  [default: the last rebuild of this host]")
    ] = "",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Look at every version of every object: was anything done that pgBackRest does not do, and what was before?

    Only reads. Ends with 0 where all is pgBackRest's own work, with 5 where it is not. A thief who ran pgBackRest's own
    expire cannot be told from it: compare the sets of now with the policy (pgdr info).

    \b
    Example:
      pgdr repository examine --repo 2
    """
    from pgdr.journal import Journal  # noqa: PLC0415 - start-up time, see main
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.recovery.target import parse_time  # noqa: PLC0415
    from pgdr.tamper.examine import examine as work  # noqa: PLC0415

    host = invocation(context).host
    journal = Journal.of(host)
    after = parse_time(since, what="--since") if since else _last_rebuild(journal, repo)
    if after is not None:
        output.message(f"looking at what was done after {after:{_TIME}}")
    found, _ = work(_place(host, policy, repo), PgBackRest(host), since=after, told=output.message)
    journal.append(
        operation="repository examine",
        result="not proven" if found.tampered else "ok",
        details={
            "repository": repo,
            "deeds": [f"{one.count} {one.what} {one.deed}" for one in found.groups],
            "last_good": found.last_good.isoformat() if found.last_good else None,
        },
    )
    if output_format is OutputFormat.JSON:
        output.json_result(_document(found))
    else:
        _show(found, repo)
    if found.tampered:
        raise typer.Exit(int(ExitCode.NOT_PROVEN))


def _last_rebuild(journal: Journal, repo: int) -> datetime | None:
    """When this host last made the repository what it had been: what was done before is undone."""
    done = [
        datetime.fromisoformat(entry.at)
        for entry in journal.entries()
        if (entry.operation, entry.result) == ("repository rebuild", "ok") and entry.details.get("repository") == repo
    ]
    return max(done, default=None)


def _place(host: HostConfig, policy: Path | None, repo: int) -> Place:
    from pgdr.tamper.versions import place_of  # noqa: PLC0415 - start-up time, see main

    return place_of(host, policy_of(policy), repo)


def _labels(sets: Sequence[Backup] | None) -> list[str] | None:
    return None if sets is None else [one.label for one in sets]


def _document(found: Findings) -> dict[str, Any]:
    return {
        "place": found.place,
        "objects": found.objects,
        "versions": found.versions,
        "tampered": found.tampered,
        "deeds": [
            {**asdict(one), "first": f"{one.first:{_TIME}}", "last": f"{one.last:{_TIME}}"} for one in found.groups
        ],
        "last_good": f"{found.last_good:{_TIME}}" if found.last_good else None,
        "sets_then": _labels(found.sets),
        "sets_now": _labels(found.now),
    }


def _show(found: Findings, repo: int) -> None:
    if not found.tampered:
        count = "no" if found.now is None else str(len(found.now))
        output.result(
            f"{found.place}: {found.objects} objects with {found.versions} versions, all of it pgBackRest's own work; "
            f"{count} sets"
        )
        return
    output.table(
        ("first (UTC)", "last", "objects", "what was done", "such as"),
        [
            (
                f"{one.first:%Y-%m-%d %H:%M:%S}",
                f"{one.last:%Y-%m-%d %H:%M:%S}",
                str(one.count),
                f"{one.what} {one.deed}",
                one.example,
            )
            for one in found.groups
        ],
        right={"objects"},
    )
    now = "nothing can be read" if found.now is None else f"{len(found.now)} sets"
    if found.last_good is None:
        output.result(
            f"{found.place}: no good moment is left; now: {now}. Another repository or the replica must serve"
        )
        return
    output.result(f"{found.place}: last good at {found.last_good:{_TIME}} with {len(found.sets)} sets; now: {now}")
    output.result(f"back to it: pgdr repository rebuild --repo {repo} --as-of {found.last_good:{_TIME}} --plan")


@app.command()
def rebuild(
    context: typer.Context,
    repo: _REPO,
    as_of: Annotated[
        str, typer.Option(metavar="TIME", help="The moment, with its offset; see pgdr repository examine.")
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")] = False,
    confirm: Annotated[str, typer.Option(metavar="CLUSTER", help="The cluster's name, typed by a person.")] = "",
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for a backup or another operation to end.")] = 0,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Make the repository what it was at a moment, by copies of old versions on the server. Nothing is destroyed.

    Revoke the stolen keys first: who still has them undoes it. What came since is hidden, except WAL that was written
    once and never touched. Killed half-way, type the same line again.

    \b
    Example:
      pgdr repository rebuild --repo 2 --as-of 2026-11-24T02:14:59+00:00 --confirm erp-prod
    """
    from pgdr.cli.progress import byte_progress  # noqa: PLC0415 - start-up time, see main
    from pgdr.cli.surgery import waiting  # noqa: PLC0415
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.pgbackrest.spool import acknowledgements  # noqa: PLC0415
    from pgdr.recovery.target import parse_time  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415
    from pgdr.tamper import rebuild as work  # noqa: PLC0415
    from pgdr.tamper.history import read_history  # noqa: PLC0415

    moment: datetime = parse_time(as_of, what="--as-of")
    host = invocation(context).host
    place, client = _place(host, policy, repo), PgBackRest(host)
    history = read_history(place.client, place.bucket, place.layout)
    decided = work.plan_rebuild(history, client, place, moment)
    if output_format is OutputFormat.TABLE:
        _show_plan(decided, place)
    if plan:
        if output_format is OutputFormat.JSON:
            output.json_result(_plan_document(decided))
        return
    if confirm != host.cluster_name:
        raise RefusedError(
            f"{confirm!r} is not the name of this cluster" if confirm else "nobody has confirmed it",
            remedy=f"look at it with --plan, then add --confirm {host.cluster_name}; nothing was changed",
        )
    facts = {"repository": repo, "as_of": moment.isoformat(), "back": len(decided.back), "hidden": len(decided.hidden)}
    with recorded(host, "repository rebuild", wait=wait, on_wait=waiting, **facts) as record:
        with byte_progress(f"bringing {place.name} back") as progress:
            done = work.rebuild(
                place,
                client,
                history,
                decided,
                spool=acknowledgements(host.pgbackrest_config, host.stanza),
                progress=progress,
            )
        record.details["acknowledgements_removed"] = len(done.spool)
    if output_format is OutputFormat.JSON:
        output.json_result({**_plan_document(decided), "acknowledgements_removed": done.spool})
        return
    output.result(
        f"{place.name} is what it was at {moment:{_TIME}}: {len(decided.sets)} sets are listed; "
        "now check it and take a full backup"
    )


def _plan_document(plan: RebuildPlan) -> dict[str, Any]:
    return {
        "as_of": f"{plan.as_of:{_TIME}}",
        "back": [version.key for version in plan.back],
        "bytes": plan.size,
        "hidden": list(plan.hidden),
        "later_wal": list(plan.later_wal),
        "unchanged": plan.unchanged,
        "sets": list(plan.sets),
    }


def _show_plan(plan: RebuildPlan, place: Place) -> None:
    output.result(f"{place.name} as of {plan.as_of:{_TIME}}: {len(plan.sets)} sets, {plan.sets[-1]} the newest")
    output.result(
        f"{len(plan.back)} objects come back ({output.bytes_text(plan.size)}, copied on the server), "
        f"{plan.unchanged} are as they were"
    )
    output.result(f"{len(plan.hidden)} objects that came since are hidden, {len(plan.later_wal)} of WAL stay")
