"""``pgdr restore rows``: what is gone from some tables comes home, while everybody goes on writing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.erased import erasures, require_not_erased
from pgdr.cli.options import COLUMN_MAP, POLICY
from pgdr.cli.output import OutputFormat
from pgdr.cli.past import PAST_ARCHIVE, PAST_DATABASE, PAST_SERVICE, past_of
from pgdr.cli.surgery import Journey, choices_of, policy_of, progress, waiting
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.surgery.home import Choices
    from pgdr.surgery.rows import Request


def rows(
    context: typer.Context,
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="SCHEMA.TABLE...", help="The tables whose rows are gone.")
    ] = None,
    source_side: Annotated[
        str | None,
        typer.Option("--side", metavar="NAME", help="A side instance that stands just before it; see pgdr when."),
    ] = None,
    archive: PAST_ARCHIVE = None,
    source_database: PAST_DATABASE = None,
    source_service: PAST_SERVICE = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's rows.")] = None,
    children: Annotated[
        bool, typer.Option("--children/--no-children", help="With the rows that hung on them by foreign keys.")
    ] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done.")] = False,
    mode: Annotated[
        str,
        typer.Option(
            help="missing-only: only what is gone returns; keep-new: changed rows get their content back too."
        ),
    ] = "missing-only",
    on_conflict: Annotated[
        str, typer.Option(help="refuse, or skip: rows that clash with rows of today do not return.")
    ] = "refuse",
    bring_parents: Annotated[
        bool,
        typer.Option("--bring-parents", help="Bring back rows too that returning rows refer to and that are gone."),
    ] = False,
    column_map: COLUMN_MAP = None,
    export: Annotated[
        str, typer.Option(metavar="FORM", help="Write them to files instead: csv, sql, or dump (the whole tables).")
    ] = "",
    to: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A new folder for --export.")] = None,
    undo: Annotated[
        str | None, typer.Option(metavar="OPERATION", help="Take an operation back; see pgdr tenant operations.")
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option(metavar="CLUSTER", help="The cluster's name (with --undo the operation's), typed by a person."),
    ] = None,
    database: Annotated[str | None, typer.Option(help="The live database; default: the ERP's.")] = None,
    policy: POLICY = None,
    lock_timeout: Annotated[
        str, typer.Option(help="How long to wait for any row or table that somebody holds, such as 10s or 2min.")
    ] = "10s",
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for a backup or another operation to end.")] = 0,
    output_format: Annotated[
        OutputFormat, typer.Option("--output", help="table for people, json for scripts.")
    ] = OutputFormat.TABLE,
) -> None:
    """Bring home the rows that are gone from some tables, with their children, in one transaction.

    Nobody has to stop: rows that came since are not even read, rows that were changed since stay as they are. What is
    written is kept for --undo and read again before the commit.

    \b
    Examples:
      pgdr restore rows sales.orders --side past --plan
      pgdr restore rows sales.orders --side past --confirm erp-prod
      pgdr restore rows sales.orders --side past --tenant 4711 --export csv --to /backups/export/orders
    """
    from pgdr.restoring.part import parse_name  # noqa: PLC0415 - start-up time, see main
    from pgdr.surgery.rows import MODES, Request, recover_rows  # noqa: PLC0415

    journey = Journey(context, database, policy, lock_timeout, wait, output_format, "restore rows", "--bring-parents")
    if undo is not None:
        journey.undo(undo, confirm, plan_only=plan)
        return
    if not tables:
        raise typer.BadParameter("name at least one table, or an operation with --undo")
    if bool(export) != (to is not None):
        raise typer.BadParameter("--export and --to FOLDER belong together")
    host = invocation(context).host
    decided = choices_of(
        {"mode": mode, "on_conflict": on_conflict, "bring_shared": bring_parents, "column_map": column_map},
        lock_timeout,
        MODES,
    )
    names = list(dict.fromkeys(parse_name(text) for text in tables))
    gone = erasures(host, policy)
    tenancy = None if gone is None else gone.tenancy
    if tenant is not None:
        require_not_erased(host, policy, tenant, database)
        _, tenancy = policy_of(policy)
    given = {"archive": archive, "side": source_side, "database": source_database, "service": source_service}
    with past_of(context, policy, given, database, wait=wait) as source:
        ledger = None if gone is None else gone.ledger
        request = Request(host, source, names, database, children, tenancy, tenant, ledger)
        if to is not None:
            _hand_over(host, request, decided, export, to, output_format)
            return
        journey.bring_home(
            lambda plan_only: recover_rows(request, decided, plan_only=plan_only, progress=progress()),
            host.cluster_name,
            confirm,
            plan_only=plan,
            details=_details(request, decided),
            # None of theirs was brought; what the tables of today say is asked once more all the same.
            afterwards=lambda: None if gone is None else gone.keep(database or host.database),
        )


def _details(request: Request, choices: Choices) -> dict[str, Any]:
    return {
        "tables": [".".join(name) for name in request.tables],
        "children": request.children,
        "source": request.source.name,
        "mode": str(choices.mode),
        **({} if request.tenant is None else {"tenant": request.tenant}),
    }


def _hand_over(
    host: HostConfig, request: Request, choices: Choices, export: str, to: Path, output_format: OutputFormat
) -> None:
    from dataclasses import asdict  # noqa: PLC0415 - start-up time, see main

    from pgdr.surgery.handover import Form, hand_over  # noqa: PLC0415
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415

    if export not in [*Form]:
        raise typer.BadParameter(f"--export: {export!r} is none of {', '.join(Form)}")
    if Ledger(host).erasures() and request.tenant is None:
        raise RefusedError(
            "subjects were erased here, and files from the past could hold their rows",
            remedy="name one --tenant, or bring the rows home: there they stay away",
        )
    with recorded(
        host, "rows export", on_wait=waiting, form=export, folder=str(to), **_details(request, choices)
    ) as record:
        made = hand_over(request, choices, Form(export), to, progress())
        record.details["rows"] = made.rows
    if output_format is OutputFormat.JSON:
        output.json_result({**asdict(made), "folder": str(to), "rows": made.rows})
        return
    output.table(
        ("file", "tables", "rows"),
        [(one.name, ", ".join(one.tables), "-" if one.rows is None else str(one.rows)) for one in made.files],
        right={"rows"},
    )
    output.result(f"{made.subject} from {made.source}: {len(made.files)} files in {to}; nothing was changed")
