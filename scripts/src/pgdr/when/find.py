"""Answer the question: read the archive, name the tables, order the transactions."""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from pgdr import relationmap
from pgdr.errors import PgdrError, RefusedError, UnreachableError
from pgdr.files import adopt_owner
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.recovery.archive import WalArchive
from pgdr.relationmap import FileOwner
from pgdr.when.classify import Classifier
from pgdr.when.collect import Collector, Status, Transaction
from pgdr.when.model import Answer, Before, Candidate, Change, Question, TableChange
from pgdr.when.names import Names
from pgdr.when.scan import Settings, scan
from pgdr.when.segments import Range, Way

# Transactions that are kept in memory at most, the largest; a busy table has millions of small ones in a day.
_KEPT = 20_000

Report = Callable[[int, int], None]


def answer(config: HostConfig, client: PgBackRest, question: Question, report: Report) -> Answer:
    """Find the transactions.

    Production is asked for its catalog, if it answers; all else comes from the repository.

    Args:
        config: what this host is.
        client: pgBackRest.
        question: what is looked for.
        report: called with bytes of WAL read and their total.

    Raises:
        RefusedError: a table is not known, or the archive does not hold the range.
        OperationFailedError: a segment could not be fetched.
        UnreachableError: the repository does not answer.
    """
    owners, notes = known_owners(config)
    names = Names(owners)
    asked = names.tables(question.tables, config.database)
    archive = open_archive(config, client, question.repository)
    with _scratch(config) as scratch:
        way = Way(archive, question.timeline, config.bin_directory / "pg_waldump", scratch)
        stretch = way.between(question.begin, question.end)
        began = time.monotonic()
        search = _Search(names, Classifier(names, asked), question)
        kinds = tuple(kind.upper() for kind in (Change.DELETE, Change.UPDATE, Change.ALTER) if kind in question.kinds)
        attributes = names.files_of("pg_catalog", "pg_attribute")
        program = config.bin_directory / "pg_waldump"
        settings = Settings(program, scratch, way.timeline, question.jobs, kinds, attributes)
        for found in scan(archive, stretch.pieces, settings, report):
            search.take(search.collector.take(found))
        search.take(search.collector.rest())
        seconds = time.monotonic() - began
    candidates, omitted, more = search.result()
    return Answer(
        repository=question.repository,
        timeline=way.timeline,
        begin=question.begin,
        end=question.end,
        first_segment=stretch.pieces[0].segment.name,
        last_segment=stretch.pieces[-1].segment.name,
        complete=not (stretch.missing or search.collector.broken),
        missing=[segment.name for segment in stretch.missing],
        broken=search.collector.broken,
        candidates=candidates,
        omitted=omitted,
        transactions=search.collector.ended,
        wal_bytes=sum(piece.segment.size for piece in stretch.pieces),
        seconds=round(seconds, 3),
        archive_from=stretch.archive_from,
        archive_to=stretch.archive_to,
        notes=[*notes, *more, *_reach(stretch)],
    )


def open_archive(config: HostConfig, client: PgBackRest, repository: int) -> WalArchive:
    """The WAL archive of one repository.

    Raises:
        RefusedError: the repository holds none.
        PgBackRestError: it could not be read.
    """
    info = client.info(repository)
    found = info.repository(repository)
    archive = info.current_archive(repository)
    if found is not None and found.status.code not in {0, 2}:  # a repository without a backup may hold WAL
        raise found.status.as_error(f"repository {repository}")
    if archive is None:
        raise RefusedError(
            f"repository {repository} holds no WAL of stanza {config.stanza}", remedy="see pgdr info, or use another"
        )
    return WalArchive(client, repository, config.stanza, archive.id)


def known_owners(config: HostConfig) -> tuple[list[FileOwner], list[str]]:
    """What this host remembers and what the catalogs say, the newest last; and what a person should know of it."""
    memory = relationmap.relation_map(config)
    owners = list(memory.relations())
    try:
        catalog = relationmap.read_catalogs(config)
    except UnreachableError as error:
        if not owners:
            raise RefusedError(
                "nothing is known of tables and their files: this host remembers none and the server does not answer",
                remedy=str(error),
            ) from error
        return owners, ["the server does not answer: names come from what this host remembers"]
    try:
        memory.note(catalog)
        notes = []
    except PgdrError as error:
        notes = [f"the relation map was not renewed: {error}"]
    return [*owners, *catalog.relations], notes


@contextmanager
def _scratch(config: HostConfig) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pgdr-wal-", dir=config.state_directory) as folder:
        adopt_owner(Path(folder))
        yield Path(folder)


def _reach(stretch: Range) -> list[str]:
    notes = []
    if stretch.archive_from is not None:
        notes.append(f"the archive begins at {stretch.archive_from:%Y-%m-%d %H:%M:%S+00:00}: nothing is known before")
    if stretch.archive_to is not None:
        notes.append(
            f"the archive ends at {stretch.archive_to:%Y-%m-%d %H:%M:%S+00:00}: later changes are not seen yet"
        )
    return notes


class _Search:
    """Keeps the largest transactions, and names their files when all is read."""

    def __init__(self, names: Names, classifier: Classifier, question: Question) -> None:
        self._names = names
        self._classifier = classifier
        self._question = question
        self._kept: list[tuple[int, int, Transaction]] = []
        self._structural: list[Transaction] = []
        self._order = count()
        self._thrown = 0
        self.collector = Collector(lambda item: classifier.of_interest(item, question.kinds))

    def take(self, transactions: Iterator[Transaction]) -> None:
        for transaction in transactions:
            if transaction.structural:
                if transaction.status is Status.COMMITTED:
                    self._structural.append(transaction)
                continue
            item = (transaction.rows, next(self._order), transaction)
            if len(self._kept) < _KEPT:
                heapq.heappush(self._kept, item)
            else:
                heapq.heappushpop(self._kept, item)
                self._thrown += 1

    def result(self) -> tuple[list[Candidate], int, list[str]]:
        """The candidates, how many more there were, and notes."""
        self._names.learn(self._structural)
        certain: list[tuple[Transaction, list[TableChange]]] = []
        nameless: list[tuple[Transaction, list[TableChange]]] = []
        for transaction in [*self._structural, *(item[2] for item in self._kept)]:
            if not self._in_time(transaction):
                continue
            changes = self._classifier.changes(transaction)
            if any(change.asked and change.has(self._question.kinds) for change in changes):
                certain.append((transaction, changes))
            elif any(not change.known and change.has(self._question.kinds) for change in changes):
                nameless.append((transaction, changes))
            elif not self._question.tables and any(change.has(self._question.kinds) for change in changes):
                certain.append((transaction, changes))
        notes = []
        if nameless:
            notes.append(
                f"{len(nameless)} transactions changed tables that neither the catalog nor this host knows any more"
                + (": they are listed" if not certain or not self._question.tables else "")
            )
        chosen = certain if certain and self._question.tables else [*certain, *nameless]
        chosen.sort(key=lambda pair: self._weight(*pair), reverse=True)
        limit = self._question.limit or len(chosen)
        shown = [self._candidate(number, *pair) for number, pair in enumerate(chosen[:limit], start=1)]
        return shown, max(len(chosen) - limit, 0) + self._thrown, notes

    def _in_time(self, transaction: Transaction) -> bool:
        moment = transaction.at
        if moment is None or transaction.status in {Status.OPEN, Status.PREPARED}:
            return True
        return self._question.begin <= moment <= self._question.end

    def _weight(self, transaction: Transaction, changes: list[TableChange]) -> tuple[bool, bool, int, float]:
        """What is gone for good first, whole tables before rows, many rows before few, late before early."""
        own = [change for change in changes if change.asked or not change.known or not self._question.tables]
        gone = self._question.kinds & {Change.TRUNCATE, Change.DROP}
        altered = Change.ALTER in self._question.kinds
        whole = any(change.has(gone) or (altered and change.altered and not change.doubtful) for change in own)
        rows = sum(
            (change.deleted if Change.DELETE in self._question.kinds else 0)
            + (change.updated if Change.UPDATE in self._question.kinds else 0)
            for change in own
        )
        moment = transaction.at.timestamp() if transaction.at else 0.0
        return transaction.status is not Status.ABORTED, whole, rows, moment

    def _candidate(self, number: int, transaction: Transaction, changes: list[TableChange]) -> Candidate:
        return Candidate(
            number=number,
            xid=transaction.xid,
            status=transaction.status,
            at=transaction.at,
            commit_lsn=transaction.end_lsn,
            first_lsn=transaction.first_lsn,
            gid=transaction.gid,
            partial=transaction.partial,
            tables=changes,
            before=self._before(transaction),
        )

    def _before(self, transaction: Transaction) -> Before | None:
        if transaction.status is not Status.COMMITTED:
            return None
        timeline = self._question.timeline
        side = ["pgdr", "side", "start", f"--repo={self._question.repository}", f"--target-lsn={transaction.end_lsn}"]
        restore = [
            *("ansible-playbook", "-i", "inventories/recovery", "playbooks/dr-restore.yml"),
            *("-e", f"target_lsn={transaction.end_lsn}", "-e", "target_exclusive=true"),
        ]
        side.append("--exclusive")
        if timeline != "latest":
            side.append(f"--target-timeline={timeline}")
            restore += ["-e", f"target_timeline={timeline}"]
        return Before(target_lsn=transaction.end_lsn, timeline=timeline, side=side, restore=restore)
