"""Write a ledger so that nothing but its last line can be lost when the writer is killed.

A line is one ``write`` to a file opened for appending: once it returned, the line outlives the process. A thread
brings the lines to the disk several times a second, for the case that the machine dies too.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

from erp.ledger import Change, LedgerError
from pgdr.errors import RefusedError

_SYNC_SECONDS = 0.1


class LedgerWriter:
    """The ledger of one run; several threads may write to it.

    Args:
        path: a file that does not exist yet.
        run_id: the run, as in ``system.client_transactions``.
        seed: of the run, for the record.

    Raises:
        RefusedError: the file exists.
        LedgerError: it cannot be made.
    """

    def __init__(self, path: Path, run_id: UUID, seed: int) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        except FileExistsError as error:
            raise RefusedError(f"{path} exists", remedy="a ledger holds one run: name a new file") from error
        except OSError as error:
            raise LedgerError(f"cannot make the ledger {path}: {error.strerror}") from error
        self._path = path
        self._lock = threading.Lock()
        self._dirty = False
        self._failure: OSError | None = None
        self._closed = threading.Event()
        self._write({"event": "run", "format": 1, "run_id": str(run_id), "seed": seed, "at": _now()})
        self._sync()
        _sync_folder(path.parent)
        self._syncer = threading.Thread(target=self._keep_syncing, name="ledger", daemon=True)
        self._syncer.start()

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(self, txn_id: UUID, kind: str, xid: int, orders: tuple[int, ...], changes: dict[str, Change]) -> None:
        """Announce a transaction; COMMIT may be sent when this has returned."""
        self._write(
            {
                "event": "begin",
                "txn_id": str(txn_id),
                "kind": kind,
                "xid": xid,
                "orders": list(orders),
                "changes": {table: change._asdict() for table, change in changes.items()},
            }
        )

    def committed(self, txn_id: UUID, xid: int, at: datetime, lsn: str | None) -> None:
        """COMMIT has returned."""
        self._write({"event": "committed", "txn_id": str(txn_id), "xid": xid, "at": at.isoformat(), "lsn": lsn})

    def rolled_back(self, txn_id: UUID) -> None:
        """The server refused the COMMIT."""
        self._write({"event": "rolled_back", "txn_id": str(txn_id)})

    def end(self, reason: str) -> None:
        """The run is over."""
        self._write({"event": "end", "at": _now(), "reason": reason})

    def close(self) -> None:
        """Bring everything to the disk and close the file."""
        self._closed.set()
        self._syncer.join()
        with self._lock:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise LedgerError(f"cannot write the ledger {self._path}: {error.strerror}") from error
            finally:
                os.close(self._file)
                self._file = -1

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                # From here on the file may end in half a line: nothing may follow it.
                self._failure = error
                raise LedgerError(f"cannot write the ledger {self._path}: {error.strerror}") from error
            self._dirty = True

    def _append(self, line: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        if os.write(self._file, line) != len(line):
            raise OSError(errno.ENOSPC, "only a part of a line was written")

    def _keep_syncing(self) -> None:
        while not self._closed.wait(_SYNC_SECONDS):
            try:
                self._sync()
            except OSError as error:
                self._failure = error
                return

    def _sync(self) -> None:
        with self._lock:
            if not self._dirty:
                return
            self._dirty = False
        # Not under the lock: a slow disk shall not hold up the transactions.
        os.fsync(self._file)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _sync_folder(folder: Path) -> None:
    """A new file is there after a crash only when its folder is written too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
