"""The copy of the erasure ledger in the bucket: one object an entry, so that what was written once stays.

Key: ``journal/<stanza>/erasures/<number>.json``, the entry's own line. Of each object the version that was written
first counts, hidden or not: whoever stole the host's credentials can add versions and hide them, and remove none. The
chain shows an entry that is missing between others. What the newest one is only the bucket knows, so an entry that was
never copied before its host was lost is lost with it: therefore a copy that fails is told at once, tried again every
few minutes (``pgdr watch``) and red in ``pgdr status`` until it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pgdr.archive.bucket import Bucket, client_of
from pgdr.chain import parse
from pgdr.errors import NotProvenError, PgdrError, UnreachableError
from pgdr.health import Check, Level, green
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.repositories import configured
from pgdr.policy.cloud import bucket_layout
from pgdr.policy.model import Policy
from pgdr.policy.repository import S3Repository
from pgdr.statefile import State, StateFile
from pgdr.surgery.ledger import Ledger

_TRANSFERS = 8
_CHECK = "erasure-ledger"
_DANGER = "the promise that who was erased stays erased, if the host is lost"


class Copied(State):
    """What is known to be in the bucket.

    Attributes:
        place: where.
        entries: how many entries, from the first on.
        at: since when.
        failure: why the last try failed; empty where it did not.
    """

    place: str = ""
    entries: int = 0
    at: datetime | None = None
    failure: str = ""


def _copied_file(config: HostConfig) -> StateFile[Copied]:
    return StateFile(config.state_directory / "erasures-copy.json", Copied)


class CloudLedger:
    """The ledger of a host and its copy.

    Args:
        config: what this host is.
        repository: whose bucket has the copy.
        prefix: where in it.

    Attributes:
        failure: why the copy is behind, where it is.
    """

    def __init__(self, config: HostConfig, repository: S3Repository, prefix: str) -> None:
        self._config = config
        self._ledger = Ledger(config)
        self._prefix = prefix
        self._repository = repository
        self._made: Bucket | None = None
        self.failure: PgdrError | None = None

    @property
    def place(self) -> str:
        """Where the copy is."""
        return f"s3://{self._repository.bucket}/{self._prefix}"

    @property
    def _bucket(self) -> Bucket:
        # Made when it is asked: boto3 costs half a second, which a host without erasures need not pay.
        if self._made is None:
            self._made = Bucket(
                client_of(self._config, self._repository),
                self._repository.bucket,
                kms_key_id=self._repository.kms_key_id,
                tags={"pgdr:type": "erasures", "pgdr:cluster": self._config.cluster_name},
            )
        return self._made

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
        there = self._versions()
        if there and max(there) > len(lines):
            raise NotProvenError(
                f"{self.place} has erasures up to entry {max(there)}, this host up to {len(lines)}",
                remedy="pgdr erasures fetch brings them here; nothing was written",
            )
        if there:
            last = max(there)
            self._require_same(lines, last, self._read(last, there[last]))
        missing = [number for number in range(1, len(lines) + 1) if number not in there]
        for number in missing:
            self._bucket.write(self._key(number), lines[number - 1])
        self._note(entries=len(lines))
        return len(missing)

    def fetch(self) -> int:
        """Add the entries to this host's ledger that only the bucket has; returns how many.

        Raises:
            NotProvenError: an entry is missing in the bucket, or it is not the same ledger.
            PgdrError: the bucket does not answer, or refuses.
        """
        there = self._versions()
        gaps = sorted(set(range(1, max(there, default=0) + 1)) - there.keys())
        if gaps:
            raise NotProvenError(
                f"{self.place} lacks entry {gaps[0]} of {max(there)}: an erasure may be missing",
                remedy="bring it back from the bucket's replica or another host; do not open the service before",
            )
        lines = self._ledger.lines()
        known = min(len(lines), len(there))
        wanted = [*([known] if known else []), *range(len(lines) + 1, len(there) + 1)]
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            found = dict(zip(wanted, pool.map(lambda n: self._read(n, there[n]), wanted), strict=True))
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

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:08d}.json"

    def _read(self, number: int, version: str) -> bytes:
        return self._bucket.read(self._key(number), version)

    def _versions(self) -> dict[int, str]:
        """The first version of each entry in the bucket, by the entry's number."""
        found = self._bucket.first_versions(self._prefix)
        named = {key.removeprefix(self._prefix).removesuffix(".json"): version for key, version in found.items()}
        return {int(name): version for name, version in named.items() if name.isascii() and name.isdigit()}

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
    return CloudLedger(config, repository, bucket_layout(policy, repository).erasures)


def in_use(config: HostConfig, repository: S3Repository) -> S3Repository:
    """The repository, or its copy where pgBackRest works with that (a recovery from the replica stays there)."""
    copy = repository.as_replica()
    if copy is None or not config.pgbackrest_config.exists():
        return repository
    found = [
        (one.bucket, one.region, one.endpoint, one.port)
        for one in configured(config.pgbackrest_config, config.stanza)
        if one.key == repository.id
    ]
    return copy if _address(copy) in found and _address(repository) not in found else repository


def _address(repository: S3Repository) -> tuple[str, str, str, int]:
    return repository.bucket, repository.region, repository.effective_endpoint, repository.port or 443


def pending(config: HostConfig) -> int:
    """How many entries are on this host only, as far as the host knows; asks no bucket."""
    path = Ledger(config).path
    if not path.exists():
        return 0
    return max(_entries(path) - _copied_file(config).read().entries, 0)


def ship_pending(config: HostConfig, policy: Policy) -> None:
    """Copy what an earlier try could not; asks no bucket where nothing is due, and leaves failures to status."""
    copy = cloud_ledger(config, policy) if pending(config) else None
    if copy is not None:
        copy.publish()


def _entries(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.endswith(b"\n"))


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
