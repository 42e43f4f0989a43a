"""The SQL files of the sample, and the tasks that some of them are made of.

A file of tasks has headers ``-- @task NAME [over=COUNT] [chunk=N]``. What follows a header up to the next one is
run in one transaction; with ``over`` and ``chunk`` it is run for slices of ``1..COUNT``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "sql"
_HEADER = re.compile(r"^-- @task (?P<name>\S+)(?: over=(?P<over>\w+))?(?: chunk=(?P<chunk>\d+))?$", re.MULTILINE)


@dataclass(frozen=True)
class Slice:
    """One piece of work: statements, and the numbers ``low..high`` that they are about."""

    name: str
    text: str
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class Task:
    """Statements for one table.

    Attributes:
        name: the table, as the header names it.
        text: the statements.
        over: key of the count that is sliced, or ``None`` to run once without numbers.
        chunk: numbers a slice, or ``None`` for all in one.
    """

    name: str
    text: str
    over: str | None = None
    chunk: int | None = None

    def slices(self, counts: Mapping[str, int]) -> Iterator[Slice]:
        """Cut the task into pieces that can run at the same time."""
        if self.over is None:
            yield Slice(self.name, self.text)
            return
        count = counts[self.over]
        step = self.chunk or max(count, 1)
        for low in range(1, count + 1, step):
            yield Slice(self.name, self.text, low, min(low + step - 1, count))


def read_scripts(folder: str) -> list[str]:
    """Return the texts of a folder's files in the order of their names."""
    return [path.read_text(encoding="utf-8") for path in sorted((FOLDER / folder).glob("*.sql"))]


def read_tasks(folder: str) -> list[Task]:
    """Return the tasks of a folder's files in the order of file names and headers.

    Raises:
        ValueError: a file has a header that cannot be read, or none.
    """
    return [task for text in read_scripts(folder) for task in parse_tasks(text)]


def parse_tasks(text: str) -> list[Task]:
    """Cut the text of one file at its headers; see :func:`read_tasks`."""
    headers = list(_HEADER.finditer(text))
    if len(headers) != text.count("-- @task"):
        raise ValueError("a task header cannot be read")
    if not headers:
        raise ValueError("no task header")
    ends = [header.start() for header in headers[1:]] + [len(text)]
    return [
        Task(
            name=header["name"],
            text=text[header.end() : end].strip(),
            over=header["over"],
            chunk=int(header["chunk"]) if header["chunk"] else None,
        )
        for header, end in zip(headers, ends, strict=True)
    ]
