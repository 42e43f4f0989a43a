"""Compare what was restored with the manifest: every row counted, every constraint there and valid."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pgdr.archive import catalog
from pgdr.archive.counting import count_rows
from pgdr.archive.model import ConstraintEntry, Manifest, SequenceEntry, TableEntry
from pgdr.errors import NotProvenError
from pgdr.hostconfig import HostConfig
from pgdr.postgres.connection import connected
from pgdr.restoring.checks import find_drift, listed

_SETTINGS = {"search_path": "", "row_security": "off", "statement_timeout": "0"}


@dataclass(frozen=True)
class Proven:
    """What was compared and found equal."""

    tables: int
    rows: int
    constraints: int
    sequences: int


def prove(
    config: HostConfig,
    database: str,
    manifest: Manifest,
    *,
    schemas: Collection[str] | None = None,
    leave_out: Collection[tuple[str, str]] = (),
    jobs: int = 1,
) -> Proven:
    """Count all rows and compare tables, columns, constraints, sequences and large objects.

    Args:
        config: what this host is.
        database: the restored database.
        manifest: what the archive says.
        schemas: these only; ``None`` for everything.
        leave_out: constraints that are put back later, as table and name.
        jobs: tables that are counted at once.

    Raises:
        NotProvenError: something differs.
    """
    wanted = [table for table in manifest.tables if schemas is None or table.schema_ in schemas]
    keys = {table.key for table in wanted}
    expected = [c for c in manifest.constraints if c.table in keys and (c.table, c.name) not in leave_out]
    sequences = manifest.sequences if schemas is None else ()
    with connected(config, database, application_name="pgdr restore", settings=_SETTINGS) as connection:
        there = [table for table in catalog.read_tables(connection) if schemas is None or table.schema_ in schemas]
        problems = [str(item) for item in find_drift(wanted, there)]
        problems += _constraint_problems(expected, catalog.read_constraints(connection))
        problems += _sequence_problems(sequences, catalog.read_sequences(connection))
        large_objects = catalog.read_large_objects(connection)
    if schemas is None and large_objects != manifest.large_objects:
        problems.append(f"{large_objects} large objects instead of {manifest.large_objects}")
    present = {table.key for table in there}
    counted = [table for table in wanted if table.rows is not None and table.key in present]
    rows, wrong = _count(config, database, counted, jobs)
    if problems := [*problems, *wrong]:
        raise NotProvenError(
            f"what was restored differs from archive {manifest.label}: {listed(problems)}",
            remedy="nothing was changed; try another archive",
        )
    return Proven(len(counted), rows, len(expected), len(sequences))


def _constraint_problems(expected: Iterable[ConstraintEntry], found: Iterable[ConstraintEntry]) -> list[str]:
    there = {(item.table, item.name): item for item in found}
    problems = []
    for item in expected:
        match = there.get((item.table, item.name))
        if match is None:
            problems.append(f"{item.table}: constraint {item.name} is missing")
        elif item.validated and not match.validated:
            problems.append(f"{item.table}: constraint {item.name} is not valid")
    return problems


def _sequence_problems(expected: Iterable[SequenceEntry], found: Iterable[SequenceEntry]) -> list[str]:
    there = {item.key: item.last_value for item in found}
    problems = []
    for item in expected:
        if item.key not in there:
            problems.append(f"sequence {item.key} is missing")
        elif item.last_value is not None and there[item.key] is None:
            problems.append(f"sequence {item.key} stands at its beginning instead of {item.last_value}")
    return problems


def _count(config: HostConfig, database: str, tables: Sequence[TableEntry], jobs: int) -> tuple[int, list[str]]:
    """Count the rows of tables over several connections; returns all rows, and what is wrong."""

    def share(index: int) -> list[tuple[TableEntry, int]]:
        with connected(config, database, application_name="pgdr restore", settings=_SETTINGS) as connection:
            return [(table, count_rows(connection, table)) for table in tables[index::jobs]]

    with ThreadPoolExecutor(jobs) as pool:
        counts = [pair for part in pool.map(share, range(jobs)) for pair in part]
    wrong = [f"{table.key}: {rows} rows instead of {table.rows}" for table, rows in counts if rows != table.rows]
    return sum(rows for _, rows in counts), wrong
