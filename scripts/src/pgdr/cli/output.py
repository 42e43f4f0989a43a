"""Where results and messages go: results to standard output, messages to standard error.

Rich is imported when something is printed with it, not before: ``pgdr heartbeat`` runs each minute and prints
nothing when all is well.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import cache
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from pgdr.errors import OperationFailedError

if TYPE_CHECKING:
    from rich.console import Console


class OutputFormat(StrEnum):
    """How a command writes its result."""

    TABLE = "table"
    JSON = "json"


@cache
def console() -> Console:
    """The console for results."""
    from rich.console import Console  # noqa: PLC0415 - see the module

    if sys.stdout.isatty():
        return Console(highlight=False)
    # A file or a pipe has no width: a table must not lose the end of its lines there.
    return Console(highlight=False, width=1000)


@cache
def messages() -> Console:
    """The console for messages and progress."""
    from rich.console import Console  # noqa: PLC0415 - see the module

    return Console(stderr=True, highlight=False, soft_wrap=True)


def open_for_any_name() -> None:
    """Have a terminal that is not UTF-8 show a name's other characters by their numbers, instead of nothing at all."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def _written() -> Iterator[None]:
    """Write to standard output, to the end: a disk that is full is no bug, and what was done is done all the same."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # who reads has seen enough
    except OSError as error:
        with suppress(OSError, ValueError):
            # What could not be written is tried again when Python ends, and would replace our exit code.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OperationFailedError(
            f"the result cannot be written: {error.strerror}", remedy="pgdr journal list says what was done"
        ) from error


def result(text: str) -> None:
    """Write one line of result."""
    with _written():
        sys.stdout.write(f"{text}\n")


def json_result(document: Any) -> None:
    """Write a result for a program: one JSON document."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    with _written():
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=not unicode, default=str) + "\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = frozenset()) -> None:
    """Write a table. Cells are plain text: a name from a database is no markup.

    Args:
        headers: names of the columns.
        rows: the cells.
        right: columns to align to the right.
    """
    from rich import box  # noqa: PLC0415 - see the module
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        shown.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_printable(cell)) for cell in row))
    with _written():
        console().print(shown)


def _printable(text: str) -> str:
    """Show control characters in a name as what they are, not as what they do to a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def message(text: str) -> None:
    """Tell a person something that is not the result. Plain text: names from a database are no markup."""
    with suppress(OSError):  # a terminal that is gone must not end what is being done
        sys.stderr.write(f"pgdr: {text}\n")
        sys.stderr.flush()


def error(text: str) -> None:
    """Write the one line of an expected error; line breaks in it become spaces."""
    message(f"error: {' '.join(text.split())}")


def interactive() -> bool:
    """Whether a person watches the messages."""
    return sys.stderr.isatty()


def bytes_text(size: float | None) -> str:
    """Write a number of bytes for a person."""
    if size is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def seconds_text(seconds: float) -> str:
    """Write a duration for a person."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
