"""``python -m suite lint|all``: what ``make lint`` and ``make test`` run."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from suite import stages
from suite.outcome import Outcome

# One lab with its S3 server takes about this much memory.
_LAB_GIB = 4.0

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Everything that proves a change.")
_console = Console(width=stages.width(), highlight=False)


def _announce(outcome: Outcome) -> None:
    state = "FAILED" if outcome.failed else "ok"
    counts = f"{outcome.passed} passed, {outcome.failed} failed, {len(outcome.skipped)} skipped"
    _console.print(f"{outcome.name}: {state}, {counts}, {outcome.seconds:.0f} s {outcome.note}", markup=False)
    if outcome.failed and outcome.log:
        _console.print(stages.tail(outcome.log), markup=False)
        _console.print(f"whole log: {outcome.log}", markup=False)


def _close(outcomes: list[Outcome]) -> None:
    table = Table("stage", "passed", "failed", "skipped", "seconds", title="make test", title_justify="left")
    for one in outcomes:
        table.add_row(one.name, str(one.passed), str(one.failed), str(len(one.skipped)), f"{one.seconds:.0f}")
    _console.print(table)
    skipped = [f"{one.name}: {what}" for one in outcomes for what in one.skipped]
    for line in skipped:
        _console.print(f"SKIPPED {line}", markup=False)
    for one in outcomes:
        for what in one.unsteady:
            _console.print(f"UNSTEADY {one.name}: failed, and passed when it was run again alone: {what}", markup=False)
    # Last, so that whoever sees only the end of a log (CI shows no more) learns what failed.
    for one in outcomes:
        for what in one.faults or ([one.note or "see its log"] if one.failed else []):
            _console.print(f"FAILED {one.name}: {what}", markup=False)
    passed, failed = sum(one.passed for one in outcomes), sum(one.failed for one in outcomes)
    _console.print(f"{passed} passed, {failed} failed, {len(skipped)} skipped", markup=False)
    if failed or not passed:
        raise typer.Exit(1)


def _side_by_side(jobs: list[stages.Stage]) -> list[Outcome]:
    """Run scenarios and drill, as many at once as memory allows."""
    at_once = max(1, min(2, int(stages.free_memory_gib() // _LAB_GIB)))
    _console.print(f"{len(jobs)} scenarios, {at_once} at a time; logs in {stages.LOGS}", markup=False)
    outcomes = []
    with ThreadPoolExecutor(at_once) as pool:
        for done in as_completed([pool.submit(job) for job in jobs]):
            outcomes.append(done.result())
            _announce(outcomes[-1])
    return outcomes


@app.command()
def lint() -> None:
    """Run every linter."""
    outcome = stages.lint()
    _announce(outcome)
    _close([outcome])


@app.command(name="all")
def everything(
    only: Annotated[list[str] | None, typer.Option(help="Only: lint, python, infra, lab, a scenario, drill.")] = None,
) -> None:
    """Run lint, Python tests, molecule scenarios and the drill."""
    outcomes = []
    reason = stages.able()
    first = {
        "lint": stages.lint,
        "python": stages.python_tests,
        "infra": stages.infra_tests,
        "lab": stages.lab_tests,
    }
    for name, stage in first.items():
        if not only or name in only:
            outcomes.append(stage())
            _announce(outcomes[-1])
    jobs: dict[str, stages.Stage] = {}
    for name in stages.scenarios():
        held_back = stages.held_back(name)
        if held_back and not (only and name in only):
            outcomes.append(Outcome(f"molecule {name}", skipped=[f"the whole scenario: {held_back}"]))
        else:
            jobs[name] = partial(stages.scenario, name)
    jobs["drill"] = stages.drill
    wanted = {name: job for name, job in jobs.items() if not only or name in only}
    if reason:
        _console.print(f"This host cannot run systemd containers: {reason}", markup=False)
        outcomes.append(Outcome("containers", skipped=[f"{name}: {reason}" for name in wanted]))
    elif wanted:
        outcomes += _side_by_side(list(wanted.values()))
    _close(outcomes)


if __name__ == "__main__":
    sys.exit(app())
