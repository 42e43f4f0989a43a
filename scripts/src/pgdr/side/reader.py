"""What a side instance reads its repository with: a key that can only read, where this host has one.

Its pgBackRest gets a configuration of its own, with one repository and that key. It lies in the instance's folder and
goes with the instance's process. A key that expires is renewed there; each fetch of WAL reads the file anew.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pgdr.errors import ConfigError, OperationFailedError, PgdrError
from pgdr.files import write_atomically
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.faults import PgBackRestError
from pgdr.pgbackrest.repositories import READER_FILE, AccessKey, configured, cut_down, reader_key
from pgdr.policy.load import load_policy
from pgdr.policy.repository import S3Repository
from pgdr.side.model import Means

_log = logging.getLogger(__name__)
_EVERY_SECONDS = 30.0
# A quarter of an hour is left then, and the log has a day's lines of it otherwise.
_AFTER_FAILURE_SECONDS = 300.0

_Keys = Callable[[], AccessKey | None]


class Reader:
    """pgBackRest as a side instance uses it.

    Attributes:
        client: pgBackRest with that key.
        key: the key in its configuration; ``None`` where there is none, or it is the host's own.
    """

    def __init__(self, client: PgBackRest, key: AccessKey | None = None) -> None:
        self.client = client
        self.key = key

    def renew(self) -> None:
        """Put a newer key into its configuration, where there is one.

        Raises:
            PgdrError: it should be renewed and cannot.
        """

    def keep(self) -> None:
        """Renew now and then; a failure is no reason to end anything while the key of before may do."""


class _OwnReader(Reader):
    def __init__(self, host: HostConfig, repository: int, path: Path, keys: _Keys) -> None:
        super().__init__(PgBackRest(host.model_copy(update={"pgbackrest_config": path})), keys())
        self._host, self._repository, self._path, self._keys = host, repository, path, keys
        self._next = time.monotonic() + _EVERY_SECONDS
        self._write()

    def renew(self) -> None:
        key = self._keys()
        if key != self.key:
            self.key = key
            self._write()

    def keep(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_SECONDS
        try:
            self.renew()
        except PgdrError as error:
            self._next = time.monotonic() + _AFTER_FAILURE_SECONDS
            _log.warning("the reader's key could not be renewed: %s", error)

    def _write(self) -> None:
        write_atomically(self._path, cut_down(self._host.pgbackrest_config, self._repository, self.key), 0o600)


def means_of(client: PgBackRest, repository: int) -> Means:
    """What a side instance would read a repository with.

    Raises:
        ConfigError: the host's configuration cannot be read.
        PolicyError: the policy is not understood.
    """
    config = client.config
    if any(one.key == repository and one.type == "posix" for one in client.repositories):
        return Means.DISK
    if reader_key(config.pgbackrest_config, config.stanza, repository) is not None:
        return Means.KEY
    return Means.ROLE if _with_role(config, repository) is not None else Means.OWN


def _with_role(config: HostConfig, repository: int) -> S3Repository | None:
    """The repository, where the policy names a role that reads it, in the region that this host works with."""
    if not config.policy_path.exists():
        return None
    for named in load_policy(config.policy_path).s3_repositories:
        if named.id == repository and named.reader_role is not None:
            copy = named.as_replica()
            regions = [one.region for one in configured(config.pgbackrest_config, config.stanza) if one.key == named.id]
            # A host that was recovered from the copy: the first region may be gone, and its keys' server with it.
            return copy if copy is not None and [copy.region] == regions else named
    return None


@contextmanager
def reading(client: PgBackRest, repository: int, folder: Path, means: Means) -> Iterator[Reader]:
    """Have pgBackRest read a repository, for a block of work.

    Args:
        client: pgBackRest with the host's own configuration.
        repository: the repository.
        folder: where its configuration may lie meanwhile; nothing is left there.
        means: what to read it with.

    Raises:
        ConfigError: what it was to be read with is not there any more.
        PgdrError: the role could not be taken on.
    """
    if means is Means.OWN:
        yield Reader(client)
        return
    place = folder / "reader"
    keys = _keys(client.config, repository, means, folder.name)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _explained(means):
            yield _OwnReader(client.config, repository, place / "pgbackrest.conf", keys)
    finally:
        with suppress(FileNotFoundError):  # whoever removes the instance may have been quicker
            shutil.rmtree(place)


def _keys(config: HostConfig, repository: int, means: Means, name: str) -> _Keys:
    if means is Means.DISK:
        return lambda: None
    if means is Means.ROLE:
        named = _with_role(config, repository)
        if named is None:
            raise ConfigError(f"the policy names no reader_role for repository {repository} any more", remedy="name it")
        # Only here: it takes half a second to load.
        from pgdr.side.assumed import AssumedRole  # noqa: PLC0415

        return AssumedRole(config, named, f"pgdr-side-{name}").key

    def stored() -> AccessKey:
        key = reader_key(config.pgbackrest_config, config.stanza, repository)
        if key is None:
            raise ConfigError(
                f"{config.pgbackrest_config.parent / READER_FILE} has no key of repository {repository} any more",
                remedy="run the role pgbackrest on this host with reader_key in pgbackrest_secrets",
            )
        return key

    return stored


@contextmanager
def asking(client: PgBackRest, repository: int) -> Iterator[Reader]:
    """Ask a repository what it holds, with what a side instance would read it with, for a block of work.

    Raises:
        PgdrError: see :func:`reading`.
    """
    means, run = means_of(client, repository), client.config.run_directory
    if means is Means.DISK:
        yield Reader(client)  # there is no key to be tried
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="asking-", dir=run)
    except OSError as error:
        raise OperationFailedError(f"{run} cannot be written: {error.strerror}", remedy="run as postgres") from error
    with folder as name, reading(client, repository, Path(name), means) as reader:
        yield reader


@contextmanager
def _explained(means: Means) -> Iterator[None]:
    """Say of a refused request whose key it came with: the host's own may be right."""
    try:
        yield
    except PgBackRestError as error:
        if means in (Means.KEY, Means.ROLE) and error.fault in {"access", "protocol"}:
            error.message = f"with {means.words}: {error.message}"
            error.remedy = f"{error.remedy}; a side instance does not use the host's own key: see {means.where}"
        raise
