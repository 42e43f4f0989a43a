"""Make a fault, wait until people know, cure it, count what was lost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from faults.fault import Fault, Step
from faults.ground import Ground, Heard
from pgdr.errors import PgdrError

_GRACE = 120.0
_LONGEST = 700
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
        wrong: what was not as it must be on the way; empty where all was.
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
    wrong: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        in_time = self.detected_seconds is not None and self.detected_seconds <= self.promised_seconds
        return self.injected and in_time and self.cured and self.data_lost_rows in (None, 0) and not self.wrong

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {**asdict(self), "kept": self.kept}


def measure(ground: Ground, fault: Fault, tell: Callable[[str], None]) -> Row:
    """Take one fault through its life."""
    wrong: list[str] = []

    def take(step: Step, what: str) -> None:
        try:
            step(ground)
        except (PgdrError, subprocess.SubprocessError, ValueError) as error:
            # One fault that does not go as it should must not keep the others from being tried.
            said = str(getattr(error, "stderr", "") or "")[-500:]
            wrong.append(f"{what}: {error} {said}".strip())
            tell(wrong[-1])

    ground.kept, ground.began = {}, None
    tell("inject")
    take(fault.prepare, "prepare")
    calm = ground.level(fault.finding) != "red"
    began = ground.clock()
    take(fault.inject, "inject")
    if fault.rows and fault.writes:
        take(lambda ground: ground.write_rows(fault.name), "write")
    take(fault.look, "look")
    began = ground.began or began
    tell("wait for the message")
    heard = None if wrong else _wait(ground, fault, began)
    level = ground.level(fault.finding)
    tell("cure")
    take(fault.cure, "cure")
    cured = ground.settle(fault.finding)
    # The next fault may have the same finding: people must have heard of the end of this one.
    ground.pgdr("watch")
    lost = None
    if fault.rows:
        tell("restore and count")
        lost = ground.rows_lost()
        if lost is None:
            wrong.append("the restore that counts rows failed")
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
        wrong="; ".join(wrong),
    )


def _wait(ground: Ground, fault: Fault, began: float) -> Heard | None:
    deadline = time.monotonic() + min(fault.promised, _LONGEST) + _GRACE
    while time.monotonic() < deadline:
        for message in ground.heard():
            if message.at >= began and any(words in message.title for words in fault.title):
                return message
        time.sleep(_POLL)
    return None
