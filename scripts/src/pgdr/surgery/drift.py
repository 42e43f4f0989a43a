"""Differences between the tables of the past and those of today, and the choices that a person made about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgdr.errors import ConfigError, RefusedError
from pgdr.surgery.model import Column, Schema, Table, quoted


class ColumnChoice(BaseModel):
    """What to do about one column (or, without ``column``, about one table).

    Attributes:
        schema_: schema of the table.
        table: the table.
        column: a column of today; leave it out to leave the whole table alone.
        source: the column of the past that its values come from; ``None`` for none: new rows get the default, rows
            that exist keep their value.
        drop: a column of the past that nothing of today takes: its values are given up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: str = Field(alias="schema")
    table: str
    column: str | None = None
    source: str | None = Field(default=None, alias="from")
    drop: str | None = None


class ColumnMap(BaseModel):
    """The file of ``--column-map``: a list ``columns`` of choices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: tuple[ColumnChoice, ...] = ()

    def of(self, table: Table) -> tuple[ColumnChoice, ...]:
        """The choices about a table."""
        return self.about(*table.identity)

    def about(self, schema: str, name: str) -> tuple[ColumnChoice, ...]:
        """The choices about a table, by its name."""
        return tuple(one for one in self.columns if (one.schema_, one.table) == (schema, name))


def load_column_map(path: Path) -> ColumnMap:
    """Read a file with choices.

    Raises:
        ConfigError: it is missing, not YAML, or says something unknown.
    """
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return ColumnMap.model_validate(data)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ConfigError(f"{path}: {where}: {first['msg']}", remedy="see playbooks/README.md, column map") from error


@dataclass(frozen=True)
class StagedColumn:
    """A column of today and where its values come from.

    Attributes:
        column: the column of today.
        source: its name in the past; ``None`` where the past has none.
    """

    column: Column
    source: str | None


@dataclass(frozen=True)
class Mapping:
    """A table of today, the same table of the past, and how their columns meet.

    Attributes:
        table: today's.
        past: the past's; ``None`` where it did not exist.
        columns: today's columns in order.
    """

    table: Table
    past: Table | None
    columns: tuple[StagedColumn, ...]


def map_tables(
    tables: Iterable[Table], past: Schema, past_tables: Iterable[Table], choices: ColumnMap
) -> list[Mapping]:
    """Bring the tables of today and of the past together.

    Args:
        tables: today's tables in scope.
        past: the database of the past.
        past_tables: its tables in scope.
        choices: what a person decided.

    Raises:
        RefusedError: they differ where nobody decided; all differences are named.
    """
    tables = list(tables)
    problems: list[str] = []
    result = []
    for table in tables:
        mine = choices.of(table)
        if any(one.column is None and one.drop is None for one in mine):
            continue
        then = past.find(*table.identity)
        if then is None:
            # It cannot have had rows; those of today are left alone, and the plan says so.
            continue
        result.append(Mapping(table, then, tuple(_columns(table, then, mine, problems))))
    today = {table.identity for table in tables}
    for then in past_tables:
        if then.identity not in today and not choices.of(then):
            problems.append(f"table {then.label} existed then and is gone, or belongs to nobody now")
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise RefusedError(
            f"the tables have changed since: {shown}",
            remedy="decide with --column-map FILE (playbooks/README.md, column map)",
        )
    return result


def _columns(
    table: Table, then: Table, choices: tuple[ColumnChoice, ...], problems: list[str]
) -> Iterable[StagedColumn]:
    decided = {one.column: one for one in choices if one.column is not None}
    given_up = {one.drop for one in choices if one.drop is not None}
    used = set()
    for column in table.columns:
        choice = decided.pop(column.name, None)
        name = choice.source if choice is not None else column.name
        old = then.column(name) if name is not None else None
        if choice is None and (old is None or (old.type != column.type and not column.generated)):
            what = "is new" if old is None else f"was {old.type} and is {column.type}"
            if not (old is None and column.generated):
                problems.append(f"{table.label}.{quoted(column.name)} {what}")
        elif name is not None and old is None:
            problems.append(f"{then.label} had no column {quoted(name)}")
        if old is not None:
            used.add(old.name)
        yield StagedColumn(column, None if old is None else old.name)
    problems += [f"the column map names {table.label}.{quoted(name)}, which does not exist" for name in decided]
    problems += [
        f"{table.label}.{quoted(column.name)} existed then and is gone"
        for column in then.columns
        if column.name not in used and column.name not in given_up and not column.generated
    ]
