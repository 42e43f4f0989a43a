"""The question and the answer of ``pgdr when``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from pgdr.when.collect import Status


class Change(StrEnum):
    """The kinds of change that can be looked for."""

    DELETE = "delete"
    UPDATE = "update"
    TRUNCATE = "truncate"
    DROP = "drop"
    ALTER = "alter"


@dataclass(frozen=True)
class Question:
    """What is looked for.

    Attributes:
        repository: pgBackRest's number of the repository whose archive is read.
        tables: ``schema.table`` each; none of them means every table.
        kinds: kinds of change.
        begin: from when on.
        end: until when.
        timeline: ``latest`` or a number.
        limit: how many transactions to return, the largest first; 0 for all that were kept.
        jobs: processes.
    """

    repository: int
    tables: tuple[str, ...]
    kinds: frozenset[Change]
    begin: datetime
    end: datetime
    timeline: str = "latest"
    limit: int = 20
    jobs: int = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TableChange(_Record):
    """What a transaction did to a table; partitions count for the topmost table.

    Attributes:
        table: its name, or the file or OID where nobody knows it any more.
        database: its database.
        deleted: rows deleted.
        updated: rows updated, those that moved to another partition among them.
        truncated: it was emptied.
        rewritten: it got new files with the same rows (VACUUM FULL, CLUSTER, ALTER TABLE).
        dropped: it was dropped.
        altered: columns of it were changed: dropped, given another type, name, default or rule.
        doubtful: of columns that were changed: the same transaction made a table, and they may have been that one's.
        parts: partitions that were emptied, dropped or altered.
        asked: it is one of the tables that were asked for.
        known: its name is known.
    """

    table: str
    database: str
    deleted: int = 0
    updated: int = 0
    truncated: bool = False
    rewritten: bool = False
    dropped: bool = False
    altered: bool = False
    doubtful: bool = False
    parts: list[str] = []
    asked: bool = False
    known: bool = True

    def has(self, kinds: frozenset[Change]) -> bool:
        """Whether one of the kinds happened to it."""
        return bool(
            (Change.DELETE in kinds and self.deleted)
            or (Change.UPDATE in kinds and self.updated)
            or (Change.TRUNCATE in kinds and self.truncated)
            or (Change.DROP in kinds and self.dropped)
            or (Change.ALTER in kinds and self.altered)
        )


class Candidate(_Record):
    """A transaction that did what was looked for.

    Attributes:
        number: its number in the list.
        at: when it ended.
        commit_lsn: first byte of its commit or abort record: an exclusive target stops just before it.
        first_lsn: its first change that was counted.
        gid: name of a prepared transaction.
        partial: it began before the part of WAL that was read: rows may be missing.
        tables: what it did, the tables that were asked for first.
        who: what the audit table says of it.
        before: arguments of a target just before it, ``None`` where it changed nothing for good.
    """

    number: int
    xid: int
    status: Status
    at: datetime | None
    commit_lsn: str
    first_lsn: str
    gid: str
    partial: bool
    tables: list[TableChange]
    who: str = ""
    before: Before | None = None


class Before(_Record):
    """How to get to the moment just before a transaction."""

    target_lsn: str
    timeline: str
    side: list[str]
    restore: list[str]


class AuditEntry(_Record):
    """A row of the audit table."""

    at: datetime
    table: str
    action: str
    xid: int | None = None
    actor: str = ""


class Answer(_Record):
    """What was found.

    Attributes:
        complete: all WAL of the range was read.
        missing: segments that are not archived.
        broken: places where WAL could not be read.
        candidates: the transactions, the largest first.
        omitted: how many more there were.
        transactions: how many transactions ended in what was read.
        wal_bytes: WAL that was read.
        seconds: how long reading took.
        archive_from: oldest archived commit, where the range began before it.
        archive_to: newest archived commit, where the range ends behind it.
        notes: what a person should know.
        audit: rows of the audit table.
    """

    repository: int
    timeline: int
    begin: datetime
    end: datetime
    first_segment: str
    last_segment: str
    complete: bool
    missing: list[str]
    broken: list[str]
    candidates: list[Candidate]
    omitted: int
    transactions: int
    wal_bytes: int
    seconds: float
    archive_from: datetime | None
    archive_to: datetime | None
    notes: list[str]
    audit: list[AuditEntry] = []


Candidate.model_rebuild()
