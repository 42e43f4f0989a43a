"""Run the load: several workers, one ledger, an even pace, and an orderly end whatever happens to the server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from uuid import UUID, uuid4

import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set, wait_exponential
from tenacity.nap import sleep_using_event

from erp.database import Connection, connect, one_line, open_or_fail
from erp.ledger_writer import LedgerWriter
from erp.load.catalog import read_tenants
from erp.load.worker import ConnectionLostError, Tally, Worker
from pgdr.errors import OperationFailedError

_log = logging.getLogger(__name__)
_APPLICATION = "erp load"
# Longer than a dead host can hold up a worker; see erp.database.
_END_SECONDS = 20.0
# Of fewer transactions the slowest alone would decide.
_FEWEST = 20


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        dsn: connection string of the owner or of the application's role.
        ledger: a file that does not exist yet.
        connections: workers.
        rate: transactions a second of all workers together, or ``None`` for as many as go.
        seconds: how long, or ``None`` until told to stop.
        seed: decides what the workers do.
        reconnect: go on when the server comes back, rather than end when it goes.
    """

    dsn: str
    ledger: Path
    connections: int = 4
    rate: float | None = None
    seconds: float | None = None
    seed: int = 42
    reconnect: bool = False


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        p95_seconds: 95 of 100 transactions took no longer; 0 where there were too few to say.
    """

    run_id: UUID
    committed: int
    in_doubt: int
    rolled_back: int
    seconds: float
    reason: str
    p95_seconds: float = 0.0


class Pace:
    """Deals out turns evenly, to all workers together.

    Args:
        rate: turns a second, or ``None`` for no limit.
        stop: ends all waiting.
    """

    def __init__(self, rate: float | None, stop: threading.Event) -> None:
        self._interval = 0.0 if rate is None else 1 / rate
        self._stop = stop
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def turn(self) -> bool:
        """Wait for the next turn; false when the load ends."""
        if not self._interval:
            return not self._stop.is_set()
        with self._lock:
            # Turns that were missed while the server hung are not made up for.
            self._next = max(self._next + self._interval, time.monotonic())
            wait = self._next - time.monotonic()
        return not self._stop.wait(wait)


def _p95(seconds: list[float]) -> float:
    return quantiles(seconds, n=20)[18] if len(seconds) >= _FEWEST else 0.0


class Load:
    """One run of the load.

    Args:
        options: how to run.
        stop: set it to end the run.
    """

    def __init__(self, options: Options, stop: threading.Event) -> None:
        self.run_id = uuid4()
        self._options = options
        self._stop = stop
        self._pace = Pace(options.rate, stop)
        self._reason = ""
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        self._tallies: list[Tally] = []

    @property
    def committed(self) -> int:
        """Transactions so far."""
        return sum(tally.committed for tally in self._tallies)

    def run(self, started: Callable[[], None], every_second: Callable[[], None]) -> Summary:
        """Run to the end.

        Args:
            started: called when the first connection is there and the ledger is open.
            every_second: called about once a second.

        Raises:
            UnreachableError: the server did not answer at the start, or has no room for the connections.
            RefusedError: the database holds no ERP sample.
            OperationFailedError: the server refused a transaction, or the ledger could not be written.
        """
        with ExitStack() as opened:
            # All of them, before anything is written: a server that has no room for them says so now.
            connections = [
                opened.enter_context(open_or_fail(self._options.dsn, application=_APPLICATION))
                for _ in range(self._options.connections)
            ]
            tenants = read_tenants(connections[0])
            ledger = LedgerWriter(self._options.ledger, self.run_id, self._options.seed)
            opened.pop_all()
        begun = time.monotonic()
        with ledger:
            threads = []
            for number, connection in enumerate(connections):
                worker = Worker(number, self.run_id, self._options.seed, tenants, ledger)
                self._tallies.append(worker.tally)
                threads.append(threading.Thread(target=self._keep_working, args=(worker, connection), daemon=True))
            for thread in threads:
                thread.start()
            started()
            self._watch(begun, every_second)
            deadline = time.monotonic() + _END_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            if self._failure is None:
                ledger.end(self._reason)
        if self._failure is not None:
            raise self._failure
        return Summary(
            self.run_id,
            self.committed,
            sum(tally.in_doubt for tally in self._tallies),
            sum(tally.rolled_back for tally in self._tallies),
            time.monotonic() - begun,
            self._reason,
            _p95([seconds for tally in self._tallies for seconds in tally.seconds]),
        )

    def _watch(self, begun: float, every_second: Callable[[], None]) -> None:
        limit = self._options.seconds
        while True:
            left = 1.0 if limit is None else min(1.0, begun + limit - time.monotonic())
            if left <= 0:
                self._end("the time is over")
            if self._stop.wait(max(left, 0)):
                break
            every_second()
        self._end("told to stop")

    def _end(self, reason: str, failure: Exception | None = None) -> None:
        """End the run; the first reason counts."""
        with self._lock:
            self._reason = self._reason or reason
            self._failure = self._failure or failure
        self._stop.set()

    def _keep_working(self, worker: Worker, connection: Connection) -> None:
        try:
            while True:
                with connection:
                    try:
                        worker.work(connection, self._stop, self._pace.turn)
                    except ConnectionLostError as error:
                        if not self._options.reconnect:
                            self._end(f"the server went away: {error}")
                            return
                        _log.info("the server went away: %s", error)
                    except OperationFailedError as error:
                        if not self._options.reconnect or not isinstance(error.__cause__, psycopg.OperationalError):
                            raise
                        # For example no space left: it may pass.
                        _log.warning("%s", error)
                        self._stop.wait(1)
                if self._stop.is_set():
                    return
                connection = self._reconnect()
        except psycopg.OperationalError as error:
            # Told to stop while the server was still away.
            self._end(f"the server went away: {one_line(error)}")
        except Exception as error:  # noqa: BLE001 - carried to the main thread, which raises it
            self._end("failed", error)

    def _reconnect(self) -> Connection:
        for attempt in Retrying(
            retry=retry_if_exception_type(psycopg.OperationalError),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            reraise=True,
        ):
            with attempt:
                return connect(self._options.dsn, application=_APPLICATION)
        raise AssertionError("unreachable: tenacity returns or raises")
