"""Holds: a person keeps a set or an archive from being removed, with a reason, until a person releases it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from pgdr.errors import ConfigError, RefusedError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal, actor
from pgdr.statefile import State, StateFile

#: What holds and releases are called in the journal.
ADD, RELEASE = "hold add", "hold release"


class Hold(BaseModel):
    """One hold.

    Attributes:
        label: the set or archive.
        place: where: ``repository 2``, ``archives``; empty: everywhere.
        reason: why.
        person: who asked for it.
        at: since when, in UTC.
        host: where it was typed; empty: here.
    """

    model_config = ConfigDict(extra="forbid")

    label: str
    place: str
    reason: str
    person: str
    at: datetime
    host: str = ""


class Holds(State):
    """All holds."""

    holds: list[Hold] = Field(default_factory=list)

    def at_place(self, place: str) -> dict[str, str]:
        """The held labels of one place, each with reason and person."""
        return {h.label: f"{h.reason} ({h.person})" for h in self.holds if h.place in {"", place}}


# Moved away, it means that nothing is held: nobody may be told so without the word that the holds are to come back.
_DAMAGED = (
    "nothing is removed while it is so; pgdr journal list --operation 'hold add' says what was held: move the file "
    "away and add each again before the next pgdr expire"
)


def holds_file(config: HostConfig) -> StateFile[Holds]:
    """The holds of this host."""
    return StateFile(config.state_directory / "holds.json", Holds, _DAMAGED)


def add(config: HostConfig, label: str, reason: str, at: datetime, *, place: str = "") -> Hold:
    """Hold a set or archive.

    Raises:
        RefusedError: it is held already, or there is no reason.
        ConfigError: it cannot be kept; the message says whether it is held all the same.
    """
    _require_reason("a hold", reason, "litigation 2026-17")
    made = Hold(label=label, place=place, reason=reason.strip(), person=actor(), at=at)
    with holds_file(config).change() as state:
        if any(hold.label == label and hold.place in {"", place} for hold in state.holds):
            raise RefusedError(f"{label} is held already", remedy="see pgdr hold list")
        state.holds.append(made)
    try:
        _record(config, ADD, made)
    except ConfigError as error:
        raise ConfigError(
            f"{label} is held; the journal does not say so: {error.message}", remedy=error.remedy
        ) from error
    return made


def release(config: HostConfig, label: str, reason: str) -> list[Hold]:
    """Release all holds of a label.

    Raises:
        RefusedError: it is not held, or there is no reason.
    """
    _require_reason("a release", reason, "case closed")
    with holds_file(config).change() as state:
        released = [hold for hold in state.holds if hold.label == label]
        if not released:
            raise RefusedError(f"{label} is not held", remedy="see pgdr hold list")
        state.holds = [hold for hold in state.holds if hold.label != label]
        for hold in released:  # first: what cannot be written down is not released
            _record(config, RELEASE, hold, released_because=reason)
    return released


def _require_reason(what: str, reason: str, example: str) -> None:
    if not reason.strip():
        raise RefusedError(f"{what} needs a reason", remedy=f"--reason '{example}'")


def _record(config: HostConfig, operation: str, hold: Hold, **more: str) -> None:
    Journal.of(config).append(operation=operation, result="ok", details={**hold.model_dump(mode="json"), **more})
