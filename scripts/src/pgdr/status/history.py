"""What the journal says of the jobs: when each last ended well."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pgdr.errors import PgdrError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal

#: What clocks of one host differ by before and after they are set.
AHEAD = timedelta(minutes=5)
#: Name of a job in the schedule to the operation in the journal; backups are told apart by what was asked for.
_JOBS = {
    "verify": "verify",
    "expire": "expire",
    "archive": "archive",
    "archive-verify": "archives verify",
    "rehearsal": "rehearse",
    "drill": "drill",
}


@dataclass
class History:
    """The jobs' last good ends.

    Attributes:
        begun: when the journal begins; ``None`` for an empty one.
        last_ok: by job: when it last ended well everywhere.
        failed: by job: when it last failed, and how, where that was later.
        gave_way: by job: when it gave way to another operation since it last ended well, by repository.
        problem: why the journal cannot be read.
        ahead: the latest time of an entry that lies in the future: the clock was ahead, or was set back.
    """

    begun: datetime | None = None
    last_ok: dict[str, datetime] = field(default_factory=dict)
    failed: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    gave_way: dict[str, dict[int, list[datetime]]] = field(default_factory=dict)
    problem: str = ""
    ahead: datetime | None = None


def read_history(config: HostConfig, now: datetime) -> History:
    """Read the journal for the ends of jobs; what ended well in the future does not count, or none were ever late."""
    history = History()
    try:
        journal = Journal.of(config)
        verification, entries = journal.read()
        broken = verification.problem
        if broken is not None:
            history.problem = f"{journal.path}, line {broken.line}: {broken.what}"
        # Behind what is wrong the rest is read all the same: it says which jobs ran.
        for entry in journal.entries() if broken is not None else entries:
            at = datetime.fromisoformat(entry.at)
            history.begun = history.begun or at
            if "rehearsed_on" in entry.details:
                continue  # another host's: it proves as much, and is not what cron has to do here
            if at > now + AHEAD:
                history.ahead = max(at, history.ahead or at)
                if entry.result == "ok":
                    continue
            for job in _jobs_of(entry.operation, str(entry.details.get("requested", ""))):
                if entry.result == "ok":
                    history.last_ok[job] = at
                    history.failed.pop(job, None)
                    history.gave_way.pop(job, None)
                elif entry.result == "busy":
                    where = int(entry.details.get("repository") or 0)
                    history.gave_way.setdefault(job, {}).setdefault(where, []).append(at)
                else:
                    text = str(entry.details.get("message") or entry.details.get("error") or entry.result)
                    history.failed[job] = (at, text)
    except PgdrError as error:
        history.problem = history.problem or str(error)
    return history


def _jobs_of(operation: str, requested: str) -> tuple[str, ...]:
    if operation == "backup":
        # A full does what an increment would have done.
        return ("full", "incremental") if requested == "full" else ("incremental",)
    if operation == "rehearse" and requested != "all":
        return ()  # a part of one, by hand, is not what the schedule asks for
    return tuple(job for job, name in _JOBS.items() if name == operation)
