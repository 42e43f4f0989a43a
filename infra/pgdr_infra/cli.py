"""``pgdr-infra``: what the cloud side will cost, before anybody builds it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from pgdr.cli import output
from pgdr.edge import exit_code
from pgdr.errors import ConfigError
from pgdr.policy import load_policy, require_sound
from pgdr.policy.cloud import the_repository
from pgdr.policy.units import Size
from pgdr_infra.estimate.model import Line, Workload, estimate
from pgdr_infra.estimate.prices import DEFAULT, Prices, load_prices

app = typer.Typer(
    name="pgdr-infra",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """The cloud side of PostgreSQL backup and disaster recovery.

    \b
    Exit codes: 0 done, 2 usage, 3 configuration, 70 a bug.
    """


@app.command(name="estimate")
def estimate_command(
    policy_path: Annotated[Path, typer.Argument(metavar="POLICY", help="The policy file.")],
    database_size: Annotated[str, typer.Option(help="Size of the database, such as 500GB.")],
    change: Annotated[float, typer.Option(help="Percent of the database that changes in a day.", min=0, max=100)] = 2.0,
    wal: Annotated[str, typer.Option(help="WAL written in a day.  [default: twice what changes]")] = "",
    compression: Annotated[
        float, typer.Option(help="Size in the store as percent of the size in the database.", min=1, max=100)
    ] = 30.0,
    repository: Annotated[int | None, typer.Option(help="Id of the S3 repository, where there are several.")] = None,
    prices: Annotated[Path, typer.Option(help="Price table.")] = DEFAULT,
    form: Annotated[output.OutputFormat, typer.Option("--output", help="For a person or for a program.")] = (
        output.OutputFormat.TABLE
    ),
) -> None:
    """Estimate the monthly cost of the backup store, by prefix and storage class.

    The figures hold when everything has reached its age: annual archives cost their full price after years.

    \b
    Example:
      pgdr-infra estimate inventories/production/group_vars/all/policy.yml --database-size 500GB --change 2
    """
    policy = require_sound(load_policy(policy_path), source=str(policy_path))
    size = _size(database_size, "--database-size")
    work = Workload(
        database_bytes=size,
        change=change / 100,
        wal_bytes=_size(wal, "--wal") if wal else round(size * change / 100 * 2),
        compression=compression / 100,
    )
    table = load_prices(prices)
    lines = estimate(policy, the_repository(policy, repository), work, table)
    if form is output.OutputFormat.JSON:
        output.json_result(_document(lines, work, table))
    else:
        _show(lines, table)


def _size(text: str, option: str) -> int:
    try:
        return Size.parse(text).bytes
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


def _document(lines: list[Line], work: Workload, table: Prices) -> dict[str, object]:
    return {
        "prices": {"date": table.date.isoformat(), "source": table.source, "currency": table.currency},
        "workload": asdict(work),
        "lines": [{**asdict(line), "gib": round(line.gib, 3), "cost": round(line.cost, 4)} for line in lines],
        "total": round(sum(line.cost for line in lines), 2),
    }


def _show(lines: list[Line], table: Prices) -> None:
    rows = [
        (
            line.where,
            line.prefix,
            line.storage_class,
            f"{line.gib:,.1f}" if line.gib else "",
            f"{line.cost:,.2f}",
            line.note,
        )
        for line in lines
    ]
    rows.append(("total", "", "", f"{sum(line.gib for line in lines):,.1f}", f"{sum(x.cost for x in lines):,.2f}", ""))
    headers = ("where", "prefix", "class", "GiB", f"{table.currency} a month", "of")
    output.table(headers, rows, right={"GiB", f"{table.currency} a month"})
    output.result(f"Prices of {table.date.isoformat()}: {table.source}. Without reads, retrieval, logs and CloudTrail.")


def main(argv: list[str] | None = None) -> int:
    """Run ``pgdr-infra`` and return its exit code.

    Args:
        argv: the arguments without the program's name, or ``None`` for this process's own.
    """
    return exit_code(get_command(app), argv, name="pgdr-infra", say=output.error)


if __name__ == "__main__":
    raise SystemExit(main())
