"""Durations and sizes as people write them: ``15m``, ``30d``, ``12mo``, ``7y``; ``500GB``, ``1GiB``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, total_ordering
from typing import ClassVar, Self

from pgdr.policy.text import TextValue, shown

DAY = 86_400
_FIXED_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": DAY, "w": 7 * DAY}
_MONTHS = {"mo": 1, "y": 12}
_LONGEST_YEARS = 100
_LEAP_CYCLE_MONTHS = 48


@cache
def _longest_days(months: int) -> int:
    """Return the longest run of days that so many calendar months can have."""

    def first_of(month: int) -> date:
        return date(2001 + month // 12, month % 12 + 1, 1)

    return max((first_of(start + months) - first_of(start)).days for start in range(_LEAP_CYCLE_MONTHS))


@total_ordering
@dataclass(frozen=True, eq=False)
class Duration(TextValue):
    """A length of time with one unit: ``s m h d w mo y``.

    **Months and years** count as the longest that they can be in the calendar, so that nothing is removed a day
    early and no promise is a day short: ``1mo`` is 31 days, ``3mo`` 92, ``12mo`` and ``1y`` 366, ``7y`` 2557.
    Two durations are equal when they last equally long: ``60s == 1m``.

    Attributes:
        amount: how many, at least one.
        unit: one of ``s m h d w mo y``; ``m`` is minutes, ``mo`` is months.
    """

    json_pattern: ClassVar[str] = r"^[1-9][0-9]*(s|m|h|d|w|mo|y)$"
    json_examples: ClassVar[tuple[str, ...]] = ("4h", "15m", "60s", "30d", "12w", "12mo", "7y")
    meaning: ClassVar[str] = "a number and a unit (s, m, h, d, w, mo, y), such as 15m, 30d or 7y"

    amount: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the duration that a text means."""
        matched = re.fullmatch(r"([1-9][0-9]{0,9})(s|m|h|d|w|mo|y)", text)
        if matched is None:
            raise ValueError(f"{shown(text)} is not a duration: write {cls.meaning}")
        duration = cls(int(matched[1]), matched[2])
        months = duration.amount * _MONTHS.get(duration.unit, 0)
        if months > 12 * _LONGEST_YEARS or duration.seconds > _LONGEST_YEARS * 366 * DAY:
            raise ValueError(f"{text!r} is longer than {_LONGEST_YEARS} years")
        return duration

    @property
    def seconds(self) -> int:
        """Its length in seconds."""
        if self.unit in _MONTHS:
            months = self.amount * _MONTHS[self.unit]
            # Above the limit that parse() refuses there is no calendar to ask; any large number will do.
            return _longest_days(min(months, 12 * (_LONGEST_YEARS + 1))) * DAY
        return self.amount * _FIXED_SECONDS[self.unit]

    @property
    def days(self) -> int:
        """Its length in whole days, rounded up: who asks for 36 h keeps 2 days."""
        return -(-self.seconds // DAY)

    @property
    def whole_days(self) -> bool:
        """Whether it is an exact number of days."""
        return self.seconds % DAY == 0

    @property
    def timedelta(self) -> timedelta:
        """Its length as Python's own type."""
        return timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"

    def __eq__(self, other: object) -> bool:
        return self.seconds == other.seconds if isinstance(other, Duration) else NotImplemented

    def __lt__(self, other: Duration) -> bool:
        return self.seconds < other.seconds

    def __hash__(self) -> int:
        return hash(self.seconds)


def seconds_text(seconds: int) -> str:
    """Write a number of seconds with the largest unit that fits exactly (weeks and longer stay days)."""
    for unit, size in (("d", DAY), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


_SIZE_UNITS = {
    "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15,
    "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50,
}  # fmt: skip


@total_ordering
@dataclass(frozen=True, eq=False)
class Size(TextValue):
    """An amount of storage: ``GB`` is 10**9 bytes as on a disk's label, ``GiB`` is 2**30 as in PostgreSQL.

    Attributes:
        amount: how many, at least one.
        unit: ``MB GB TB PB`` or ``MiB GiB TiB PiB``.
    """

    json_pattern: ClassVar[str] = r"^[1-9][0-9]*(M|G|T|P)i?B$"
    json_examples: ClassVar[tuple[str, ...]] = ("500GB", "500GiB", "1TB")
    meaning: ClassVar[str] = "a number and a unit (MB, GB, TB, PB or MiB, GiB, TiB, PiB), such as 500GB"

    amount: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the size that a text means."""
        matched = re.fullmatch(r"([1-9][0-9]{0,9})([MGTP]i?B)", text)
        if matched is None:
            raise ValueError(f"{shown(text)} is not a size: write {cls.meaning}")
        return cls(int(matched[1]), matched[2])

    @property
    def bytes(self) -> int:
        """Its number of bytes."""
        return self.amount * _SIZE_UNITS[self.unit]

    @property
    def gigabytes(self) -> int:
        """Its size in units of 10**9 bytes, rounded up: a minimum is never lowered by rounding."""
        return -(-self.bytes // 10**9)

    @property
    def postgresql(self) -> str:
        """Its size as PostgreSQL writes it (``GB`` there is 2**30), rounded up to whole MiB."""
        mebibytes = -(-self.bytes // 2**20)
        return f"{mebibytes // 1024}GB" if mebibytes % 1024 == 0 else f"{mebibytes}MB"

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"

    def __eq__(self, other: object) -> bool:
        return self.bytes == other.bytes if isinstance(other, Size) else NotImplemented

    def __lt__(self, other: Size) -> bool:
        return self.bytes < other.bytes

    def __hash__(self) -> int:
        return hash(self.bytes)
