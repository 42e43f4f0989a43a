"""Keep a recovery's state where a rerun finds it, whatever was killed."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pgdr.errors import ConfigError
from pgdr.files import NO_FILE, remedy_of, write_atomically
from pgdr.recovery.model import RecoveryState

_FILE = "state.json"
_MOVE = "move it away; the restored files it speaks of stay where they are"


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
            return RecoveryState.model_validate_json(text)
        except FileNotFoundError:
            return None
        except OSError as error:
            remedy = _MOVE if error.errno in NO_FILE else remedy_of(error, "run as postgres")
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}", remedy=remedy) from error
        except (ValidationError, UnicodeDecodeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not UTF-8 text"
            raise ConfigError(f"{self._path} cannot be read: {reason}", remedy=_MOVE) from error

    def save(self, state: RecoveryState) -> None:
        """Replace the file in one step, so that a kill leaves the old or the new state, never half of one.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            # Its draft has a name for each process: a play that is typed again plans while the first one's still works.
            write_atomically(self._path, state.model_dump_json(indent=2))
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}", remedy=remedy_of(error)) from error

    def archive(self, state: RecoveryState) -> Path:
        """Keep a finished or abandoned recovery's state under its operation's name and return the file."""
        kept = self._folder / f"{state.plan.operation}.json"
        self.save(state)
        self._path.replace(kept)
        return kept
