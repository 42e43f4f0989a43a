"""``pgdr config-backup``: keep a copy of this host's configuration, and compare two of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode

app = typer.Typer(rich_markup_mode=None)

_DEFAULT_RETENTION = timedelta(days=30)


@app.callback(invoke_without_command=True)
def config_backup(
    context: typer.Context,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Only when something differs from the newest copy.")
    ] = False,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Keep a copy of this host's configuration: PostgreSQL, pgBackRest, cron, pgdr; certificates by fingerprint.

    Secrets are struck out, files that hold them are only named. Copies past their retention are removed.

    \b
    Examples:
      pgdr config-backup
      pgdr config-backup --if-changed
      pgdr config-backup diff 20261101_013000 20261124_013000
    """
    if context.invoked_subcommand is not None:
        return
    from pgdr.archive import configuration as work  # noqa: PLC0415 - start-up time, see main
    from pgdr.archive.run import archives_of  # noqa: PLC0415
    from pgdr.journal import Journal  # noqa: PLC0415
    from pgdr.locks import ARCHIVES, operation_lock  # noqa: PLC0415

    host, section = invocation(context).host, archives_of(policy_of(policy))
    root = Path(section.local.path)
    retention = _DEFAULT_RETENTION
    if section.configuration is not None:
        retention = timedelta(seconds=section.configuration.retention.seconds)
    with operation_lock(host, "config-backup", scope=ARCHIVES, wait=60.0):
        items = work.collect(host)
        kept = work.copies(root)
        changes = work.difference(work.read(kept[-1]), items) if kept else []
        same = if_changed and kept and not changes
        written = None if same else work.write(root, items)
        expired = work.expire(root, retention, datetime.now(UTC))
    if written is not None:
        details = {"copy": written.label, "files": len(items), "changed_lines": len(changes), "expired": expired}
        Journal.of(host).append(operation="config-backup", result="ok", details=details)
    document = {
        "label": written.label if written else None,
        "path": str(written.path) if written else None,
        "files": len(items),
        "changes": changes,
        "expired": expired,
    }
    if output_format is OutputFormat.JSON:
        output.json_result(document)
    elif written is None:
        output.result(f"nothing has changed since {kept[-1].label}")
    else:
        output.result(f"configuration {written.label}: {len(items)} files in {written.path}")


@app.command()
def diff(
    context: typer.Context,
    old: Annotated[str, typer.Argument(help="Label of a copy; without it the newest.", show_default=False)] = "",
    new: Annotated[
        str, typer.Argument(help="Label of another; without it the host as it is now.", show_default=False)
    ] = "",
    policy: POLICY = None,
) -> None:
    """Show how two copies differ, or a copy and the host as it is now. Ends with 5 if they do.

    \b
    Examples:
      pgdr config-backup diff
      pgdr config-backup diff 20261101_013000 20261124_013000
    """
    from pgdr.archive import configuration as work  # noqa: PLC0415
    from pgdr.archive.run import archives_of  # noqa: PLC0415

    root = Path(archives_of(policy_of(policy)).local.path)
    before = work.read(work.find(root, old))
    after = work.read(work.find(root, new)) if new else work.collect(invocation(context).host)
    lines = work.difference(before, after)
    for line in lines:
        output.result(line)
    if lines:
        raise typer.Exit(int(ExitCode.NOT_PROVEN))
    output.result("no difference")
