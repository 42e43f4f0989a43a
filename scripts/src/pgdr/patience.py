"""Ask what may hang, and go on without it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from pgdr.errors import PgdrError

Answer = TypeVar("Answer")


def answered(ask: Callable[[], Answer], seconds: float) -> Answer:
    """Ask what can take a question and never answer it, where no time limit of its own helps.

    Args:
        ask: the question; it is left behind where it hangs, and nobody waits for it when the process ends.
        seconds: how long it has.

    Raises:
        TimeoutError: no answer within that time.
        PgdrError: what the question raised.
    """
    answers: list[Answer] = []
    faults: list[PgdrError] = []

    def work() -> None:
        try:
            answers.append(ask())
        except PgdrError as error:
            faults.append(error)

    asking = threading.Thread(target=work, daemon=True)
    asking.start()
    asking.join(seconds)
    for fault in faults:
        raise fault
    if not answers:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return answers[0]
