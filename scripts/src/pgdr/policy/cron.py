"""Five-field cron expressions as Debian's cron reads them: validated, and asked when they fire.

A policy's promises depend on the longest time between two runs, so the expression is understood here and not
only passed on. Times are those of the host's clock; a host in UTC has no hour that is skipped or comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property
from itertools import pairwise
from typing import ClassVar, Self

from pgdr.policy.text import TextValue, shown

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# After 28 years dates fall on the same days of the week again, leap days included.
_CALENDAR_START = date(2001, 1, 1)
_CALENDAR_DAYS = 28 * 365 + 7
_MINUTES_A_DAY = 24 * 60


@cache
def _calendar() -> tuple[tuple[int, int, frozenset[int]], ...]:
    """Return day of the month, month, and day of the week (Sunday is 0 and 7) of each day of the calendar."""
    days = (_CALENDAR_START + timedelta(days=number) for number in range(_CALENDAR_DAYS))
    return tuple((d.day, d.month, frozenset({d.isoweekday(), d.isoweekday() % 7})) for d in days)


@dataclass(frozen=True)
class _Field:
    """One of the five fields: its name in messages, its range, and names for its values."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """Return the value that a number or a name means."""
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.low
        if not re.fullmatch(r"[0-9]{1,2}", text) or not self.low <= int(text) <= self.high:
            raise ValueError(f"{shown(text)} is not a {self.name} ({self.low}-{self.high})")
        return int(text)

    def values(self, text: str) -> frozenset[int]:
        """Return all values that a field's text means."""
        found: set[int] = set()
        for part in text.split(","):
            span, slash, step_text = part.partition("/")
            if span == "*":
                first, last = self.low, self.high
            else:
                start, dash, end = span.partition("-")
                first = self.number(start)
                last = self.number(end) if dash else first
                if slash and not dash:
                    raise ValueError(f"{shown(part)} in the {self.name} field: a step needs a range or *")
            if last < first:
                raise ValueError(f"{shown(part)} in the {self.name} field runs backwards")
            if slash and not re.fullmatch(r"[1-9][0-9]?", step_text):
                raise ValueError(f"{shown(part)} in the {self.name} field: {shown(step_text)} is not a step")
            found.update(range(first, last + 1, int(step_text) if slash else 1))
        return frozenset(found)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    # 7 is Sunday too.
    _Field("day of the week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Cron(TextValue):
    """When a job runs: minute, hour, day of the month, month, day of the week.

    Attributes:
        text: the expression as it was written.
    """

    json_pattern: ClassVar[str] = r"^[0-9A-Za-z*,/-]+( [0-9A-Za-z*,/-]+){4}$"
    json_examples: ClassVar[tuple[str, ...]] = ("0 2 * * *", "0 */4 * * *", "0 3 * * 0")
    meaning: ClassVar[str] = "five cron fields separated by single spaces, such as '0 2 * * *'"

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the schedule that a cron expression means."""
        fields = text.split(" ")
        if len(fields) != len(_FIELDS) or "" in fields:
            raise ValueError(f"{shown(text)} is not a schedule: write {cls.meaning}")
        for field, field_text in zip(_FIELDS, fields, strict=True):
            field.values(field_text)
        cron = cls(text)
        if not any(cron._matching_days()):
            raise ValueError(f"{shown(text)} never fires: no month has that day")
        return cron

    def __str__(self) -> str:
        return self.text

    @cached_property
    def _values(self) -> tuple[frozenset[int], ...]:
        return tuple(f.values(t) for f, t in zip(_FIELDS, self.text.split(" "), strict=True))

    @cached_property
    def _minutes(self) -> tuple[int, ...]:
        """The minutes of a day, counted from midnight, at which it fires on a day that matches."""
        minutes, hours = self._values[:2]
        return tuple(sorted(hour * 60 + minute for hour in hours for minute in minutes))

    def _matching_days(self) -> Iterator[int]:
        """Yield the days of the 28-year calendar on which it fires, counted from 1."""
        days, months, weekdays = self._values[2:]
        _, _, month_day_text, _, week_day_text = self.text.split(" ")
        # cron's own rule: two restricted day fields are alternatives; one that begins with * narrows the other.
        both = month_day_text.startswith("*") or week_day_text.startswith("*")
        for number, (day, month, week_day) in enumerate(_calendar(), start=1):
            in_month, in_week = day in days, not week_day.isdisjoint(weekdays)
            if month in months and ((in_month and in_week) if both else (in_month or in_week)):
                yield number

    @cached_property
    def _days(self) -> frozenset[int]:
        return frozenset(self._matching_days())

    def _gaps(self) -> Iterator[int]:
        """Yield each distinct kind of pause between two runs, in minutes."""
        minutes = self._minutes
        yield from (later - earlier for earlier, later in pairwise(minutes))
        overnight = minutes[0] - minutes[-1]
        days = sorted(self._days)
        # The calendar repeats: after its last day comes its first again.
        following = [*days[1:], days[0] + _CALENDAR_DAYS]
        for nights in {later - earlier for earlier, later in zip(days, following, strict=True)}:
            yield nights * _MINUTES_A_DAY + overnight

    @cached_property
    def longest_gap(self) -> int:
        """The longest time between two runs, in seconds."""
        return max(self._gaps()) * 60

    def minutes_on(self, day: date) -> tuple[int, ...]:
        """The minutes of a day, counted from midnight, at which it fires then."""
        number = (day - _CALENDAR_START).days % _CALENDAR_DAYS + 1
        return self._minutes if number in self._days else ()

    def meets(self, other: Cron) -> bool:
        """Whether both ever fire in the same minute."""
        return not set(self._minutes).isdisjoint(other._minutes) and not self._days.isdisjoint(other._days)
