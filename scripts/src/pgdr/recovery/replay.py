"""Replay WAL behind the closed door up to the target, check that it was reached, and only then promote."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime

from pgdr.errors import OperationFailedError, UnreachableError
from pgdr.recovery.controldata import read_control_data
from pgdr.recovery.lsn import Segment, parse_lsn
from pgdr.recovery.model import Plan, Reached
from pgdr.recovery.server import ClosedServer, ReplayStatus, ServerPaths, recovery_settings
from pgdr.recovery.target import TargetKind

_POLL_SECONDS = 0.5
_PROMOTE_SECONDS = 3600
# How often a primary may have been restarted with higher settings since the backup.
_SETTINGS_RAISED_AT_MOST = 20

Report = Callable[[str, float | None], None]


class SettingsRaisedError(OperationFailedError):
    """The primary was restarted with higher settings after the backup; a server started anew knows them."""


def replayed_server(
    paths: ServerPaths, plan: Plan, report: Report, more: Mapping[str, str] | None = None
) -> tuple[ClosedServer, Reached]:
    """Start a server and have it stand, paused, at its target; whatever fails, none is left running.

    Args:
        paths: where its files are.
        plan: what was decided.
        report: called with a line and, where known, the percentage done.
        more: settings that win over those of any recovery.

    Raises:
        UnreachableError: WAL could not be fetched any more; a rerun goes on.
        OperationFailedError: recovery ended elsewhere than at its target.
    """
    for _ in range(_SETTINGS_RAISED_AT_MOST):
        settings = recovery_settings(read_control_data(paths.bin_directory, paths.data_directory))
        if plan.target.kind is TargetKind.LATEST:
            settings["recovery_target_lsn"] = plan.recovery_lsn
        server = ClosedServer(paths, {**settings, **(more or {})})
        try:
            server.start()
            return server, replay_to_target(server, plan, paths, report)
        except SettingsRaisedError:
            leave_nothing(server)
        except BaseException:
            leave_nothing(server)
            raise
    raise OperationFailedError("the primary's settings were raised again and again", remedy=f"see {paths.log_file}")


def leave_nothing(server: ClosedServer) -> None:
    """Whatever happened, no half-recovered server is left running behind anybody's back."""
    if server.exit_status() is None:
        server.stop()


def replay_to_target(server: ClosedServer, plan: Plan, paths: ServerPaths, report: Report) -> Reached:
    """Wait until recovery pauses at its target, and check that it is the target.

    Raises:
        SettingsRaisedError: replay waits because a setting is lower than the primary's was at this point.
        UnreachableError: WAL could not be fetched any more; nothing was promoted, a rerun goes on.
        OperationFailedError: recovery ended elsewhere; the message says how far it came.
    """
    last = Segment.parse(plan.wal_end_segment, plan.wal_segment_bytes)
    first = Segment(last.timeline, parse_lsn(plan.backup_stop_lsn) // last.size, last.size)
    status: ReplayStatus | None = None
    while True:
        if server.exit_status() is not None:
            raise _explain_end(server, plan, paths, status)
        status = server.status() or status
        if status is not None and status.paused:
            return _checked(server, plan, status)
        if status is not None and not status.in_recovery:
            raise OperationFailedError(
                f"recovery ended by itself at {status.lsn} without pausing at {plan.target.text}",
                remedy="nothing was opened; look at the server's log before anything else",
            )
        report(*_progress(server, status, first, last))
        time.sleep(_POLL_SECONDS)


def _progress(
    server: ClosedServer, status: ReplayStatus | None, first: Segment, last: Segment
) -> tuple[str, float | None]:
    name = server.last_restored_segment()
    if not name:
        return "starting PostgreSQL", None
    done = Segment.parse(name, last.size).number - first.number
    share = 100.0 * max(done, 0) / max(last.number - first.number, 1)
    moment = f", at {status.last_commit_at:%Y-%m-%d %H:%M:%S+00:00}" if status and status.last_commit_at else ""
    return f"replaying WAL {name} of {last.name}{moment}", min(share, 100.0)


def _checked(server: ClosedServer, plan: Plan, status: ReplayStatus) -> Reached:
    """Compare where recovery paused with what was asked for."""
    stop_line = server.stop_line()
    if not stop_line and server.lacks_settings():
        raise SettingsRaisedError(f"at {status.lsn} the primary had raised settings")
    if not stop_line:
        raise OperationFailedError("recovery paused, but PostgreSQL does not say at which target")
    # Just before a position may be the end of a page, some bytes before it.
    if plan.recovery_lsn and plan.target.inclusive and parse_lsn(status.lsn) < parse_lsn(plan.recovery_lsn):
        raise OperationFailedError(
            f"recovery stopped at {status.lsn}, short of {plan.recovery_lsn}",
            remedy="nothing was promoted; see pgdr info and the server's log",
        )
    if plan.target.kind is TargetKind.TIME and _is_later(status.last_commit_at, plan.target.as_time()):
        raise OperationFailedError(f"recovery went past {plan.target.text}: last commit {status.last_commit_at}")
    if plan.target.kind in (TargetKind.NAME, TargetKind.XID) and plan.target.value not in stop_line:
        raise OperationFailedError(f"recovery stopped elsewhere than at {plan.target.text}: {stop_line}")
    return Reached(lsn=status.lsn, last_commit_at=status.last_commit_at, stop_line=stop_line)


def _is_later(moment: datetime | None, limit: datetime) -> bool:
    return moment is not None and moment > limit


def _explain_end(
    server: ClosedServer, plan: Plan, paths: ServerPaths, status: ReplayStatus | None
) -> OperationFailedError | UnreachableError:
    """Say in one line why the server ended, and how far it came."""
    if server.lacks_settings():
        # Before consistency PostgreSQL does not wait, it ends; it has noted the settings in the control file.
        return SettingsRaisedError("the primary had raised settings before the backup was consistent")
    fatal = server.fatal_lines()
    came = status.lsn if status and status.lsn else ""
    came = came or read_control_data(paths.bin_directory, paths.data_directory).minimum_recovery_lsn
    when = f", last transaction {status.last_commit_at.isoformat(sep=' ')}" if status and status.last_commit_at else ""
    far = f"replay came to {came}{when}, the archive ends at {plan.wal_end_lsn}; nothing was promoted"
    reason = fatal[0] if fatal else f"PostgreSQL ended with status {server.exit_status()}"
    if "could not restore file" in reason:
        return UnreachableError(
            f"repository {plan.repository} stopped answering while WAL was fetched: {far}",
            remedy="run the same command again when it is back: it goes on from there",
        )
    if "before configured recovery target" in reason:
        return OperationFailedError(
            f"recovery ended before {plan.target.text}: {far}",
            remedy="a WAL segment is missing in the repository, the target is not on this timeline, or it is older "
            f"than backup set {plan.backup_label}: then name an older one (--set); see pgdr info",
        )
    return OperationFailedError(f"recovery failed: {reason}; {far}", remedy=f"see {paths.log_file}")


def promote(server: ClosedServer, report: Report) -> int:
    """End recovery at the target and return the new timeline.

    Raises:
        OperationFailedError: the server ended or did not leave recovery.
    """
    server.resume()
    wait_until_open(server, report)
    return server.timeline()


def wait_until_open(server: ClosedServer, report: Report) -> None:
    """Wait until a server is out of recovery.

    Raises:
        OperationFailedError: it ended or did not leave recovery.
    """
    deadline = time.monotonic() + _PROMOTE_SECONDS
    while True:
        status = server.status()
        if status is not None and not status.in_recovery:
            return
        if server.exit_status() is not None:
            lines = server.fatal_lines()
            raise OperationFailedError(f"promotion failed: {lines[0] if lines else 'the server ended'}")
        if time.monotonic() > deadline:
            raise OperationFailedError(f"the server did not leave recovery within {_PROMOTE_SECONDS} s")
        report("promoting", None)
        time.sleep(_POLL_SECONDS)
