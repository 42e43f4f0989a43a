"""The schedule: the host's own cron starts jobs as postgres, and what they do is seen in the database."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from testinfra.host import Host

CRON_FILE = "/etc/cron.d/erp-backup"


def test_cron_reads_the_file_and_the_file_has_the_policys_jobs(host: Host) -> None:
    file = host.file(CRON_FILE)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o644)
    assert host.service("cron").is_running
    jobs = [line.split(None, 6) for line in file.content_string.splitlines() if re.match(r"[0-9*]", line)]
    assert {job[5] for job in jobs} == {"postgres"}
    assert [(" ".join(job[:5]), job[6].partition("/usr/local/bin/pgdr ")[2]) for job in jobs] == [
        ("0 2 * * *", "backup full"),
        ("0 */4 * * *", "backup incr"),
        ("* * * * *", "heartbeat"),
        ("*/5 * * * *", "watch"),
        ("0 4 * * *", "verify"),
        ("0 5 * * *", "expire"),
        ("0 3 * * 0", "rehearse --wait 4h"),
        ("0 3 * * *", "archive --wait 2h"),
        ("0 4 * * *", "archives verify --wait 4h"),
        ("30 1 * * *", "config-backup"),
    ]


def test_the_heart_beats_by_cron_every_minute(host: Host, psql: Callable[[str], str]) -> None:
    """A row that is newer than this test's begin can only come from cron."""
    begin = psql("SELECT clock_timestamp()")
    query = f"SELECT count(*) FROM pgdr.heartbeat WHERE beat_at > '{begin}'"  # noqa: S608 - the server's own answer
    deadline = time.monotonic() + 75
    while psql(query) == "0" and time.monotonic() < deadline:
        time.sleep(2)
    assert psql(query) != "0", host.run("tail -n 20 /var/log/pgdr/cron.log").stdout
    log = host.check_output("journalctl --no-pager --unit=cron --since=-3min --output=cat")
    assert "(postgres) CMD" in log


def test_a_heartbeat_knows_where_wal_was(psql: Callable[[str], str]) -> None:
    assert psql("SELECT bool_and(lsn > '0/0' AND lsn <= pg_current_wal_insert_lsn()) FROM pgdr.heartbeat") == "t"
