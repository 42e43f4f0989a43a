"""`pgdr verify` against the real pgBackRest: every fault is put into the repository, not into a mock."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pgdr.backup import back_up
from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.pgbackrest.client import PgBackRest
from pgdr.proof import look, usual
from pgdr.proof import verify as verify_module
from pgdr.proof.marks import marks_file

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Site

_POLICY = Path(__file__).resolve().parents[3] / "inventories" / "lab" / "group_vars" / "all" / "policy.yml"
Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def backed_up(made_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two fulls, an increment of each, and WAL between and after them, in both repositories."""
    host = made_site.host(tmp_path_factory.mktemp("state"))
    for kind in ("full", "incr", "full", "incr"):
        made_site.cluster.execute("insert into t select g, md5(g::text) from generate_series(1, 3000) g")
        for repository in (1, 2):
            PgBackRest(host).backup(kind, repository)
        made_site.cluster.execute("select pg_create_restore_point('between'), pg_switch_wal()")
    PgBackRest(host).check()
    return made_site


@pytest.fixture
def site(backed_up: Site) -> Iterator[Site]:
    """The site as it was; what a test breaks is put right after it."""
    backed_up.configure()
    repository, saved = backed_up.folder / "repo1", backed_up.folder / "saved"
    # With owners: the archiver works all the time, and gives itself a minute after three failures.
    subprocess.run(["/bin/cp", "-a", str(repository), str(saved)], check=True)
    yield backed_up
    backed_up.configure()
    # The server has gone on: WAL that came since stays.
    shutil.rmtree(repository / "backup")
    subprocess.run(["/bin/cp", "-a", f"{saved}/.", str(repository)], check=True)
    shutil.rmtree(saved)


@pytest.fixture
def verify(host: HostConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Verify:
    """Run the command and return its exit code and its document."""
    config = tmp_path / "host.yml"
    config.write_text(yaml.safe_dump(host.model_dump(mode="json")))

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        command = ["--config", str(config), "verify", "--no-archives", "--policy", str(_POLICY), "--output", "json"]
        command += arguments
        code = main(command)
        out, err = capfd.readouterr()
        document: dict[str, Any] = json.loads(out) if out else {}
        document["stderr"] = err
        return code, document

    return run


def _red(document: dict[str, Any], repository: int = 1) -> dict[str, str]:
    [found] = [item for item in document["repositories"] if item["key"] == repository]
    return {check["name"]: check["text"] for check in found["checks"] if check["level"] == "red"}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _segments(site: Site) -> list[Path]:
    return sorted((site.folder / "repo1" / "archive").rglob("0000000100000000000000??-*"))


def test_what_is_whole_is_marked_and_recorded(site: Site, host: HostConfig, verify: Verify) -> None:
    code, document = verify()
    assert (code, document["level"], _red(document, 1), _red(document, 2)) == (0, "green", {}, {})
    labels = PgBackRest(host).info().labels(1)
    marks = marks_file(host).read()
    assert set(document["repositories"][0]["verified"]) == labels == set(marks.sets[1])
    assert all(mark.verified for mark in marks.sets[1].values())
    entries = [e for e in Journal(host.journal_path).entries() if e.operation == "verify"]
    assert [(e.result, e.details["repository"]) for e in entries] == [("ok", 1), ("ok", 2)]
    assert document["full_backups"] == []


def test_a_flipped_bit_in_a_bundle_damages_the_set_and_what_builds_on_it(
    site: Site, host: HostConfig, verify: Verify
) -> None:
    verify()
    fulls = [b.label for b in PgBackRest(host).info(1).backups(1) if b.type == "full"]
    bundle = max((site.folder / "repo1/backup/erp" / fulls[0] / "bundle").iterdir(), key=lambda p: p.stat().st_size)
    _flip(bundle)
    code, document = verify()
    assert code == ExitCode.NOT_PROVEN
    assert set(_red(document)) == {"sets"}
    assert f"backup {fulls[0]} and 1 more: 1 of" in _red(document)["sets"]
    assert "invalid checksum" in _red(document)["sets"]
    assert _red(document, 2) == {}
    [repository, _] = document["repositories"]
    increment = next(label for label in repository["damaged"] if label != fulls[0])
    assert repository["damaged"][increment] == f"builds on {fulls[0]}, which is damaged"
    assert fulls[1] in repository["verified"]
    assert marks_file(host).read().of(1, fulls[0]).verified is None
    assert "pgdr: error: repository 1: backup" in document["stderr"]
    assert Journal(host.journal_path).verify().problem is None


def test_a_backup_whose_folder_is_gone_is_noticed(site: Site, host: HostConfig, verify: Verify) -> None:
    newest = PgBackRest(host).info(1).backups(1)[-1].label
    shutil.rmtree(site.folder / "repo1/backup/erp" / newest)
    code, document = verify()
    assert code == ExitCode.NOT_PROVEN
    assert "its files are gone" in _red(document)["sets"]
    assert "the newest among them" in _red(document)["sets"]


def test_a_deleted_segment_is_named_and_a_full_backup_makes_the_future_recoverable(
    site: Site, host: HostConfig, verify: Verify
) -> None:
    gone = _segments(site)[-2]
    gone.unlink()
    code, document = verify("--no-repair")
    assert code == ExitCode.NOT_PROVEN
    assert f"WAL segment {gone.name[:24]} is missing" in _red(document)["wal-hole"]
    assert "pgdr backup full --repo 1" in _red(document)["wal-hole"]
    assert document["full_backups"] == []
    _, document = verify("--repo", "1")
    assert "taking a full backup" in document["stderr"]
    assert "failed" not in document["stderr"]
    [label] = document["full_backups"]
    assert label in PgBackRest(host).info(1).labels(1)
    code, document = verify("--repo", "1")
    assert (code, document["level"]) == (0, "amber")
    assert document["full_backups"] == []
    PgBackRest(host).check()


def test_a_hole_between_old_backups_is_amber_and_a_backups_own_segment_is_red(
    site: Site, host: HostConfig, verify: Verify
) -> None:
    first = PgBackRest(host).info(1).backups(1)[0]
    own = {str(b.archive.start) for b in PgBackRest(host).info(1).backups(1)}
    own |= {str(b.archive.stop) for b in PgBackRest(host).info(1).backups(1)}
    between = next(
        path for path in _segments(site) if path.name[:24] not in own and path.name[:24] > str(first.archive.stop)
    )
    between.unlink()
    code, document = verify()
    assert (code, document["level"], document["full_backups"]) == (0, "amber", [])
    next(path for path in _segments(site) if path.name.startswith(str(first.archive.stop))).unlink()
    code, document = verify()
    assert code == ExitCode.NOT_PROVEN
    assert f"lacks WAL segment {first.archive.stop} of its own" in _red(document)["backup-wal"]
    assert first.label not in document["repositories"][0]["verified"]


def test_a_damaged_segment_is_found(site: Site, verify: Verify) -> None:
    damaged = _segments(site)[-1]
    _flip(damaged)
    code, document = verify()
    assert code == ExitCode.NOT_PROVEN
    assert damaged.name[:24] in _red(document)["wal-content"]


def test_one_truncated_index_is_red_while_everything_still_works(site: Site, verify: Verify) -> None:
    index = site.folder / "repo1/backup/erp/backup.info"
    index.write_bytes(index.read_bytes()[:100])
    code, document = verify()
    assert code == ExitCode.NOT_PROVEN
    assert set(_red(document)) == {"backup-info"}
    assert "backup/erp/backup.info is damaged or missing" in _red(document)["backup-info"]
    (site.folder / "repo1/backup/erp/backup.info.copy").write_bytes(b"")
    code, document = verify()
    assert code != 0
    assert "cannot be read" in _red(document)["repository"]


def test_a_wrong_passphrase_is_red_and_not_shown(site: Site, host: HostConfig, verify: Verify) -> None:
    site.configure(secrets=("planted-wrong", site.secrets[1]))
    code, document = verify()
    assert code == ExitCode.REFUSED
    assert "cannot be read" in _red(document)["repository"]
    assert "passphrase" in _red(document)["repository"]
    assert "planted" not in json.dumps(document) + host.journal_path.read_text()
    assert _red(document, 2) == {}


def test_a_repository_that_is_gone_does_not_hide_the_other(site: Site, verify: Verify) -> None:
    (site.folder / "repo1").rename(site.folder / "elsewhere")
    try:
        code, document = verify()
    finally:
        (site.folder / "elsewhere").rename(site.folder / "repo1")
    assert code != 0
    assert "repository" in _red(document)
    assert document["repositories"][1]["level"] == "green"


def test_archiving_that_reports_success_and_stores_nothing(site: Site, verify: Verify) -> None:
    command = site.cluster.value("show archive_command")
    site.cluster.configure({"archive_command": "'/bin/true'"})
    site.cluster.execute("select pg_reload_conf(), pg_sleep(0.5)")
    try:
        site.cluster.execute("select pg_create_restore_point('lost'), pg_switch_wal(), pg_sleep(1)")
        code, document = verify("--no-repair")
    finally:
        site.cluster.configure({"archive_command": f"'{command}'"})
        site.cluster.execute("select pg_reload_conf(), pg_sleep(0.5)")
    assert code == ExitCode.NOT_PROVEN
    assert "reports success without storing" in _red(document, 1)["wal-claimed"]
    assert "reports success without storing" in _red(document, 2)["wal-claimed"]
    _, document = verify()
    assert len(document["full_backups"]) == 2, document["stderr"]
    code, document = verify()
    assert (code, _red(document, 1), _red(document, 2)) == (0, {}, {})


def test_an_old_backup_is_red_since_it_was_made(
    site: Site, host: HostConfig, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = look.now() + timedelta(hours=31)
    monkeypatch.setattr(verify_module, "now", lambda: later)
    code, document = verify("--repo", "2")
    assert code == ExitCode.NOT_PROVEN
    assert set(_red(document, 2)) == {"full-age", "backup-age"}
    newest = PgBackRest(host).info(2).newest(2)
    assert newest is not None
    [check] = [c for c in document["repositories"][0]["checks"] if c["name"] == "backup-age"]
    assert datetime.fromisoformat(check["since"]) == newest.stopped
    monkeypatch.setattr(verify_module, "now", lambda: look.now() - timedelta(hours=1))
    _, document = verify("--repo", "2")
    assert "the clock was set back" in _red(document, 2)["clock"]


def test_a_second_verification_gives_way_and_an_unknown_repository_is_refused(
    site: Site, host: HostConfig, verify: Verify
) -> None:
    from pgdr.locks import operation_lock  # noqa: PLC0415

    with operation_lock(host, "verification", scope=verify_module.SCOPE):
        code, document = verify()
    assert code == ExitCode.BUSY
    assert "verification" in document["stderr"]
    with operation_lock(host, "full backup"):
        assert verify("--repo", "2")[0] == 0
    assert verify("--repo", "7")[0] == ExitCode.REFUSED


def test_a_journal_that_cannot_be_written_does_not_hide_the_result(host: HostConfig, verify: Verify) -> None:
    host.journal_path.mkdir()
    code, document = verify("--repo", "2")
    assert code == ExitCode.CONFIG
    assert _red(document, 2) == {}
    assert [check["name"] for check in document["checks"] if check["level"] == "red"] == ["journal"]
    assert marks_file(host).read().sets[2]


def test_verification_works_while_backups_run(site: Site, host: HostConfig, verify: Verify) -> None:
    assert back_up(host, "incr", repository=2).exit_code is ExitCode.OK
    code, document = verify("--repo", "2")
    assert (code, _red(document, 2)) == (0, {})


def test_sizes_that_are_not_usual(host: HostConfig, site: Site) -> None:
    template = PgBackRest(host).info(2).backups(2)[0]

    def sized(number: int, size: int, delta: int) -> Any:
        info = template.info.model_copy(
            update={"size": size, "repository": template.info.repository.model_copy(update={"delta": delta})}
        )
        return template.model_copy(update={"label": f"{number}F", "info": info})

    habit = [sized(number, 1000 + number, 300) for number in range(5)]
    assert [c.level for c in usual.size_checks([*habit, sized(9, 1100, 330)], 1)] == ["green"]
    [small] = usual.size_checks([*habit, sized(9, 14, 5)], 1)
    assert (small.level, small.name) == ("amber", "full-size")
    assert "1 % of the usual size" in small.message
    [large] = usual.size_checks([*habit, sized(9, 1100, 3000)], 1)
    assert "10.0 times as much of the repository" in large.message
