"""The copy of the erasure ledger in the bucket: one object an entry, so that what was written once stays.

Key: ``journal/<stanza>/erasures/<number>.json``, the entry's own line. Of each object the version that was written
first counts, hidden or not: whoever stole the host's credentials can add versions and hide them, and remove none. The
chain shows an entry that is missing between others. What the newest one is only the bucket knows, so an entry that was
never copied before its host was lost is lost with it: therefore a copy that fails is told at once, tried again every
few minutes (``pgdr watch``) and red in ``pgdr status`` until it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pgdr.archive.inuse import in_use
from pgdr.chain import parse
from pgdr.errors import NotProvenError, PgdrError, UnreachableError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.policy.cloud import bucket_layout
from pgdr.policy.model import Policy
from pgdr.shipping.copy import ChainCopy, Copied, entries_in
from pgdr.statefile import StateFile
from pgdr.surgery.ledger import Ledger

_CHECK = "erasure-ledger"
_DANGER = "the promise that who was erased stays erased, if the host is lost"


def _copied_file(config: HostConfig) -> StateFile[Copied]:
    return StateFile(config.state_directory / "erasures-copy.json", Copied, cache=True)


class CloudLedger:
    """The ledger of a host and its copy.

    Args:
        config: what this host is.
        copy: its objects.

    Attributes:
        failure: why the copy is behind, where it is.
    """

    def __init__(self, config: HostConfig, copy: ChainCopy) -> None:
        self._config = config
        self._ledger = Ledger(config)
        self._copy = copy
        self.failure: PgdrError | None = None

    @property
    def place(self) -> str:
        """Where the copy is."""
        return self._copy.place

    def publish(self) -> None:
        """Bring what is new to the bucket; one that did not answer is not asked again.

        Rows of a tenant may be locked meanwhile: nobody waits for a bucket twice.
        """
        if self.failure is None:
            try:
                self.ship()
            except PgdrError as error:
                self.failure = error

    def require_in_line(self) -> None:
        """Make sure that host and bucket have the same ledger, before anything is added to it.

        Raises:
            NotProvenError: they have not. A bucket that does not answer is no reason to keep what must be erased.
        """
        self.publish()
        if isinstance(self.failure, NotProvenError):
            raise self.failure

    def require_copied(self, done: str) -> None:
        """Fail when the copy is behind, after the work is done: nobody must overlook it.

        Args:
            done: what was done.

        Raises:
            UnreachableError: why it is behind. No other kind: those say that nothing was changed.
        """
        if self.failure is not None:
            raise UnreachableError(
                f"{done}, but its entry in the erasure ledger is on this host only: {self.failure.message}",
                remedy="pgdr erasures ship; pgdr watch tries again every few minutes",
            )

    def ship(self) -> int:
        """Write every entry to the bucket that is not there; returns how many.

        Raises:
            NotProvenError: the bucket has entries that this host has not, or another ledger.
            PgdrError: it does not answer, or refuses.
        """
        try:
            return self._ship()
        except PgdrError as error:
            self._note(failure=str(error))
            raise

    def _ship(self) -> int:
        lines = self._ledger.lines()
        there = self._copy.versions()
        if there and max(there) > len(lines):
            raise NotProvenError(
                f"{self.place} has erasures up to entry {max(there)}, this host up to {len(lines)}",
                remedy="pgdr erasures fetch brings them here; nothing was written",
            )
        if there:
            last = max(there)
            self._require_same(lines, last, self._copy.read(last, there[last]))
        missing = [number for number in range(1, len(lines) + 1) if number not in there]
        self._copy.write(lines, missing)
        self._note(entries=len(lines))
        return len(missing)

    def fetch(self) -> int:
        """Add the entries to this host's ledger that only the bucket has; returns how many.

        Raises:
            NotProvenError: an entry is missing in the bucket, or it is not the same ledger.
            PgdrError: the bucket does not answer, or refuses.
        """
        there = self._copy.versions()
        gaps = sorted(set(range(1, max(there, default=0) + 1)) - there.keys())
        if gaps:
            raise NotProvenError(
                f"{self.place} lacks entry {gaps[0]} of {max(there)}: an erasure may be missing",
                remedy="bring it back from the bucket's replica or another host; do not open the service before",
            )
        lines = self._ledger.lines()
        known = min(len(lines), len(there))
        wanted = [*([known] if known else []), *range(len(lines) + 1, len(there) + 1)]
        found = self._copy.read_all(there, wanted)
        if known:
            self._require_same(lines, known, found.pop(known))
        self._ledger.adopt([found[number] for number in sorted(found)])
        if there:
            self._note(entries=len(there))
        return len(found)

    def _require_same(self, lines: Sequence[bytes], number: int, other: bytes) -> None:
        if lines[number - 1] != other:
            raise NotProvenError(
                f"entry {number} of the erasure ledger is another one in {self.place} than on this host",
                remedy="two hosts wrote ledgers of their own; compare pgdr erasures list; nothing was changed",
            )

    def _note(self, *, entries: int | None = None, failure: str = "") -> None:
        with _copied_file(self._config).change() as copied:
            if entries is not None:
                copied.place, copied.entries, copied.at = self.place, entries, datetime.now(UTC)
            copied.failure = failure


def cloud_ledger(config: HostConfig, policy: Policy) -> CloudLedger | None:
    """The ledger in the bucket that the recovery kit is in too; ``None`` where the policy names no bucket."""
    if not policy.s3_repositories:
        return None
    repository = in_use(config, policy.s3_repositories[0])
    return CloudLedger(config, ChainCopy(config, repository, bucket_layout(policy, repository).erasures, "erasures"))


def pending(config: HostConfig) -> int:
    """How many entries are on this host only, as far as the host knows; asks no bucket."""
    path = Ledger(config).path
    if not path.exists():
        return 0
    return max(entries_in(path) - _copied_file(config).read().entries, 0)


def ship_pending(config: HostConfig, policy: Policy) -> None:
    """Copy what an earlier try could not; asks no bucket where nothing is due, and leaves failures to status."""
    copy = cloud_ledger(config, policy) if pending(config) else None
    if copy is not None:
        copy.publish()


def ledger_checks(config: HostConfig, policy: Policy) -> list[Check]:
    """Say whether the ledger has left this host; nothing where nobody was ever erased. Asks no bucket."""
    path = Ledger(config).path
    if not path.exists():
        return []
    waiting = pending(config)
    if not policy.s3_repositories:
        return [
            Check(
                _CHECK,
                Level.AMBER,
                "the erasure ledger is on this host only: the policy names no bucket",
                endangers=_DANGER,
                remedy=f"keep copies of {path} and its key elsewhere, and bring them back before a recovery opens",
            )
        ]
    copied = _copied_file(config).read()
    if not waiting:
        return [green(_CHECK, f"all {copied.entries} entries of the erasure ledger are in {copied.place}")]
    with path.open("rb") as file:
        first = parse(next(line for number, line in enumerate(file) if number == copied.entries))
    reason = f": {copied.failure}" if copied.failure else ""
    return [
        Check(
            _CHECK,
            Level.RED,
            f"{waiting} entries of the erasure ledger are on this host only{reason}",
            since=datetime.fromisoformat(first.at) if first else None,
            endangers=_DANGER,
            remedy="pgdr erasures ship",
        )
    ]
