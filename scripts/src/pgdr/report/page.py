"""Draw the report: one HTML file without anything from elsewhere, good on a screen and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pgdr.policy.units import seconds_text

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 150, 72, 22


def html(document: dict[str, Any]) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("pgdr.report", "."),
        autoescape=select_autoescape(enabled_extensions=("j2", "html"), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = _duration
    environment.filters["moment"] = _moment
    days = document["days"]
    charts = {
        "rpo": chart([day.get("rpo") for day in days], document["objectives"]["rpo"]),
        "rto": chart([day.get("rto") for day in days], document["objectives"]["rto"]),
        "window": chart(
            [min(window.values()) * 86_400 if (window := day.get("window")) else None for day in days], None
        ),
    }
    return environment.get_template("report.html.j2").render(r=document, charts=charts, weeks=_weeks(days))


def chart(values: Sequence[float | None], objective: float | None) -> dict[str, Any] | None:
    """Turn a value a day into the coordinates of a line; ``None`` where there is nothing to draw."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    top = max([*known, objective or 0.0]) * 1.1 or 1.0
    step = (_WIDTH - _LEFT - 8) / max(len(values) - 1, 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (value / top) * (_HEIGHT - _BOTTOM - 8), 1)

    points = [(round(_LEFT + index * step, 1), y(value)) for index, value in enumerate(values) if value is not None]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "base": _HEIGHT - _BOTTOM,
        "points": points,
        "line": " ".join(f"{x},{at}" for x, at in points),
        "objective": y(objective) if objective is not None else None,
        "objective_text": _duration(objective) if objective is not None else "",
        "top_text": _duration(max(known)),
        "top_y": y(max(known)),
        "worst": max(known),
    }


def _weeks(days: Sequence[dict[str, Any]]) -> list[list[dict[str, Any] | None]]:
    """Put days into weeks that begin on Monday."""
    weeks: list[list[dict[str, Any] | None]] = []
    for day in days:
        weekday = date.fromisoformat(day["date"]).weekday()
        if not weeks or weekday == 0:
            weeks.append([None] * 7)
        weeks[-1][weekday] = day
    return weeks


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds >= 172_800:
        return f"{seconds / 86_400:.1f} days"
    if seconds >= 7200 and seconds % 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120 and seconds % 60:
        return f"{seconds / 60:.1f} min"
    return seconds_text(round(seconds))


def _moment(text: str | None) -> str:
    """A moment as a person writes it, to the minute."""
    return text[:16].replace("T", " ") if text else "-"
