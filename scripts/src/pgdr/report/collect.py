"""Collect the evidence of a period: journal, trend, marks, holds, policy. Plain data; the page only draws it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from pgdr import __version__
from pgdr.chain import Entry
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal, actor
from pgdr.policy.derive import alerts
from pgdr.policy.model import Policy
from pgdr.report.controls import CONTROLS, OCCASIONAL
from pgdr.retention.holds import holds_file
from pgdr.shipping.journal import copied_file
from pgdr.status.trend import trend_file

_DRILLS = ("rehearse", "drill")
_RESTORES = ("recover", "restore", "undo")


def collect(
    config: HostConfig, policy: Policy, first: date, last: date, status: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the report of a period as plain data.

    Args:
        config: what this host is.
        policy: the promises.
        first: the first day.
        last: the last day, included.
        status: the present status as ``pgdr status --output json`` writes it, where it could be had.

    Raises:
        ConfigError: the journal cannot be read.
        OperationFailedError: a line of the journal is not an entry.
    """
    journal = Journal.of(config)
    verification = journal.verify()
    begin, end = datetime.combine(first, time(), UTC), datetime.combine(last + timedelta(days=1), time(), UTC)
    entries = [] if verification.problem else list(journal.entries())
    inside = [entry for entry in entries if begin <= datetime.fromisoformat(entry.at) < end]
    trend = trend_file(config).read()
    days = _days(inside, first, last)
    for day in days:
        known = trend.days.get(date.fromisoformat(day["date"]))
        if known is not None:
            day |= {"rpo": known.rpo, "rto": known.rto, "window": known.window, "level": known.level}
    document: dict[str, Any] = {
        "cluster": policy.cluster.name,
        "environment": policy.environment,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": actor(),
        "pgdr": __version__,
        "objectives": {"rto": policy.objectives.rto.seconds, "rpo": policy.objectives.rpo.seconds},
        "frameworks": list(policy.compliance.frameworks),
        "journal": {
            "entries": verification.entries,
            "head": verification.head,
            "problem": asdict(verification.problem) if verification.problem else None,
            "begins": entries[0].at[:10] if entries else None,
            "in_period": len(inside),
            "copied": copied_file(config).read().model_dump(mode="json"),
        },
        "days": days,
        "backups": [_backup(e) for e in inside if e.operation == "backup"],
        "verifications": [_verification(e) for e in inside if e.operation == "verify"],
        "trend": [_drill(e) for e in entries if e.operation == "drill" and datetime.fromisoformat(e.at) < end],
        "drills": [_recovery(e) for e in inside if e.operation.split()[0] in _DRILLS],
        "restores": [_recovery(e) for e in inside if e.operation.split()[0] in _RESTORES],
        "erasures": [_plain(e) for e in inside if e.operation.split()[0] in {"erase", "erasure"}],
        "removals": [_removal(e) for e in inside if e.operation == "expire" and e.details.get("removed")],
        "holds": [hold.model_dump(mode="json") for hold in holds_file(config).read().holds],
        "hold_events": [_plain(e) for e in inside if e.operation.startswith("hold ")],
        "people": _people(inside),
        "retention": _retention(policy),
        "late_after": alerts(policy)["max_age"],
        "status": status,
    }
    document["controls"] = _controls(policy, document)
    return document


def _days(entries: Iterable[Entry], first: date, last: date) -> list[dict[str, Any]]:
    marks: dict[str, Counter[str]] = {}
    for entry in entries:
        kind = entry.operation
        if kind == "backup":
            kind = str(entry.details.get("type") or entry.details.get("requested") or "backup")
        counts = marks.setdefault(entry.at[:10], Counter())
        counts[f"{kind} {'ok' if entry.result == 'ok' else 'busy' if entry.result == 'busy' else 'failed'}"] += 1
    days = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        counts = marks.get(day.isoformat(), Counter())
        failed = sum(count for name, count in counts.items() if name.endswith(" failed"))
        days.append(
            {
                "date": day.isoformat(),
                "full": counts["full ok"],
                "incr": counts["incr ok"],
                "verified": counts["verify ok"],
                "proven": counts["rehearse ok"] + counts["drill ok"] + counts["recover ok"],
                "failed": failed,
                "counts": dict(sorted(counts.items())),
            }
        )
    return days


def _backup(entry: Entry) -> dict[str, Any]:
    keys = ("repository", "place", "label", "type", "size", "stored", "message")
    return {**_plain(entry), **{key: entry.details.get(key) for key in keys}}


def _verification(entry: Entry) -> dict[str, Any]:
    details = entry.details
    return {
        **_plain(entry),
        "repository": details.get("repository"),
        "verified": len(details.get("verified") or ()),
        "damaged": details.get("damaged") or {},
        "findings": details.get("findings") or [],
    }


def _recovery(entry: Entry) -> dict[str, Any]:
    keys = (
        "backup_label",
        "repository",
        "target",
        "reached",
        "rto_seconds",
        "rpo_seconds",
        "checks",
        "error",
        "message",
    )
    found = {**_plain(entry), **{key: entry.details.get(key) for key in keys}}
    parts = entry.details.get("parts") or ()
    labels = [part.get("label") for part in parts] or [found["backup_label"], entry.details.get("archive")]
    return {
        **found,
        "on": entry.details.get("drill_host") or entry.details.get("rehearsed_on") or entry.host,
        "restored": list(dict.fromkeys(str(label) for label in labels if label)),
    }


def _drill(entry: Entry) -> dict[str, Any]:
    keys = ("drill_host", "client_rto_seconds", "client_rpo_seconds", "checklist", "findings")
    return {**_recovery(entry), **{key: entry.details.get(key) for key in keys}}


def _removal(entry: Entry) -> dict[str, Any]:
    return {**_plain(entry), "place": entry.details.get("place"), "removed": entry.details.get("removed")}


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.seq,
        "at": entry.at[:19],
        "who": entry.actor,
        "host": entry.host,
        "operation": entry.operation,
        "result": entry.result,
        "seconds": round(sum(entry.times.values()), 1),
        "details": entry.details if entry.operation.startswith(("hold", "eras")) else {},
    }


def _people(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    counted = Counter((entry.actor, entry.operation, entry.result) for entry in entries)
    return [
        {"who": who, "operation": operation, "result": result, "times": times}
        for (who, operation, result), times in sorted(counted.items())
    ]


def _retention(policy: Policy) -> list[dict[str, str]]:
    rows = []
    for repository in policy.repositories:
        rows.append({"what": f"repository {repository.id}, any moment", "kept": str(repository.retention.full)})
        rows += [
            {"what": f"repository {repository.id}, {name} fulls", "kept": str(kept)}
            for name, kept in repository.retention.slots.items()
        ]
    archives = policy.archives
    if archives is not None:
        rows.append({"what": "archives on the host", "kept": str(archives.local.retention)})
        for name, slot in (archives.cloud.slots if archives.cloud else {}).items():
            rows.append({"what": f"archives, {name}", "kept": f"{slot.retention}, {slot.storage_class}"})
        if archives.offsite is not None:
            rows.append({"what": "archives offsite", "kept": str(archives.offsite.retention)})
    if policy.compliance.erasure_cap is not None:
        rows.append({"what": "erased data in physical backups, at most", "kept": str(policy.compliance.erasure_cap)})
    return rows


def _controls(policy: Policy, document: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for control in CONTROLS:
        if control.preset is not None and control.preset not in policy.compliance.frameworks:
            continue
        evidence = {key: _amount(document[key]) for key in control.evidence}
        lacking = [key for key, count in evidence.items() if not count and key not in OCCASIONAL]
        rows.append({**asdict(control), "evidence": evidence, "lacking": lacking, "met": not lacking})
    return rows


def _amount(section: Any) -> int:
    if isinstance(section, dict):  # the journal
        return 0 if section.get("problem") or section["copied"]["problem"] else int(section.get("in_period", 0))
    good = [item for item in section if not isinstance(item, dict) or item.get("result", "ok") == "ok"]
    if good and isinstance(good[0], dict) and "counts" in good[0]:  # days: those on which somebody looked
        return sum(1 for item in good if item.get("level") is not None)
    return len(good)
