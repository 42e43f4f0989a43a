"""Run pieces of SQL on a few connections at the same time; the work itself is the server's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType

import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from erp.database import Connection
from erp.sqlfiles import Slice

Progress = Callable[[str, int, int], None]
"""Called with the phase, the pieces done and all pieces."""


class WorkPool:
    """A few connections of the same kind, each with a thread of its own.

    Args:
        opener: opens one connection.
        jobs: how many.
    """

    def __init__(self, opener: Callable[[], Connection], jobs: int) -> None:
        self._opener = opener
        self._connections: list[Connection] = []
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="erp")

    def __enter__(self) -> WorkPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for connection in list(self._connections):
                connection.cancel_safe(timeout=2)
        self._threads.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def run(self, phase: str, pieces: Sequence[Slice], progress: Progress, *, transaction: bool = True) -> None:
        """Run all pieces; the first error stops the rest and is raised.

        Args:
            phase: what ``progress`` is told.
            pieces: what to run, in the order in which it is begun.
            progress: called before the first piece and after each.
            transaction: whether each piece is a transaction of its own, or none (``VACUUM``).
        """
        done = 0
        counting = threading.Lock()
        progress(phase, 0, len(pieces))

        def count(finished: Future[None]) -> None:
            nonlocal done
            if not finished.cancelled() and finished.exception() is None:
                with counting:
                    done += 1
                    progress(phase, done, len(pieces))

        futures = [self._threads.submit(self._run_one, piece, transaction) for piece in pieces]
        for future in futures:
            future.add_done_callback(count)
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
        for future in finished:
            future.result()

    def _run_one(self, piece: Slice, transaction: bool) -> None:  # noqa: FBT001 - called by the pool only
        connection = self._connection()
        # Two foreign keys that are added at once may lock their tables crosswise: the loser tries again.
        for attempt in Retrying(
            retry=retry_if_exception_type(psycopg.errors.DeadlockDetected),
            stop=stop_after_attempt(10),
            wait=wait_random(0.05, 0.5),
            reraise=True,
        ):
            with attempt:
                connection.execute(
                    "SELECT set_config('erp_gen.lo', %s, false), set_config('erp_gen.hi', %s, false)",
                    (str(piece.low), str(piece.high)),
                )
                if transaction:
                    with connection.transaction():
                        connection.execute(piece.text.encode())
                else:
                    connection.execute(piece.text.encode())

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._opener()
            self._local.connection = connection
            self._connections.append(connection)
        return connection
