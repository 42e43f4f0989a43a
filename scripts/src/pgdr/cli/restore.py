"""``pgdr restore``: bring a database, a schema, a table, a tenant or rows back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pgdr.cli import output, rows, tenant
from pgdr.cli.archive import waiting
from pgdr.cli.context import invocation
from pgdr.cli.erased import erasures, keeper
from pgdr.cli.options import COLUMN_MAP, FORMAT, JOBS, POLICY, WAIT, seconds_of
from pgdr.cli.output import OutputFormat
from pgdr.cli.sources import ARCHIVE, SIDE, archive_of
from pgdr.errors import PgdrError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgdr.hostconfig import HostConfig
    from pgdr.restoring.database import DatabasePlan
    from pgdr.restoring.schema import SchemaPlan
    from pgdr.restoring.tables import Mode

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Bring back a database, a schema, a table, a tenant or rows."
)
app.command(name="tenant")(tenant.restore)
app.command(name="rows")(rows.rows)

PLAN = Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")]
TABLESPACES = Annotated[
    bool,
    typer.Option(
        "--no-tablespaces", help="Put everything into the default tablespace: for a host that has not those of then."
    ),
]
CONFIRM = Annotated[str, typer.Option(metavar="CLUSTER", help="The cluster's name, typed by a person.")]
_SHOWN = 20
_ONE_TABLESPACE = "all goes into the default tablespace (--no-tablespaces)"
_Result = TypeVar("_Result")


@app.callback()
def restore() -> None:
    """Bring back a database, a schema, a table, a tenant or rows."""


def require_consent(host: HostConfig, confirm: str) -> None:
    """Refuse unless a person typed the cluster's name.

    Raises:
        RefusedError: nobody did.
    """
    if not confirm:
        raise RefusedError(
            "this changes the live cluster and nobody has confirmed it",
            remedy=f"look at it with --plan, then add --confirm {host.cluster_name}",
        )
    if confirm != host.cluster_name:
        raise RefusedError(
            f"{confirm!r} is not the name of this cluster", remedy=f"type --confirm {host.cluster_name} if you mean it"
        )


def operation(
    host: HostConfig,
    name: str,
    details: Mapping[str, Any],
    wait: str,
    work: Callable[[], tuple[_Result, dict[str, float]]],
) -> _Result:
    """Do a piece of work under the operation lock, and leave a record of its beginning and its end."""
    from pgdr.journal import Journal  # noqa: PLC0415
    from pgdr.locks import operation_lock  # noqa: PLC0415
    from pgdr.supervise import Supervisor  # noqa: PLC0415

    journal = Journal.of(host)
    with Supervisor(), operation_lock(host, name, wait=seconds_of(wait), on_wait=waiting):
        journal.append(operation=name, result="started", details=details)
        try:
            result, times = work()
        except PgdrError as error:
            journal.append(operation=name, result="failed", details={**details, "error": str(error)})
            raise
        journal.append(operation=name, result="ok", details=details, times=times)
    return result


@contextmanager
def phases(title: str) -> Iterator[Callable[[str], None]]:
    """Tell a person which phase begins."""
    yield lambda phase: output.message(f"{title}: {phase}")


@app.command()
def database(
    context: typer.Context,
    archive: ARCHIVE = "",
    side: SIDE = "",
    into: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the restored database; default: the archived one's.")
    ] = "",
    plan: PLAN = False,
    confirm: CONFIRM = "",
    disconnect: Annotated[
        bool, typer.Option("--disconnect", help="End the sessions in the live database when the two are swapped.")
    ] = False,
    privileged: Annotated[
        bool, typer.Option("--privileged", help="Also restore what the plan says is held back.")
    ] = False,
    no_tablespaces: TABLESPACES = False,
    swap_back: Annotated[
        bool, typer.Option("--swap-back", help="Put the database back that the last restore replaced.")
    ] = False,
    jobs: JOBS = None,
    wait: WAIT = "0s",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Restore a whole database beside the live one, prove it, and swap the two by name.

    The live database keeps working until the swap, which takes a moment and ends its sessions; it is kept as
    NAME_before_TIME. Nothing of it is changed if anything fails.

    \b
    Examples:
      pgdr restore database --plan
      pgdr restore database --archive 2026-11-24 --confirm erp-prod --disconnect
      pgdr restore database --into erp_copy --confirm erp-prod
      pgdr restore database --side tuesday --into erp_tuesday --confirm erp-prod
      pgdr restore database --swap-back --confirm erp-prod --disconnect
    """
    from pgdr.restoring import database as work  # noqa: PLC0415

    host = invocation(context).host
    if swap_back:
        name = into or host.database
        if plan:
            output.result(f"{work.find_kept(host, name)} would become {name} again, and {name} be kept")
        else:
            _swap_back(host, name, confirm, wait, disconnect=disconnect)
        return
    source = archive_of(context, policy, archive, side, jobs)
    decided = work.make_plan(host, source, into or source.manifest.database.name, tablespaces=not no_tablespaces)
    if plan:
        _show_database_plan(decided, output_format)
        return
    require_consent(host, confirm)
    if decided.sessions and not disconnect:
        raise RefusedError(
            f"{decided.sessions} sessions work in {decided.database}", remedy="add --disconnect to end them at the swap"
        )

    keep = keeper(host, policy)

    def run() -> tuple[work.DatabaseRestore, dict[str, float]]:
        with phases(f"restore of {decided.database}") as on_phase:
            done = work.restore(
                host, source, decided, privileged=privileged, jobs=jobs, on_phase=on_phase, before_swap=keep
            )
        return done, done.times

    done = operation(host, "restore database", work.as_details(decided), wait, run)
    if output_format is OutputFormat.JSON:
        output.json_result({"plan": asdict(decided), "proven": asdict(done.proven), "seconds": done.times})
        return
    kept = f"; the one before is {decided.kept_as} (--swap-back returns to it)" if decided.replaces else ""
    output.result(
        f"{decided.database} is restored from archive {decided.source}: {done.proven.tables} tables, "
        f"{done.proven.rows} rows, {done.proven.constraints} constraints compared and equal{kept}"
    )
    for text in () if privileged else decided.held_back:
        output.message(f"not restored (--privileged does): {text}")


def _swap_back(host: HostConfig, name: str, confirm: str, wait: str, *, disconnect: bool) -> None:
    from pgdr.postgres.connection import connected  # noqa: PLC0415
    from pgdr.restoring import database as work  # noqa: PLC0415
    from pgdr.restoring.swap import sessions  # noqa: PLC0415

    kept = work.find_kept(host, name)
    require_consent(host, confirm)
    with connected(host, "postgres") as admin:
        count = sessions(admin, name)
    if count and not disconnect:
        raise RefusedError(f"{count} sessions work in {name}", remedy="add --disconnect to end them at the swap")
    details = {"database": name, "back": kept}
    aside, back = operation(host, "restore database swap-back", details, wait, lambda: (work.swap_back(host, name), {}))
    output.result(f"{name} is what {back} was; what it was until now is {aside}")


def _show_database_plan(decided: DatabasePlan, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        output.json_result(asdict(decided))
        return
    rows = [
        ("archive", f"{decided.source} ({decided.archived_at:%Y-%m-%d %H:%M:%S} UTC)"),
        ("database", decided.database),
        ("comes back", f"{decided.rows} rows, about {output.bytes_text(decided.size)}"),
        ("live one", f"kept as {decided.kept_as}, {decided.sessions} sessions" if decided.replaces else "none"),
    ]
    rows += [("note", text) for text in decided.extension_notes]
    rows += [] if decided.tablespaces else [("note", _ONE_TABLESPACE)]
    rows += [("held back", text) for text in decided.held_back]
    rows += [("differs", str(item)) for item in decided.drift[:_SHOWN]]
    if len(decided.drift) > _SHOWN:
        rows.append(("differs", f"and {len(decided.drift) - _SHOWN} more; see --output json"))
    output.table(("plan", ""), rows)
    output.result("nothing was changed")


@app.command()
def table(
    context: typer.Context,
    tables: Annotated[list[str], typer.Argument(help="Tables as schema.table; in double quotes a part with a dot.")],
    missing_only: Annotated[
        bool, typer.Option("--missing-only", help="Insert the rows that are gone; leave all others alone.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make every row as it was; rows that are newer go away.")
    ] = False,
    into: Annotated[
        str, typer.Option(metavar="NEW_NAME", help="Make a copy of one table beside it, under this name.")
    ] = "",
    children: Annotated[
        bool, typer.Option("--with-children", help="Also the tables that refer to these by foreign keys.")
    ] = False,
    column_map: COLUMN_MAP = None,
    archive: ARCHIVE = "",
    side: SIDE = "",
    plan: PLAN = False,
    confirm: CONFIRM = "",
    jobs: JOBS = None,
    wait: WAIT = "0s",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Restore one or several tables, in one transaction. Say how: --missing-only, --overwrite or --into.

    Rows are matched by the primary key, or as a whole where there is none. Triggers stay quiet: what they did is in
    the archive too. With --overwrite the rows of now are kept in TABLE_before_TIME. With --plan everything is done
    and rolled back, so its figures are exact.

    \b
    Examples:
      pgdr restore table sales.orders --missing-only --plan
      pgdr restore table sales.orders sales.lines --overwrite --archive 2026-11-24 --confirm erp-prod
      pgdr restore table sales.orders --into orders_of_tuesday --confirm erp-prod
      pgdr restore table sales.orders --missing-only --column-map map.yml --plan
    """
    from pgdr.postgres.connection import connected  # noqa: PLC0415
    from pgdr.restoring import tables as work  # noqa: PLC0415
    from pgdr.restoring.part import parse_name  # noqa: PLC0415
    from pgdr.restoring.selection import find_tables, with_children  # noqa: PLC0415
    from pgdr.surgery.drift import ColumnMap, load_column_map  # noqa: PLC0415

    mode = _mode(missing_only=missing_only, overwrite=overwrite, into=into)
    host = invocation(context).host
    source = archive_of(context, policy, archive, side, jobs)
    chosen = find_tables(source.manifest, [parse_name(text) for text in tables])
    if mode is work.Mode.INTO and (len(chosen) > 1 or children):
        raise typer.BadParameter("--into takes one table, without its children")
    if mode is work.Mode.INTO and column_map is not None:
        raise typer.BadParameter("--into makes a copy with the columns of then: there is nothing to map")
    decided = load_column_map(column_map) if column_map is not None else ColumnMap()
    if not plan:
        require_consent(host, confirm)

    kept_away = erasures(host, policy)

    def run() -> tuple[work.TablesRestore, dict[str, float]]:
        found = chosen
        if children:
            with connected(host, settings={"search_path": ""}) as live:
                found = with_children(source.manifest, live, chosen)
        with phases(f"restore of {len(found)} tables") as on_phase:
            request = work.Request(found, mode, into, plan, decided, kept_away)
            done = work.restore(host, source, request, jobs=jobs, on_phase=on_phase)
        if not plan and kept_away is not None:
            kept_away.keep(host.database)
        return done, {"restore": done.seconds}

    details = {"archive": source.manifest.label, "mode": str(mode), "tables": [t.key for t in chosen], "plan": plan}
    done = operation(host, "restore table", details, wait, run)
    if output_format is OutputFormat.JSON:
        output.json_result({**asdict(done), "plan": plan})
        return
    rows = [
        (key, str(c.inserted), str(c.updated), str(c.deleted), str(c.unchanged), str(c.kept), c.before or "-")
        for key, c in done.changes.items()
    ]
    columns = ("table", "inserted", "updated", "deleted", "unchanged", "left alone", "rows of before in")
    output.table(columns, rows, right=frozenset(columns[1:6]))
    for key, number in done.erased.items():
        output.result(f"{key}: {number} archived rows stay away, whom they belonged to was erased")
    for item in [*done.drift, *_lacks(into)]:
        output.message(f"note: {item}")
    output.result("nothing was changed" if plan else f"restored from archive {done.source}")


def _lacks(copy: str) -> list[str]:
    return [f"{copy} has columns and rows, and no keys, indexes, defaults, triggers or rights"] if copy else []


def _mode(*, missing_only: bool, overwrite: bool, into: str) -> Mode:
    from pgdr.restoring.tables import Mode  # noqa: PLC0415

    if missing_only + overwrite + bool(into) != 1:
        raise typer.BadParameter("say one of --missing-only, --overwrite, --into NEW_NAME")
    if into:
        return Mode.INTO
    return Mode.OVERWRITE if overwrite else Mode.MISSING_ONLY


@app.command()
def schema(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The schema, exactly as it is called.")],
    archive: ARCHIVE = "",
    side: SIDE = "",
    plan: PLAN = False,
    confirm: CONFIRM = "",
    no_tablespaces: TABLESPACES = False,
    jobs: JOBS = None,
    wait: WAIT = "0s",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Restore a whole schema beside the live one, prove it, and swap the two by name.

    Foreign keys from and to other schemas are taken off and put back validated, views elsewhere are made anew; what
    else is bound to the schema stands in the way and is listed. The schema of now is kept as NAME_before_TIME,
    without its foreign keys to others. Nothing is changed if anything fails.

    \b
    Examples:
      pgdr restore schema sales --plan
      pgdr restore schema sales --archive 2026-11-24 --confirm erp-prod
      pgdr restore schema sales --side tuesday --confirm erp-prod
    """
    from pgdr.restoring import schema as work  # noqa: PLC0415

    host = invocation(context).host
    source = archive_of(context, policy, archive, side, jobs)
    decided = work.make_plan(host, source, name, tablespaces=not no_tablespaces)
    if plan:
        _show_schema_plan(decided, output_format)
        return
    work.require_unblocked(decided)
    require_consent(host, confirm)

    kept_away = erasures(host, policy)

    def run() -> tuple[work.SchemaRestore, dict[str, float]]:
        with phases(f"restore of schema {name}") as on_phase:
            done = work.restore(host, source, decided, jobs=jobs, on_phase=on_phase, erasures=kept_away)
        if kept_away is not None:
            kept_away.keep(host.database)
        return done, done.times

    details = {"archive": decided.source, "schema": name, "kept_as": decided.kept_as, "rows": decided.rows}
    done = operation(host, "restore schema", details, wait, run)
    if output_format is OutputFormat.JSON:
        output.json_result({"plan": asdict(decided), "seconds": done.times})
        return
    kept = f"; the one before is {decided.kept_as}" if decided.replaces else ""
    output.result(
        f"schema {name} is restored from archive {decided.source}: {decided.tables} tables, {decided.rows} rows{kept}"
    )


def _show_schema_plan(decided: SchemaPlan, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        output.json_result(asdict(decided))
        return
    rows = [
        ("archive", decided.source),
        ("comes back", f"{decided.tables} tables, {decided.rows} rows"),
        ("live one", f"kept as {decided.kept_as}" if decided.replaces else "none"),
    ]
    rows += [] if decided.tablespaces else [("note", _ONE_TABLESPACE)]
    rows += [("STANDS IN THE WAY", text) for text in decided.ties.blocking]
    rows += [("put back and validated", str(item)) for item in decided.ties.constraints]
    rows += [
        ("made and validated", f"foreign key {k.name}: {k.table} -> {k.parent_schema}.{k.parent_table}")
        for k in decided.foreign_keys
    ]
    rows += [("made anew", str(item)) for item in decided.ties.views]
    rows += [("needs", text) for text in decided.ties.outward]
    rows += [("differs", str(item)) for item in decided.drift]
    output.table(("plan", ""), rows)
    output.result("nothing was changed")
