"""Back and forth in time, in place, again and again: exact to the transaction, on every timeline and left branch."""

from __future__ import annotations

import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scripts.tests.integration.chain import World, world_of

from pgdr.health import Level
from pgdr.policy.load import load_policy
from pgdr.recovery.lsn import format_lsn, parse_lsn
from pgdr.status.facts import gather
from pgdr.status.rivals import rival_checks

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import SiteFactory


# A time is exact where it is a commit's own.
SETTINGS = {"full_page_writes": "on", "max_connections": "20", "track_commit_timestamp": "on"}
# The last row that is there, and the first that is not, by the kind of target, and whether the target itself counts.
EDGES = {
    ("time", ""): ("at time", "after time"),
    ("time", "--exclusive"): ("before time", "at time"),
    ("lsn", ""): ("at lsn", "after lsn"),
    ("lsn", "--exclusive"): ("before lsn", "at lsn"),
    ("xid", ""): ("at xid", "after xid"),
    ("xid", "--exclusive"): ("before xid", "at xid"),
    ("name", ""): ("before name", "after name"),
    ("backup", "--exclusive"): ("before backup", "after backup"),
}
TIMELINES = 3
# pgdr's own commands one after another in one process: its start costs more than a small restore.
_LOOK = """
import json, sys
from pathlib import Path
import psycopg
from pgdr.cli.main import main
from pgdr.hostconfig import load
from pgdr.side import manage
config, given, found = sys.argv[1], json.loads(sys.argv[2]), []
for target in json.loads(sys.argv[3]):
    code = main(["--config", config, "side", "start", "--repo", "1", "--uncapped", *given, *target])
    if code:
        sys.exit(code)
    with psycopg.connect(manage.connection(load(Path(config)), given[1], "erp").conninfo) as connection:
        found.append([row[0] for row in connection.execute("select what from marks")])
    main(["--config", config, "side", "stop", given[1]])
print(json.dumps(found))
"""


@dataclass
class Era:
    """What was written on one timeline, in order, and the moments between.

    Attributes:
        rows: what must be there before it begins: rows of the timelines that it came from.
        marks: its own rows.
        targets: options of a target by the kind; each lies just behind a row "before KIND" and before "after KIND".
    """

    rows: list[str]
    marks: list[str] = field(default_factory=list)
    targets: dict[str, list[str]] = field(default_factory=dict)

    def expected(self, last: str) -> list[str]:
        """All rows up to a mark."""
        return sorted([*self.rows, *self.marks[: self.marks.index(last) + 1]])


@dataclass
class Story:
    """A cluster with many pasts.

    Attributes:
        eras: by timeline.
        timeline: where it is now.
    """

    world: World
    eras: dict[int, Era] = field(default_factory=dict)
    timeline: int = 1

    def _mark(self, era: Era, what: str) -> int:
        text = f"{self.timeline}: {what}"
        era.marks.append(text)
        with self.world.site.cluster.connect("erp") as connection:
            row = connection.execute(
                "insert into marks values (%s) returning pg_current_xact_id()::text", (text,)
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _around(self, era: Era, kind: str) -> int:
        """Three rows, of which the one in the middle is the target; returns its transaction."""
        self._mark(era, f"before {kind}")
        xid = self._mark(era, f"at {kind}")
        self._mark(era, f"after {kind}")
        return xid

    def write(self) -> None:
        """Write marks around a target of each kind, and archive them."""
        cluster = self.world.site.cluster
        era = self.eras[self.timeline]
        moment = cluster.value(f"select pg_xact_commit_timestamp('{self._around(era, 'time')}')").isoformat()
        era.targets["time"] = ["--target-time", moment]
        begin = cluster.value("select pg_current_wal_insert_lsn()::text")
        era.targets["lsn"] = ["--target-lsn", self._commit_of(self._around(era, "lsn"), begin)]
        era.targets["xid"] = ["--target-xid", str(self._around(era, "xid"))]
        self._mark(era, "before name")
        name = f"release {self.timeline}"
        self.world.pgdr("restore-point", name)
        self._mark(era, "after name")
        era.targets["name"] = ["--target-name", name]
        self.world.archive()

    def _commit_of(self, xid: int, begin: str) -> str:
        """Where the record of a commit begins: PostgreSQL's own program says it."""
        cluster = self.world.site.cluster
        found = cluster.program(
            *("pg_waldump", f"--path={cluster.data}/pg_wal", f"--timeline={self.timeline}", f"--start={begin}"),
            *(f"--xid={xid}", "--rmgr=Transaction", "--limit=1"),
        )
        return str(re.findall(r"lsn: ([0-9A-F]+/[0-9A-F]+),.* COMMIT ", found)[0])

    def keep(self) -> None:
        """Make a backup between two rows: its own end is the first moment that it can bring back."""
        era = self.eras[self.timeline]
        self._mark(era, "before backup")
        self.world.pgdr("backup", "full", "--repo", "1")
        self._mark(era, "after backup")
        self.world.archive()
        made = self._newest_backup()
        first = format_lsn(parse_lsn(made["lsn"]["stop"]) + 1)
        era.targets["backup"] = ["--set", made["label"], "--target-lsn", first]

    def fill(self) -> None:
        """Give the timeline its marks, the first three a backup too."""
        if self.timeline in self.eras:
            return
        self.eras[self.timeline] = Era(self.rows())
        if self.timeline <= TIMELINES:
            self.keep()
        self.write()

    def _newest_backup(self) -> dict[str, Any]:
        folder = self.world.site.folder
        options = (f"--config={folder}/etc/pgbackrest.conf", f"--config-path={folder}/etc", "--stanza=erp", "--repo=1")
        argv = [str(folder / "pgbackrest"), *options, "--output=json", "info"]
        found = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        newest: dict[str, Any] = found[0]["backup"][-1]
        return newest

    def seen(self, era: int, targets: list[list[str]]) -> list[set[str]]:
        """The rows of some pasts of a timeline, each brought up beside the cluster, read and removed again."""
        world = self.world
        interpreter = world.command[: world.command.index("-m")]
        given = [*("--name", f"past{era}", "--port", str(15_440 + era)), *("--target-timeline", str(era))]
        argv = [*interpreter, "-c", _LOOK, str(world.config), json.dumps(given), json.dumps(targets)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd="/", timeout=300)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return [set(rows) for rows in json.loads(done.stdout.splitlines()[-1])]

    def rows(self) -> list[str]:
        """What is there."""
        with self.world.site.cluster.connect("erp") as connection:
            return sorted(row[0] for row in connection.execute("select what from marks").fetchall())

    def recover(self, era: int, kind: str, *more: str) -> None:
        """Go to a target of a timeline, in place, and start the cluster there."""
        cluster = self.world.site.cluster
        cluster.stop()
        self.world.pgdr("recover", "plan", "--repo", "1", *self.eras[era].targets[kind], *more)
        self.world.pgdr("recover", "run", "--confirm", self.world.host.cluster_name)
        # No ordinary start before somebody has looked whom the restore has brought back.
        with pytest.raises(RuntimeError, match="could not start server"):
            cluster.start()
        self.world.pgdr("erasures", "replay", "--before-opening", "--nobody-was-erased")
        cluster.start()
        until = time.monotonic() + 30
        while cluster.value("select pg_is_in_recovery()"):
            assert time.monotonic() < until
            time.sleep(0.05)
        self.timeline = cluster.value("select timeline_id from pg_control_checkpoint()")
        # Nobody was ever erased here, and the bucket that would know is not there.
        self.world.pgdr("recover", "finish", "--off", "erasures", "--policy", str(self.world.host.policy_path))

    @property
    def kept(self) -> list[Path]:
        """Data directories that were set aside."""
        data = self.world.site.cluster.data
        return sorted(data.parent.glob(f"{data.name}.before_*"))


@pytest.fixture(scope="module")
def story(new_site: SiteFactory) -> Story:
    site = new_site(16, compress="zst", settings=SETTINGS)
    site.cluster.create_database("erp")
    site.cluster.execute("create table marks (what text primary key)", "erp")
    world = world_of(site, "erp")
    world.pgdr("heartbeat", "--init")
    return Story(world)


@pytest.mark.parametrize(
    ("era", "kind", "more"),
    [
        # forward from the backup, each time on the newest branch: the second and the third timeline
        (1, "xid", ["--exclusive"]),
        (2, "lsn", []),
        # backward, on a branch that was left: what was undone is not lost
        (1, "name", ["--target-timeline", "1"]),
        # forward again, on another one
        (2, "time", ["--target-timeline", "2", "--exclusive"]),
    ],
)
def test_exactly_there_and_on_from_there(story: Story, era: int, kind: str, more: list[str], tmp_path: Path) -> None:
    story.fill()
    kept = len(story.kept)
    story.recover(era, kind, *more)
    last, _ = EDGES[kind, "--exclusive" if "--exclusive" in more else ""]
    assert story.rows() == story.eras[era].expected(f"{era}: {last}")
    assert story.timeline == max(story.eras) + 1
    # What ran before is aside and not deleted, and the new timeline archives.
    assert len(story.kept) == kept + 1
    story.fill()
    # The timelines that were left a moment ago are nobody's who lives.
    host = story.world.host.model_copy(update={"state_directory": tmp_path})
    checks = list(rival_checks(host, gather(host, load_policy(host.policy_path))))
    assert [(check.repository, check.level) for check in checks] == [(1, Level.GREEN)]


def test_every_target_on_every_timeline_is_exact(story: Story) -> None:
    """Each kind of target, with and without what is at it, on three timelines; all beside the cluster, some at once."""

    def look(era: int) -> list[str]:
        there = story.eras[era]
        found = story.seen(era, [[*there.targets[kind], *([side] if side else [])] for kind, side in EDGES])
        wrong = []
        for ((kind, side), (last, following)), rows in zip(EDGES.items(), found, strict=True):
            wanted = set(there.expected(f"{era}: {last}"))
            assert f"{era}: {following}" not in wanted
            if rows != wanted:
                wrong.append(f"timeline {era}, {kind} {side}: {sorted(rows ^ wanted)}")
        return wrong

    with ThreadPoolExecutor(TIMELINES) as pool:
        assert [wrong for found in pool.map(look, range(1, TIMELINES + 1)) for wrong in found] == []
