"""The report: evidence from a real journal, on a page that needs nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.report.page import chart
from pgdr.retention import holds
from pgdr.status.trend import Day, trend_file

_POLICY = Path(__file__).resolve().parents[4] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
_TODAY = datetime.now(UTC).date()


@pytest.fixture
def host(tmp_path: Path) -> HostConfig:
    """A host on which a week of work was recorded today."""
    state = tmp_path / "state"
    state.mkdir()
    host = HostConfig.model_validate(
        {
            "stanza": "erp",
            "cluster_name": "erp-lab",
            "database": "erp",
            "postgresql_version": 17,
            "data_directory": "/nowhere",
            "bin_directory": "/nowhere",
            "state_directory": str(state),
        }
    )
    (tmp_path / "host.yml").write_text(yaml.safe_dump(host.model_dump(mode="json")))
    journal = Journal(host.journal_path, "erp-lab")
    journal.append(
        operation="backup", result="ok", details={"requested": "full", "type": "full", "repository": 1, "label": "F1"}
    )
    journal.append(operation="backup", result="failed", details={"requested": "incr", "message": "no <script>route"})
    journal.append(operation="verify", result="ok", details={"repository": 1, "verified": ["F1"], "damaged": {}})
    journal.append(operation="expire", result="ok", details={"place": "repository 1", "removed": ["F0"]})
    journal.append(
        operation="recover", result="ok", details={"backup_label": "F1", "rto_seconds": 5400, "rpo_seconds": 61}
    )
    holds.add(host, "F1", "litigation <b>17</b>", datetime.now(UTC))
    with trend_file(host).change() as trend:
        for number in range(5):
            trend.days[_TODAY - timedelta(days=number)] = Day(rpo=60, rto=5400, window={1: 7.5, 2: 3.0}, level=0)
    return host


def _report(host: HostConfig, *arguments: str) -> int:
    config = str(host.state_directory.parent / "host.yml")
    return main(["--config", config, "report", "--no-status", "--policy", str(_POLICY), *arguments])


def test_the_data_says_what_was_done(host: HostConfig, capfd: pytest.CaptureFixture[str]) -> None:
    assert _report(host, "--output", "json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["journal"]["problem"] is None
    assert document["journal"]["entries"] == 6
    today = document["days"][-1]
    assert (today["date"], today["full"], today["verified"], today["proven"], today["failed"]) == (
        _TODAY.isoformat(), 1, 1, 1, 1,
    )  # fmt: skip
    assert today["window"] == {"1": 7.5, "2": 3.0}
    assert len(document["days"]) == 90
    assert document["restores"][0]["rto_seconds"] == 5400
    assert document["removals"][0]["removed"] == ["F0"]
    controls = {row["id"]: row for row in document["controls"]}
    assert controls["A1.3"]["met"] is False  # nothing was drilled: it must not look as if
    assert controls["CC7.5"]["met"] is True
    assert {row["framework"] for row in document["controls"]} >= {"SOC 2", "ISO 27001:2022", "HIPAA", "GDPR", "SOX"}


def test_a_period_leaves_out_what_was_before_and_after(host: HostConfig, capfd: pytest.CaptureFixture[str]) -> None:
    before = (_TODAY - timedelta(days=30)).isoformat()
    assert _report(host, "--from", before, "--to", before, "--output", "json") == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["backups"], document["restores"], len(document["days"])) == ([], [], 1)
    assert _report(host, "--from", _TODAY.isoformat(), "--to", before) == ExitCode.REFUSED


def test_only_what_was_right_counts_as_proven_and_a_failure_has_its_reason(
    host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(host.journal_path)
    part = {"label": "20261122_030000", "outcome": "ok"}
    details = {"requested": "archive", "rehearsed_on": "dr9", "parts": [part, part]}
    journal.append(operation="rehearse", result="ok", details=details, times={"restore": 27.0})
    details = {"drill_host": "dr1", "message": "the paper was <wet>", "findings": ["the paper was <wet>"]}
    journal.append(operation="drill", result="failed", details=details)
    page = tmp_path / "report.html"
    assert _report(host, "--file", str(page)) == 0
    reader = _Reader()
    reader.feed(page.read_text())
    shown = " ".join(reader.text.split())
    assert "1 / 1restores proven in rehearsals and drills / in earnest; 1 failed" in shown
    assert "the paper was <wet>" in shown
    assert _report(host, "--output", "json") == 0
    document = json.loads(capfd.readouterr().out)
    # Where, from what; and no time of a rehearsal, or of a drill that failed, is an RTO.
    [rehearsal, drill] = document["drills"]
    assert (rehearsal["on"], rehearsal["restored"], rehearsal["rto_seconds"]) == ("dr9", ["20261122_030000"], None)
    assert (drill["on"], drill["restored"], drill["seconds"], drill["message"]) == (
        "dr1",
        [],
        0.0,
        "the paper was <wet>",
    )
    controls = {row["id"]: row for row in document["controls"]}
    assert controls["A1.3"]["evidence"] == {"drills": 1}
    # Somebody looked on five days; and that nobody asked for erasure is no lack.
    assert controls["CC7.2"]["evidence"] == {"days": 5}
    assert (controls["Art. 17"]["met"], controls["Art. 17"]["evidence"]) == (True, {"erasures": 0})
    # Days before the journal are nobody's fault.
    assert document["journal"]["begins"] == _TODAY.isoformat()
    assert page.read_text().count('<td class="gap">') == 0


class _Reader(HTMLParser):
    """Reads a page as a browser would and keeps what matters."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_shows_names_as_they_are(host: HostConfig, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert _report(host, "--file", str(page)) == 0
    text = page.read_text()
    reader = _Reader()
    reader.feed(text)
    assert reader.references == []
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "litigation <b>17</b>" in reader.text
    assert "no <script>route" in reader.text
    assert "unbroken" in reader.text
    assert "svg" in reader.tags


def test_a_journal_that_was_edited_is_said_on_the_page(host: HostConfig, capfd: pytest.CaptureFixture[str]) -> None:
    text = host.journal_path.read_text()
    host.journal_path.write_text(text.replace('"rto_seconds":5400', '"rto_seconds":54'))
    assert _report(host) == 0
    out = capfd.readouterr().out
    assert "BROKEN" in out
    assert "entry 5 was edited" in out


def test_a_chart_keeps_gaps_and_the_objective_in_sight() -> None:
    drawn = chart([100.0, None, 300.0], 900.0)
    assert drawn is not None
    assert [x for x, _ in drawn["points"]] == [72, 712]
    assert drawn["objective"] < min(y for _, y in drawn["points"])
    assert chart([None, None], 900.0) is None


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium (apt-get install chromium)")
def test_a_browser_draws_it_and_it_fits_on_paper(host: HostConfig, tmp_path: Path) -> None:
    page, picture, paper = (tmp_path / name for name in ("report.html", "report.png", "report.pdf"))
    _report(host, "--file", str(page))
    chromium = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    for option in (f"--screenshot={picture}", f"--print-to-pdf={paper}"):
        subprocess.run([*chromium, option, page.as_uri()], check=True, capture_output=True, timeout=180)
    assert picture.stat().st_size > 20_000
    assert paper.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) >= 2
