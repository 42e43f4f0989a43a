"""Notification through Apprise to a real receiver on this machine."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from scripts.tests.unit.recovery.test_state import make_state

from pgdr import heartbeat, statefile
from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.notify import channels
from pgdr.notify.delivery import Told, alerts_file
from pgdr.proof.findings import record
from pgdr.recovery.model import Reached, Stage
from pgdr.recovery.state import StateStore

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Site

_POLICY = Path(__file__).resolve().parents[3] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
PLANTED = "planted-token-4711"


@dataclass
class Receiver:
    """An HTTP server that keeps what it was told, and refuses on some paths."""

    port: int = 0
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    dripping: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def titles(self, channel: str = "") -> list[str]:
        return [body["title"] for path, body in self.got if channel in path and body]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            state.asked.append(self.path)
            if any(word in self.path for word in state.dripping):
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                with suppress(OSError):
                    while not state.over.wait(0.05):
                        self.wfile.write(b"x")
                return
            refused = any(word in self.path for word in state.refused)
            if not refused:
                state.got.append((self.path, body))
            self.send_response(503 if refused else 200)
            self.end_headers()

        do_GET = do_POST = _answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    state.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Ground:
    """A host with a policy that tells two channels."""

    host: HostConfig
    config: Path
    policy: Path

    def run(self, *arguments: str) -> int:
        return main(["--config", str(self.config), *arguments, "--policy", str(self.policy)])


@pytest.fixture
def ground(made_site: Site, tmp_path: Path, receiver: Receiver) -> Ground:
    secrets = tmp_path / "notification.yml"
    address = f"127.0.0.1:{receiver.port}"
    secrets.write_text(
        yaml.safe_dump(
            {
                "first_url": f"json://{address}/first/{PLANTED}",
                "second_url": f"json://{address}/second/{PLANTED}",
                "dead_man_url": f"http://{address}/alive/{PLANTED}",
            }
        )
    )
    secrets.chmod(0o600)
    host = made_site.host(tmp_path)
    host = host.model_copy(update={"notification_secrets": secrets, "metrics_file": tmp_path / "state" / "pgdr.prom"})
    config, policy = tmp_path / "host.yml", tmp_path / "policy.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))
    document = yaml.safe_load(_POLICY.read_text())
    document["recovery_policy"]["notification"] = {
        "channels": [
            {"name": "first", "secret_name": "first_url"},
            {"name": "second", "secret_name": "second_url", "events": ["failure", "recovery"]},
        ],
        "dead_man": {"secret_name": "dead_man_url"},
    }
    policy.write_text(yaml.safe_dump(document))
    heartbeat.initialise(host)
    heartbeat.beat(host)
    return Ground(host, config, policy)


def test_every_channel_and_the_dead_mans_switch_are_tried(
    ground: Ground, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ground.run("notify", "test") == 0
    assert [path.split("/")[1] for path, _ in receiver.got] == ["first", "second", "alive"]
    receiver.refused.add("second")
    receiver.refused.add("alive")
    assert ground.run("notify", "test", "--output", "json") == ExitCode.FAILED
    out, err = capfd.readouterr()
    assert PLANTED not in out + err + ground.host.journal_path.read_text()
    assert [entry.result for entry in Journal(ground.host.journal_path).entries()] == ["ok", "failed"]
    assert "it answers with 503" in out


def test_a_recovery_is_told_with_how_far_it_came(
    ground: Ground, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ground.run("notify", "recovered") == ExitCode.REFUSED
    assert "no recovery of this host" in capfd.readouterr().err
    reached = Reached(lsn="0/3000060", last_commit_at=datetime(2026, 11, 24, 2, 39, 12, tzinfo=UTC), timeline=2)
    StateStore(ground.host.state_directory / "recovery").save(make_state(reached=reached, stage=Stage.PROMOTED))
    assert ground.run("notify", "recovered") == 0
    (body,) = [body for _, body in receiver.got if body]
    assert body["title"].startswith("BACK erp-lab: recovered on ")
    for part in ("backup set 20261124-020000F", "0/3000060 on timeline 2", "last transaction 2026-11-24 02:39:12 UTC"):
        assert part in body["message"]
    receiver.refused |= {"first", "second"}
    assert ground.run("notify", "recovered") == ExitCode.FAILED
    assert "pgdr: error: nobody was told: first: " in capfd.readouterr().err


def test_a_failure_is_told_once_and_its_end_too(ground: Ground, receiver: Receiver, made_site: Site) -> None:
    assert ground.run("watch") == 0
    first = receiver.titles()
    assert "RED erp-lab: repository, repository 1" in first
    assert "RED erp-lab: daily digest" in first
    assert [path.split("/")[1] for path, _ in receiver.got].count("alive") == 1
    [body] = [b["message"] for _, b in receiver.got if b and b["title"] == "RED erp-lab: repository, repository 1"]
    for part in ("holds no backup", "Since: ", "Endangers: every recovery", "Do: take a full backup"):
        assert part in body
    receiver.got.clear()
    assert ground.run("watch") == 0
    assert receiver.titles() == []
    assert main(["--config", str(ground.config), "backup", "full"]) == 0
    assert ground.run("watch") == 0
    assert "OK erp-lab: repository:1" in receiver.titles()
    families = {f.name: f for f in text_string_to_metric_families(ground.host.metrics_file.read_text())}  # type: ignore[union-attr]
    assert families["pgdr_backups"].samples[0].value == 1
    assert families["pgdr_rpo_seconds"].samples[0].labels == {"cluster": "erp-lab"}
    assert oct(ground.host.metrics_file.stat().st_mode)[-3:] == "644"  # type: ignore[union-attr]


def test_a_failed_channel_falls_to_the_next_and_shows_in_status(
    ground: Ground, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.refused.add("first")
    log = ground.config.with_name("cron.log")
    log.write_text(
        "2026-11-22T04:00:00Z verify[1]: an older run\n"
        "2026-11-22T04:00:01Z heartbeat[9]: another job\n"
        "2026-11-22T04:00:02Z verify[7]: pgdr: error: repository 1: password=hunter2hunter2 (do this)\n"
    )
    assert ground.run("notify", "job", "verify", "--status", "5", "--log", str(log), "--tag", "verify[7]") == 0
    assert receiver.titles("second") == ["RED erp-lab: job verify failed"]
    body = receiver.got[-1][1]["message"]
    assert "ended with exit status 5" in body
    assert "pgdr: error: repository 1" in body
    assert "an older run" not in body
    assert "another job" not in body
    assert "hunter2" not in body
    capfd.readouterr()
    ground.run("status", "--output", "json")
    checks = {check["name"]: check for check in json.loads(capfd.readouterr().out)["checks"]}
    assert checks["notify-first"]["level"] == "amber"
    assert PLANTED not in json.dumps(checks)
    assert checks["notify-first"]["remedy"] == "pgdr notify test"


def test_what_nobody_took_waits_for_the_next_look(
    ground: Ground, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.refused |= {"first", "second"}
    assert ground.run("notify", "job", "verify", "--status", "5") == ExitCode.FAILED
    _, err = capfd.readouterr()
    assert "nobody was told that verify failed" in err
    assert ground.run("notify", "job", "verify", "--status", "5") == ExitCode.FAILED
    assert PLANTED not in err
    receiver.refused.clear()
    assert ground.run("watch") == 0
    assert receiver.titles()[0] == "RED erp-lab: job verify failed"
    assert receiver.titles().count("RED erp-lab: job verify failed") == 1
    assert alerts_file(ground.host).read().ping_error == ""


def test_a_look_that_cannot_keep_its_figures_has_told_people_first(ground: Ground, receiver: Receiver) -> None:
    (ground.host.state_directory / "trend.json").write_text("{]")
    assert ground.run("watch") == ExitCode.CONFIG
    assert any(title.endswith("erp-lab: daily digest") for title in receiver.titles())


def test_a_disk_that_is_full_silences_nobody(
    ground: Ground, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(statefile, "write_atomically", full)
        assert ground.run("watch") == 0
        assert "(free space on its disk, then run again)" in capfd.readouterr().err
        [title] = receiver.titles("first")
        assert title.endswith("findings, and no memory of what was told")
        text = str(receiver.got[0][1]["message"])
        assert "alerts.json: No space left on device" in text
        assert "AMBER no archive was ever proven by a restore; endangers" in text
        assert [path.split("/")[1] for path, _ in receiver.got].count("alive") == 1
        assert ground.run("notify", "job", "verify", "--status", "5") == 0
        assert ground.run("notify", "test", "--output", "json") == ExitCode.CONFIG
        assert [item["delivered"] for item in json.loads(capfd.readouterr().out)] == [True, True, True]
    receiver.got.clear()
    assert ground.run("watch") == 0
    assert "AMBER erp-lab: proven-archive" in receiver.titles()


@pytest.mark.parametrize(
    "name", ["alerts.json", "delivery.json", "findings.json", "marks.json", "holds.json", "far.json"]
)
def test_what_stands_in_the_place_of_a_state_file_hides_nothing(
    ground: Ground, receiver: Receiver, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (ground.host.state_directory / name).mkdir()
    assert ground.run("watch") == 0
    assert any("proven-archive" in title or "no memory" in title for title in receiver.titles())
    assert any(path.split("/")[1] == "alive" for path, _ in receiver.got)
    capfd.readouterr()
    ground.run("status", "--output", "json")
    checks = {check["name"]: check for check in json.loads(capfd.readouterr().out)["checks"]}
    assert checks["proven-archive"]["level"] == "amber"
    if name not in {"far.json", "alerts.json"}:  # a cache; the dead man's call, which was not asked for anything
        assert f"{name}: Is a directory" in checks["state"]["message"]
        assert "move it away" in checks["state"]["remedy"] or "move the file away" in checks["state"]["remedy"]


def test_a_clock_that_was_ahead_for_a_while_keeps_nobody_from_hearing(ground: Ground, receiver: Receiver) -> None:
    ahead = datetime.now(UTC) + timedelta(days=300)
    with alerts_file(ground.host).change() as alerts:
        alerts.digest_at = ahead
        alerts.told["planted"] = Told(level=Level.RED, message="planted", since=None, at=ahead)
    record(ground.host, "verify", [Check("planted", Level.RED, "planted")], datetime.now(UTC))
    assert ground.run("watch") == 0
    assert {"RED erp-lab: daily digest", "RED erp-lab: planted"} <= set(receiver.titles())
    receiver.got.clear()
    assert ground.run("watch") == 0
    assert receiver.titles() == []


def test_a_channel_that_never_comes_to_an_end_holds_nobody_up(
    ground: Ground, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(channels, "_PATIENCE", 1.0)
    receiver.dripping = {"first", "alive"}
    assert ground.run("watch") == ExitCode.FAILED  # the digest has no other channel
    assert "AMBER erp-lab: proven-archive" in receiver.titles("second")
    assert [path.split("/")[1] for path in receiver.asked].count("first") == 1
    assert "no answer within 1 s" in capfd.readouterr().err
    assert alerts_file(ground.host).read().ping_error == ""  # it answered: nobody waits for the end of what it says


def test_secrets_that_cannot_be_used_are_a_finding(
    ground: Ground, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    ground.host.notification_secrets.write_bytes(b"first_url: \xff\xfe")
    assert ground.run("watch") == ExitCode.FAILED
    assert "is not valid YAML" in capfd.readouterr().err
    ground.run("status", "--output", "json")
    checks = {check["name"]: check for check in json.loads(capfd.readouterr().out)["checks"]}
    assert (checks["notify-first"]["level"], checks["dead-man"]["level"]) == ("red", "amber")
    assert receiver.got == []


def test_secrets_that_others_could_read_are_refused(ground: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    ground.host.notification_secrets.chmod(0o640)
    assert ground.run("notify", "test") == ExitCode.CONFIG
    assert "can be read by others" in capfd.readouterr().err


def test_the_jobs_wrapper_tells_when_a_job_fails(
    ground: Ground, receiver: Receiver, render_job: Callable[..., Path]
) -> None:
    """The real script of the role, with the real pgdr."""
    script = render_job(ground, log=ground.config.with_name("cron.log"))
    failing = ["/bin/sh", "-c", "echo disk full; echo '100 % used'; exit 3"]
    done = subprocess.run([str(script), "backup-full", *failing], check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert receiver.titles() == ["RED erp-lab: job backup-full failed"]
    assert "disk full" in receiver.got[0][1]["message"]
    assert subprocess.run([str(script), "backup-incremental", "/bin/sh", "-c", "exit 6"], check=False).returncode == 6
    assert subprocess.run([str(script), "verify", "/bin/true"], check=False).returncode == 0
    assert len(receiver.titles()) == 1


@pytest.fixture
def render_job(tmp_path: Path) -> Callable[..., Path]:
    from jinja2 import Environment, FileSystemLoader  # noqa: PLC0415

    folder = _POLICY.parents[4] / "roles" / "backup_schedule" / "templates"

    def render(ground: Ground, log: Path) -> Path:
        environment = Environment(loader=FileSystemLoader(folder), autoescape=False)  # noqa: S701 - a shell script
        environment.filters["comment"] = lambda text: f"# {text}"
        pgdr = Path(sys.executable).with_name("pgdr")
        command = f"{pgdr} --config {ground.config} notify job --policy {ground.policy}"
        text = environment.get_template("erp-backup-job.sh.j2").render(
            ansible_managed="test", backup_schedule_log_file=str(log), backup_schedule_alert_command=command
        )
        script = tmp_path / "erp-backup-job"
        script.write_text(text)
        script.chmod(0o755)
        return script

    return render
