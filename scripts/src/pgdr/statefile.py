"""Small pieces of state on the host, outside the database: one JSON file each, changed whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from pgdr.errors import BusyError, ConfigError
from pgdr.files import NO_FILE, adopt_owner, remedy_of, write_atomically

_log = logging.getLogger(__name__)

_LOCK_TIMEOUT = 30.0


class State(BaseModel):
    """What a state file holds. Unknown keys are kept out, so that a newer version's file is not half read."""

    model_config = ConfigDict(extra="forbid")


S = TypeVar("S", bound=State)


class StateFile(Generic[S]):
    """One file with one model.

    Args:
        path: the file.
        model: its content; a missing file means the model's defaults.
        remedy: what to do where the file is damaged.
        cache: it only spares questions that are asked anew where it is lost: damaged, it is taken for none.
    """

    def __init__(
        self, path: Path, model: type[S], remedy: str = "move it away: pgdr makes it anew", *, cache: bool = False
    ) -> None:
        self.path = path
        self._model = model
        self._remedy = remedy
        self._cache = cache

    def read(self) -> S:
        """Return what the file holds, or the defaults where there is none.

        Raises:
            ConfigError: it cannot be read or is not what pgdr wrote.
        """
        try:
            return self._model.model_validate_json(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if not self.path.is_symlink():
                return self._model()
            problem = f"{self.path} is a link that leads nowhere"
        except OSError as error:
            if error.errno not in NO_FILE and not self._cache:
                remedy = remedy_of(error, "run as postgres")
                raise ConfigError(f"cannot read {self.path}: {error.strerror}", remedy=remedy) from error
            problem = f"cannot read {self.path}: {error.strerror}"
        except (ValidationError, UnicodeDecodeError):
            problem = f"{self.path} is not what pgdr wrote"
        if self._cache:
            _log.warning("%s: it is made anew", problem)
            return self._model()
        raise ConfigError(problem, remedy=self._remedy)

    def read_or_say(self) -> tuple[S, ConfigError | None]:
        """Return what the file holds; where it cannot be read the defaults, and why: for a look that must not end."""
        try:
            return self.read(), None
        except ConfigError as error:
            return self._model(), error

    @contextmanager
    def change(self) -> Iterator[S]:
        """Read, let the caller change, and write what is there at the end; nothing where the caller fails.

        Raises:
            BusyError: another process holds the file.
            ConfigError: it cannot be read or written.
        """
        lock = FileLock(self.path.with_suffix(".lock"), timeout=_LOCK_TIMEOUT, mode=0o660)
        try:
            with self._writing():
                lock.acquire()
                adopt_owner(Path(lock.lock_file))
            state = self.read()
            yield state  # what goes wrong there is the caller's own
            with self._writing():
                write_atomically(self.path, state.model_dump_json(indent=1) + "\n")
        finally:
            lock.release()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Timeout as error:
            raise BusyError(f"another process holds {self.path}", remedy="run again") from error
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}", remedy=remedy_of(error)) from error
