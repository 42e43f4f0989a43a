"""``pgdr rehearse``: restore, look, remove; what was right is proven."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, WAIT, policy_of, seconds_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.policy.model import Policy
    from pgdr.rehearsal.model import Rehearsal, Request

app = typer.Typer(rich_markup_mode=None)
_PARTS = ("backup", "point", "archive")


@app.command()
def rehearse(
    context: typer.Context,
    only: Annotated[list[str] | None, typer.Option(help="backup, point or archive; repeat it.  [default: all]")] = None,
    repo: Annotated[
        int | None, typer.Option("--repo", min=1, help="Read this repository; default: the one that outlives the host.")
    ] = None,
    point: Annotated[
        str, typer.Option(help="This moment instead of a random one, with its offset: 2026-11-24 14:30:00+01:00.")
    ] = "",
    archive_from: Annotated[
        str, typer.Option(help="volume: as it lies on this host; cloud: the bucket's copy, fetched and removed again.")
    ] = "volume",
    wait: WAIT = "0s",
    processes: Annotated[int, typer.Option(min=0, max=64, help="Processes that work; 0 for half the cores.")] = 0,
    uncapped: Annotated[
        bool, typer.Option("--uncapped", help="Without systemd's caps on CPU, memory and disk.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Restore nothing; write down a rehearsal of another host, - for stdin."),
    ] = None,
    rehearsed_on: Annotated[str, typer.Option("--host", help="With --record: the host that did it.")] = "",
    policy: POLICY = None,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Restore the newest backup, a random moment and the newest archive, look through each, and remove it again.

    Each goes into a throw-away instance beside production: own port and socket, no network, never archives, within the
    limits of side_instances in the policy; a backup that runs has precedence. Every row is read, indexes are held
    against tables, and heartbeats and counts against what production wrote. What was right gets the mark "proven".
    Ends with 0 when all was right, 5 when something is not proven, 4 where there is no room, 6 when it gave way.

    \b
    Examples:
      pgdr rehearse
      pgdr rehearse --only point --point '2026-11-24 14:30:00+01:00' --output json
      pgdr rehearse --only archive --archive-from cloud
      pgdr rehearse --record rehearsal.json --host dr1
    """
    from pgdr.rehearsal.model import Part, Request, Shelf  # noqa: PLC0415 - start-up time, see main

    if record is not None:
        _record(context, record, rehearsed_on, policy_of(policy), output_format)
        return
    unknown = sorted(set(only or ()) - set(_PARTS))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(_PARTS)}", param_hint="--only")
    if archive_from not in set(Shelf):
        raise typer.BadParameter(f"{archive_from!r} is none of {', '.join(Shelf)}", param_hint="--archive-from")
    require_owner()
    request = Request(
        parts=tuple(part for part in Part if part in (only or list(Part))),
        repository=repo,
        point=point,
        wait=seconds_of(wait),
        processes=processes,
        archive_from=Shelf(archive_from),
    )
    state = _carried_out(invocation(context).host, policy_of(policy), request, uncapped=uncapped)
    show(state, output_format)
    raise typer.Exit(int(state.exit_code))


def _record(context: typer.Context, file: Path, host: str, policy: Policy, output_format: OutputFormat) -> None:
    from pgdr.rehearsal import taken  # noqa: PLC0415

    if not host:
        raise typer.BadParameter("say where it was rehearsed: --host NAME")
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"cannot read {file}: {reason}") from error
    state = taken.read(text, str(file))
    taken.take(invocation(context).host, policy, state, host)
    show(state, output_format)
    raise typer.Exit(int(state.exit_code))


def run_requested(host: HostConfig, policy: Policy) -> None:
    """Be the unit's process: carry out what was asked for, and write down how it ended."""
    from pgdr.rehearsal.model import rehearsal_file  # noqa: PLC0415
    from pgdr.rehearsal.run import rehearse as carry_out  # noqa: PLC0415

    require_owner()
    state = carry_out(host, policy, rehearsal_file(host).read().request, tell=output.message)
    raise typer.Exit(int(state.exit_code))


def require_owner() -> None:
    """Refuse root: PostgreSQL does not run as root.

    Raises:
        RefusedError: it is root.
    """
    if os.geteuid() == 0:
        raise RefusedError("a rehearsal belongs to postgres", remedy="runuser -u postgres -- pgdr rehearse")


def _carried_out(host: HostConfig, policy: Policy, request: Request, *, uncapped: bool) -> Rehearsal:
    from pgdr.rehearsal.launch import rehearse_capped  # noqa: PLC0415
    from pgdr.rehearsal.run import rehearse as carry_out  # noqa: PLC0415
    from pgdr.side.launch import require_launchable, systemd_runs  # noqa: PLC0415

    if systemd_runs() and not uncapped:
        require_launchable(uncapped=False)
        return rehearse_capped(host, request, output.message)
    if not uncapped:
        output.message("warning: there is no systemd here: nothing caps CPU, memory and disk but a low priority")
    os.nice(10)
    return carry_out(host, policy, request, tell=output.message)


def show(state: Rehearsal, output_format: OutputFormat) -> None:
    """Write what a rehearsal found; a line for each thing that is not right goes to the messages."""
    if output_format is OutputFormat.JSON:
        output.json_result(
            {
                **state.model_dump(mode="json", exclude={"running_pid", "progress"}),
                "result": state.result,
                "exit_code": int(state.exit_code),
            }
        )
    else:
        rows = [
            (
                str(part.part),
                str(part.outcome),
                part.label or "-",
                "-" if part.repository is None else str(part.repository),
                part.target or "-",
                f"{part.tables} tables, {part.rows} rows" if part.tables else "-",
                output.seconds_text(sum(part.seconds.values())),
            )
            for part in state.parts
        ]
        output.table(("restored", "result", "from", "repository", "brought to", "read", "took"), rows)
        for part in state.parts:
            phases = ", ".join(f"{name} {output.seconds_text(seconds)}" for name, seconds in part.seconds.items())
            output.result(f"{part.part}: {phases or part.message}")
    for part in state.parts:
        for check in part.checks:
            if not check.ok and not check.fatal:
                output.message(f"warning: {part.what}: {check.name}: {check.detail}")
        if part.exit_code:
            remedy = f" ({part.remedy})" if part.remedy else ""
            output.error(f"{part.what}: {part.message}{remedy}")
        elif part.message:
            output.message(f"{part.part}: {part.outcome}: {part.message}")
    if state.error:
        output.error(f"{state.error} ({state.remedy})" if state.remedy else state.error)
