"""``pgdr tenant``: one tenant of many: back to the past, out to another place, or erased.

``pgdr restore tenant`` is the same command as ``pgdr tenant restore``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.erased import require_not_erased
from pgdr.cli.options import COLUMN_MAP, POLICY
from pgdr.cli.output import OutputFormat
from pgdr.cli.past import PAST_ARCHIVE, PAST_DATABASE, PAST_SERVICE, past_of
from pgdr.cli.surgery import Journey, policy_of
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from pgdr.surgery.export import Manifest

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="One tenant of many: bring it back to how it was, move it out, erase it. All others go on working.",
)

_Database = Annotated[str | None, typer.Option(help="The live database; default: the ERP's.")]
_Format = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]
_Plan = Annotated[bool, typer.Option("--plan", help="Only show what would be done.")]
_Confirm = Annotated[
    str | None, typer.Option(metavar="NAME", help="The tenant's id once more, typed by a person: consent.")
]
_LockTimeout = Annotated[
    str, typer.Option(help="How long to wait for any row or table that somebody holds, such as 10s or 2min.")
]
_Wait = Annotated[int, typer.Option(min=0, help="Seconds to wait for a backup or another operation to end.")]


@app.command()
def restore(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Argument(help="The tenant's id, as its column holds it.")] = None,
    archive: PAST_ARCHIVE = None,
    source_side: Annotated[
        str | None, typer.Option("--side", metavar="NAME", help="A side instance that is ready; see pgdr side.")
    ] = None,
    source_database: PAST_DATABASE = None,
    source_service: PAST_SERVICE = None,
    undo: Annotated[
        str | None, typer.Option(metavar="OPERATION", help="Take an operation back; see pgdr tenant operations.")
    ] = None,
    plan: _Plan = False,
    mode: Annotated[
        str,
        typer.Option(
            help="exact: as it was then; keep-new: rows that came since stay; missing-only: only what is gone returns."
        ),
    ] = "exact",
    on_conflict: Annotated[
        str,
        typer.Option(help="refuse, or skip: rows that clash with rows of others stay as they are today."),
    ] = "refuse",
    bring_shared: Annotated[
        bool, typer.Option("--bring-shared", help="Bring back shared rows that returning rows need and that are gone.")
    ] = False,
    column_map: COLUMN_MAP = None,
    confirm: _Confirm = None,
    database: _Database = None,
    policy: POLICY = None,
    lock_timeout: _LockTimeout = "10s",
    wait: _Wait = 0,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Bring one tenant's rows back to how they were, in all tables, in one transaction.

    Shows the plan, asks for the tenant's id, keeps what it removes for --undo, and proves the result before it
    commits. Other tenants keep working; new rows of this one wait until it is done.

    \b
    Examples:
      pgdr tenant restore 4711 --archive 2026-11-24 --plan
      pgdr tenant restore 4711 --side tuesday --confirm 4711
      pgdr tenant restore --undo 20260301T031500-a1b2c3 --confirm 20260301T031500-a1b2c3
    """
    journey = Journey(context, database, policy, lock_timeout, wait, output_format)
    if undo is not None:
        journey.undo(undo, confirm, plan_only=plan)
        return
    if tenant is None:
        raise typer.BadParameter("name a tenant, or an operation with --undo")
    require_not_erased(invocation(context).host, policy, tenant, database)
    given = {"archive": archive, "side": source_side, "database": source_database, "service": source_service}
    choices = {"mode": mode, "on_conflict": on_conflict, "bring_shared": bring_shared, "column_map": column_map}
    with past_of(context, policy, given, database, wait=wait) as source:
        journey.restore(tenant, source, choices, confirm, plan_only=plan)


@app.command()
def operations(
    context: typer.Context,
    database: _Database = None,
    remove_aborted: Annotated[
        bool, typer.Option("--remove-aborted", help="Remove what operations left that changed nothing.")
    ] = False,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """List operations on rows that can be undone, and those that were killed and changed nothing.

    \b
    Examples:
      pgdr tenant operations
      pgdr tenant operations --remove-aborted
    """
    from pgdr.postgres.connection import connected  # noqa: PLC0415
    from pgdr.surgery import images  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415

    host = invocation(context).host
    with connected(host, database) as connection:
        if remove_aborted:
            with recorded(host, "tenant operations cleanup") as record:
                record.details["removed"] = images.remove_aborted(host, connection)
        found = images.operations(host, connection)
    if output_format is OutputFormat.JSON:
        output.json_result([images.document(one) for one in found])
        return
    rows = [
        (
            one.name,
            one.state,
            one.manifest.kind if one.manifest else "-",
            one.manifest.subject if one.manifest else "-",
            f"{one.manifest.at:%Y-%m-%d %H:%M:%S}" if one.manifest else "-",
            str(sum(t.before.rows + t.after.rows for t in one.manifest.tables)) if one.manifest else "-",
        )
        for one in found
    ]
    output.table(("operation", "state", "kind", "subject", "at (UTC)", "rows kept"), rows, right={"rows kept"})


@app.command()
def export(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="The tenant's id, as its column holds it.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder.")],
    database: _Database = None,
    policy: POLICY = None,
    wait: _Wait = 0,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Write one tenant to a folder: its rows, the shared rows that it needs, definitions and sequences.

    \b
    Example:
      pgdr tenant export 4711 --to /backups/export/4711
    """
    from pgdr.surgery import export as work  # noqa: PLC0415 - start-up time, see main
    from pgdr.surgery.records import recorded  # noqa: PLC0415

    _, tenancy = policy_of(policy)
    host = invocation(context).host
    with recorded(host, "tenant export", wait=wait, tenant=tenant, folder=str(to)) as record:
        manifest = work.export_tenant(work.Request(host, tenancy, tenant, database), to)
        record.details["rows"] = manifest.rows
    _show_export(manifest, to, output_format)


def _show_export(manifest: Manifest, folder: Path, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        output.json_result(manifest.model_dump(mode="json"))
        return
    for name in manifest.left_out:
        output.result(f"left out, nobody knows whose its rows are: {name}")
    output.result(f"roles needed: {', '.join(manifest.roles) or 'none'}")
    output.result(f"tenant {manifest.tenant}: {manifest.rows} rows in {len(manifest.tables)} files, {folder}")


@app.command()
def move(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="The tenant's id, as its column holds it.")],
    through: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for the export on the way.")],
    to_database: Annotated[str | None, typer.Option(metavar="NAME", help="An empty database of this cluster.")] = None,
    to_service: Annotated[
        str | None, typer.Option(metavar="NAME", help="A service of pg_service.conf: an empty database elsewhere.")
    ] = None,
    database: _Database = None,
    policy: POLICY = None,
    wait: _Wait = 0,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Copy one tenant into an empty database, proven by checksum. The tenant stays here until it is erased.

    \b
    Examples:
      pgdr tenant move 4711 --through /backups/export/4711 --to-service dedicated-4711
      pgdr tenant erase 4711 --confirm 4711
    """
    from pgdr.surgery import export as work  # noqa: PLC0415
    from pgdr.surgery import move as arrival  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415

    if (to_database is None) == (to_service is None):
        raise typer.BadParameter("name the target with --to-database or --to-service, one of them")
    host = invocation(context).host
    target: arrival.Target = (
        arrival.ServiceTarget(to_service) if to_service else arrival.LocalTarget(host, str(to_database))
    )
    _, tenancy = policy_of(policy)
    arrival.require_empty(target)
    with recorded(host, "tenant move", wait=wait, tenant=tenant, target=target.name) as record:
        work.export_tenant(work.Request(host, tenancy, tenant, database), through)
        moved = arrival.load_tenant(host, through, target)
        record.details["rows"] = moved.rows
    if output_format is OutputFormat.JSON:
        output.json_result(asdict(moved))
        return
    output.result(
        f"tenant {tenant}: {moved.rows} rows in {moved.tables} tables arrived in {target.name}, proven; "
        f"{moved.views} materialized views filled"
    )
    output.result(f"it is still here as well: pgdr tenant erase {tenant} when its users have moved")


@app.command()
def erase(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Argument(help="The tenant's id, as its column holds it.")] = None,
    plan: _Plan = False,
    proof: Annotated[
        bool, typer.Option("--proof", help="Show when the last backup that holds erased data expires.")
    ] = False,
    confirm: _Confirm = None,
    database: _Database = None,
    policy: POLICY = None,
    lock_timeout: _LockTimeout = "10s",
    wait: _Wait = 0,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Erase all rows of a tenant for good, and write it into the erasure ledger so that no restore brings them back.

    \b
    Examples:
      pgdr tenant erase 4711 --plan
      pgdr tenant erase 4711 --confirm 4711
      pgdr tenant erase --proof
    """
    if proof:
        _proof(context, policy, tenant, database, output_format)
        return
    if tenant is None:
        raise typer.BadParameter("name a tenant, or ask for --proof")
    Journey(context, database, policy, lock_timeout, wait, output_format).erase(tenant, confirm, plan_only=plan)


def _proof(
    context: typer.Context, path: Path | None, tenant: str | None, database: str | None, output_format: OutputFormat
) -> None:
    from datetime import datetime  # noqa: PLC0415

    from pgdr.surgery import erase as work  # noqa: PLC0415
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415
    from pgdr.surgery.proof import holdings  # noqa: PLC0415

    policy, tenancy = policy_of(path)
    host = invocation(context).host
    ledger = Ledger(host)
    erasures = [one for one in ledger.erasures() if one.state == "done"]
    if tenant is not None:
        subject = work.subject_of(work.Request(host, tenancy, database), tenant, ledger)
        erasures = [one for one in erasures if one.subject == subject]
        if not erasures:
            raise RefusedError(f"the ledger has no erasure of tenant {tenant!r}", remedy="see pgdr erasures list")
    documents: list[dict[str, Any]] = []
    for erasure in erasures:
        places = holdings(policy, datetime.fromisoformat(erasure.at))
        documents.append(
            {
                "erasure": erasure.number,
                "erased_at": erasure.at,
                "rows": erasure.rows,
                "last_backup_expires": places[-1].until,
                "places": [{"place": p.place, "until": p.until, "why": p.why} for p in places],
            }
        )
    if output_format is OutputFormat.JSON:
        output.json_result(documents)
        return
    for document in documents:
        output.table(
            ("may hold the data", "until (UTC)", "why"),
            [(p["place"], f"{p['until']:%Y-%m-%d}", p["why"]) for p in document["places"]],
        )
        output.result(
            f"erasure {document['erasure']} of {document['erased_at']}: the last backup that holds the data expires "
            f"{document['last_backup_expires']:%Y-%m-%d}"
        )
    if not documents:
        output.result("nothing was erased yet")
