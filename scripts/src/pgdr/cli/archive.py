"""``pgdr archive``: dump every schema and the whole database, all in one snapshot."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, JOBS, POLICY, WAIT, seconds_of
from pgdr.cli.output import OutputFormat
from pgdr.cli.progress import byte_progress
from pgdr.errors import PgdrError

if TYPE_CHECKING:
    from pgdr.archive.cloud import Uploaded
    from pgdr.archive.run import ArchiveReport
    from pgdr.hostconfig import HostConfig
    from pgdr.locks import Holder
    from pgdr.policy.model import Policy

app = typer.Typer(rich_markup_mode=None)


@app.command()
def archive(
    context: typer.Context,
    policy: POLICY = None,
    jobs: JOBS = None,
    wait: WAIT = "0s",
    local_only: Annotated[bool, typer.Option("--local-only", help="Do not copy it to the cloud.")] = False,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Make a logical archive: one dump a schema and one of everything, in one snapshot, with counts of all rows.

    It counts only when it is whole. Then archives past their retention are removed, never the last verified one, and
    this one is copied to the cloud with those of earlier runs that did not get there. Ends with 3 when policy and
    database disagree on the schemas; what is there is archived all the same.

    \b
    Examples:
      pgdr archive
      pgdr archive --jobs 2 --output json
    """
    from pgdr.archive.run import make_archive  # noqa: PLC0415 - start-up time, see main
    from pgdr.cli.options import policy_of  # noqa: PLC0415
    from pgdr.retention.archives import ARCHIVES_PLACE  # noqa: PLC0415
    from pgdr.retention.holds import holds_file  # noqa: PLC0415

    host, rules = invocation(context).host, policy_of(policy)
    with byte_progress("archive") as progress:
        report = make_archive(
            host,
            rules,
            jobs=jobs,
            wait=seconds_of(wait),
            on_wait=waiting,
            on_progress=progress,
            held=holds_file(host).read().at_place(ARCHIVES_PLACE),
        )
    copies: list[Uploaded] = []
    failure: PgdrError | None = None
    if not local_only and rules.archives is not None and rules.archives.cloud is not None:
        # Shown as a failure after the result: the archive itself is whole, and the next run makes up for the copy.
        try:
            copies = _upload(host, rules)
        except PgdrError as error:
            failure = error
    if output_format is OutputFormat.JSON:
        output.json_result({**_document(report), "uploaded": [asdict(item) for item in copies]})
    else:
        _show(report)
        for item in copies:
            show_copy(item)
    for note in report.notes:
        output.message(f"note: {note}")
    for problem in report.problems:
        output.error(f"{problem}; correct recovery_policy.schemas")
    if failure is not None:
        raise failure
    raise typer.Exit(int(report.exit_code))


def _upload(host: HostConfig, rules: Policy) -> list[Uploaded]:
    from pgdr.archive.cloud import Cloud  # noqa: PLC0415
    from pgdr.archive.local import LocalStore  # noqa: PLC0415
    from pgdr.archive.run import archives_of  # noqa: PLC0415
    from pgdr.archive.transfer import pending, upload  # noqa: PLC0415

    cloud = Cloud(host, rules)
    with byte_progress("upload") as progress:
        return upload(host, cloud, pending(cloud, LocalStore(Path(archives_of(rules).local.path))), progress)


def show_copy(item: Uploaded) -> None:
    """Say what became of a copy."""
    promoted = f", also kept as {', '.join(item.promoted)}" if item.promoted else ""
    output.result(
        f"archive {item.label} is in the cloud: {item.files} files ({item.sent_files} sent now), "
        f"{output.bytes_text(item.size)}, {output.seconds_text(item.seconds)}{promoted}"
    )


def waiting(holder: Holder | None, waited: float) -> None:
    """Tell a person who is waited for."""
    output.message(f"waiting for {holder or 'another operation'} to end, {output.seconds_text(waited)} so far")


def _document(report: ArchiveReport) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "label": manifest.label,
        "folder": str(report.archive.folder),
        "database": manifest.database.name,
        "lsn": manifest.lsn,
        "schemas": [schema.name for schema in manifest.schemas],
        "tables": len(manifest.tables),
        "rows": manifest.rows,
        "bytes": manifest.size,
        "compression": manifest.compression,
        "seconds": report.times,
        "expired": list(report.expired),
        "problems": list(report.problems),
        "notes": list(report.notes),
        "exit_code": int(report.exit_code),
    }


def _show(report: ArchiveReport) -> None:
    manifest = report.manifest
    output.result(
        f"archive {manifest.label}: {len(manifest.schemas)} schemas, {len(manifest.tables)} tables, "
        f"{manifest.rows} rows, {output.bytes_text(manifest.size)} ({manifest.compression}), "
        f"{output.seconds_text(report.times['all'])}"
    )
    for label in report.expired:
        output.result(f"removed: archive {label}, past its retention")
