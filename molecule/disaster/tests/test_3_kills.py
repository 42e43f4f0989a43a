"""The recovery is killed in every phase and loses its repository; the same command again always goes on.

One recovery, six attempts: killed while it restores files, while it replays WAL, robbed of S3 in the middle of the
replay, killed in the middle of its promotion, killed while the cluster is opened, and at last left alone.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drill import hunter
from drill.client import ErpClient
from drill.expect import Notes
from drill.host import DATA, Host
from drill.running import RunningPlay, until
from lab.api import Lab
from pgdr.recovery.lsn import Segment, format_lsn, parse_lsn

CLUSTER = "erp-lab"
# Each request waits this long, as it does with a cloud: the phases last long enough to be met.
LATENCY_MS = 300
# Seconds of one attempt; a dead repository costs 18 of them.
IO_TIMEOUT = 3
SEGMENT_BYTES = 2**24


@pytest.fixture(scope="module", autouse=True)
def distance(lab: Lab) -> Iterator[None]:
    """Have S3 far away while recoveries are hunted."""
    lab.set_s3_latency(LATENCY_MS)
    yield
    lab.set_s3_latency(0)


def recover(lab: Lab, notes: Notes, name: str) -> RunningPlay:
    """The one command, the same each time."""
    extra = {
        "cluster_restore_confirm": CLUSTER,
        "disaster_time": notes["disaster_at"],
        "cluster_restore_report_file": lab.folder / "recovery.json",
    }
    return RunningPlay(lab.name, "dr-restore.yml", name, extra)


def hunt(lab: Lab, notes: Notes, phase: str) -> dict[str, Any]:
    """Start the play, and kill -9 what works on the host and the play itself as soon as a phase is seen."""
    argv = ["ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", "dr1", f"python3 - {phase}"]
    play = recover(lab, notes, f"killed-{phase}")
    with Path(hunter.__file__).open("rb") as source:
        prey = subprocess.Popen(argv, stdin=source, stdout=subprocess.PIPE, text=True)
    try:
        until(f"phase {phase} is met, or the play ends", lambda: prey.poll() is not None or play.ended, 400)
    finally:
        play.kill()
        prey.kill()
        said, _ = prey.communicate()
    assert said, f"the play ended before phase {phase} was met, see {play.log}"
    found: dict[str, Any] = json.loads(said)
    notes[f"killed-{phase}"] = found["seen"]
    return found


def programs(found: dict[str, Any]) -> str:
    """The killed command lines as one text."""
    return "\n".join(found["killed"])


@pytest.mark.step
def test_killed_while_it_restores_files(lab: Lab, dr1: Host, notes: Notes) -> None:
    """What is left cannot be taken for a database: the control file comes last."""
    found = hunt(lab, notes, "files")
    assert "pgdr recover run" in programs(found)
    assert "pgbackrest" in programs(found)
    assert not dr1.exists(f"{DATA}/global/pg_control")
    assert not dr1.answers()


@pytest.mark.step
def test_killed_while_it_replays(lab: Lab, dr1: Host, notes: Notes) -> None:
    """The rerun has restored the files to their end and was killed further on."""
    found = hunt(lab, notes, "replay")
    assert "/bin/postgres " in programs(found)
    state = dr1.state()
    assert state is not None
    assert state["stage"] == "files"
    assert state["attempts"] >= 2
    assert dr1.exists(f"{DATA}/recovery.signal")
    assert not dr1.answers()


@pytest.fixture
def impatient(dr1: Host) -> Iterator[None]:
    """Have pgBackRest give up a dead repository within a minute; its real patience is four and a half."""
    dr1.run("systemctl", "set-environment", f"PGBACKREST_IO_TIMEOUT={IO_TIMEOUT}")
    yield
    dr1.run("systemctl", "unset-environment", "PGBACKREST_IO_TIMEOUT")


@pytest.mark.step
@pytest.mark.usefixtures("impatient")
def test_s3_lost_in_the_middle_of_the_replay_ends_it_without_promotion(lab: Lab, dr1: Host, notes: Notes) -> None:
    """One line says how far it came and to run again; the cluster is still in recovery, and closed."""
    begin = dr1.run("date", "--utc", "+%FT%T.%NZ").stdout.strip()
    play = recover(lab, notes, "s3-lost")
    seen = until("WAL is replayed, or the play ends", lambda: _replayed(dr1, begin) or play.ended, 400)
    lab.stop_s3()
    try:
        status = play.wait(600)
        errors = play.errors()
    finally:
        lab.start_s3()
    assert seen is not True, f"the play ended before it replayed, see {play.log}"
    assert status != 0
    assert len(errors) == 1
    for words in (
        "repository 2 stopped answering",
        "replay came to 0/",
        "nothing was promoted",
        "the same command again",
    ):
        assert words in errors[0]
    came, end = (parse_lsn(position) for position in re.findall(r"\b0/[0-9A-F]+", errors[0]))
    assert parse_lsn(str(seen)) <= came < end
    control = dr1.control()
    assert control["Database cluster state"] in ("in archive recovery", "shut down in recovery")
    assert control["Latest checkpoint's TimeLineID"] == "1"
    assert dr1.exists(f"{DATA}/recovery.signal")
    assert not [line for line in dr1.commands() if "/bin/postgres " in line]


def _replayed(host: Host, since: str) -> str:
    """The position at which the attempt since a moment replays, empty while it does not."""
    progress = (host.state() or {}).get("progress") or {}
    found = re.match(r"replaying WAL ([0-9A-F]{24})", progress.get("detail", ""))
    if not found or progress["at"] < since or progress["percent"] < 5:
        return ""
    # What is fetched is about to be replayed: some segments before it is replayed.
    return format_lsn(max(Segment.parse(found[1]).start - 4 * SEGMENT_BYTES, 0))


@pytest.mark.step
def test_killed_in_the_middle_of_its_promotion(lab: Lab, dr1: Host, notes: Notes) -> None:
    """The worst moment: to PostgreSQL what is left looks like a crashed primary of the old timeline."""
    found = hunt(lab, notes, "promotion")
    assert found["seen"] == "no recovery.signal, still in archive recovery"
    assert not dr1.exists(f"{DATA}/recovery.signal")
    assert dr1.control()["Database cluster state"] == "in archive recovery"


@pytest.mark.step
def test_killed_while_the_cluster_is_opened(lab: Lab, dr1: Host, notes: Notes) -> None:
    """The half promotion was not believed: files were restored again and the target reached again."""
    found = hunt(lab, notes, "opened")
    assert "/etc/postgresql/17/main/" in programs(found)
    state = dr1.state()
    assert state is not None
    assert state["stage"] == "promoted"
    assert state["reached"]["timeline"] == 2
    names = [phase["name"] for phase in state["phases"]]
    last_try = names[len(names) - 1 - names[::-1].index("restore files") :]
    assert last_try == ["restore files", "replay WAL", "promote"]
    assert dr1.control()["Latest checkpoint's TimeLineID"] == "2"


@pytest.mark.step
def test_left_alone_it_finishes(lab: Lab, dr1: Host, notes: Notes) -> None:
    """The same command once more, and the cluster is back."""
    lab.set_s3_latency(0)
    play = recover(lab, notes, "recovered")
    assert play.wait(900) == 0, play.errors()
    assert "erp-lab is back" in play.text
    report = json.loads((lab.folder / "recovery.json").read_text(encoding="utf-8"))
    notes["reached"] = report["reached"]
    assert dr1.answers()
    assert dr1.sql("SELECT pg_is_in_recovery()") == "f"


@pytest.mark.step
def test_the_data_is_proven_to_the_row(erp: ErpClient, notes: Notes) -> None:
    """Reference and ledger together say what each table must hold; nothing that recovery reached is missing."""
    proof = erp.prove("dr1", notes["reached"])
    assert proof.faults == []
    assert proof.holds
    assert proof.tables_compared >= 25
    assert proof.transactions_survived > 100
