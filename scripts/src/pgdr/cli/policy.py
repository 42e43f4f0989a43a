"""``pgdr policy``: is the policy sound, what does it mean, what follows from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pgdr.cli import output
from pgdr.errors import ExitCode, RefusedError
from pgdr.policy import (
    DEFAULT_PATH,
    Finding,
    Policy,
    PolicyError,
    check_policy,
    derive,
    errors_of,
    load_policy,
    policy_schema,
    require_sound,
)

app = typer.Typer(
    name="policy",
    help="Check, explain and derive from the recovery policy.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PolicyPath = Annotated[
    Path, typer.Argument(help="The policy file; its only key is recovery_policy.", show_default=True)
]
Output = Annotated[output.OutputFormat, typer.Option("--output", help="For a person or for a program.")]


@app.command()
def check(path: PolicyPath = DEFAULT_PATH, form: Output = output.OutputFormat.TABLE) -> None:
    """Say whether the policy is valid and can keep its own promises.

    Ends with 0 when it can (warnings are shown), with 3 when it cannot.

    \b
    Example:
      pgdr policy check inventories/production/group_vars/all/policy.yml
    """
    try:
        findings = check_policy(load_policy(path))
    except PolicyError as error:
        findings = list(error.findings)
    errors = errors_of(findings)
    if form is output.OutputFormat.JSON:
        output.json_result(
            {"policy": str(path), "valid": not errors, "findings": [_finding_document(item) for item in findings]}
        )
    else:
        _show_findings(path, findings)
    if errors:
        raise typer.Exit(int(ExitCode.CONFIG))


def _finding_document(finding: Finding) -> dict[str, str]:
    return {
        "severity": str(finding.severity),
        "path": finding.path,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _show_findings(path: Path, findings: list[Finding]) -> None:
    """Write one line for each finding: it can be searched, copied, and read in a narrow log."""
    for finding in findings:
        output.result(f"{finding.severity:<7}  {finding}")
    errors = len(errors_of(findings))
    warnings = len(findings) - errors
    verdict = "cannot be used" if errors else "sound"
    output.result(f"{path}: {verdict}, {_count(errors, 'error')}, {_count(warnings, 'warning')}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@app.command()
def schema() -> None:
    """Write the JSON Schema of a policy file, for editors.

    \b
    Example:
      pgdr policy schema > inventories/policy.schema.json
    """
    output.json_result(policy_schema())


@app.command()
def show(path: PolicyPath = DEFAULT_PATH, form: Output = output.OutputFormat.TABLE) -> None:
    """Show the policy with everything that was left out filled in.

    \b
    Example:
      pgdr policy show inventories/production/group_vars/all/policy.yml
    """
    policy: Policy = load_policy(path)
    document = {"recovery_policy": policy.model_dump(mode="json", by_alias=True, exclude_none=True)}
    _document(document, form)


@app.command(name="derive")
def derive_command(path: PolicyPath = DEFAULT_PATH, form: Output = output.OutputFormat.TABLE) -> None:
    """Show what follows from the policy: cron jobs, repositories, settings, S3 rules, alert thresholds.

    \b
    Example:
      pgdr policy derive inventories/lab/group_vars/all/policy.yml --output json
    """
    _document(derive(require_sound(load_policy(path), source=str(path))), form)


def _document(document: Any, form: output.OutputFormat) -> None:
    """Write a nested document: YAML for a person, JSON for a program."""
    if form is output.OutputFormat.JSON:
        output.json_result(document)
        return
    import yaml  # noqa: PLC0415 - only people read YAML

    plain = json.loads(json.dumps(document))
    output.result(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120).rstrip())


@app.command()
def simulate(
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The day to look at.")],
    path: PolicyPath = DEFAULT_PATH,
    begin: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day; default: today.")
    ] = None,
    full_gb: Annotated[float, typer.Option(min=0, help="Size of a full backup in GB.")] = 75,
    wal_gb: Annotated[float, typer.Option(min=0, help="WAL and increments a day in GB.")] = 25,
    archive_gb: Annotated[float, typer.Option(min=0, help="Size of an archive in GB.")] = 50,
    form: Output = output.OutputFormat.TABLE,
) -> None:
    """Say which copies will exist on a day, what can be restored then, and what it weighs.

    The default sizes are the requirement's estimates.

    \b
    Example:
      pgdr policy simulate inventories/production/group_vars/all/policy.yml --until 2033-12-31 --full-gb 80
    """
    from pgdr.retention import simulate as simulation  # noqa: PLC0415 - start-up time, see main

    policy = require_sound(load_policy(path), source=str(path))
    first = (begin or datetime.now(UTC)).date()
    if until.date() < first:
        raise RefusedError(f"{until:%Y-%m-%d} is before {first}", remedy="write a later day, or --from")
    weights = simulation.Weights(int(full_gb * 1e9), int(wal_gb * 1e9), int(archive_gb * 1e9))
    found = simulation.simulate(policy, first, until.date(), weights)
    if form is output.OutputFormat.JSON:
        output.json_result({"from": str(first), "until": f"{until:%Y-%m-%d}", "places": [asdict(i) for i in found]})
        return
    rows = [
        (
            item.place,
            str(len(item.copies)),
            f"{item.oldest:%Y-%m-%d}" if item.oldest else "-",
            f"any moment since {item.reach:%Y-%m-%d %H:%M}" if item.reach else "the copies themselves",
            output.bytes_text(item.size),
        )
        for item in found
    ]
    output.table(
        ("place", "copies", "oldest", "can be restored", "weighs"), rows, right=frozenset({"copies", "weighs"})
    )
    output.result(f"in all {output.bytes_text(sum(item.size for item in found))} on {until:%Y-%m-%d}")
    for item in found:
        for conflict in item.conflicts:
            output.result(f"conflict at {item.place}: {conflict}")
