"""What a damage is, and which cure belongs to its kind."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

# More damaged relations than these are not cured one by one: the whole cluster comes back, with all that WAL holds.
FEW_RELATIONS = 8
_SHOWN_BLOCKS = 12


class Kind(StrEnum):
    """What is damaged."""

    HEAP = "table"
    INDEX = "index"
    TOAST = "toast table"
    VISIBILITY_MAP = "visibility map"
    FREE_SPACE_MAP = "free space map"
    MATERIALIZED_VIEW = "materialized view"
    SEQUENCE = "sequence"
    CATALOG = "system catalog"
    CONTROL_FILE = "control file"
    WAL = "WAL segment"
    FILE = "file of nobody"


class Cure(StrEnum):
    """What brings it back, the smallest first."""

    MEMORY = "written again from memory"
    REINDEX = "reindex"
    MAPS = "map rebuilt"
    WAL = "segment no longer needed, or fetched from the archive"
    REFRESH = "refreshed"
    BLOCKS = "blocks from the past"
    CLUSTER = "whole cluster, WAL to its end"
    NONE = "by hand"


_IN_BLOCKS = (Kind.HEAP, Kind.TOAST, Kind.SEQUENCE)


@dataclass(frozen=True)
class Damage:
    """One thing that is damaged.

    Attributes:
        kind: what it is.
        name: its name as SQL writes it; a file's path where it has none.
        detail: what was found, in words.
        database: the database that holds it, empty for what belongs to the cluster.
        oid: the relation, 0 where it is none or none is known.
        file: its first file, below the data directory.
        blocks: the damaged blocks that are known, in order.
        table: the table it belongs to, as SQL writes it; for an index, a map or a toast table.
        catalog: it is PostgreSQL's own.
        unlogged: WAL and backups do not hold it.
        readable: it can be had all the same: the server has it in memory, or an archive has a whole copy.
        since: between which backups it came.
        page_hit: pages of its file are wrong on disk; otherwise its content contradicts itself.
        forgettable: the server can be made to read its blocks from the disk again, so that they can be replaced there.
        named: the server itself said whose file it is; of PostgreSQL's own files it can be known without, as a guess.
    """

    kind: Kind
    name: str
    detail: str
    database: str = ""
    oid: int = 0
    file: str = ""
    blocks: tuple[int, ...] = ()
    table: str = ""
    catalog: bool = False
    unlogged: bool = False
    readable: bool = False
    since: str = ""
    page_hit: bool = False
    forgettable: bool = False
    named: bool = False

    @property
    def subject(self) -> str:
        """What it is and what it is called."""
        place = f" in database {self.database}" if self.database else ""
        return f"{self.kind} {self.name}{place}"

    @property
    def block_list(self) -> str:
        """The blocks for a person."""
        shown = ", ".join(str(block) for block in self.blocks[:_SHOWN_BLOCKS])
        more = len(self.blocks) - _SHOWN_BLOCKS
        return f"{shown} and {more} more" if more > 0 else shown

    @property
    def cure(self) -> Cure:  # noqa: PLR0911 - a table of kinds
        """The smallest cure of this damage alone."""
        if self.kind in {Kind.VISIBILITY_MAP, Kind.FREE_SPACE_MAP}:
            return Cure.MAPS
        if self.kind is Kind.INDEX:
            return Cure.REINDEX
        if self.kind is Kind.MATERIALIZED_VIEW:
            return Cure.REFRESH
        if self.kind is Kind.CONTROL_FILE and self.readable:
            return Cure.MEMORY
        if self.kind in {Kind.CATALOG, *_IN_BLOCKS} and self.readable and self.page_hit:
            return Cure.MEMORY
        if self.kind is Kind.WAL and self.readable:
            return Cure.WAL
        if self.unlogged or self.kind in {Kind.FILE, Kind.WAL}:
            return Cure.NONE
        if self.page_hit and (self.kind in _IN_BLOCKS or (self.kind is Kind.CATALOG and self.named)):
            return Cure.BLOCKS
        if self.kind is Kind.HEAP and self.blocks and self.forgettable:
            return Cure.BLOCKS
        return Cure.CLUSTER

    @property
    def by_hand(self) -> str:
        """What a person can do about what no cure is for."""
        if self.unlogged:
            return (
                "it is unlogged, so neither WAL nor a backup holds it: save what can be read (COPY), then TRUNCATE it"
                if self.kind is Kind.HEAP
                else "it is unlogged, so neither WAL nor a backup holds it: make it anew"
            )
        return "no cure is known to be safe (playbooks/README.md, Data is damaged)"

    @property
    def line(self) -> str:
        """All of it in one line."""
        blocks = f", blocks {self.block_list}" if self.blocks else ""
        since = f"; {self.since}" if self.since else ""
        return f"{self.subject}{blocks}: {self.detail}{since} (cure: {self.cure})"

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {**asdict(self), "cure": str(self.cure), "line": self.line}


@dataclass(frozen=True)
class BackupSet:
    """A backup set, and what was wrong with the pages that it copied.

    Attributes:
        label: its label.
        repository: where it is.
        stopped: when it ended.
        files: files with page errors; empty where it is clean.
    """

    label: str
    repository: int
    stopped: datetime
    files: tuple[str, ...] = ()


@dataclass
class Findings:
    """What an examination found.

    Attributes:
        at: when it began.
        server: what state the server is in, in words.
        running: whether it answers.
        checksums: whether the cluster has page checksums.
        damages: what is damaged.
        unseen: what could not be looked at, each with what would help.
        harmless: what is wrong and costs nothing.
        backups: sets of all repositories, oldest first.
        standbys: what streams from here.
        pages: how many pages were read from files.
        checked: how many relations the server looked at itself.
        log: the server's own lines about damage.
    """

    at: datetime
    server: str = ""
    running: bool = False
    checksums: bool = False
    damages: list[Damage] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    harmless: list[str] = field(default_factory=list)
    backups: list[BackupSet] = field(default_factory=list)
    standbys: list[str] = field(default_factory=list)
    pages: int = 0
    checked: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is damaged in what could be looked at."""
        return not self.damages

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {**asdict(self), "damages": [one.document() for one in self.damages], "clean": self.clean}
