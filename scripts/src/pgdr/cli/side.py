"""``pgdr side``: the past beside the present."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import (
    BACKUP_SET,
    EXCLUSIVE,
    FORMAT,
    TARGET_LSN,
    TARGET_NAME,
    TARGET_TIME,
    TARGET_TIMELINE,
    TARGET_XID,
)
from pgdr.cli.output import OutputFormat
from pgdr.errors import PgdrError, RefusedError

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig
    from pgdr.journal import Journal
    from pgdr.side.model import SideState

app = typer.Typer(
    no_args_is_help=True,
    help="Bring a point in time up beside production, for reading: start, list, connect, stop.",
)

_TIME = "%Y-%m-%d %H:%M:%S+00:00"


def _journal(host: HostConfig) -> Journal:
    from pgdr.journal import Journal  # noqa: PLC0415 - start-up time, see main

    return Journal.of(host)


@app.command()
def start(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Its name.")] = "past",
    repo: Annotated[int, typer.Option(min=1, help="Number of the repository to restore from.")] = 1,
    backup_set: BACKUP_SET = "",
    target_time: TARGET_TIME = "",
    target_lsn: TARGET_LSN = "",
    target_name: TARGET_NAME = "",
    target_xid: TARGET_XID = "",
    target_timeline: TARGET_TIMELINE = "latest",
    exclusive: EXCLUSIVE = False,
    database: Annotated[
        list[str] | None, typer.Option(help="Only this database; repeat it. The others cannot be read then.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 for a free one.")] = 0,
    hours: Annotated[float, typer.Option(min=0.0, help="Removed after so many hours; 0 for the policy's.")] = 0.0,
    uncapped: Annotated[
        bool, typer.Option("--uncapped", help="Without systemd's caps on CPU, memory and disk.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until queries work.")] = True,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Restore a point in time beside production, which runs on.

    The instance stays in recovery at its target: it can be read and not written. It has its own port and socket,
    listens on no network, never archives, and is removed when its time is over. Interrupted, the work goes on by
    itself; the same command finds it again.

    Example: pgdr side start --target-time '2026-11-24 14:30:00+01:00'
    """
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.recovery.target import make_target  # noqa: PLC0415
    from pgdr.side import manage, store  # noqa: PLC0415
    from pgdr.side.launch import caps_hold, launch, require_launchable  # noqa: PLC0415
    from pgdr.side.plan import SideOptions, make_side_plan  # noqa: PLC0415

    call = invocation(context)
    host = call.host
    target = make_target(
        time=target_time,
        lsn=target_lsn,
        name=target_name,
        xid=target_xid,
        timeline=target_timeline,
        inclusive=not exclusive,
    )
    journal = _journal(host)
    facts: dict[str, object] = {"name": name, "target": target.text, "repository": repo}
    store.require_owner()
    try:
        require_launchable(uncapped=uncapped)
        state = store.load(host, store.checked_name(name))
        if state is not None:
            _require_same(state, repo, target.text, backup_set, database or [])
            if port not in {0, state.port} or hours:
                output.message(
                    f"warning: {name} is there already, on port {state.port} until {state.expires_at.strftime(_TIME)}: "
                    "--port and --hours are for a new one"
                )
        else:
            options = SideOptions(
                name=name,
                repository=repo,
                target=target,
                backup_label=backup_set,
                databases=tuple(database or ()),
                port=port,
                time_to_live=timedelta(hours=hours) if hours else None,
            )
            state = make_side_plan(host, PgBackRest(host), options)
            store.save(host, state)
            for warning in state.plan.warnings:
                output.message(f"warning: {warning}")
        if not manage.alive(state):
            # A watcher must not take the last attempt's failure for the next one's.
            state.failure, state.failure_code, state.running_pid = "", 0, None
            store.save(host, state)
            launch(host, name, uncapped=uncapped, host_file=call.config)
            pid = store.required(host, name).running_pid
            if not uncapped and pid is not None and not caps_hold(pid):
                output.message(
                    "warning: the kernel does not hold it to the policy's CPU and memory (a container without rights "
                    "on its cgroups?): it runs at low priority, and that is all"
                )
    except PgdrError as error:
        journal.append(operation="side start", result="failed", details={**facts, "error": error.message})
        raise
    journal.append(operation="side start", result="started", details={**facts, "side": state.plan.operation})
    if wait:
        state = _watched(host, name)
    _show_one(host, state, output_format)


def _require_same(state: SideState, repo: int, target_text: str, backup_set: str, databases: list[str]) -> None:
    plan = state.plan
    holds = not plan.databases or set(plan.databases) == set(databases)
    if holds and plan.repository == repo and plan.target.text == target_text and backup_set in ("", plan.backup_label):
        return
    only = f", database {', '.join(plan.databases)} alone" if plan.databases else ""
    raise RefusedError(
        f"side instance {state.name} exists and stands for {plan.target.text} of repository {plan.repository}{only}",
        remedy=f"give another --name, or remove it: pgdr side stop {state.name}",
    )


def _watched(host: HostConfig, name: str) -> SideState:
    """Follow the work until queries work."""
    from pgdr.side.launch import followed  # noqa: PLC0415

    told = 0.0

    def tell(state: SideState) -> None:
        nonlocal told
        if state.progress is not None and time.monotonic() - told >= (2.0 if output.interactive() else 20.0):
            told = time.monotonic()
            output.message(state.progress.line)

    return followed(host, name, tell)


@app.command(hidden=True)
def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
    processes: Annotated[int, typer.Option(min=0, help="Processes that restore files; 0 for half the cores.")] = 0,
) -> None:
    """Be the process of a planned side instance; the systemd unit calls this.

    Example: pgdr side run past
    """
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.side import manage, store  # noqa: PLC0415
    from pgdr.side.model import REHEARSAL  # noqa: PLC0415
    from pgdr.side.run import SideInstance  # noqa: PLC0415

    store.require_owner()
    if name == REHEARSAL:
        from pgdr.cli.rehearse import run_requested  # noqa: PLC0415
        from pgdr.policy.load import load_policy  # noqa: PLC0415

        run_requested(invocation(context).host, load_policy(invocation(context).host.policy_path))
    host = invocation(context).host
    instance = SideInstance(host, PgBackRest(host), name)
    facts = {"name": name, "side": instance.state.plan.operation, "target": instance.state.plan.target.text}
    try:
        over = instance.run(processes or max((os.cpu_count() or 1) // 2, 1))
    except PgdrError as error:
        _journal(host).append(operation="side run", result="failed", details={**facts, "error": error.message})
        raise
    times = {phase.name: phase.seconds for phase in instance.state.phases}
    _journal(host).append(operation="side run", result="ok", details=facts, times=times)
    if over:
        manage.stop(host, name, why="expired")


@app.command("list")
def list_all(context: typer.Context, output_format: FORMAT = OutputFormat.TABLE) -> None:
    """Show the side instances of this host, those that were killed half-way too.

    Example: pgdr side list
    """
    from pgdr.side import manage  # noqa: PLC0415

    found = manage.listed(invocation(context).host)
    if output_format is OutputFormat.JSON:
        output.json_result(
            [
                {
                    "name": item.name,
                    "condition": item.condition,
                    "bytes": item.bytes,
                    "state": item.state.model_dump(mode="json") if item.state else None,
                    "erased_since": _erased_since(invocation(context).host, item.state) if item.state else 0,
                }
                for item in found
            ]
        )
        return
    rows = []
    host = invocation(context).host
    for item in found:
        state = item.state
        rows.append(
            (
                item.name,
                item.condition,
                state.plan.target.text if state else "-",
                f"{state.socket_directory} {state.port}" if state else "-",
                output.bytes_text(item.bytes),
                f"{state.expires_at:{_TIME}}" if state else "-",
                str(_erased_since(host, state)) if state else "-",
            )
        )
    columns = ("name", "state", "target", "socket and port", "on disk", "removed at", "shows erased")
    output.table(columns, rows, right={"on disk", "shows erased"})


@app.command()
def connect(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")] = "past",
    database: Annotated[str, typer.Option(help="Database; without it the ERP's.")] = "",
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Print the connection string of a side instance that is ready, for psql and pg_dump.

    Example: psql "$(pgdr side connect past)"
    """
    from dataclasses import asdict  # noqa: PLC0415

    from pgdr.side import manage  # noqa: PLC0415

    found = manage.connection(invocation(context).host, name, database or None)
    if output_format is OutputFormat.JSON:
        output.json_result({**asdict(found), "conninfo": found.conninfo})
        return
    output.result(found.conninfo)


@app.command()
def stop(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
) -> None:
    """End a side instance, whatever state it is in, and delete its files. Production is not touched.

    Example: pgdr side stop past
    """
    from pgdr.side import manage, store  # noqa: PLC0415

    store.require_owner()
    size = manage.stop(invocation(context).host, name)
    output.result(f"side instance {name} is removed, {output.bytes_text(size)} given back")


@app.command()
def sweep(context: typer.Context) -> None:
    """Remove the side instances whose time is over; the minute's heartbeat does it too.

    Example: pgdr side sweep
    """
    from pgdr.side import manage  # noqa: PLC0415

    for name in manage.sweep(invocation(context).host):
        output.result(f"side instance {name} is removed: its time is over")


def _erased_since(host: HostConfig, state: SideState) -> int | None:
    """How many subjects it may show that were erased since: it is in recovery, so nothing can be removed from it.

    Returns:
        ``None`` where the ledger cannot be read: that is no reason to be without the past.
    """
    from pgdr.surgery.ledger import DONE, Ledger  # noqa: PLC0415

    then = state.reached.last_commit_at if state.reached else None
    try:
        done = [one for one in Ledger(host).erasures() if one.state == DONE]
    except PgdrError as error:
        output.message(f"warning: {error}")
        return None
    return len({one.subject for one in done if then is None or datetime.fromisoformat(one.at) > then})


def _show_one(host: HostConfig, state: SideState, output_format: OutputFormat) -> None:
    from pgdr.side import manage  # noqa: PLC0415

    condition = manage.condition(state)
    ready = manage.connection(host, state.name) if condition == "ready" else None
    if output_format is OutputFormat.JSON:
        output.json_result(
            {
                **state.model_dump(mode="json"),
                "condition": condition,
                "conninfo": ready.conninfo if ready else None,
                "erased_since": _erased_since(host, state),
            }
        )
        return
    if ready is None or state.reached is None:
        output.result(f"side instance {state.name}: {condition}; see pgdr side list")
        return
    last = f"{state.reached.last_commit_at:{_TIME}}" if state.reached.last_commit_at else "unknown"
    output.result(f"side instance {state.name} stands at {state.reached.lsn}, last transaction {last}")
    if erased := _erased_since(host, state):
        output.result(
            f"it still shows {erased} subjects that were erased since: look at nothing of them, and copy nothing out "
            "but through pgdr restore, which leaves them away"
        )
    output.result(f"removed at {state.expires_at:{_TIME}}; earlier with: pgdr side stop {state.name}")
    output.result(f'psql "{ready.conninfo}"')
