"""The plan: from copies, a rule and a moment to what stays, what goes, and why.

One rule carries the rest: **a copy goes only when a newer copy that was verified already reaches back as far as is
promised.** A series of bad backups therefore never pushes out a good one, and where nothing was verified nothing goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

#: Which period a moment belongs to, by the name of the slot.
PERIODS: dict[str, Callable[[datetime], str]] = {
    "daily": lambda at: f"{at:%Y-%m-%d}",
    "weekly": lambda at: f"{at:%G-W%V}",
    "monthly": lambda at: f"{at:%Y-%m}",
    "annual": lambda at: f"{at:%Y}",
}


@dataclass(frozen=True)
class Copy:
    """One set or archive.

    Attributes:
        label: its name.
        at: the moment that it restores, in UTC.
        base: the copy that it cannot be restored without; empty for one that stands alone.
        good: it was verified or proven, and nothing was found wrong since.
        size: bytes that it takes.
    """

    label: str
    at: datetime
    base: str = ""
    good: bool = False
    size: int = 0


@dataclass(frozen=True)
class Rule:
    """What is kept at one place.

    Attributes:
        window: how far back a restore must reach.
        slots: older copies that stand alone, one a period: name of the slot to how long.
        cap: the longest that anything may stay (erasure).
        floor: the shortest that the longest slot must stay (law), and who asks for it.
        floor_by: the framework that asks.
        standalone: a copy restores its own moment only: none is kept for the time between it and the next.
    """

    window: timedelta
    slots: Mapping[str, timedelta] = field(default_factory=dict)
    cap: timedelta | None = None
    floor: timedelta | None = None
    floor_by: str = ""
    standalone: bool = False


@dataclass(frozen=True)
class Decision:
    """What becomes of one copy.

    Attributes:
        copy: the copy.
        keep: whether it stays.
        reasons: why, at least one.
    """

    copy: Copy
    keep: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What becomes of all copies of one place.

    Attributes:
        decisions: one for each copy, oldest first.
        conflicts: where two rules disagree, which one won, and what to do.
        anchor: the verified copy from which on every moment can be reached; ``None`` where there is none.
    """

    decisions: tuple[Decision, ...]
    conflicts: tuple[str, ...]
    anchor: str | None

    @property
    def kept(self) -> tuple[Copy, ...]:
        """The copies that stay."""
        return tuple(item.copy for item in self.decisions if item.keep)

    @property
    def doomed(self) -> tuple[Copy, ...]:
        """The copies that go, oldest first; never one that another kept copy needs."""
        return tuple(item.copy for item in self.decisions if not item.keep)


def make_plan(copies: Iterable[Copy], rule: Rule, now: datetime, held: Mapping[str, str]) -> Plan:
    """Decide what stays.

    Args:
        copies: what is there.
        rule: what is to be kept.
        now: the present, in UTC.
        held: labels that a person holds, each with the reason.
    """
    ordered = sorted(copies, key=lambda copy: (copy.at, copy.label))
    reasons: dict[str, list[str]] = {copy.label: [] for copy in ordered}
    alone = [copy for copy in ordered if not copy.base]
    start = now - rule.window
    anchor = _anchor(alone, now if rule.standalone else start)
    for copy in alone:
        if copy.at > start:
            reasons[copy.label].append("in the window")
        elif anchor is None or copy.at >= anchor.at:
            reasons[copy.label].append(_why_no_newer(copy, anchor, alone))
    _fill_slots(alone, rule, now, reasons)
    _keep_dependents(ordered, start, anchor, reasons)
    _keep_held(ordered, held, reasons)
    decisions = tuple(Decision(c, bool(r := reasons[c.label]), tuple(r) or ("past its time",)) for c in ordered)
    return Plan(decisions, tuple(_conflicts(decisions, rule, now, held)), anchor.label if anchor else None)


def _anchor(alone: Sequence[Copy], start: datetime) -> Copy | None:
    """The newest good copy that reaches back to the start of the window."""
    return next((copy for copy in reversed(alone) if copy.good and copy.at <= start), None)


def _why_no_newer(copy: Copy, anchor: Copy | None, alone: Sequence[Copy]) -> str:
    if anchor is not None and copy.label == anchor.label:
        newest_good = next(item for item in reversed(alone) if item.good)
        last = ", the last verified one" if newest_good.label == copy.label else ""
        return f"the window begins with it{last}"
    if any(item.good for item in alone):
        return "no verified copy reaches back to the start of the window"
    return "nothing is verified yet"


def _fill_slots(alone: Sequence[Copy], rule: Rule, now: datetime, reasons: dict[str, list[str]]) -> None:
    """Keep the first good copy of each period; a copy that nobody verified fills no slot while a good one can."""
    for slot, retention in rule.slots.items():
        chosen: dict[str, Copy] = {}
        for copy in alone:
            period = PERIODS[slot](copy.at)
            before = chosen.get(period)
            if copy.at > now - retention and (before is None or (copy.good and not before.good)):
                chosen[period] = copy
        for period, copy in chosen.items():
            reasons[copy.label].append(f"{slot} {period}")


def _keep_dependents(
    ordered: Sequence[Copy], start: datetime, anchor: Copy | None, reasons: dict[str, list[str]]
) -> None:
    """An increment stays while it is in the window, or while the window begins with what it builds on."""
    for copy in ordered:
        if copy.base and reasons.get(copy.base) and (copy.at > start or anchor is None or copy.at >= anchor.at):
            reasons[copy.label].append("builds on a kept copy")


def _keep_held(ordered: Sequence[Copy], held: Mapping[str, str], reasons: dict[str, list[str]]) -> None:
    bases = {copy.label: copy.base for copy in ordered}
    for label, why in held.items():
        text = f"held: {why}"
        while label in reasons:
            reasons[label].append(text)
            label, text = bases[label], f"needed by what is held: {why}"  # noqa: PLW2901 - up the chain


def _conflicts(decisions: Sequence[Decision], rule: Rule, now: datetime, held: Mapping[str, str]) -> Iterable[str]:
    if rule.cap is not None:
        for item in decisions:
            if not item.keep or item.copy.at > now - rule.cap:
                continue
            days = (now - item.copy.at).days
            cure = "release the hold" if item.copy.label in held else "take a full backup and verify it"
            yield (
                f"{item.copy.label} is {days} days old, past the erasure cap of {rule.cap.days} days, and stays: "
                f"{item.reasons[0]} ({cure})"
            )
    longest = max([rule.window, *rule.slots.values()])
    if rule.floor is not None and longest < rule.floor:
        yield (
            f"{rule.floor_by} asks for {rule.floor.days} days and the longest retention is {longest.days} days "
            "(keep the annual copies longer)"
        )
