"""Which columns of an archived table its live successor takes its values from."""

from __future__ import annotations

from collections.abc import Sequence

from pgdr.archive.model import Column, TableEntry
from pgdr.errors import RefusedError
from pgdr.restoring import checks
from pgdr.surgery.drift import ColumnChoice, ColumnMap

# For each table by its key: live column and archived column.
ColumnPairs = dict[str, tuple[tuple[str, str], ...]]


def pair_columns(
    archived: Sequence[TableEntry], live: Sequence[TableEntry], choices: ColumnMap
) -> tuple[ColumnPairs, tuple[checks.Drift, ...]]:
    """Bring the columns together.

    Args:
        archived: the tables that are restored.
        live: the tables of now.
        choices: what a person decided; where nobody did, columns that are new keep their value, and nothing else may
            have changed.

    Returns:
        the pairs, and how the tables differ.

    Raises:
        RefusedError: archived values have no place any more and nobody decided, or the decisions do not fit.
    """
    keys = {table.key for table in archived}
    today = {table.key: table for table in live if table.key in keys}
    drift = checks.find_drift(archived, list(today.values()))
    problems: list[str] = [str(item) for item in drift if item.table not in today]
    pairs: ColumnPairs = {}
    for table in archived:
        mine = choices.about(table.schema_, table.name)
        if any(one.column is None and one.drop is None for one in mine):
            problems.append(f"the column map leaves {table.key} alone, and it is to be restored")
        elif table.key in today:
            pairs[table.key] = tuple(_pairs(table, today[table.key], mine, problems))
    if problems:
        raise RefusedError(
            f"the structure has changed since the archive: {checks.listed(problems)}",
            remedy="decide with --column-map FILE (playbooks/README.md, column map), or make a copy with --into NAME",
        )
    return pairs, drift


def _pairs(
    then: TableEntry, now: TableEntry, choices: Sequence[ColumnChoice], problems: list[str]
) -> list[tuple[str, str]]:
    old = {column.name: column for column in then.columns}
    decided = {one.column: one for one in choices if one.column is not None}
    given_up = {one.drop for one in choices if one.drop is not None}
    problems += [f"{then.key} had no column {name}" for name in given_up if name not in old]
    pairs = []
    for column in now.columns:
        choice = decided.pop(column.name, None)
        source = column.name if choice is None else choice.source
        if choice is not None and source is not None and source not in old:
            problems.append(f"{then.key} had no column {source}")
        if source is None or source not in old:
            continue
        if choice is None and _differs(old[source], column):
            problems.append(f"{now.key}: column {source} was {old[source].type}, is {column.type}")
        elif not column.generated:
            pairs.append((column.name, source))
    problems += [f"{now.key} has no column {name}, which the column map names" for name in decided]
    used = {source for _, source in pairs} | {column.name for column in now.columns if column.generated}
    problems += [
        f"{then.key}: column {column.name} dropped since"
        for column in then.columns
        if column.name not in used | given_up and not column.generated and column.name not in _changed(now, old)
    ]
    return pairs


def _differs(then: Column, now: Column) -> bool:
    return (then.type, then.generated) != (now.type, now.generated)


def _changed(now: TableEntry, old: dict[str, Column]) -> set[str]:
    """Columns of the same name that differ: said already."""
    return {column.name for column in now.columns if column.name in old and _differs(old[column.name], column)}
