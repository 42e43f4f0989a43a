"""``dr-restore.yml`` against bare ``pgbackrest restore`` and replay: what the orchestration itself costs.

The same host, the same backup set, the same end of WAL, all packages installed. Before each turn the host is emptied
and the repository is set back to the moment of the disaster, because a recovery writes a new timeline into it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import mean

from bench.bucket import Snapshot
from bench.ground import CLOUD, CLUSTER, DATA, STANZA, UNIT, Ground
from bench.host import Host
from bench.report import DifferenceAtMost, Row
from pgdr.errors import NotProvenError

_GOAL = DifferenceAtMost(45)
_ROUNDS = 2
_LOAD_SECONDS = 20
_PREFIX = "pgbackrest/"
_ETC, _KEPT_ETC = "/etc/postgresql/17/main", "/etc/postgresql-bench"
_BIN = "/usr/lib/postgresql/17/bin"
_UNITS = ("pgdr-recover.service", "pgdr-full-after-recovery.service", UNIT)


@dataclass(frozen=True)
class _End:
    """Where the first recovery started and ended; the bare one does the same."""

    label: str
    lsn: str


@dataclass(frozen=True)
class _Turn:
    """One recovery by the play."""

    seconds: float
    end: _End
    phases: str


def measure(ground: Ground) -> list[Row]:
    """Recover by play and bare, in turn."""
    ground.sample()
    source, target = ground.source, ground.target
    _back_up_and_write(ground)
    # The disaster: nothing more is archived, and the bucket stays what it is.
    source.run(["systemctl", "stop", "cron", UNIT])
    try:
        start = Snapshot.take(ground.lab, _PREFIX)
        ground.say("dr-restore.yml for the first time: it installs everything")
        end = _play(ground).end
        # The bare recovery runs with the settings that the play gave the server.
        target.remove(_KEPT_ETC)
        target.run(["cp", "--archive", _ETC, _KEPT_ETC])
        turns: list[_Turn] = []
        bare: list[float] = []
        for round_ in range(1, _ROUNDS + 1):
            _empty(ground, target, start)
            ground.say(f"round {round_}: bare restore and replay")
            bare.append(_bare(target, end))
            _empty(ground, target, start)
            ground.say(f"round {round_}: dr-restore.yml")
            turns.append(_play(ground))
            # Figures of two different recoveries must never stand side by side.
            if turns[-1].end != end:
                raise NotProvenError(f"{turns[-1].end} is not {end}")
        _empty(ground, target, start)
    finally:
        source.run(["systemctl", "start", UNIT, "cron"])
    ours, theirs = mean(turn.seconds for turn in turns), mean(bare)
    note = f"own time {ours - theirs:.1f} s; phases of the last: {turns[-1].phases}"
    name = "dr-restore.yml, packages installed, against pgbackrest restore and replay"
    return [Row(name, ours, theirs, "s", goal=_GOAL, note=note)]


def _back_up_and_write(ground: Ground) -> None:
    ground.say("full backup, then load")
    ground.source.run(["/usr/local/bin/pgdr", "backup", "full", f"--repo={CLOUD}"], user="postgres")
    ledger = ground.lab.folder / "bench-ledger.jsonl"
    ledger.unlink(missing_ok=True)
    ground.erp("load", "--dsn", ground.dsn, f"--ledger={ledger}", f"--seconds={_LOAD_SECONDS}")
    # Returns when the last segment is in every repository.
    ground.source.run(["pgbackrest", f"--stanza={STANZA}", "check"], user="postgres")


def _play(ground: Ground) -> _Turn:
    file = ground.lab.folder / "bench-recovery.json"
    file.unlink(missing_ok=True)
    seconds = ground.play("dr-restore.yml", cluster_restore_confirm=CLUSTER, cluster_restore_report_file=file)
    report = json.loads(file.read_text(encoding="utf-8"))
    phases = ", ".join(f"{phase['name']} {phase['seconds']:.1f}" for phase in report["phases"])
    return _Turn(seconds, _End(report["backup_label"], report["target_lsn"]), phases)


def _bare(host: Host, end: _End) -> float:
    """What a person would type, with the same settings and the same target."""
    host.make_folder(DATA)
    options = [f"-c config_file={_KEPT_ETC}/postgresql.conf", f"-c hba_file={_KEPT_ETC}/pg_hba.conf"]
    options += [f"-c ident_file={_KEPT_ETC}/pg_ident.conf", "-c archive_mode=off"]
    restore = f"pgbackrest --stanza={STANZA} --repo={CLOUD} --set={end.label} restore"
    server = f"{_BIN}/pg_ctl -D {DATA} -w -t 900 -l /var/tmp/bench-server.log"
    script = (
        f"{restore} --type=lsn --target={end.lsn} --target-action=promote\n"
        f'{server} -o "{" ".join(options)}" start\n'
        'until [ "$(psql -Atc "SELECT pg_is_in_recovery()")" = f ]; do sleep 0.1; done\n'
    )
    seconds = host.script(script)
    host.run([f"{_BIN}/pg_ctl", "-D", DATA, "-m", "fast", "-w", "stop"], user="postgres")
    return seconds


def _empty(ground: Ground, host: Host, start: Snapshot) -> None:
    """Leave the packages and nothing else of the cluster, and set the repository back."""
    host.run(["bash", "-c", f"systemctl stop cron {' '.join(_UNITS)} || true; systemctl reset-failed"])
    # Its pusher is a process of its own and may outlive the server.
    host.run(["timeout", "60", "bash", "-c", "while pgrep --uid postgres --exact pgbackrest; do sleep 0.2; done"])
    host.run(["bash", "-c", f"rm -rf /var/lib/postgresql/17/main* {_ETC}"])
    host.remove("/backups/pgbackrest", f"/var/spool/pgbackrest/archive/{STANZA}", "/var/lib/pgdr/recovery")
    host.remove("/etc/cron.d/erp-backup")
    destroyed = start.restore()
    ground.say(f"dr1 emptied, repository set back by {destroyed} versions")
