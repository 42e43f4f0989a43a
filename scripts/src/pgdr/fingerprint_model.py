"""A fingerprint as a document, and the comparison of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, computed_field

from pgdr.errors import ConfigError
from pgdr.files import write_atomically
from pgdr.rowhash import MODULUS, checksum_text

FORMAT = 1


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class TableSum(_Document):
    """Exact row count and content of a table: two sums of row hashes modulo 2**64."""

    rows: int
    sum0: int
    sum1: int

    @computed_field  # type: ignore[prop-decorator]  # mypy has no word for a decorated property
    @property
    def checksum(self) -> str:
        """Both sums as the 32 hexadecimal digits that people compare."""
        return checksum_text(self.sum0, self.sum1)

    def plus(self, other: TableSum) -> TableSum:
        """The sum over the rows of both."""
        return TableSum(
            rows=self.rows + other.rows,
            sum0=(self.sum0 + other.sum0) % MODULUS,
            sum1=(self.sum1 + other.sum1) % MODULUS,
        )


NOTHING = TableSum(rows=0, sum0=0, sum1=0)


class SequenceState(_Document):
    """Where a sequence stands."""

    last_value: int
    is_called: bool
    increment: int = 1

    @property
    def next_value(self) -> int:
        """What it would give next."""
        return self.last_value + (self.increment if self.is_called else 0)


class Totals(_Document):
    """Sums over the compared tables."""

    tables: int
    rows: int


class Fingerprint(_Document):
    """What a database held at one moment.

    Attributes:
        schemas: the schemas that were asked for, or ``None`` for all of the ERP's.
        tables: tables by key; partitions count for the table they belong to.
        materialized_views: for information: derived data, ``None`` where never filled.
        unlogged: tables and sequences that WAL does not carry, so that a recovery empties them; not counted.
        foreign_tables: their rows are elsewhere; not counted.
    """

    format: int = FORMAT
    database: str
    server_version: str
    system_identifier: str
    timeline: int
    lsn: str
    in_recovery: bool = False
    taken_at: datetime
    schemas: tuple[str, ...] | None = None
    tables: dict[str, TableSum]
    sequences: dict[str, SequenceState] = {}
    materialized_views: dict[str, TableSum | None] = {}
    unlogged: tuple[str, ...] = ()
    foreign_tables: tuple[str, ...] = ()
    totals: Totals

    def to_json(self) -> str:
        """The document as text."""
        return self.model_dump_json(indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write the document to a file, whole or not at all.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            write_atomically(path, self.to_json())
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def load(path: Path) -> Fingerprint:
    """Read a saved fingerprint.

    Raises:
        ConfigError: the file is missing or is not a fingerprint.
    """
    try:
        found = Fingerprint.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise ConfigError(f"{path} is not a fingerprint: {where}: {first['msg']}") from error
    if found.format != FORMAT:
        raise ConfigError(f"{path} has format {found.format}, this pgdr reads {FORMAT}")
    return found


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        key: the relation.
        what: how it differs: expected first, then found.
    """

    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


@dataclass(frozen=True)
class Comparison:
    """Two fingerprints side by side.

    Attributes:
        tables: how many tables were compared.
        rows: how many rows the reference has in them.
        differences: what must be equal and is not.
        notes: what may differ after a recovery, and does.
    """

    tables: int
    rows: int
    differences: tuple[Difference, ...]
    notes: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs that must be equal."""
        return not self.differences


def compare(reference: Fingerprint, actual: Fingerprint) -> Comparison:
    """Compare what a database holds with what it should.

    Sequences may be ahead of the reference: PostgreSQL logs them up to 32 values in advance, and a gap harms
    nobody. Behind, they would hand out a number twice: that is a difference.

    Raises:
        ConfigError: the two do not cover the same schemas.
    """
    if reference.schemas != actual.schemas:
        raise ConfigError(
            f"the fingerprints cover different schemas: {_scope(reference)} and {_scope(actual)}",
            remedy="take both with the same --schema options",
        )
    return Comparison(
        tables=len(reference.tables),
        rows=reference.totals.rows,
        differences=(*_table_differences(reference, actual), *_sequence_differences(reference, actual)),
        notes=tuple(_notes(reference, actual)),
    )


def _scope(fingerprint: Fingerprint) -> str:
    return "all" if fingerprint.schemas is None else ", ".join(fingerprint.schemas)


def _table_differences(reference: Fingerprint, actual: Fingerprint) -> Iterator[Difference]:
    for key in sorted(reference.tables.keys() | actual.tables.keys()):
        expected, found = reference.tables.get(key), actual.tables.get(key)
        if expected is None:
            yield Difference(key, "not in the reference")
        elif found is None:
            yield Difference(key, "missing")
        elif expected.rows != found.rows:
            yield Difference(
                key, f"{expected.rows} rows expected, {found.rows} found ({found.rows - expected.rows:+d})"
            )
        elif expected != found:
            yield Difference(
                key, f"{found.rows} rows as expected, but other content: {expected.checksum}, {found.checksum}"
            )


def _sequence_differences(reference: Fingerprint, actual: Fingerprint) -> Iterator[Difference]:
    for key in sorted(reference.sequences.keys() | actual.sequences.keys()):
        expected, found = reference.sequences.get(key), actual.sequences.get(key)
        if expected is None:
            yield Difference(key, "sequence not in the reference")
        elif found is None:
            yield Difference(key, "sequence missing")
        elif _steps_ahead(expected, found) < 0:
            yield Difference(
                key, f"sequence behind: next value {expected.next_value} expected, {found.next_value} found"
            )


def _steps_ahead(expected: SequenceState, found: SequenceState) -> int:
    distance = found.next_value - expected.next_value
    return distance if expected.increment > 0 else -distance


def _notes(reference: Fingerprint, actual: Fingerprint) -> Iterator[Difference]:
    for key, expected in sorted(reference.sequences.items()):
        found = actual.sequences.get(key)
        if found is not None and _steps_ahead(expected, found) > 0:
            yield Difference(key, f"sequence ahead by {abs(found.next_value - expected.next_value)}")
    views = reference.materialized_views.keys() | actual.materialized_views.keys()
    for key in sorted(views):
        if reference.materialized_views.get(key) != actual.materialized_views.get(key):
            yield Difference(key, "materialized view differs: refresh it")
    for key in sorted({*reference.unlogged, *actual.unlogged}):
        yield Difference(key, "unlogged: not compared, empty after a recovery")
    for key in sorted({*reference.foreign_tables, *actual.foreign_tables}):
        yield Difference(key, "foreign table: not compared")
