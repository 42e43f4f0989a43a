"""The copy of a chain in the bucket: one object an entry, so that what was written once stays.

Key: ``<prefix><number>.json``, the entry's own line. Of each object the version that was written first counts, hidden
or not: whoever stole the host's credentials can add versions and hide them, and remove none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from pgdr.archive.bucket import Bucket
from pgdr.errors import ConfigError
from pgdr.hostconfig import HostConfig
from pgdr.policy.repository import S3Repository
from pgdr.s3 import client_of
from pgdr.statefile import State

_TRANSFERS = 8


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


class ChainCopy:
    """The objects of one chain.

    Args:
        config: what this host is.
        repository: whose bucket has the copy.
        prefix: where in it.
        kind: what its objects are tagged as.
        hurried: whether somebody waits for something else meanwhile.
        made: the bucket, where it is connected already.
    """

    def __init__(
        self,
        config: HostConfig,
        repository: S3Repository,
        prefix: str,
        kind: str,
        *,
        hurried: bool = False,
        made: Bucket | None = None,
    ) -> None:
        self._config = config
        self._repository = repository
        self._kind = kind
        self._hurried = hurried
        self._made = made
        self.prefix = prefix

    @property
    def place(self) -> str:
        """Where the copy is."""
        return f"s3://{self._repository.bucket}/{self.prefix}"

    @property
    def bucket(self) -> Bucket:
        """The bucket."""
        # Made when it is asked: boto3 costs half a second, which a host without such a chain need not pay.
        if self._made is None:
            self._made = Bucket(
                client_of(self._config, self._repository, hurried=self._hurried),
                self._repository.bucket,
                kms_key_id=self._repository.kms_key_id,
                tags={"pgdr:type": self._kind, "pgdr:cluster": self._config.cluster_name},
            )
        return self._made

    def below(self, folder: str) -> ChainCopy:
        """The chain in a folder of this place; it shares the connection."""
        return ChainCopy(
            self._config, self._repository, f"{self.prefix}{folder}/", self._kind,
            hurried=self._hurried, made=self._made,
        )  # fmt: skip

    def versions(self, first: int = 1) -> dict[int, str]:
        """The first version of each entry in the bucket, by the entry's number.

        Args:
            first: leave out entries before this one; the server need not list them.
        """
        after = self._key(first - 1) if first > 1 else ""
        found = self.bucket.first_versions(self.prefix, after=after)
        named = {key.removeprefix(self.prefix).removesuffix(".json"): version for key, version in found.items()}
        numbers = {int(name): version for name, version in named.items() if name.isascii() and name.isdigit()}
        return {number: version for number, version in numbers.items() if number >= max(first, 1)}

    def read(self, number: int, version: str) -> bytes:
        """An entry's line."""
        return self.bucket.read(self._key(number), version)

    def read_all(self, there: Mapping[int, str], numbers: Iterable[int]) -> dict[int, bytes]:
        """The lines of several entries."""
        wanted = list(numbers)
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            return dict(zip(wanted, pool.map(lambda n: self.read(n, there[n]), wanted), strict=True))

    def write(self, lines: Sequence[bytes], numbers: Sequence[int], *, at_once: int = 1) -> None:
        """Write entries.

        Args:
            lines: the whole chain.
            numbers: which of its entries.
            at_once: how many at a time; one leaves no gap when it is broken off.
        """

        def send(number: int) -> None:
            self.bucket.write(self._key(number), lines[number - 1])

        if at_once == 1:
            for number in numbers:
                send(number)
            return
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(send, numbers))

    def first_difference(self, lines: Sequence[bytes], there: Mapping[int, str]) -> int | None:
        """The first entry that is another one here than in the bucket; ``None`` where all that both have is the same.

        Both are chains: entries that are the same have the same ones before them, so few are read.

        Args:
            lines: the chain here, unbroken.
            there: versions of the entries there.
        """
        both = sorted(number for number in there if number <= len(lines))

        def same(number: int) -> bool:
            return self.read(number, there[number]) == lines[number - 1]

        if not both or same(both[-1]):
            return None
        low, high = 0, len(both) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if same(both[middle]) else (low, middle)
        return both[low]

    def _key(self, number: int) -> str:
        return f"{self.prefix}{number:08d}.json"


def entries_in(path: Path) -> int:
    """How many whole entries a chain's file has.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return sum(1 for line in file if line.endswith(b"\n"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="run as postgres") from error
