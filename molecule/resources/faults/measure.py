"""Make a fault, wait until people know, cure it, count what was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from faults.catalogue import Fault
from faults.ground import Ground, Heard

_GRACE = 120.0
_POLL = 2.0


@dataclass(frozen=True)
class Row:
    """What became of one fault; what was not measured is ``None``.

    Attributes:
        fault: its number in the requirement's list.
        injected: whether it was made, and the finding was not there before.
        detected_seconds: until the message was in the receiver's hands.
        notified: its title.
        seen_in_status: level of the finding right after.
        cured: whether the finding was over.
        data_lost_rows: committed rows that a restore afterwards did not bring back.
    """

    fault: str
    name: str
    by: str
    injected: bool
    detected_seconds: float | None
    promised_seconds: int
    notified: str
    seen_in_status: str
    cured: bool
    data_lost_rows: int | None

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        in_time = self.detected_seconds is not None and self.detected_seconds <= self.promised_seconds
        return self.injected and in_time and self.cured and self.data_lost_rows in (None, 0)

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {**asdict(self), "kept": self.kept}


def measure(ground: Ground, fault: Fault, tell: Callable[[str], None]) -> Row:
    """Take one fault through its life."""
    tell("inject")
    calm = ground.level(fault.finding) != "red"
    began = ground.clock()
    fault.inject(ground)
    if fault.rows:
        ground.write_rows(fault.name)
    fault.look(ground)
    tell("wait for the message")
    heard = _wait(ground, fault, began)
    level = ground.level(fault.finding)
    tell("cure")
    fault.cure(ground)
    cured = ground.settle(fault.finding)
    # The next fault may have the same finding: people must have heard of the end of this one.
    ground.pgdr("watch")
    lost = None
    if fault.rows:
        tell("restore and count")
        lost = ground.rows_lost()
    return Row(
        fault=fault.number,
        name=fault.name,
        by=fault.by,
        injected=calm,
        detected_seconds=round(heard.at - began, 1) if heard else None,
        promised_seconds=fault.promised,
        notified=heard.title if heard else "",
        seen_in_status=level,
        cured=cured,
        data_lost_rows=lost,
    )


def _wait(ground: Ground, fault: Fault, began: float) -> Heard | None:
    deadline = time.monotonic() + min(fault.promised, 600) + _GRACE
    while time.monotonic() < deadline:
        for message in ground.heard():
            if message.at >= began and any(words in message.title for words in fault.title):
                return message
        time.sleep(_POLL)
    return None
