"""Check a recovery target on the control node, with the host command's own rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pgdr.errors import PgdrError

if TYPE_CHECKING:
    from pgdr.recovery.target import Target


def _rules() -> ModuleType:
    """Return the rules of targets, loaded when used: Ansible loads this file anew for every task."""
    return import_module("pgdr.recovery.target")


def _target(given: Mapping[str, Any]) -> Target:
    made: Target = _rules().make_target(
        time=str(given.get("time") or ""),
        lsn=str(given.get("lsn") or ""),
        name=str(given.get("name") or ""),
        xid=str(given.get("xid") or ""),
        timeline=str(given.get("timeline") or "latest"),
        inclusive=not given.get("exclusive"),
    )
    return made


def cluster_restore_target_text(given: Mapping[str, Any]) -> str:
    """Say a target in words."""
    return _target(given).text


def cluster_restore_target_options(given: Mapping[str, Any]) -> list[str]:
    """Turn a target into options of ``pgdr recover plan``."""
    target = _target(given)
    options = [f"--target-timeline={target.timeline}"]
    if target.value:
        options.append(f"--target-{target.kind}={target.value}")
    if not target.inclusive:
        options.append("--exclusive")
    return options


def cluster_restore_refusal(given: Mapping[str, Any], disaster_time: str = "") -> str:
    """Say in one line what is wrong with a target or the time of the disaster; nothing where all is well.

    A filter that fails would bury that line in Ansible's own words.
    """
    try:
        _target(given)
        if disaster_time:
            _rules().parse_time(str(disaster_time), what="disaster_time")
    except PgdrError as error:
        return str(error)
    return ""


def cluster_restore_phase_table(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write the measured phases as lines of a table: name, seconds, share of the whole."""
    whole = sum(float(phase["seconds"]) for phase in phases) or 1.0
    width = max((len(str(phase["name"])) for phase in phases), default=0)
    lines = [
        f"{phase['name']!s:<{width}}  {float(phase['seconds']):>9.1f} s  {float(phase['seconds']) / whole:>4.0%}"
        for phase in phases
    ]
    return [*lines, f"{'all phases':<{width}}  {whole:>9.1f} s"]


class FilterModule:
    """The filters of role cluster_restore."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name and function of each filter."""
        return {
            "cluster_restore_phase_table": cluster_restore_phase_table,
            "cluster_restore_refusal": cluster_restore_refusal,
            "cluster_restore_target_text": cluster_restore_target_text,
            "cluster_restore_target_options": cluster_restore_target_options,
        }
