"""Every operation takes the host's lock and leaves an entry in the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pgdr.errors import BusyError, PgdrError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.locks import Holder, operation_lock


@dataclass
class Record:
    """What the journal will say.

    Attributes:
        details: of this operation.
        times: measured seconds by phase.
    """

    details: dict[str, Any] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)


@contextmanager
def recorded(
    config: HostConfig,
    operation: str,
    *,
    wait: float = 0.0,
    on_wait: Callable[[Holder | None, float], None] | None = None,
    **details: Any,
) -> Iterator[Record]:
    """Do one operation under the host's lock, and write down how it ended.

    Args:
        config: what this host is.
        operation: what is done.
        wait: seconds to wait for another operation; 0 gives way at once.
        on_wait: told who is waited for.
        details: what is known beforehand.

    Raises:
        BusyError: another operation holds the lock.
        PgdrError: what the operation raised.
    """
    record = Record(dict(details))
    journal = Journal.of(config)
    began = time.monotonic()
    result = "interrupted"
    try:
        with operation_lock(config, operation, wait=wait, on_wait=on_wait):
            yield record
        result = "ok"
    except PgdrError as error:
        result = {RefusedError: "refused", BusyError: "gave way"}.get(type(error), "failed")
        record.details["error"] = str(error)
        raise
    except Exception as error:
        result = "failed"
        record.details["error"] = repr(error)
        raise
    finally:
        record.times.setdefault("total", time.monotonic() - began)
        journal.append(operation=operation, result=result, details=record.details, times=record.times)
