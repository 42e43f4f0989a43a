"""From facts to findings: pure, so that every threshold can be tried without a host."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pgdr.health import Check, Level, green
from pgdr.lookout.kept import CLOCK, CLOCK_ENDANGERS, CLOCK_REMEDY, KIND
from pgdr.policy.derive import alerts
from pgdr.policy.jobs import cron_jobs
from pgdr.policy.units import seconds_text
from pgdr.proof.usual import age_checks, ago
from pgdr.proof.wal import claimed_check, wal_checks
from pgdr.recovery.lsn import Segment
from pgdr.status.facts import WAL_DISK, Facts, RepositoryFacts
from pgdr.status.measures import Measures, rpo_of

_DISK = ((Level.RED, 0.05, 4.0), (Level.AMBER, 0.15, 24.0))
# A disk for pg_wal alone is small and fills in minutes when archiving stops: told at 70 and 85 % in use.
_WAL_DISK = ((Level.RED, 0.15, 4.0), (Level.AMBER, 0.30, 24.0))
_SKEW = 60.0
_JOB_NAMES = {"backup-full": "full", "backup-incremental": "incremental"}


def judge(facts: Facts, measures: Measures) -> list[Check]:
    """Return all findings, those of the last verification included."""
    checks = [facts.server.check]
    for repository in facts.repositories:
        checks += _repository(facts, repository)
    checks += _objectives(facts, measures)
    checks += _proofs(facts)
    checks += _archive_proof(facts, measures)
    checks += _drill(facts)
    checks += _jobs(facts)
    checks += _disks(facts)
    checks += _clock(facts)
    checks += _waiting(facts)
    if facts.history.problem:
        checks.append(
            Check(
                "journal",
                Level.RED,
                facts.history.problem,
                endangers="the evidence of what was done",
                remedy="pgdr journal verify",
            )
        )
    seen = {check.key for check in checks}
    # What only a full read or a restore shows stays as it was found, until the next one.
    for kind in ("verify", "archives", "rehearse"):
        look = facts.findings.looks.get(kind)
        checks += [kept.check() for key, kept in (look.findings.items() if look else ()) if key not in seen]
    return checks


def _repository(facts: Facts, item: RepositoryFacts) -> Iterator[Check]:
    yield from item.checks
    if not item.backups:
        return
    yield from age_checks(item.backups, alerts(facts.policy)["max_age"], item.key, facts.now)
    if item.recent is None:
        return
    size = facts.server.segment_size
    yield from wal_checks(item.recent.wal, item.backups, item.key, size)
    if facts.server.archiver is not None:
        last = item.recent.wal.last
        floor = Segment(1, last.number - len(item.recent.stored.times), size) if last else None
        yield claimed_check(facts.server.archiver, item.recent.stored, item.key, floor)
    yield from _lag(facts, item)


def _lag(facts: Facts, item: RepositoryFacts) -> Iterator[Check]:
    loss = rpo_of(facts, item)
    if loss is None:
        return
    alert, rpo = facts.policy.wal.lag_alert.seconds, facts.policy.objectives.rpo.seconds
    text = f"a loss of the host now would cost {ago(loss)}"
    if loss <= alert:
        yield green("rpo", text, item.key)
        return
    yield Check(
        "rpo",
        Level.RED if loss > rpo else Level.AMBER,
        f"{text}; the objective is {facts.policy.objectives.rpo}",
        item.key,
        since=facts.now - timedelta(seconds=loss),
        endangers="every change since then, if the host is lost",
        remedy="select * from pg_stat_archiver; the server's log; free the disk or reach the repository",
    )


def _objectives(facts: Facts, measures: Measures) -> Iterator[Check]:
    rto = facts.policy.objectives.rto
    estimate = measures.rto_seconds
    if estimate is None:
        yield Check(
            "rto",
            Level.AMBER,
            "nobody knows how long a recovery takes: none was measured on this host",
            endangers=f"the promise of {rto}",
            remedy="pgdr rehearse measures it",
        )
    elif estimate > rto.seconds:
        yield Check(
            "rto",
            Level.RED,
            f"a recovery would take {ago(estimate)} at the measured speed; the objective is {rto}",
            endangers="the promised time",
            remedy="faster storage or network for the repository; more frequent fulls shorten the replay",
        )
    else:
        yield green("rto", f"a recovery would take about {ago(estimate)} at the measured speed")


def _proofs(facts: Facts) -> Iterator[Check]:
    max_age = alerts(facts.policy)["max_age"]
    for kind, job, remedy in (
        ("verified", "verify", "pgdr verify"),
        ("proven", "rehearsal", "pgdr rehearse"),
    ):
        limit = max_age.get(job)
        for item in facts.repositories if kind == "verified" else [None]:
            key = item.key if item else None
            info = facts.info_of(key)
            found = facts.marks.newest(info, kind, key) if info else None
            if limit is None or (item is not None and not item.backups):
                continue
            if found is None:
                yield Check(
                    kind,
                    Level.RED if kind == "verified" and _older(facts.history.begun, limit, facts.now) else Level.AMBER,
                    f"no backup was ever {kind}",
                    key,
                    since=facts.history.begun,
                    endangers="the belief that the backups can be restored",
                    remedy=remedy,
                )
                continue
            backup, at = found
            age = (facts.now - at).total_seconds()
            text = f"{backup.label} was {kind} {ago(age)} ago"
            if age > limit:
                yield Check(
                    kind,
                    Level.RED,
                    f"{text}, and it is to be done every {seconds_text(limit)} at the latest",
                    key,
                    since=at,
                    endangers="the belief that the backups can be restored",
                    remedy=remedy,
                )
            else:
                yield green(kind, text, key)


def _archive_proof(facts: Facts, measures: Measures) -> Iterator[Check]:
    limit = alerts(facts.policy)["max_age"].get("rehearsal")
    if limit is None or facts.policy.archives is None:
        return
    at = measures.archive_proven_at
    if at is None:
        text, since = "no archive was ever proven by a restore", facts.history.begun
    else:
        age = (facts.now - at).total_seconds()
        text, since = f"archive {measures.archive_proven} was proven {ago(age)} ago", at
        if age <= limit:
            yield green("proven-archive", text)
            return
        text += f", and it is to be done every {seconds_text(limit)} at the latest"
    yield Check(
        "proven-archive",
        Level.AMBER if at is None else Level.RED,
        text,
        since=since,
        endangers="the belief that the archives can be restored",
        remedy="pgdr rehearse --only archive",
    )


def _drill(facts: Facts) -> Iterator[Check]:
    """People drill, not cron: what is late is told, and wakes nobody."""
    limit = alerts(facts.policy)["max_age"].get("drill")
    if limit is None:
        return
    last, failed = facts.history.last_ok.get("drill"), facts.history.failed.get("drill")
    since = last or facts.history.begun
    late = since is not None and (facts.now - since).total_seconds() > limit
    when = f"the last good drill was {ago((facts.now - last).total_seconds())} ago" if last else "none was ever held"
    if failed is None and not late:
        yield green("drill", when if last else "no drill is due yet")
        return
    yield Check(
        "drill",
        Level.AMBER,
        f"the last drill failed: {failed[1]}" if failed else f"{when}, and one is due every {seconds_text(limit)}",
        since=failed[0] if failed else since,
        endangers="the belief that people can bring the service back in time",
        remedy="playbooks/dr-drill.yml",
    )


def _older(begun: datetime | None, limit: int, now: datetime) -> bool:
    return begun is not None and (now - begun).total_seconds() > limit


def _jobs(facts: Facts) -> Iterator[Check]:
    max_age = alerts(facts.policy)["max_age"]
    for job in cron_jobs(facts.policy):
        name = _JOB_NAMES.get(job["name"], job["name"])
        limit = max_age.get(name)
        if limit is None:
            continue
        last = facts.beat.at if name == "heartbeat" and facts.beat else facts.history.last_ok.get(name)
        if name == "heartbeat" and facts.server.archiver is None:
            continue
        failed = facts.history.failed.get(name)
        if last is not None and (facts.now - last).total_seconds() <= limit and failed is None:
            yield green(f"job-{name}", f"{job['name']} ended well {ago((facts.now - last).total_seconds())} ago")
        elif last is None and failed is None and not _older(facts.history.begun, limit, facts.now):
            yield green(f"job-{name}", f"{job['name']} is scheduled and was not due yet")
        else:
            late = last is None or (facts.now - last).total_seconds() > limit
            reason = f"failed: {failed[1]}" if failed else "did not run"
            when = f", last well {ago((facts.now - last).total_seconds())} ago" if last else ", never well"
            yield Check(
                f"job-{name}",
                Level.RED if late else Level.AMBER,
                f"{job['name']} {reason}{when}",
                since=failed[0] if failed else last,
                endangers="what the job is for: " + job["comment"][:1].lower() + job["comment"][1:],
                remedy=f"journalctl -t erp-backup; /var/log/pgdr/cron.log; then {job['command'].rpartition('/')[2]}",
            )


def _disks(facts: Facts) -> Iterator[Check]:
    for number, disk in enumerate(facts.disks):
        own = disk.what == WAL_DISK
        name = "wal-disk" if own else f"disk-{number}" if number else "disk"
        free = 1 - disk.used_share
        hours = "" if disk.hours is None else f", full in {disk.hours:.0f} h at this pace"
        text = f"{disk.path} ({disk.what}): {100 * free:.0f} % free{hours}"
        limits = _WAL_DISK if own else _DISK
        level = next(
            (lv for lv, share, left in limits if free < share or (disk.hours is not None and disk.hours < left)), None
        )
        if level is None:
            yield green(name, text)
            continue
        yield Check(
            name,
            level,
            text,
            endangers="the database: PostgreSQL stops when pg_wal is full"
            if "pg_wal" in disk.what
            else "the next backup and archived WAL",
            remedy="free space or grow the volume; never delete in pg_wal; see why WAL is not archived",
        )


def _clock(facts: Facts) -> Iterator[Check]:
    if facts.history.ahead is not None:
        yield Check(
            "clock",
            Level.AMBER,
            f"the journal has entries of the future, up to {facts.history.ahead:%Y-%m-%d %H:%M} UTC: this host's clock "
            "was ahead, or was set back; what was done then does not count as done",
            endangers=CLOCK_ENDANGERS,
            remedy=f"{CLOCK_REMEDY}; then pgdr backup full, pgdr verify",
        )
    if facts.clock_synchronised is False:
        yield Check(
            "clock-sync",
            Level.AMBER,
            "the host's clock follows no reference",
            endangers=CLOCK_ENDANGERS,
            remedy="timedatectl set-ntp true",
        )
    server, far = facts.server.archiver, facts.findings.looks.get(KIND)
    if server is None or server.last_segment is None or server.last_archived_at is None:
        return
    for item in facts.repositories:
        if far is not None and f"{CLOCK}:{item.key}" in far.findings:
            continue  # it was asked for its time, which says more
        stored = item.recent.stored.times if item.recent else {}
        at = stored.get(Segment.parse(server.last_segment, server.segment_size))
        if at is None:
            continue
        # Stored before it was reported, so the repository's clock cannot be ahead of ours.
        ahead = at - server.last_archived_at.timestamp()
        if ahead > _SKEW:
            text = f"this host's clock is {ago(ahead)} behind the repository's"
            yield Check(CLOCK, Level.RED, text, item.key, endangers=CLOCK_ENDANGERS, remedy=CLOCK_REMEDY)
        else:
            yield green(CLOCK, "this host's clock is not behind the repository's", item.key)


def _waiting(facts: Facts) -> Iterator[Check]:
    server = facts.server.archiver
    if server is None or server.in_recovery:
        return
    if server.archive_mode == "off":
        yield Check(
            "archiving",
            Level.RED,
            "archive_mode is off: no WAL leaves this host",
            endangers="every change since the newest backup",
            remedy="ansible-playbook playbooks/site.yml -e postgresql_restart_allowed=true",
        )
        return
    waits = (server.now - server.waiting_since).total_seconds() if server.waiting_since else 0.0
    if waits <= facts.policy.wal.lag_alert.seconds:
        yield green("archiving", f"{server.waiting} WAL files wait to be archived")
        return
    failed = f"; last failure: {server.last_failed}" if server.last_failed else ""
    yield Check(
        "archiving",
        Level.RED if waits > facts.policy.objectives.rpo.seconds else Level.AMBER,
        f"{server.waiting} WAL files wait, the oldest for {ago(waits)}{failed}",
        since=server.waiting_since,
        endangers="every change since then, if the host is lost; and pg_wal fills",
        remedy="select * from pg_stat_archiver; the server's log; pgdr info says which repository does not answer",
    )
