"""``pgdr corruption``: what is damaged, since when, and the smallest cure that can be proven."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, JOBS
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgdr.corruption.cure import Cured, CurePlan
    from pgdr.corruption.examine import Options
    from pgdr.corruption.model import Findings
    from pgdr.hostconfig import HostConfig

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Damaged data: name it, say since when, cure it by the smallest proven means.",
)

_DATABASE = Annotated[list[str] | None, typer.Option(help="Only this database; repeat it.")]
_THOROUGH = Annotated[
    bool, typer.Option("--heapallindexed", help="Hold every row against every index: reads both whole.")
]
_INSTALL = Annotated[
    bool,
    typer.Option(
        "--install-extensions", help="Make amcheck and pg_visibility where they are missing; else go without them."
    ),
]
_LOG = Annotated[list[Path] | None, typer.Option("--server-log", metavar="FILE", help="One more log of the server.")]
_TIME = "%Y-%m-%d %H:%M:%S+00:00"
_LOG_SHOWN = 5
_LINE_EVERY = 10.0


@app.command()
def examine(
    context: typer.Context,
    database: _DATABASE = None,
    heapallindexed: _THOROUGH = False,
    install_extensions: _INSTALL = False,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="Read every page from the files.")] = True,
    evidence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for copies: log lines, control file, bad pages.")
    ] = None,
    server_log: _LOG = None,
    jobs: JOBS = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Look at everything, name what is damaged, say since when and what cures it. The server may run or be down.

    Evidence comes first. Then every page is read from the files (its checksum is that on disk, and not what the server
    has in memory), the server holds indexes and maps against tables, the WAL that is still needed is read, and the
    backups are asked which of them copied the damage. Nothing is written in the data directory.

    Ends with 0 where nothing is damaged in what could be looked at (what could not is listed), with 5 where something
    is, with 4 where there is no cluster or no such database.

    \b
    Examples:
      pgdr corruption examine --evidence /var/lib/pgdr/evidence-1
      pgdr corruption examine --database erp_generic --heapallindexed --install-extensions --output json
    """
    from pgdr.corruption.evidence import Evidence  # noqa: PLC0415 - start-up time, see main
    from pgdr.corruption.examine import examine as work  # noqa: PLC0415
    from pgdr.journal import Journal  # noqa: PLC0415
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415

    host = invocation(context).host
    options = _options(database, heapallindexed, install_extensions, server_log, jobs, pages=pages)
    folder = Evidence(evidence, host) if evidence is not None else None
    findings = work(host, PgBackRest(host), options, evidence=folder, told=progress()).findings
    if output_format is OutputFormat.JSON:
        output.json_result({**findings.document(), "evidence": str(evidence) if evidence is not None else None})
    else:
        show_findings(findings, host)
        if evidence is not None:
            output.result(f"evidence is in {evidence}")
        if not findings.clean:
            output.result("cure it: pgdr corruption cure --plan")
    # Shown first: a disk that fails may not take it, and the same disk is why somebody asks.
    Journal.of(host).append(
        operation="corruption examine",
        result="ok" if findings.clean else "not proven",
        details={
            "damages": [f"{one.subject}: {one.detail}" for one in findings.damages],
            "unseen": findings.unseen,
            **({"evidence": str(evidence)} if evidence is not None else {}),
        },
    )
    if not findings.clean:
        raise typer.Exit(int(ExitCode.NOT_PROVEN))


@app.command()
def cure(
    context: typer.Context,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what is damaged and what would be done, and do nothing.")
    ] = False,
    confirm: Annotated[str, typer.Option(metavar="CLUSTER", help="The cluster's name, typed by a person.")] = "",
    repo: Annotated[int, typer.Option(min=1, help="Number of the repository to bring the past from.")] = 1,
    database: _DATABASE = None,
    heapallindexed: _THOROUGH = False,
    install_extensions: _INSTALL = False,
    whole_cluster: Annotated[
        bool, typer.Option("--whole-cluster", help="Restore the cluster whatever smaller cure there is.")
    ] = False,
    lock_timeout: Annotated[
        str, typer.Option(help="How long to wait for a table that somebody holds, such as 10s or 2min.")
    ] = "30s",
    server_log: _LOG = None,
    jobs: JOBS = None,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for a backup or another operation to end.")] = 0,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Examine, cure each damage by the smallest means, and examine again: only a clean examination ends with 0.

    Smallest first: a page that the server still has in memory is written again; an index is rebuilt beside its users; a
    map is rebuilt; a broken block of a table, a toast table, a sequence or a catalog comes from a backup that is
    replayed to this hour beside production, and nothing else of it is touched. So does a page that makes no sense under
    a checksum that fits, on PostgreSQL 17 and newer. For a control file without a server, or for many relations, the
    server is stopped, all WAL that it has is brought into the repositories, and the cluster is restored up to its last
    record; what stood there is set aside, and playbooks/dr-restore.yml opens the new one.

    What is cured is copied first. Ends with 4 where no backup is clean or nobody has consented (nothing was changed),
    with 5 where something is damaged still. Killed half-way, type the same line again.

    \b
    Examples:
      pgdr corruption cure --plan
      pgdr corruption cure --confirm erp-prod
    """
    from pgdr.corruption import cure as work  # noqa: PLC0415 - start-up time, see main
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415

    host = invocation(context).host
    options = _options(database, heapallindexed, install_extensions, server_log, jobs, pages=True)
    client = PgBackRest(host)
    if not plan and confirm and confirm != host.cluster_name:
        raise RefusedError(
            f"{confirm!r} is not the name of this cluster",
            remedy=f"type --confirm {host.cluster_name}; nothing was changed",
        )
    wish = work.Wish(repository=repo, whole_cluster=whole_cluster, lock_timeout=lock_timeout, wait=wait)
    decided = work.make_plan(host, client, options, wish, told=progress())
    if output_format is OutputFormat.TABLE:
        _show_plan(decided, host)
    if plan:
        if output_format is OutputFormat.JSON:
            output.json_result(decided.document())
        decided.require_ready()
        return
    if decided.nothing:
        if output_format is OutputFormat.JSON:
            output.json_result({**decided.document(), "clean": True})
        return
    decided.require_ready()
    if not confirm and output.interactive():
        confirm = typer.prompt(f"type {host.cluster_name} to go on", err=True)
    if confirm != host.cluster_name:
        raise RefusedError(
            f"{confirm!r} is not the name of this cluster" if confirm else "nobody has confirmed it",
            remedy=f"look at it with --plan, then add --confirm {host.cluster_name}; nothing was changed",
        )
    done = work.cure(host, client, options, wish, decided, told=progress())
    if output_format is OutputFormat.JSON:
        output.json_result(done.document())
    else:
        _show_cured(done, host)
    done.require_proven()


def _options(
    database: list[str] | None,
    heapallindexed: bool,
    install: bool,
    logs: list[Path] | None,
    jobs: int | None,
    *,
    pages: bool,
) -> Options:
    from pgdr.corruption.examine import Options  # noqa: PLC0415 - start-up time, see main

    return Options(
        databases=tuple(database or ()),
        thorough=heapallindexed,
        install=install,
        pages=pages,
        logs=tuple(logs or ()),
        jobs=jobs or os.cpu_count() or 1,
    )


def progress() -> Callable[[str], None]:
    """Say what is done now, and how far the pages are from time to time."""
    import time  # noqa: PLC0415 - with the rest

    last = time.monotonic()

    def told(line: str) -> None:
        nonlocal last
        if "pages read" not in line or time.monotonic() - last >= _LINE_EVERY:
            last = time.monotonic()
            output.message(line)

    return told


def show_findings(findings: Findings, host: HostConfig) -> None:
    """Write what an examination found, for a person."""
    output.result(f"cluster {host.cluster_name} in {host.data_directory}: {findings.server}")
    if findings.damages:
        output.table(
            ("damaged", "database", "blocks", "what was found", "since", "smallest cure"),
            [
                (
                    f"{one.kind} {one.name}",
                    one.database or "-",
                    one.block_list or "-",
                    one.detail,
                    one.since or "not known",
                    str(one.cure),
                )
                for one in findings.damages
            ],
        )
    clean = [one for one in findings.backups if not one.files]
    if findings.backups:
        output.result(
            f"{len(clean)} of {len(findings.backups)} backups copied no damaged page"
            + (f"; the newest of them: {clean[-1].label} ({clean[-1].stopped:{_TIME}})" if clean else "")
        )
    for line in findings.log[-_LOG_SHOWN:]:
        output.result(f"log: {line}")
    for line in findings.standbys:
        output.result(f"standby: {line}; it may be whole: pgdr standby examine there, playbooks/promote-standby.yml")
    for line in findings.harmless:
        output.result(f"harmless: {line}")
    for line in findings.unseen:
        output.result(f"not looked at: {line}")
    read = f"{findings.pages} pages read from files, {findings.checked} relations checked by the server"
    if findings.clean:
        output.result(f"no damage was found: {read}")
    else:
        output.result(f"{len(findings.damages)} things are damaged; {read}")


def _show_plan(plan: CurePlan, host: HostConfig) -> None:
    show_findings(plan.findings, host)
    for number, step in enumerate(plan.steps, start=1):
        output.result(f"step {number}: {step.line}")
    for line in plan.blockers:
        output.result(f"stands in the way: {line}")


def _show_cured(done: Cured, host: HostConfig) -> None:
    for line in done.lines:
        output.result(line)
    output.result(f"copies of what was damaged: {done.kept}")
    if done.findings.clean:
        output.result(f"{host.cluster_name}: examined again, no damage was found")
    if done.left_to_do:
        output.result(f"left to do: {done.left_to_do}")
