"""What a fault is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from faults.ground import WATCH_SECONDS, Ground

#: A look of cron, and half a minute for the work itself.
LOOK = WATCH_SECONDS + 30
#: What only a whole read shows is promised for the next run of its job.
DAY = 86_400
#: A command that refuses, run as a job: people hear of it as soon as it ends.
AT_ONCE = 60

Step = Callable[[Ground], None]


def nothing(_ground: Ground) -> None:
    """No step."""


@dataclass(frozen=True)
class Fault:
    """One fault. A step that finds something else than it must raises, and the row says so.

    Attributes:
        number: in the requirement's list; empty for one that stands elsewhere in it.
        name: what happens.
        finding: keys of the findings in the status, with a space between; empty where the right behaviour is a refusal
            and the status has nothing to say.
        title: words in the title of the message, any of them.
        promised: seconds in which people must know.
        by: who notices: watch (cron), or the job that is started at once.
        inject: makes it.
        look: the job that would see it, started right after.
        cure: takes it away.
        prepare: what must be there before; its time does not count.
        rows: whether rows are followed through it.
        writes: whether rows can be written while it lasts.
    """

    number: str
    name: str
    finding: str
    title: tuple[str, ...]
    promised: int
    by: str
    inject: Step
    cure: Step
    look: Step = nothing
    prepare: Step = nothing
    rows: bool = True
    writes: bool = True
