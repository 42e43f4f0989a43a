"""``pgdr recover``: bring this host's cluster back from a repository.

The playbook ``dr-restore.yml`` calls these commands in order; they can be typed by hand in the same order.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import (
    BACKUP_SET,
    EXCLUSIVE,
    FORMAT,
    POLICY,
    TARGET_LSN,
    TARGET_NAME,
    TARGET_TIME,
    TARGET_TIMELINE,
    TARGET_XID,
)
from pgdr.cli.output import OutputFormat
from pgdr.cli.recovery_plan import behind_text, show_plan
from pgdr.errors import RefusedError

if TYPE_CHECKING:
    from pgdr.journal import Journal
    from pgdr.recovery.model import RecoveryState
    from pgdr.recovery.state import StateStore
    from pgdr.recovery.verify import Check

app = typer.Typer(
    no_args_is_help=True,
    help="Bring this host's cluster back from a repository: plan, run, watch, verify, finish.",
)


_Isolated = Annotated[bool, typer.Option("--isolated", help="A drill's cluster: it must not archive.")]


def _store(context: typer.Context) -> StateStore:
    from pgdr.recovery.state import StateStore  # noqa: PLC0415 - start-up time, see main

    return StateStore(invocation(context).host.state_directory / "recovery")


def _journal(context: typer.Context) -> Journal:
    from pgdr.journal import Journal  # noqa: PLC0415

    return Journal.of(invocation(context).host)


@app.command()
def plan(
    context: typer.Context,
    repo: Annotated[int, typer.Option(help="Number of the repository to restore from.")],
    backup_set: BACKUP_SET = "",
    target_time: TARGET_TIME = "",
    target_lsn: TARGET_LSN = "",
    target_name: TARGET_NAME = "",
    target_xid: TARGET_XID = "",
    target_timeline: TARGET_TIMELINE = "latest",
    exclusive: EXCLUSIVE = False,
    replace_running: Annotated[
        str, typer.Option(metavar="CLUSTER", help="Name of the running cluster that may be replaced.")
    ] = "",
    replica: Annotated[
        bool, typer.Option("--replica", help="The repository is read as its copy, which may lag: look for every file.")
    ] = False,
    disaster_time: Annotated[
        str, typer.Option(help="When it broke, with offset; the plan says how far the archive is behind.")
    ] = "",
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Look at repository and host, decide, and refuse what cannot work; nothing is changed.

    Without a target the cluster is recovered to the end of the archived WAL. A recovery that was begun and not
    finished is taken up again.

    Example: pgdr recover plan --repo 2 --target-time '2026-11-24 14:30:00+01:00'
    """
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.recovery.model import RecoveryState, Stage  # noqa: PLC0415
    from pgdr.recovery.plan import Options, make_plan  # noqa: PLC0415
    from pgdr.recovery.run import works  # noqa: PLC0415
    from pgdr.recovery.target import make_target, parse_time  # noqa: PLC0415
    from pgdr.restorepoint import position  # noqa: PLC0415

    target = make_target(
        time=target_time,
        lsn=target_lsn,
        name=target_name,
        xid=target_xid,
        timeline=target_timeline,
        inclusive=not exclusive,
    )
    store = _store(context)
    old = store.load()
    resumed = old is not None and old.stage is not Stage.FINISHED and old.attempts > 0
    if old is not None and resumed:
        _require_same(old, repo, target.text, backup_set)
        if old.failure and not works(old):
            # A watcher must not take the last attempt's failure for the next one's. What still works is left alone:
            # its process writes the file.
            old.failure, old.failure_code = "", 0
            store.save(old)
        # Set aside already, the cluster of before no longer runs; what may run now is the recovered one.
        decided = old.plan.model_copy(update={"stop_first": old.plan.stop_first and old.stage is Stage.PLANNED})
    else:
        host = invocation(context).host
        decided = make_plan(
            host,
            PgBackRest(host),
            Options(
                repository=repo,
                target=target,
                backup_label=backup_set,
                replace_running=replace_running,
                replica=replica,
                near=position(host, target_name) if target_name else 0,
                disaster_at=parse_time(disaster_time, what="disaster_time") if disaster_time else None,
            ),
        )
        if old is not None:
            store.archive(old)
        store.save(RecoveryState(plan=decided))
    if output_format is OutputFormat.JSON:
        more = {"target_text": decided.target.text, "resumed": resumed, "behind_text": behind_text(decided)}
        output.json_result({**decided.model_dump(mode="json"), **more})
        return
    show_plan(decided, resumed)


def _require_same(old: RecoveryState, repo: int, target_text: str, backup_set: str) -> None:
    same = old.plan.repository == repo and old.plan.target.text == target_text
    if same and backup_set in ("", old.plan.backup_label):
        return
    raise RefusedError(
        f"recovery {old.plan.operation} to {old.plan.target.text} from repository {old.plan.repository} "
        f"was begun and is not finished (stage {old.stage})",
        remedy="run it again with the same target, or give it up with: pgdr recover abandon",
    )


@app.command()
def run(
    context: typer.Context,
    confirm: Annotated[str, typer.Option(metavar="CLUSTER", help="The cluster's name, typed by a person.")],
    processes: Annotated[int, typer.Option(help="Processes that restore files; 0 for one a core.")] = 0,
) -> None:
    """Carry out the plan up to a promoted, cleanly stopped cluster; a rerun goes on where it was killed.

    Example: pgdr recover run --confirm erp-prod
    """
    from pgdr.errors import PgdrError  # noqa: PLC0415
    from pgdr.pgbackrest.client import PgBackRest  # noqa: PLC0415
    from pgdr.recovery.door import is_closed  # noqa: PLC0415
    from pgdr.recovery.run import Recovery  # noqa: PLC0415

    host = invocation(context).host
    if confirm != host.cluster_name:
        raise RefusedError(
            f"{confirm!r} is not the name of this cluster", remedy=f"type --confirm {host.cluster_name} if you mean it"
        )
    recovery = Recovery(
        host,
        PgBackRest(host),
        _store(context),
        lambda progress: output.message(progress.line),
    )
    journal = _journal(context)
    facts = {"recovery": recovery.state.plan.operation, "target": recovery.state.plan.target.text}
    journal.append(operation="recover run", result="started", details=facts)
    try:
        state = recovery.run(processes or os.cpu_count() or 1)
    except PgdrError as error:
        journal.append(operation="recover run", result="failed", details={**facts, "error": str(error)})
        raise
    reached = state.reached.model_dump(mode="json") if state.reached else {}
    times: dict[str, float] = {}
    for phase in state.phases:
        # A phase that was tried more than once took the sum of its attempts.
        times[phase.name] = times.get(phase.name, 0.0) + phase.seconds
    journal.append(operation="recover run", result="ok", details={**facts, "reached": reached}, times=times)
    output.result(f"promoted at {reached.get('lsn')} on timeline {reached.get('timeline')}; the cluster is stopped")
    if is_closed(host.data_directory):
        output.result("it starts when who was erased is removed again: pgdr erasures replay --before-opening")


@app.command()
def watch(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(help="Wait at most this long for an end.")] = 20.0,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Say where the running recovery stands; returns early when it ends.

    Example: pgdr recover watch --seconds 60
    """
    from pgdr.recovery.watch import watch_recovery  # noqa: PLC0415

    seen = watch_recovery(_store(context), seconds)
    if output_format is OutputFormat.JSON:
        output.json_result(seen.model_dump(mode="json"))
    else:
        output.result(seen.line)


@app.command()
def verify(
    context: typer.Context,
    schema: Annotated[list[str] | None, typer.Option(help="A schema that must be there; repeat it.")] = None,
    isolated: _Isolated = False,
    output_format: FORMAT = OutputFormat.TABLE,
) -> None:
    """Look at the opened cluster: identity, timeline, schemas, indexes, collations, archiving.

    Example: pgdr recover verify --schema auth --schema sales
    """
    from pgdr.recovery import verify as proof  # noqa: PLC0415
    from pgdr.surgery.opening import kept_check  # noqa: PLC0415

    host, state = invocation(context).host, _required(context)
    # A phase that a person left out is in the report; here nobody knows.
    checks = [*proof.verify(host, state, schema or [], isolated=isolated), kept_check(host, state, fatal=False)]
    if output_format is OutputFormat.JSON:
        output.json_result([check.model_dump(mode="json") for check in checks])
    else:
        _show_checks("recovered cluster", checks)
    proof.require_proven(checks)


def _smoke_checks(context: typer.Context, policy: Path | None) -> list[Check]:
    from pgdr.policy.load import DEFAULT_PATH, load_policy  # noqa: PLC0415
    from pgdr.recovery.smoke import ask  # noqa: PLC0415

    return ask(invocation(context).host, load_policy(policy or DEFAULT_PATH).recovery.smoke_queries)


def _show_checks(title: str, checks: list[Check]) -> None:
    rows = [(one.name, "ok" if one.ok else "FAILED" if one.fatal else "warning", one.detail) for one in checks]
    output.message(title)
    output.table(("check", "result", "seen"), rows)


@app.command()
def smoke(context: typer.Context, policy: POLICY = None, output_format: FORMAT = OutputFormat.TABLE) -> None:
    """Ask the policy's smoke queries; exit code 5 when an answer is not what the policy expects.

    Example: pgdr recover smoke
    """
    from pgdr.recovery import verify as proof  # noqa: PLC0415

    checks = _smoke_checks(context, policy)
    if output_format is OutputFormat.JSON:
        output.json_result([check.model_dump(mode="json") for check in checks])
    elif checks:
        _show_checks("smoke queries", checks)
    else:
        output.message("the policy asks no smoke queries (recovery.smoke_queries)")
    proof.require_proven(checks)


@app.command()
def analyze(
    context: typer.Context, jobs: Annotated[int, typer.Option(help="Parallel connections; 0 for one a core.")] = 0
) -> None:
    """Bring the planner's statistics of every database up to date.

    Example: pgdr recover analyze
    """
    from pgdr.recovery import verify as proof  # noqa: PLC0415

    proof.analyze(invocation(context).host, jobs or os.cpu_count() or 1)


@app.command()
def finish(
    context: typer.Context,
    marks: Annotated[
        str, typer.Option(help='Phases of the play as JSON: [{"name": ..., "at": ISO time}, ...].')
    ] = "[]",
    disaster_time: Annotated[str, typer.Option(help="When the disaster struck, with offset; gives RTO and RPO.")] = "",
    schema: Annotated[list[str] | None, typer.Option(help="A schema that must be there; repeat it.")] = None,
    off: Annotated[list[str] | None, typer.Option(help="A phase that was not asked for; repeat it.")] = None,
    isolated: _Isolated = False,
    policy: POLICY = None,
) -> None:
    """Close the recovery: measure RTO and RPO, write the report and the journal entry, print the report as JSON.

    Once closed, its RTO and RPO stay; phases that ran later are added to the report.

    Example: pgdr recover finish --disaster-time '2026-11-24 14:30:00+01:00'
    """
    from pgdr.proof.marks import record_proven  # noqa: PLC0415
    from pgdr.proof.speeds import measured  # noqa: PLC0415
    from pgdr.recovery import verify as proof  # noqa: PLC0415
    from pgdr.recovery.model import Stage  # noqa: PLC0415
    from pgdr.recovery.target import parse_time  # noqa: PLC0415
    from pgdr.surgery.opening import kept_check  # noqa: PLC0415

    host = invocation(context).host
    state = _required(context)
    kept = kept_check(host, state, fatal="erasures" not in (off or []))
    checks = [*proof.verify(host, state, schema or [], isolated=isolated), kept, *_smoke_checks(context, policy)]
    report = proof.make_report(
        state,
        off=off or [],
        marks=[proof.Mark(item["name"], parse_time(item["at"], what="mark")) for item in json.loads(marks)],
        disaster_at=parse_time(disaster_time, what="disaster_time") if disaster_time else None,
        checks=checks,
        now=datetime.now(UTC),
    )
    proof.require_proven(checks)
    store = _store(context)
    file = store.folder / f"{state.plan.operation}.report.json"
    closed = state.stage is Stage.FINISHED
    times = {phase.name: phase.seconds for phase in report.phases}
    if closed and file.is_file():
        report = proof.amended(proof.Report.model_validate_json(file.read_text(encoding="utf-8")), report)
    document = report.model_dump(mode="json")
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _journal(context).append(operation="recover", result="amended" if closed else "ok", details=document, times=times)
    if not closed:
        state.stage = Stage.FINISHED
        store.save(state)
        record_proven(host, measured(state, report.finished_at))
    output.json_result(document)


@app.command()
def abandon(
    context: typer.Context,
    put_back: Annotated[bool, typer.Option("--put-back", help="Give what was set aside its old place again.")] = False,
) -> None:
    """Give up an unfinished recovery: what it restored is renamed, nothing is deleted.

    Example: pgdr recover abandon --put-back
    """
    from pgdr.recovery.files import withdraw  # noqa: PLC0415
    from pgdr.recovery.model import Stage  # noqa: PLC0415
    from pgdr.recovery.run import require_idle, stop_leftover  # noqa: PLC0415

    host = invocation(context).host
    store = _store(context)
    state = _required(context)
    if state.stage.rank >= Stage.PROMOTED.rank:
        raise RefusedError(
            f"recovery {state.plan.operation} has promoted the cluster",
            remedy="run dr-restore.yml again: it finishes",
        )
    require_idle(state)
    stop_leftover(host.bin_directory, Path(state.plan.data_directory))
    renamed = withdraw(state.plan, put_back=put_back)
    kept = store.archive(state)
    facts = {"recovery": state.plan.operation, "stage": str(state.stage), "renamed": renamed}
    _journal(context).append(operation="recover", result="abandoned", details=facts)
    for source, target in renamed:
        output.result(f"renamed {source} to {target}")
    output.result(f"abandoned {state.plan.operation}; its state is kept in {kept}")


def _required(context: typer.Context) -> RecoveryState:
    state = _store(context).load()
    if state is None:
        raise RefusedError("there is no recovery on this host", remedy="begin with: pgdr recover plan --repo N")
    return state
