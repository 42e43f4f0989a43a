"""``pgdr verify``: every repository read whole, and what that shows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.cli.progress import LINE_EVERY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdr.health import Check
    from pgdr.pgbackrest.repositories import ConfiguredRepository
    from pgdr.proof.verify import VerifyListener

app = typer.Typer(rich_markup_mode=None)


@app.command()
def verify(
    context: typer.Context,
    repo: Annotated[int | None, typer.Option("--repo", min=1, help="This repository only; default: all.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Take a full backup where archived WAL is lost for good.")
    ] = True,
    archives: Annotated[
        bool, typer.Option("--archives/--no-archives", help="The logical archives too, here and in the cloud.")
    ] = True,
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Read every repository whole: checksums, WAL without a hole, page errors, age, size, the server's claims.

    Logical archives follow: on the volume each is read to its last row once and by checksum from then on, copies in the
    cloud are held against the server's own checksums. With --repo they are left out.

    Sets that are whole get the mark "verified"; the last of them is never expired. Ends with 0 when nothing is
    red, 5 when something is not proven, 7 when a repository does not answer, 6 when another verification runs.

    \b
    Example:
      pgdr verify --repo 2 --output json
    """
    from pgdr.proof import verify as work  # noqa: PLC0415 - start-up time, see main

    host, rules = invocation(context).host, policy_of(policy)
    report = work.verify(host, rules, repository=repo, repair=repair, listener=_listener())
    if archives and repo is None:
        from pgdr.proof.archives import verify_archives  # noqa: PLC0415

        report.checks += verify_archives(host, rules, output.message)
    if output_format is OutputFormat.JSON:
        output.json_result(work.document(report))
    else:
        show_checks(report.all_checks)
        for item in report.repositories:
            output.result(
                f"repository {item.repository}: {len(item.good)} sets verified, {len(item.damaged)} damaged, "
                f"{output.seconds_text(item.seconds)}"
            )
        for made in report.repaired:
            for backup in made.repositories:
                output.result(f"repository {backup.repository}: full backup {backup.label or backup.result}")
    tell_red(report.all_checks)
    raise typer.Exit(int(report.exit_code))


def show_checks(checks: Sequence[Check]) -> None:
    """Write findings as a table, the worst first."""
    rows = [
        (str(check.level).upper() if check.level.rank else str(check.level), _where(check), check.name, check.message)
        for check in sorted(checks, key=lambda check: -check.level.rank)
    ]
    output.table(("", "where", "what", "found"), rows)


def tell_red(checks: Sequence[Check]) -> None:
    """Write a line for each finding that is red: what, since when, what it endangers, what to do."""
    for check in checks:
        if check.level.rank > 1:
            output.error(str(check))


def _where(check: Check) -> str:
    return "host" if check.repository is None else f"repository {check.repository}"


def _listener() -> VerifyListener:
    from pgdr.proof.verify import VerifyListener  # noqa: PLC0415

    class Listener(VerifyListener):
        """Tells a person."""

        tick = LINE_EVERY
        _began = 0.0
        _what = ""

        def started(self, repository: ConfiguredRepository) -> None:
            self._began = time.monotonic()
            self._what = f"repository {repository.key} ({repository.place})"
            output.message(f"reading {self._what}")

        def still(self) -> None:
            output.message(f"reading {self._what}: {output.seconds_text(time.monotonic() - self._began)}")

        def repairing(self, repository: int, reason: str) -> None:
            output.message(f"repository {repository}: {reason}: taking a full backup")

    return Listener()
