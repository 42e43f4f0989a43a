"""What every command gets from the root: the host configuration, read when it is first needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pgdr.hostconfig import HostConfig


@dataclass
class Invocation:
    """One call of ``pgdr``.

    Attributes:
        config: the file named with ``--config``, or ``None`` for ``PGDR_CONFIG`` or the default.
        verbose: how often ``--verbose`` was given.
    """

    config: Path | None = None
    verbose: int = 0

    @cached_property
    def host(self) -> HostConfig:
        """The host configuration.

        Raises:
            ConfigError: it is missing or invalid.
        """
        from pgdr import hostconfig  # noqa: PLC0415 - pydantic is not loaded for --help

        return hostconfig.load(self.config)


def invocation(context: typer.Context) -> Invocation:
    """Return the call that a command belongs to."""
    return context.find_root().ensure_object(Invocation)
