"""The status as Prometheus metrics. Times are seconds since the epoch, so that an alert sees silence as age."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from pgdr.errors import ConfigError
from pgdr.files import write_atomically
from pgdr.policy.derive import alerts
from pgdr.status.report import Status


def write(found: Status, path: Path) -> None:
    """Replace a metrics file in one step, readable for the exporter.

    Raises:
        ConfigError: its folder is missing or not writable.
    """
    try:
        write_atomically(path, text(found), 0o644)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", remedy="run the role backup_monitoring, or name another file"
        ) from error


def text(found: Status) -> str:
    """Return the metrics in Prometheus's text format."""
    book = _Book(found.facts.policy.cluster.name)
    _objectives(book, found)
    _server(book, found)
    _repositories(book, found)
    _rest(book, found)
    return generate_latest(book.registry).decode()


class _Book:
    """Collects values; one that nobody knows is left out."""

    def __init__(self, cluster: str) -> None:
        self.registry = CollectorRegistry()
        self._cluster = cluster
        self._gauges: dict[str, Gauge] = {}

    def set(self, name: str, meaning: str, value: float | datetime | None, **labels: str) -> None:
        if value is None:
            return
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"pgdr_{name}", meaning, ("cluster", *labels), registry=self.registry)
        number = value.timestamp() if isinstance(value, datetime) else value
        self._gauges[name].labels(self._cluster, *labels.values()).set(number)


def _objectives(book: _Book, found: Status) -> None:
    policy, measures = found.facts.policy, found.measures
    book.set("status_time_seconds", "When this was made; old: pgdr watch does not run.", found.facts.now)
    book.set("status_level", "0 green, 1 amber, 2 red.", found.level.rank)
    book.set("rpo_seconds", "Work that a loss of the host now would cost, in seconds.", measures.rpo_seconds)
    book.set("rpo_objective_seconds", "Recovery point objective.", policy.objectives.rpo.seconds)
    book.set("rto_estimate_seconds", "Time that a recovery would take at the measured speed.", measures.rto_seconds)
    book.set("rto_objective_seconds", "Recovery time objective.", policy.objectives.rto.seconds)
    book.set("wal_lag_alert_seconds", "Lag from which on people are told.", policy.wal.lag_alert.seconds)
    book.set("proven_time_seconds", "When a restore was last proven.", measures.proven_at)
    book.set("archive_proven_time_seconds", "When an archive's was.", measures.archive_proven_at)


def _server(book: _Book, found: Status) -> None:
    facts, archiver = found.facts, found.facts.server.archiver
    book.set("server_up", "Whether PostgreSQL answers.", float(archiver is not None))
    book.set("heartbeat_time_seconds", "Newest heartbeat.", facts.beat.at if facts.beat else None)
    if archiver is not None:
        waits = (archiver.now - archiver.waiting_since).total_seconds() if archiver.waiting_since else 0.0
        book.set("wal_waiting_files", "WAL files that wait to be archived.", archiver.waiting)
        book.set("wal_waiting_seconds", "How long the oldest of them waits.", waits)
        book.set("archiver_failures", "Failed attempts since the statistics were reset.", archiver.failed_count)


def _repositories(book: _Book, found: Status) -> None:
    for window, item in zip(found.measures.windows, found.facts.repositories, strict=True):
        where = {"repository": str(window.repository), "place": window.place}
        fulls = [backup for backup in item.backups if backup.type == "full"]
        newest = item.backups[-1].stopped if item.backups else None
        holes = len(item.recent.wal.holes) if item.recent else None
        book.set("backups", "Backup sets in a repository.", window.backups, **where)
        book.set("wal_segments", "WAL segments in a repository.", window.segments, **where)
        book.set("wal_holes", "Holes in the WAL of a repository.", holes, **where)
        book.set("repository_rpo_seconds", "Work that is not in a repository yet.", window.rpo_seconds, **where)
        book.set("window_begin_time_seconds", "From when on every moment can be reached.", window.begins, **where)
        book.set("window_wanted_seconds", "How far back the policy reaches.", window.wanted_days * 86_400, **where)
        book.set("backup_time_seconds", "When the newest set became consistent.", newest, **where)
        if fulls:
            book.set("full_backup_time_seconds", "When the newest full did.", fulls[-1].stopped, **where)
        book.set("verified_time_seconds", "When a set was last verified.", window.verified_at, **where)


def _rest(book: _Book, found: Status) -> None:
    facts = found.facts
    for check in found.checks:
        where = "" if check.repository is None else str(check.repository)
        meaning = "A finding: 0 green, 1 amber, 2 red."
        book.set("check_level", meaning, check.level.rank, check=check.name, repository=where)
    for job, at in facts.history.last_ok.items():
        book.set("job_success_time_seconds", "When a job last ended well.", at, job=job)
    for job, seconds in alerts(facts.policy)["max_age"].items():
        book.set("job_max_age_seconds", "Age at which a job's last good end is too old.", seconds, job=job)
    for disk in facts.disks:
        place = {"path": disk.path, "what": disk.what}
        book.set("disk_size_bytes", "Bytes of a file system.", disk.size, **place)
        book.set("disk_free_bytes", "Free bytes of a file system.", disk.free, **place)
        book.set("disk_full_hours", "Hours until it is full at the present pace.", disk.hours, **place)
    book.set("holds", "Backups that people hold.", len(facts.holds.holds))
    far = found.far
    book.set("far_look_time_seconds", "When replica, escrow, certificates and clocks were last looked at.", far.at)
    for key, behind in far.lag.items():
        book.set("replication_lag_seconds", "Age of the oldest object that a copy lacks.", behind, repository=str(key))
    for what, at in far.expires.items():
        book.set("certificate_expiry_time_seconds", "When a certificate expires.", at, what=what)
    for what, at in far.keys.items():
        book.set("key_due_time_seconds", "When a stored key has been used for as long as it may.", at, what=what)
    warning = facts.policy.compliance.key_age_warning.seconds
    book.set("key_warning_seconds", "How long before that people are told.", warning)
    if facts.clock_synchronised is not None:
        book.set("clock_synchronised", "Whether the clock follows a reference.", float(facts.clock_synchronised))
