"""The copy of the journal in the bucket, and what only a comparison with it shows.

Key: ``journal/<stanza>/hosts/<host>/<journal>/<number>.json``. A chain by itself does not show that its end was cut off
together with the mark beside it, or that all of it was written anew; what was written to the bucket first stays there
and does. ``<host>`` tells machines apart (:mod:`pgdr.shipping.machine`), ``<journal>`` is the hash of its first entry:
a host that was rebuilt begins a journal of its own beside the old one's, while a journal that was replaced on the same
host stands beside what the bucket still has of it. Who begins anew on purpose says so in the first entry.

A look costs three requests however long the journal is: the last entry is the same only where all before it are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pgdr.archive.inuse import in_use
from pgdr.chain import Entry, Head, fault, parse
from pgdr.errors import NotProvenError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal, Problem
from pgdr.policy.cloud import bucket_layout
from pgdr.policy.model import Policy
from pgdr.shipping.copy import ChainCopy, Copied
from pgdr.shipping.machine import machine
from pgdr.statefile import StateFile

RENEWED = "journal-renew"
_AT_ONCE = 8
_ID_LENGTH = 16
_LOOKS = 3


class JournalCopied(Copied):
    """What is known of the journal's copy.

    Attributes:
        journal: which journal.
        compared_at: when it was last compared.
        line: the first bad entry, where one was found.
        problem: what is wrong with it; empty where nothing is.
    """

    journal: str = ""
    compared_at: datetime | None = None
    line: int = 0
    problem: str = ""


def copied_file(config: HostConfig) -> StateFile[JournalCopied]:
    """What this host knows of its journal's copy."""
    return StateFile(config.state_directory / "journal-copy.json", JournalCopied, cache=True)


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
        journal: which journal; empty where there is none.
        entries: how many good entries this host has.
        missing: entries that the bucket has not.
        problem: the first bad entry.
    """

    journal: str
    entries: int
    missing: tuple[int, ...]
    problem: Problem | None


@dataclass(frozen=True)
class Stored:
    """A journal in the bucket.

    Attributes:
        host: who wrote it.
        journal: which one.
        entries: number of its last entry.
    """

    host: str
    journal: str
    entries: int


class JournalCopy:
    """The journal of a host and its copy.

    Args:
        config: what this host is.
        hosts: where the journals of all hosts of this cluster are.
    """

    def __init__(self, config: HostConfig, hosts: ChainCopy) -> None:
        self._config = config
        self._hosts = hosts
        self._journal = Journal.of(config)
        self._machine = machine()

    @property
    def place(self) -> str:
        """Where the copies are of what this host wrote."""
        return f"{self._hosts.place}{self._machine}/"

    def ship(self) -> int:
        """Compare, then write every entry to the bucket that is not there; returns how many.

        Raises:
            NotProvenError: the journal is not what the bucket has of it; nothing was written.
            PgdrError: the bucket does not answer, or refuses.
        """
        found = self.compare()
        self.require_same(found)
        if found.missing:
            try:
                self._own.below(found.journal).write(self._journal.lines(), found.missing, at_once=_AT_ONCE)
            except PgdrError as error:
                self._note_failure(error)
                raise
            self._note(found.journal, found.entries)
        return len(found.missing)

    def require_same(self, found: Compared) -> None:
        """Refuse a journal that is not what the bucket has.

        Raises:
            NotProvenError: it is not.
        """
        if found.problem is not None:
            raise NotProvenError(
                f"{self._journal.path}, line {found.problem.line}: {found.problem.what}",
                remedy="who was on this host? pgdr journal fetch brings back what the bucket has",
            )

    def compare(self, *, thorough: bool = False) -> Compared:
        """Hold the journal against its copy, and remember what was found.

        Args:
            thorough: list the whole copy, also what an earlier look saw there.

        Raises:
            PgdrError: the bucket does not answer, or refuses; that is remembered too.
        """
        try:
            # Another process may add an entry, and copy it, while this one looks: that is no cut-off end.
            for _ in range(_LOOKS):
                found = self._compare(thorough=thorough)
                if found.problem is None or len(self._journal.lines()) == found.entries:
                    break
        except PgdrError as error:
            self._note_failure(error)
            raise
        if found.problem is not None:
            self._note(found.journal, 0, found.problem)
        else:
            # What the next look need not list again: up to the first gap.
            self._note(found.journal, min(found.missing, default=found.entries + 1) - 1)
        return found

    def _compare(self, *, thorough: bool) -> Compared:
        local = self._journal.verify()
        lines = self._journal.lines()[: local.entries]
        name = _name(lines)
        strange = self._newest(self._names() - {name} - _named(lines))
        if strange is not None:
            what = (
                f"entry 1 is another one: the journal was replaced ({strange.entries} entries of it are there)"
                if lines
                else f"the journal is gone: {strange.entries} entries of it are there"
            )
            return Compared(name, len(lines), (), Problem(1, f"{what}, in {self.place}{strange.journal}/"))
        if not lines:
            return Compared("", 0, (), local.problem)
        copy = self._own.below(name)
        known = copied_file(self._config).read()
        hint = 0 if thorough or (known.journal, known.place) != (name, self.place) else min(known.entries, len(lines))
        there = copy.versions(hint)
        different = copy.first_difference(lines, there)
        if hint and (hint not in there or different is not None):
            hint, there = 0, copy.versions()
            different = copy.first_difference(lines, there)
        problems = [] if local.problem is None else [local.problem]
        last = max(there, default=0)
        if different is not None:
            problems.append(
                Problem(different, f"entry {different} is another one than in {copy.place}: the journal was rewritten")
            )
        elif last > len(lines):
            gone = len(lines) + 1
            problems.append(Problem(gone, f"entries {gone} to {last} are gone: they are in {copy.place}"))
        missing = tuple(number for number in range(max(hint, 1), len(lines) + 1) if number not in there)
        return Compared(name, len(lines), missing, min(problems, key=lambda one: one.line, default=None))

    def stored(self) -> list[Stored]:
        """The journals in the bucket, of all hosts of this cluster."""
        return [self._stored(host, name) for host, name in self._there()]

    def _there(self) -> Iterator[tuple[str, str]]:
        """Hosts and journals in the bucket."""
        bucket = self._hosts.bucket
        for host in bucket.folders(self._hosts.prefix, ever=True):
            yield from ((host, name) for name in bucket.folders(self._hosts.below(host).prefix, ever=True))

    def others(self) -> list[tuple[str, str]]:
        """The journals in the bucket, as host and journal, but the one that this host writes now."""
        own = _name(self._journal.lines())
        return [one for one in self._there() if one != (self._machine, own)]

    def after(self, host: str, journal: str, known: Head) -> Iterator[Entry]:
        """The entries of a journal in the bucket that follow one that is known, as far as they are good.

        Raises:
            NotProvenError: behind them one is missing there, or the chain is broken.
        """
        for _, entry in self._read(host, journal, known):
            yield entry

    def fetch(self, wanted: Stored | None = None) -> list[bytes]:
        """The entries of a journal in the bucket; by default of the one that this host lost or changed.

        Raises:
            RefusedError: the bucket has none of this host.
            NotProvenError: an entry is missing there, or the chain is broken.
        """
        chosen = wanted or self._lost()
        return [line for line, _ in self._read(chosen.host, chosen.journal, Head())]

    def _read(self, host: str, journal: str, good: Head) -> Iterator[tuple[bytes, Entry]]:
        """The lines behind a good one, each of which follows the one before."""
        copy = self._hosts.below(host).below(journal)
        there = copy.versions(good.seq + 1)
        numbers = sorted(there)
        lines = copy.read_all(there, numbers)
        for expected, number in enumerate(numbers, start=good.seq + 1):
            what = f"it lacks entry {expected}" if number != expected else fault(lines[number], good)
            entry = parse(lines[number])
            if what is not None or entry is None:
                raise NotProvenError(
                    f"{copy.place}: {what}",
                    remedy=f"{good.seq} entries before it are good; "
                    "pgdr journal renew begins a new one that names what is there",
                )
            good = Head(entry.seq, entry.hash)
            yield lines[number], entry

    def _lost(self) -> Stored:
        """The journal in the bucket that this host ought to have: one that it does not know of, or else its own."""
        lines, names = self._journal.lines(), self._names()
        own = {_name(lines)}
        found = self._newest(names - own - _named(lines)) or self._newest(names & own)
        if found is None:
            raise RefusedError(f"there is no journal of this host in {self.place}", remedy="pgdr journal copies")
        return found

    def _names(self) -> set[str]:
        """The journals in the bucket that this host ever wrote."""
        return set(self._hosts.bucket.folders(self._own.prefix, ever=True))

    def _newest(self, names: set[str]) -> Stored | None:
        """The journal of these that no other one of them says it comes after."""
        last = set(names)
        for name in names:
            copy = self._own.below(name)
            there = copy.versions()
            last -= _named([copy.read(1, there[1])] if 1 in there else [])
        return max((self._stored(self._machine, name) for name in last), key=lambda one: one.entries, default=None)

    def restore(self) -> tuple[int, str]:
        """Put what the bucket has in the place of this host's journal, and write that down.

        Returns:
            How many entries came, and where the old file is now; empty where there was none.

        Raises:
            RefusedError: nothing is wrong with it.
            PgdrError: the bucket's is not good either, or does not answer; nothing was changed.
        """
        found = self.compare(thorough=True)
        if found.problem is None:
            raise RefusedError("the journal is what the bucket has of it", remedy="nothing was changed")
        lines = self.fetch()
        aside = self._journal.replace(lines)
        details = {"fetched": len(lines), "set_aside": aside, "had": found.entries, "found": found.problem.what}
        self._journal.append(operation="journal-repair", result="ok", details=details)
        self.ship()
        return len(lines), aside

    def renew(self, reason: str) -> str:
        """Begin a new journal that names what the bucket has of this host; returns where the old file is now."""
        there = [self._stored(self._machine, name) for name in self._names()]
        aside = self._journal.replace([])
        self._journal.append(
            operation=RENEWED,
            result="ok",
            details={"reason": reason, "set_aside": aside, "before": {one.journal: one.entries for one in there}},
        )
        self.ship()
        return aside

    @property
    def _own(self) -> ChainCopy:
        return self._hosts.below(self._machine)

    def _stored(self, host: str, name: str) -> Stored:
        return Stored(host, name, max(self._hosts.below(host).below(name).versions(), default=0))

    def _note(self, journal: str, entries: int, problem: Problem | None = None) -> None:
        with copied_file(self._config).change() as copied:
            now = datetime.now(UTC)
            if (copied.journal, copied.place, copied.entries) != (journal, self.place, entries):
                copied.at = now
            copied.journal, copied.place, copied.entries = journal, self.place, entries
            copied.compared_at, copied.failure = now, ""
            copied.line, copied.problem = (problem.line, problem.what) if problem else (0, "")

    def _note_failure(self, error: PgdrError) -> None:
        with copied_file(self._config).change() as copied:
            copied.failure = str(error)


def journal_copy(config: HostConfig, policy: Policy, *, hurried: bool = False) -> JournalCopy | None:
    """The journal's copy, in the bucket that the recovery kit is in too; ``None`` where the policy names no bucket."""
    if not policy.s3_repositories:
        return None
    repository = in_use(config, policy.s3_repositories[0])
    layout = bucket_layout(policy, repository)
    return JournalCopy(config, ChainCopy(config, repository, layout.journals, "journal", hurried=hurried))


def ship_journal(config: HostConfig, policy: Policy) -> None:
    """Compare and copy; what is wrong is remembered for the status and stops nobody."""
    copy = journal_copy(config, policy, hurried=True)
    if copy is None:
        return
    try:
        copy.ship()
    except PgdrError:
        return


def ship_soon(config: HostConfig, policy: Policy) -> None:
    """The same after an operation: where the bucket did not answer the last time, cron's look is soon enough."""
    if not copied_file(config).read().failure:
        ship_journal(config, policy)


def _name(lines: Sequence[bytes]) -> str:
    """What a journal is called: the hash of its first entry."""
    first = parse(lines[0]) if lines else None
    return first.hash[:_ID_LENGTH] if first else ""


def _named(lines: Sequence[bytes]) -> set[str]:
    """The journals that this one says it comes after."""
    first = parse(lines[0]) if lines else None
    if first is None or first.operation != RENEWED:
        return set()
    return set(first.details.get("before", {}))
