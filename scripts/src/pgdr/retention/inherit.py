"""What other hosts of this cluster hold: one that was rebuilt, or that took over, knows nothing of it by itself.

Each hold and each release stands in the journal of the host where a person typed it, and the journal's copy in the
bucket outlives that host. A hold that came from there goes when a release of it stands in any journal; one that was
typed here is released here alone, because whoever stole another host's key can write there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field, ValidationError

from pgdr.chain import Entry, Head
from pgdr.errors import ConfigError, NotProvenError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.policy.model import Policy
from pgdr.proof.look import now
from pgdr.retention.holds import ADD, RELEASE, Hold, holds_file
from pgdr.shipping.journal import JournalCopy, journal_copy
from pgdr.statefile import State, StateFile


class Known(State):
    """What was read of other hosts' journals.

    Attributes:
        at: when they were looked at last; ``None``: never.
        heads: number and hash of the last entry that was read, by host and journal.
        released: holds that were released there.
        left_out: broken journals, of which a person said that what stands before the break is all there is.
    """

    at: datetime | None = None
    heads: dict[str, tuple[int, str]] = Field(default_factory=dict)
    released: list[str] = Field(default_factory=list)
    left_out: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Inherited:
    """What a look changed.

    Attributes:
        added: holds that came.
        released: holds that had come and were released elsewhere.
    """

    added: tuple[Hold, ...] = ()
    released: tuple[Hold, ...] = ()


def known_file(config: HostConfig) -> StateFile[Known]:
    """What this host knows; without it everything is read again."""
    return StateFile(config.state_directory / "holds-elsewhere.json", Known, cache=True)


def inherit(config: HostConfig, policy: Policy, leave_out: Sequence[str] = ()) -> Inherited:
    """Take over what other hosts of this cluster hold, and let go of what was released there.

    Args:
        config: what this host is.
        policy: which bucket has the journals; without one there are none.
        leave_out: broken journals: what stands before the break counts, and they are not read again.

    Raises:
        RefusedError: there is no such journal.
        NotProvenError: a journal in the bucket is broken; what stands before that was taken over.
        PgdrError: the bucket does not answer, or something cannot be written.
    """
    copy = journal_copy(config, policy)
    if copy is None:
        return Inherited()
    with known_file(config).change() as known:
        others = copy.others()
        _require_known(leave_out, others)
        found: list[Hold] = []
        broken: list[NotProvenError] = []
        for host, journal in others:
            if journal in known.left_out:
                continue
            entries, fault = _news(copy, host, journal, known)
            found += [_hold(entry, host) for entry in entries if entry.operation == ADD]
            if journal in leave_out:
                known.left_out.append(journal)
            elif fault is not None:
                broken.append(
                    NotProvenError(
                        fault.message,
                        remedy=f"pgdr hold fetch --leave-out {journal} is content with what stands before that",
                    )
                )
        own = (_key(_hold(entry, "")) for entry in Journal.of(config).entries() if entry.operation == RELEASE)
        changed = _apply(config, found, {*known.released, *own})
        if not broken:
            known.at = now()
    for fault in broken:
        raise fault
    return changed


def keep_up(config: HostConfig, policy: Policy, told: Callable[[str], None]) -> None:
    """The same before something is removed: a bucket that is away for a while does not stop that, after a first look.

    Raises:
        PgdrError: other hosts' holds were never read, and cannot be.
    """
    try:
        inherit(config, policy)
    except PgdrError as error:
        at = known_file(config).read().at
        if at is None:
            what = f"what other hosts of this cluster hold is not known, so nothing is removed: {error.message}"
            raise type(error)(what, remedy=error.remedy) from error
        told(f"what other hosts hold is that of {at:%Y-%m-%d %H:%M} UTC: {error.message}")


def _require_known(leave_out: Sequence[str], others: Sequence[tuple[str, str]]) -> None:
    strange = sorted(set(leave_out) - {journal for _, journal in others})
    if strange:
        raise RefusedError(f"the bucket has no journal {strange[0]} of another host", remedy="see pgdr journal copies")


def _news(copy: JournalCopy, host: str, journal: str, known: Known) -> tuple[list[Entry], NotProvenError | None]:
    """The good entries of a journal that were not read yet, and what is wrong behind them; releases are noted."""
    name = f"{host}/{journal}"
    head = Head(*known.heads[name]) if name in known.heads else Head()
    entries: list[Entry] = []
    fault = None
    try:
        entries.extend(copy.after(host, journal, head))
    except NotProvenError as error:
        fault = error
    if entries:
        known.heads[name] = (entries[-1].seq, entries[-1].hash)
    gone = {_key(_hold(entry, host)) for entry in entries if entry.operation == RELEASE}
    known.released = sorted({*known.released, *gone})
    return entries, fault


def _apply(config: HostConfig, found: Iterable[Hold], released: set[str]) -> Inherited:
    with holds_file(config).change() as state:
        there = {_key(hold) for hold in state.holds}
        added = tuple(hold for hold in found if _key(hold) not in there | released)
        gone = tuple(hold for hold in state.holds if hold.host and _key(hold) in released)
        state.holds = [hold for hold in state.holds if hold not in gone] + list(added)
    if added or gone:
        details = {"added": [_words(hold) for hold in added], "released": [_words(hold) for hold in gone]}
        Journal.of(config).append(operation="hold fetch", result="ok", details=details)
    return Inherited(added, gone)


def _hold(entry: Entry, host: str) -> Hold:
    try:
        return Hold.model_validate(
            {name: entry.details.get(name) for name in ("label", "place", "reason", "person", "at")} | {"host": host}
        )
    except ValidationError as error:
        raise ConfigError(
            f"entry {entry.seq} of {host or 'this host'}'s journal does not say what was held",
            remedy="pgdr journal copies, fetch --to and show say more; pgdr hold add it again here",
        ) from error


def _key(hold: Hold) -> str:
    return f"{hold.label} {hold.place} {hold.at.isoformat()}"


def _words(hold: Hold) -> str:
    return f"{hold.label} ({hold.host}, {hold.person}: {hold.reason})"
