"""Options that several commands share, so that they are called and explained the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli.output import OutputFormat

if TYPE_CHECKING:
    from pgdr.policy.model import Policy

_UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"^(\d+)([smh])$")


def _checked(text: str) -> str:
    if _DURATION.match(text) is None:
        raise typer.BadParameter("a number with s, m or h, for example 90m")
    return text


def seconds_of(text: str) -> float:
    """The seconds of a checked duration."""
    found = _DURATION.match(text)
    return float(int(found[1]) * _UNITS[found[2]]) if found else 0.0


FORMAT = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]
WAIT = Annotated[
    str, typer.Option(callback=_checked, help="How long to wait for another operation to end: 90m, 2h, 0s.")
]
JOBS = Annotated[int | None, typer.Option(min=1, max=64, help="How much is done at once; default: one a processor.")]
# What a recovery and a side instance are brought to, and from what.
BACKUP_SET = Annotated[str, typer.Option("--set", help="Backup set; without it the newest that fits.")]
TARGET_TIME = Annotated[str, typer.Option(help="As it was at this time, with its offset: 2026-11-24 14:30:00+01:00.")]
TARGET_LSN = Annotated[str, typer.Option(help="At this position in WAL, such as 16/B374D848.")]
TARGET_NAME = Annotated[str, typer.Option(help="At this restore point.")]
TARGET_XID = Annotated[str, typer.Option(help="At the end of this transaction.")]
TARGET_TIMELINE = Annotated[str, typer.Option(help="latest, current (the backup's) or a number.")]
EXCLUSIVE = Annotated[bool, typer.Option("--exclusive", help="Just before the target.")]
COLUMN_MAP = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What to do about columns that have changed since (YAML).")
]
POLICY = Annotated[
    Path | None,
    typer.Option(
        envvar="PGDR_POLICY",
        help="Recovery policy.  [default: /etc/pgdr/policy.yml]",
        show_default=False,
        show_envvar=True,
    ),
]


def policy_of(path: Path | None) -> Policy:
    """Read the recovery policy.

    Raises:
        ConfigError: it is missing or invalid.
    """
    from pgdr.policy.load import DEFAULT_PATH, load_policy  # noqa: PLC0415 - start-up time, see main

    return load_policy(path or DEFAULT_PATH)
