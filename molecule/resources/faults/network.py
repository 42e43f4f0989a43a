"""Faults between the host and its S3 server, made by a proxy on the host that knows S3's answers."""

from __future__ import annotations

from faults.fault import DAY, LOOK, Fault
from faults.ground import Ground

_PGDR = "/usr/local/bin/pgdr"
#: Seconds that each write waits where the server is slow: a full takes minutes. pgBackRest gives one up after 60.
_SLOW = 20.0
#: The oldest object that is not copied is red at this age (``pgdr.lookout.replication``).
_COPY_SECONDS = 600


def _errors(ground: Ground) -> None:
    """A third of a backup's requests fails and its set is whole all the same; then all requests fail."""
    ground.misbehave(share=0.33, status=503, code="SlowDown")
    ground.well("backup", "full", "--repo", "2")
    ground.behave()
    ground.well("verify", "--repo", "2")
    ground.misbehave(status=503, code="SlowDown")
    ground.begins()


def _stalls(ground: Ground) -> None:
    ground.misbehave(stall=True)


def _usual(ground: Ground) -> None:
    ground.pgdr("backup", "full", "--repo", "2")


def _slow(ground: Ground) -> None:
    ground.misbehave(methods=["PUT", "POST"], delay=_SLOW)
    ended = ground.job("backup-full", _PGDR, "backup", "full", "--repo", "2")
    ground.expect(ended == 0, f"slow is no failure; the backup ended with {ended}")


def _fast(ground: Ground) -> None:
    ground.behave()
    ground.job("backup-full", _PGDR, "backup", "full", "--repo", "2")


def _key_is_disabled(ground: Ground) -> None:
    ground.misbehave(methods=["GET", "PUT", "POST"], status=403, code="KMS.DisabledException")


def _behaves(ground: Ground) -> None:
    ground.behave()


def _key_is_enabled(ground: Ground) -> None:
    told = next(m for m in reversed(ground.heard()) if "repository, repository 2" in m.title and "RED" in m.title)
    ground.expect("KMS.DisabledException" in told.body, f"the message names the reason: {told.body[:300]}")
    ground.behave()


def _copied(ground: Ground) -> None:
    """Have the second zone, which the policy of the lab names as the bucket's copy, in step with the first."""
    ground.lab.start_replica()
    ground.pgdr("watch")


def _copy_stops(ground: Ground) -> None:
    ground.lab.set_replica_lag(frozen=True)
    ground.write_rows("not copied", 10)
    ground.expect(ground.archived(), "WAL goes into the bucket, and not into its copy")
    ground.begins()


def _copy_goes_on(ground: Ground) -> None:
    ground.lab.set_replica_lag(frozen=False)
    ground.lab.wait_for_replica()
    ground.pgdr("watch")


NETWORK = (
    Fault(
        "2", "S3 answers with errors", "repository:2", ("repository, repository 2",), LOOK, "watch", _errors, _behaves,
    ),
    Fault(
        "3", "S3 takes requests and answers none", "repository:2", ("repository, repository 2",), LOOK, "watch",
        _stalls, _behaves,
    ),
    Fault(
        "3", "S3 has become slow", "pace:2", ("RED erp-lab: pace",), DAY, "watch, after a full, started at once",
        _slow, _fast, prepare=_usual,
    ),
    Fault(
        "24", "the key of the bucket is disabled", "repository:2", ("repository, repository 2",), LOOK, "watch",
        _key_is_disabled, _key_is_enabled,
    ),
    Fault(
        "28", "the bucket is no longer copied to the other region", "replication:2", ("RED erp-lab: replication",),
        _COPY_SECONDS + LOOK, "watch", _copy_stops, _copy_goes_on, prepare=_copied,
    ),
)  # fmt: skip
