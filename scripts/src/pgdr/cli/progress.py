"""Progress for people: a bar on a terminal, a plain line from time to time everywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgdr.cli import output

LINE_EVERY = 30.0
Report = Callable[[int, int], None]


@contextmanager
def byte_progress(title: str, *, line_every: float = LINE_EVERY) -> Iterator[Report]:
    """Show how many of how many bytes are done; the reporting function may be called from any thread.

    Args:
        title: what is being done.
        line_every: seconds between plain lines where no terminal shows a bar.
    """
    if output.interactive():
        with _bar(title) as report:
            yield report
        return
    yield _lines(title, line_every)


@contextmanager
def _bar(title: str) -> Iterator[Report]:
    from rich.markup import escape  # noqa: PLC0415 - only where a bar is shown
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.messages(), transient=True) as progress:
        task = progress.add_task(escape(title), total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=max(total, 1))

        yield report


def _lines(title: str, every: float) -> Report:
    began = told = time.monotonic()
    lock = threading.Lock()

    def report(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        with lock:
            if now - told < every:
                return
            told = now
        share = f"{100 * done / total:.0f} %" if total else "- %"
        sizes = f"{output.bytes_text(done)} of {output.bytes_text(total)}"
        output.message(f"{title}: {share}, {sizes}, {output.seconds_text(now - began)}")

    return report
