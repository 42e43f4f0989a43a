"""What every command gets from the root: the host configuration, read when it is first needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig

_log = logging.getLogger(__name__)


@dataclass
class Invocation:
    """One call of ``pgdr``.

    Attributes:
        config: the file named with ``--config``, or ``None`` for ``PGDR_CONFIG`` or the default.
        verbose: how often ``--verbose`` was given.
    """

    config: Path | None = None
    verbose: int = 0
    _journal_size: int = 0

    @cached_property
    def host(self) -> HostConfig:
        """The host configuration.

        Raises:
            ConfigError: it is missing or invalid.
        """
        from pgdr import hostconfig  # noqa: PLC0415 - pydantic is not loaded for --help

        found = hostconfig.load(self.config)
        self._journal_size = _size(found.journal_path)
        return found

    def close(self) -> None:
        """Copy what the command wrote to the journal; a bucket that is away is no matter of the command's."""
        host = self.__dict__.get("host")  # as far as it was ever asked for
        if host is None or _size(host.journal_path) == self._journal_size:
            return
        from pgdr.policy.load import load_policy  # noqa: PLC0415
        from pgdr.shipping.journal import ship_soon  # noqa: PLC0415

        try:
            if host.policy_path.exists():
                ship_soon(host, load_policy(host.policy_path))
        except Exception as error:  # noqa: BLE001 - the command's work is done, and cron's look copies it all the same
            _log.info("the journal was not copied: %s", error)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def invocation(context: typer.Context) -> Invocation:
    """Return the call that a command belongs to."""
    return context.find_root().ensure_object(Invocation)
