"""Keep a recovery's state where a rerun finds it, whatever was killed."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from pgdr.errors import ConfigError
from pgdr.recovery.model import RecoveryState

_FILE = "state.json"


class StateStore:
    """The state file of the recovery of one cluster.

    Args:
        folder: pgdr's recovery folder, made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _FILE

    @property
    def folder(self) -> Path:
        """Where the state and the server's files of this recovery live."""
        return self._folder

    def load(self) -> RecoveryState | None:
        """Return the state of the newest recovery, or ``None`` where there was none.

        Raises:
            ConfigError: the file is there but cannot be understood.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return RecoveryState.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error.errors()[0]['msg']}",
                remedy="move it away; the restored files it speaks of stay where they are",
            ) from error

    def save(self, state: RecoveryState) -> None:
        """Replace the file in one step, so that a kill leaves the old or the new state, never half of one."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        # A name for each process: a play that is typed again plans while the recovery of the first one still works.
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(state.model_dump_json(indent=2))
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(self._path)

    def archive(self, state: RecoveryState) -> Path:
        """Keep a finished or abandoned recovery's state under its operation's name and return the file."""
        kept = self._folder / f"{state.plan.operation}.json"
        self.save(state)
        self._path.replace(kept)
        return kept
