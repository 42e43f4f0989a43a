"""Phases of a drill: shown while they run, measured, and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

Note = Callable[[str], None]


@dataclass
class Phase:
    """One phase and its length in seconds; ``recovery`` phases count for the RTO."""

    name: str
    seconds: float
    recovery: bool = False


@dataclass
class Timeline:
    """The phases of one drill.

    Attributes:
        console: where progress is shown.
        phases: what has been done.
    """

    console: Console
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[Note]:
        """Show a phase while it runs and keep how long it took; yields what says, in passing, what it is at."""
        begin = time.monotonic()
        self.console.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/dim]  {name} ...")
        # A spinner where a person watches, nothing in a log.
        with self.console.status(name) as status:
            yield lambda text: status.update(escape(f"{name}: {text}"))
        seconds = time.monotonic() - begin
        self.phases.append(Phase(name, round(seconds, 1)))
        self.console.print(f"          [green]done[/green] in {seconds:.1f} s")
