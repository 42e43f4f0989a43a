"""The cloud is away while the ERP writes: the database serves on, WAL waits and arrives. Then the host is lost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from drill import leaks
from drill.client import ErpClient
from drill.expect import Notes
from drill.host import Host
from drill.running import until
from lab.api import Lab
from lab.podman import names_with_label

# More than pgBackRest's io-timeout and archive-timeout: both must have been met.
OUTAGE_SECONDS = 75.0
CLOUD, LOCAL = 2, 1
SEGMENT_FILE = "000000010000000000000001.ready"
# WAL of the disaster: enough that replay can be met in the middle.
SEGMENTS = 90
_SWITCH_MANY = """DO $$ BEGIN FOR i IN 1..{count} LOOP
    PERFORM pg_logical_emit_message(false, 'drill', 'a segment of its own');
    PERFORM pg_switch_wal();
    PERFORM pg_sleep(0.02);
END LOOP; END $$"""


@dataclass
class Outage:
    """What was seen while the cloud was away, and when it was back."""

    committed: list[int] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    failed: int = 0
    lost_connection: bool = False
    drained_after: float = -1.0


def number(segment: str) -> int:
    """Number of a segment of 16 MiB, counted from the beginning of WAL."""
    return int(segment[8:16], 16) * 256 + int(segment[16:24], 16)


@pytest.fixture(scope="module")
def outage(lab: Lab, db1: Host, erp: ErpClient, sample: str) -> Outage:
    """One outage under load, from the first refused connection to the last segment that arrived."""
    erp.fingerprint("db1", erp.reference)
    erp.start_load("db1", connections=2, rate=25)
    until("the load commits", lambda: erp.committed() > 20, 60)
    db1.sql("SELECT pg_stat_reset_shared('archiver')")
    seen = Outage()
    lab.stop_s3()
    try:
        _watch(db1, erp, seen)
    finally:
        lab.start_s3()
    begin = time.monotonic()
    until("all WAL has arrived", lambda: not db1.waiting_segments(), 240, poll=1)
    seen.drained_after = time.monotonic() - begin
    return seen


def _watch(db1: Host, erp: ErpClient, seen: Outage) -> None:
    """Look at database and backlog until the outage was long enough and PostgreSQL has noticed it."""
    begin = time.monotonic()
    while time.monotonic() - begin < OUTAGE_SECONDS or len(seen.waiting) < 4 or seen.failed < 1:
        seen.committed.append(erp.committed())
        db1.sql("SELECT pg_switch_wal()")
        seen.waiting = [name for name in db1.waiting_segments() if len(name) == len(SEGMENT_FILE)]
        seen.failed = int(db1.sql("SELECT failed_count FROM pg_stat_archiver"))
        assert time.monotonic() - begin < 4 * OUTAGE_SECONDS, f"no failure was counted: {seen}"
        time.sleep(5)
    seen.committed.append(erp.committed())
    seen.lost_connection = not erp.writes


@pytest.mark.step
def test_the_database_serves_while_the_cloud_is_away(outage: Outage) -> None:
    """The load commits in every interval of the outage, on the connections that it had."""
    grown = [after - before for before, after in zip(outage.committed, outage.committed[1:], strict=False)]
    assert len(grown) >= 8
    assert min(grown) > 0
    assert not outage.lost_connection


def test_wal_waits_in_pg_wal_and_failures_are_counted(outage: Outage) -> None:
    """Nothing is thrown away, nothing is called archived: segments wait, the archiver says that it fails."""
    assert len(outage.waiting) >= 4
    assert outage.failed >= 1


@pytest.mark.step
def test_all_that_waited_has_arrived_in_every_repository(outage: Outage, db1: Host) -> None:
    """After the outage the backlog is gone and each segment that waited is stored, twice."""
    waited = {name.removesuffix(".ready") for name in outage.waiting}
    assert waited <= set(db1.segments(CLOUD))
    assert waited <= set(db1.segments(LOCAL))
    assert 0 <= outage.drained_after < 240


def test_the_archive_has_no_gap(outage: Outage, db1: Host) -> None:
    """From the first segment to the last, in each repository, no number is missing."""
    for repository in (LOCAL, CLOUD):
        numbers = [number(name) for name in db1.segments(repository)]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), f"repository {repository}"
        assert len(numbers) > len(outage.waiting)


def test_every_repository_passes_the_engines_own_check(outage: Outage, db1: Host) -> None:
    """`pgbackrest check` switches a segment and sees it arrive in both."""
    done = db1.postgres("pgbackrest", "--stanza=erp", "--log-level-console=info", "check")
    archived = [line for line in done.stdout.splitlines() if "successfully archived" in line]
    assert any("repo1" in line for line in archived)
    assert any("repo2" in line for line in archived)


def test_no_secret_on_the_host_that_will_be_lost(outage: Outage, lab: Lab, db1: Host) -> None:
    """Logs and files of the protected host; afterwards there is nothing left to look into."""
    secrets = leaks.planted(lab)
    assert leaks.in_files(db1, secrets, *leaks.ON_HOST) == []
    assert not leaks.in_journal(db1, secrets)


@pytest.mark.step
def test_the_host_is_destroyed_in_the_middle_of_the_load(
    outage: Outage, lab: Lab, db1: Host, erp: ErpClient, notes: Notes
) -> None:
    """SIGKILL, container and volumes gone, while clients write."""
    db1.sql(_SWITCH_MANY.format(count=SEGMENTS))
    until("the switches are archived", lambda: len(db1.waiting_segments()) < 2, 240)
    archived = db1.segments(CLOUD)
    before = erp.committed()
    until("the load still commits", lambda: erp.committed() > before, 30)
    assert len(archived) > SEGMENTS
    notes["disaster_at"] = datetime.now(UTC).isoformat()
    notes["archived"] = archived[-1]
    lab.kill_host("db1")
    until("the client lost its server", lambda: not erp.writes, 60)
    assert "went away" in (lab.folder / "load.log").read_text(encoding="utf-8")
    for kind in ("container", "volume"):
        assert not [name for name in names_with_label(kind, lab.name) if "-db1" in name]
    assert lab.hosts == ["dr1"]
