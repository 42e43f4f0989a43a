"""Put the backup's files in place: what stood there is renamed first, a killed restore is continued."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pgdr.errors import OperationFailedError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.faults import error_for
from pgdr.process import Completed
from pgdr.recovery.ground import server_process
from pgdr.recovery.model import Plan
from pgdr.recovery.target import TargetKind

_PERCENT = re.compile(r"restore file .*?\((?:[^()]*, )?(\d{1,3}\.\d+)%\)")
_MANIFEST = "backup.manifest"
_KEPT_LINES = 25

Report = Callable[[str, float | None], None]


def set_aside(plan: Plan) -> None:
    """Rename what is in the way; done already is done.

    Raises:
        OperationFailedError: a server runs there, or the rename failed.
    """
    for source, kept in ((Path(source), Path(kept)) for source, kept in plan.set_aside):
        if kept.exists() or not source.exists():
            continue
        if server_process(source) is not None:
            raise OperationFailedError(f"a server still runs in {source}", remedy="stop it and run again")
        try:
            source.rename(kept)
        except OSError as error:
            raise OperationFailedError(f"{source} cannot be set aside as {kept.name}: {error.strerror}") from error


def withdraw(plan: Plan, *, put_back: bool) -> list[tuple[str, str]]:
    """Move what an abandoned recovery restored out of the way; return what was renamed to what.

    Args:
        plan: the plan of the abandoned recovery.
        put_back: also give what was set aside its old place again.

    Raises:
        OperationFailedError: a server runs there.
    """
    data = Path(plan.data_directory)
    if server_process(data) is not None:
        raise OperationFailedError(f"a server runs in {data}", remedy="stop it and run again")
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    renamed: list[tuple[str, str]] = []
    for folder in (data, *(Path(space.location) for space in plan.tablespaces)):
        if folder.is_dir() and any(folder.iterdir()):
            partial = folder.with_name(f"{folder.name}.partial_{stamp}")
            folder.rename(partial)
            renamed.append((str(folder), str(partial)))
    if put_back:
        for source, kept in plan.set_aside:
            if Path(kept).exists():
                # Renaming onto an empty folder replaces it (rename(2)).
                Path(kept).rename(source)
                renamed.append((kept, source))
    return renamed


def restore_files(config: HostConfig, client: PgBackRest, plan: Plan, processes: int, report: Report) -> None:
    """Run ``pgbackrest restore``; after a kill it goes on with what is missing or different.

    Args:
        config: this host.
        client: pgBackRest.
        plan: what was decided.
        processes: how many to restore with.
        report: called with a line and, where known, the percentage done.

    Raises:
        PgBackRestError: pgBackRest failed; run again to go on.
    """
    data = Path(plan.data_directory)
    _make_room(data)
    for space in plan.tablespaces:
        Path(space.location).mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = client.command(
        "restore",
        f"--repo={plan.repository}",
        f"--set={plan.backup_label}",
        f"--pg1-path={data}",
        f"--process-max={processes}",
        *(["--delta"] if any(data.iterdir()) else []),
        *_target_options(plan),
        *(_beside_options(plan) if plan.beside else []),
        f"--recovery-option=restore_command={_restore_command(config, client, plan)}",
        console_level="detail",
    )
    done = _run_with_progress(argv, report, config.log_directory / f"{plan.operation}.restore.log")
    if done.returncode != 0:
        raise error_for(done, action="restore of the files")


def _make_room(data: Path) -> None:
    """Have a data directory that pgBackRest accepts: empty, or with the manifest of an earlier attempt."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(data.iterdir()) and not (data / _MANIFEST).exists() and not (data / "PG_VERSION").exists():
        # Killed before the manifest was there: pgBackRest does not take such a folder for its own.
        data.rename(data.with_name(f"{data.name}.partial_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"))
        data.mkdir(mode=0o700)


def _target_options(plan: Plan) -> list[str]:
    target = plan.target
    options = ["--target-action=pause", f"--target-timeline={target.timeline}"]
    if target.kind is TargetKind.LATEST:
        return ["--type=lsn", f"--target={plan.recovery_lsn}", *options]
    if not target.inclusive:
        options.append("--target-exclusive")
    # pgBackRest writes it between quotes into PostgreSQL's configuration as it stands, and a restore point may bear
    # any name.
    value = target.value.replace("\\", "\\\\").replace("'", "''")
    return [f"--type={target.kind}", f"--target={value}", *options]


def _restore_command(config: HostConfig, client: PgBackRest, plan: Plan) -> str:
    """The wrapper; a copy's own folder tells it to leave the cluster's spool and locks alone, and whose key to use."""
    command = f"{config.restore_command_wrapper} {plan.repository} %f %p"
    if not plan.beside:
        return command
    return f"{command} {shlex.join([str(Path(plan.data_directory).parent), str(client.config.pgbackrest_config)])}"


def _beside_options(plan: Plan) -> list[str]:
    """What keeps a restored cluster from touching the one that it is a copy of."""
    return [
        "--archive-mode=off",
        # A restore's lock is the stanza's: two side instances, or one and a recovery, must not wait for each other.
        f"--lock-path={Path(plan.data_directory).parent / 'lock-files'}",
        *(f"--tablespace-map={space.name}={space.location}" for space in plan.tablespaces),
        *(f"--db-include={name}" for name in plan.databases),
    ]


def _run_with_progress(argv: list[str], report: Report, log: Path) -> Completed:
    tail: deque[str] = deque(maxlen=_KEPT_LINES)
    log.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as kept:
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise OperationFailedError(f"{argv[0]} could not be started: {error.strerror}") from error
        with child:
            try:
                for line in child.stdout or ():
                    kept.write(line)
                    found = _PERCENT.search(line)
                    if found:
                        report("restoring files", float(found[1]))
                    else:
                        tail.append(line)
            except BaseException:
                # Ended by a signal: without us nobody would wait for it, and it would go on writing files.
                child.terminate()
                raise
    return Completed(tuple(argv), child.returncode, "", "".join(tail))
