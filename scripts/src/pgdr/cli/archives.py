"""``pgdr archives``: what archives there are, what is in one, whether it is whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, JOBS, POLICY, WAIT, policy_of, seconds_of
from pgdr.cli.output import OutputFormat
from pgdr.cli.progress import byte_progress
from pgdr.errors import NotProvenError, RefusedError

if TYPE_CHECKING:
    from pgdr.archive.local import LocalArchive, LocalStore
    from pgdr.archive.model import Manifest

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Logical archives: list, show, verify, fetch.")

_TIME = "%Y-%m-%d %H:%M:%S"
LABEL = Annotated[str, typer.Argument(help="Label of the archive; without it the newest.", show_default=False)]


def store_of(policy: Path | None) -> LocalStore:
    """The archives on the backup volume that the policy names."""
    from pgdr.archive.local import LocalStore  # noqa: PLC0415 - start-up time, see main
    from pgdr.archive.run import archives_of  # noqa: PLC0415

    return LocalStore(Path(archives_of(policy_of(policy)).local.path))


@app.command(name="list")
def list_archives(
    context: typer.Context,
    cloud: Annotated[bool, typer.Option("--cloud", help="Those in the cloud, by slot.")] = False,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """List the archives on the backup volume, or those in the cloud, the oldest first.

    \b
    Examples:
      pgdr archives list --output json
      pgdr archives list --cloud
    """
    if cloud:
        _list_cloud(context, policy, output_format)
        return
    store = store_of(policy)
    found = [_summary(item) for item in store.archives()]
    if output_format is OutputFormat.JSON:
        output.json_result({"folder": str(store.root), "archives": found})
        return
    rows = [
        (
            item["label"],
            item["database"],
            str(item["schemas"]),
            str(item["rows"]),
            output.bytes_text(item["bytes"]),
            item["verified_at"] or "never",
            item["damage"],
        )
        for item in found
    ]
    columns = ("archive", "database", "schemas", "rows", "size", "verified (UTC)", "damage")
    output.table(columns, rows, right=frozenset({"schemas", "rows", "size"}))
    for folder in store.leftovers():
        output.message(f"not whole, and not counted: {folder.name}; pgdr cleanup removes it")


def _list_cloud(context: typer.Context, policy: Path | None, output_format: OutputFormat) -> None:
    from pgdr.archive.cloud import Cloud  # noqa: PLC0415

    place = Cloud(invocation(context).host, policy_of(policy))
    found = place.archives()
    if output_format is OutputFormat.JSON:
        document = [
            {
                "slot": i.slot,
                "label": i.label,
                "bytes": i.size,
                "storage_class": i.storage_class,
                "objects": len(i.objects),
            }
            for i in found
        ]
        output.json_result({"bucket": place.bucket.name, "archives": document})
        return
    rows = [(i.slot, i.label, output.bytes_text(i.size), str(len(i.objects)), i.storage_class) for i in found]
    columns = ("slot", "archive", "size", "objects", "class")
    output.table(columns, rows, right=frozenset({"size", "objects"}))


def _summary(item: LocalArchive) -> dict[str, Any]:
    verified = item.verified_at
    summary: dict[str, Any] = {
        "label": item.label,
        "at": item.moment.strftime(_TIME),
        "folder": str(item.folder),
        "verified_at": verified.strftime(_TIME) if verified else None,
        "database": "?",
        "schemas": 0,
        "rows": 0,
        "bytes": 0,
        "damage": "",
    }
    try:
        manifest = item.manifest()
    except NotProvenError as error:
        return {**summary, "damage": error.message}
    return {
        **summary,
        "database": manifest.database.name,
        "schemas": len(manifest.schemas),
        "rows": manifest.rows,
        "bytes": manifest.size,
    }


@app.command()
def show(
    label: LABEL = "",
    tables: Annotated[bool, typer.Option("--tables", help="Show every table too.")] = False,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Show what an archive holds, and what the dump of each schema does not carry.

    \b
    Examples:
      pgdr archives show
      pgdr archives show 20251124_030000 --tables
    """
    manifest = store_of(policy).find(label).manifest()
    if output_format is OutputFormat.JSON:
        output.json_result(manifest.model_dump(mode="json", by_alias=True))
        return
    output.result(
        f"archive {manifest.label} of {manifest.database.name} ({manifest.cluster_name}), "
        f"PostgreSQL {manifest.server_version}, LSN {manifest.lsn}, system {manifest.system_identifier}, "
        f"{manifest.rows} rows, {output.bytes_text(manifest.size)}, pg_dump {manifest.pg_dump_version} "
        f"with {manifest.compression}"
    )
    _show_schemas(manifest)
    if tables:
        rows = [
            (table.key, "-" if table.rows is None else str(table.rows), output.bytes_text(table.size))
            for table in manifest.tables
        ]
        output.table(("table", "rows", "size in the database"), rows, right=frozenset({"rows", "size in the database"}))
    output.result(f"roles: {', '.join(manifest.roles)}")
    extensions = ", ".join(f"{item.name} {item.version}" for item in manifest.extensions)
    output.result(f"extensions: {extensions or 'none'}")


def _show_schemas(manifest: Manifest) -> None:
    rows = []
    for schema in manifest.schemas:
        own = [table for table in manifest.tables if table.schema_ == schema.name]
        needed = [str(lack) for lack in schema.lacks if lack.needed]
        others = [str(lack) for lack in schema.lacks if not lack.needed]
        rows.append(
            (
                schema.name,
                str(len(own)),
                str(sum(table.rows or 0 for table in own)),
                "yes" if schema.restores_alone else f"no, it needs: {'; '.join(needed)}",
                "; ".join(others) or "-",
                "" if schema.covered else "in no policy",
            )
        )
    columns = ("schema", "tables", "rows", "restores alone", "its dump does not carry", "")
    output.table(columns, rows, right=frozenset({"tables", "rows"}))


@app.command()
def verify(
    context: typer.Context,
    label: LABEL = "",
    every: Annotated[bool, typer.Option("--all", help="Verify every archive on the backup volume.")] = False,
    jobs: JOBS = None,
    wait: WAIT = "0s",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Read an archive whole: every file against its checksum, every dump to its last row. Ends with 5 if it is damaged.

    \b
    Examples:
      pgdr archives verify
      pgdr archives verify 20251124_030000
      pgdr archives verify --all
    """
    from pgdr.archive.verify import verify as work  # noqa: PLC0415
    from pgdr.cli.archive import waiting  # noqa: PLC0415
    from pgdr.locks import ARCHIVES, operation_lock  # noqa: PLC0415

    host = invocation(context).host
    store = store_of(policy)
    if not label and not every and seconds_of(wait):
        # The newest is the one that is being made now: chosen when it is whole.
        with operation_lock(host, "archives verify", scope=ARCHIVES, wait=seconds_of(wait), on_wait=waiting):
            pass
    chosen = store.archives() if every else [store.find(label)]
    results: list[dict[str, Any]] = []
    damage: NotProvenError | None = None
    for item in chosen:
        try:
            with byte_progress(f"verify {item.label}") as progress:
                found = work(host, item, jobs=jobs, wait=seconds_of(wait), on_wait=waiting, on_progress=progress)
        except NotProvenError as error:
            if not every:
                raise
            damage = damage or error
            results.append({"label": item.label, "verified": False, "error": error.message})
            if output_format is OutputFormat.TABLE:
                output.result(f"archive {item.label}: DAMAGED: {error.message}")
            continue
        results.append(
            {
                "label": found.label,
                "verified": True,
                "files": found.files,
                "bytes": found.size,
                "dumps": found.dumps,
                "seconds": round(found.seconds, 3),
            }
        )
        if output_format is OutputFormat.TABLE:
            output.result(
                f"archive {found.label} verified: {found.files} files, {output.bytes_text(found.size)}, "
                f"{found.dumps} dumps read whole, {output.seconds_text(found.seconds)}"
            )
    if output_format is OutputFormat.JSON:
        output.json_result({"archives": results})
    if damage is not None:
        raise damage


@app.command()
def upload(
    context: typer.Context,
    label: Annotated[
        str, typer.Argument(help="Label of the archive; without it all that are not in the cloud.", show_default=False)
    ] = "",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Copy archives to the cloud; what is there already is not sent again.

    \b
    Examples:
      pgdr archives upload
      pgdr archives upload 20251124_030000
    """
    from pgdr.archive import transfer  # noqa: PLC0415
    from pgdr.archive.cloud import Cloud  # noqa: PLC0415
    from pgdr.cli.archive import show_copy  # noqa: PLC0415

    host, store = invocation(context).host, store_of(policy)
    place = Cloud(host, policy_of(policy))
    chosen = [store.find(label)] if label else transfer.pending(place, store)
    with byte_progress("upload") as progress:
        copies = transfer.upload(host, place, chosen, progress)
    if output_format is OutputFormat.JSON:
        output.json_result({"uploaded": [asdict(item) for item in copies]})
        return
    for item in copies:
        show_copy(item)
    if not copies:
        output.result("every archive on the volume is in the cloud")


@app.command()
def fetch(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="Label of the archive.")],
    slot: Annotated[str, typer.Option(help="daily, weekly, monthly or annual; default: the first that has it.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until objects of a cold class are thawed.")] = False,
    tier: Annotated[str, typer.Option(help="How fast they are thawed: Expedited, Standard, Bulk.")] = "Standard",
    days: Annotated[int, typer.Option(min=1, max=90, help="Days that thawed objects stay readable.")] = 7,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Bring an archive back from the cloud to the backup volume.

    From a cold class (Glacier) it first has to be thawed: without --wait the thaw is begun and the command ends with
    7 and says when to run it again.

    \b
    Examples:
      pgdr archives fetch 20251124_030000
      pgdr archives fetch 20250101_030000 --slot annual --tier Bulk --wait
    """
    from pgdr.archive import transfer  # noqa: PLC0415
    from pgdr.archive.cloud import Cloud, Thaw  # noqa: PLC0415

    host, store = invocation(context).host, store_of(policy)
    place = Cloud(host, policy_of(policy))
    if (store.root / label).exists():
        raise RefusedError(f"archive {label} is in {store.root} already", remedy="nothing was changed")
    with byte_progress(f"fetch {label}") as progress:
        found = transfer.fetch(
            host,
            place,
            place.find(label, slot),
            store,
            Thaw(days=days, tier=tier, wait=wait),
            on_wait=lambda ready: output.message(f"being thawed, ready at {ready:%Y-%m-%d %H:%M} UTC at the latest"),
            on_progress=progress,
        )
    if output_format is OutputFormat.JSON:
        output.json_result({"label": found.label, "folder": str(found.folder)})
    else:
        output.result(f"archive {found.label} is in {found.folder}, every checksum is right")


@app.command()
def offsite(context: typer.Context, policy: POLICY = None, output_format: FORMAT = OutputFormat.TABLE) -> None:
    """Copy the monthly archives to the bucket of the other account that are not there yet; nothing is downloaded.

    \b
    Example:
      pgdr archives offsite
    """
    from pgdr.archive import transfer  # noqa: PLC0415
    from pgdr.archive.cloud import Cloud  # noqa: PLC0415

    host = invocation(context).host
    bucket, labels = transfer.copy_offsite(host, Cloud(host, policy_of(policy)))
    if output_format is OutputFormat.JSON:
        output.json_result({"bucket": bucket, "copied": labels})
    else:
        output.result(f"{bucket}: {', '.join(labels) if labels else 'every monthly archive is there already'}")
