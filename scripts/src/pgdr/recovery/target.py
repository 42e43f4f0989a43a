"""What a person wants the cluster brought back to, checked before anything else happens."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from pgdr.errors import RefusedError
from pgdr.recovery.lsn import format_lsn, parse_lsn

_XID = re.compile(r"[1-9][0-9]{0,19}")
_TIMELINE = re.compile(r"latest|current|[1-9][0-9]{0,9}")
# PostgreSQL cuts names of restore points at MAXFNAMELEN - 1 bytes (xlogfuncs.c).
_NAME_BYTES = 63
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}(?::?\d{2})?)$")


class TargetKind(StrEnum):
    """The kinds of recovery target, named as in PostgreSQL's ``recovery_target_*`` settings."""

    LATEST = "latest"
    TIME = "time"
    LSN = "lsn"
    NAME = "name"
    XID = "xid"


class Target(BaseModel):
    """A recovery target in the form in which PostgreSQL takes it.

    Attributes:
        kind: which of the ``recovery_target_*`` settings it becomes; ``latest`` becomes an LSN once the end
            of the archive is known.
        value: a time in UTC with offset, an LSN, a restore point's name or a transaction id; empty for latest.
        timeline: ``latest``, ``current`` or a number.
        inclusive: whether the change at the target itself is part of the result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: TargetKind = TargetKind.LATEST
    value: str = ""
    timeline: str = "latest"
    inclusive: bool = True

    @property
    def text(self) -> str:
        """One phrase for plans and messages."""
        if self.kind is TargetKind.LATEST:
            return "the end of the archived WAL"
        side = "" if self.inclusive else ", just before it"
        return f"{self.kind} {self.value}{side}"

    def as_time(self) -> datetime:
        """The target as an aware time; only for kind ``time``."""
        return datetime.fromisoformat(self.value)


def parse_time(text: str, *, what: str = "target_time") -> datetime:
    """Read a point in time that says its own offset from UTC.

    Raises:
        RefusedError: it is no time, or has no offset: in a disaster nobody knows which clock was meant.
    """
    stripped = text.strip()
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError as error:
        raise RefusedError(
            f"{what} {text!r} is not a time", remedy="write it like 2026-11-24T14:30:00+01:00"
        ) from error
    if moment.tzinfo is None or not _OFFSET.search(stripped):
        raise RefusedError(
            f"{what} {text!r} has no offset from UTC", remedy=f"write it like {stripped}+00:00 or {stripped}+01:00"
        )
    return moment.astimezone(UTC)


def make_target(
    *, time: str = "", lsn: str = "", name: str = "", xid: str = "", timeline: str = "latest", inclusive: bool = True
) -> Target:
    """Build the target from what a person gave; none of them means the latest possible state.

    Raises:
        RefusedError: more than one is given, or one is malformed.
    """
    given = {"target_time": time, "target_lsn": lsn, "target_name": name, "target_xid": xid}
    present = [key for key, value in given.items() if value]
    if len(present) > 1:
        raise RefusedError(f"more than one recovery target: {', '.join(present)}", remedy="give exactly one")
    if not _TIMELINE.fullmatch(timeline):
        raise RefusedError(
            f"target_timeline {timeline!r} is not a timeline", remedy="write latest, current or a number"
        )
    if time:
        kind, value = TargetKind.TIME, parse_time(time).isoformat(sep=" ")
    elif lsn:
        kind, value = TargetKind.LSN, format_lsn(parse_lsn(lsn))
    elif name:
        kind, value = TargetKind.NAME, _checked_name(name)
    elif xid:
        kind, value = TargetKind.XID, _checked_xid(xid)
    else:
        return Target(timeline=timeline)
    return Target(kind=kind, value=value, timeline=timeline, inclusive=inclusive)


def _checked_name(name: str) -> str:
    if len(name.encode()) > _NAME_BYTES or any(ord(character) < 32 for character in name):
        raise RefusedError(
            f"target_name {name!r} cannot be a restore point",
            remedy="names have at most 63 bytes and no control characters",
        )
    return name


def _checked_xid(xid: str) -> str:
    if not _XID.fullmatch(xid):
        raise RefusedError(f"target_xid {xid!r} is not a transaction id", remedy="write it in decimal digits")
    return xid
