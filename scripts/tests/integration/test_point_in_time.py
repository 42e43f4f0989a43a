"""Back and forth in time, in place, again and again: exact to the transaction, on every timeline and left branch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scripts.tests.integration.chain import World, world_of

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import SiteFactory


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

    def write(self) -> None:
        """Write marks around a target of each kind, and archive them."""
        cluster = self.world.site.cluster
        era = Era(self.rows())
        self.eras[self.timeline] = era
        self._mark(era, "before time")
        moment = cluster.value("select clock_timestamp()").isoformat()
        # A commit of the same microsecond would be neither before nor after.
        while cluster.value("select clock_timestamp()").isoformat() <= moment:
            pass
        self._mark(era, "after time")
        era.targets["time"] = ["--target-time", moment]
        self._mark(era, "before lsn")
        era.targets["lsn"] = ["--target-lsn", cluster.value("select pg_current_wal_insert_lsn()::text")]
        self._mark(era, "after lsn")
        self._mark(era, "before name")
        name = f"release {self.timeline}"
        self.world.pgdr("restore-point", name)
        self._mark(era, "after name")
        era.targets["name"] = ["--target-name", name]
        self._mark(era, "before xid")
        era.targets["xid"] = ["--target-xid", str(self._mark(era, "at xid"))]
        self._mark(era, "after xid")
        self.world.archive()

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
    site = new_site(16, compress="zst", settings={"full_page_writes": "on", "max_connections": "20"})
    site.cluster.create_database("erp")
    site.cluster.execute("create table marks (what text primary key)", "erp")
    world = world_of(site, "erp")
    world.pgdr("heartbeat", "--init")
    world.pgdr("backup", "full", "--repo", "1")
    return Story(world)


@pytest.mark.parametrize(
    ("era", "kind", "more", "last"),
    [
        # forward from the backup, each time on the newest branch: the second and the third timeline
        (1, "xid", ["--exclusive"], "before xid"),
        (2, "time", [], "before time"),
        (3, "lsn", ["--exclusive"], "before lsn"),
        # backward, to what all branches have in common
        (1, "name", [], "before name"),
        # forward again, on branches that were left: what was undone is not lost
        (2, "xid", ["--target-timeline", "2"], "at xid"),
        (3, "name", ["--target-timeline", "3"], "before name"),
        (3, "time", ["--target-timeline", "3", "--exclusive"], "before time"),
    ],
)
def test_exactly_there_and_on_from_there(story: Story, era: int, kind: str, more: list[str], last: str) -> None:
    if story.timeline not in story.eras:
        story.write()
    kept = len(story.kept)
    story.recover(era, kind, *more)
    assert story.rows() == story.eras[era].expected(f"{era}: {last}")
    assert story.timeline == max(story.eras) + 1
    # What ran before is aside and not deleted, and the new timeline archives.
    assert len(story.kept) == kept + 1
    story.write()
