"""What tests of a disaster hold plays and hosts to, and what they remember from one step to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from drill.host import KEPT, Host
from drill.running import RunningPlay
from lab.api import Lab
from pgdr.errors import NotProvenError


class Notes:
    """Facts that one test finds out and a later one needs; kept in a file, so that one file of tests can be run again.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, lab: Lab) -> Notes:
        """The notes of one lab; another lab of the same name has another authority, and notes of its own."""
        identity = hashlib.sha256(lab.s3.ca.read_bytes()).hexdigest()[:12]
        return cls(lab.folder / f"notes-{identity}.json")

    def __getitem__(self, name: str) -> str:
        return str(self._read()[name])

    def __setitem__(self, name: str, value: str) -> None:
        self._path.write_text(json.dumps({**self._read(), name: value}, indent=2) + "\n", encoding="utf-8")

    def __contains__(self, name: str) -> bool:
        return name in self._read()

    def _read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        content: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        return content


@contextmanager
def unchanged(host: Host, *, running: bool = False, paths: Sequence[str] = KEPT) -> Iterator[None]:
    """Hold that data, configuration and recovery state of a host are the same after a block as before.

    Raises:
        NotProvenError: with the first lines that differ.
    """
    before = host.tree(running=running, paths=paths)
    yield
    after = host.tree(running=running, paths=paths)
    if after != before:
        differing = sorted(set(before) ^ set(after))
        raise NotProvenError(f"{host.name} was changed: {differing[:5]}")


def refused(play: RunningPlay, *words: str) -> str:
    """Hold that a play stops with exactly one line that says why, with these words in it; return the line.

    Raises:
        NotProvenError: it ended well, or said something else, or more than once.
    """
    status = play.wait(600)
    errors = play.errors()
    if status == 0 or len(errors) != 1:
        raise NotProvenError(f"not refused with one line: status {status}, {errors}", remedy=f"see {play.log}")
    missing = [word for word in words if word not in errors[0]]
    if missing:
        raise NotProvenError(f"{missing} not in: {errors[0]}", remedy=f"see {play.log}")
    return errors[0]
