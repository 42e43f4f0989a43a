"""`pgbackrest info` as models, against answers that pgBackRest 2.55.1 gave."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgdr.errors import ExitCode, OperationFailedError, RefusedError, UnreachableError
from pgdr.pgbackrest.info import STATUS_NO_STANZA, StanzaInfo, Status, parse

DATA = Path(__file__).parents[1] / "data" / "pgbackrest"


def _recorded(name: str) -> StanzaInfo:
    return parse((DATA / f"{name}.json").read_text(errors="replace"), "erp")


def test_two_repositories() -> None:
    found = _recorded("info-two-repositories")
    assert [repo.key for repo in found.repo] == [1, 2]
    assert found.status.meaning == "ok"
    assert found.labels(2) == {"20261122-085130F", "20261122-085130F_20261122-085156I"}
    assert {backup.repository for backup in found.backups()} == {1, 2}
    stops = [backup.timestamp.stop for backup in found.backups()]
    assert stops == sorted(stops)
    incremental = found.find("20261122-085130F_20261122-085156I")
    assert incremental is not None
    assert incremental.type == "incr"
    assert incremental.prior == "20261122-085130F"
    assert incremental.reference == ("20261122-085130F",)
    assert incremental.stopped == datetime(2026, 11, 22, 8, 51, 57, tzinfo=UTC)
    assert incremental.lsn.start is not None
    newest = found.newest(2, "full")
    assert newest is not None
    assert newest.label == "20261122-085130F"
    database = found.database(1)
    assert database is not None
    assert (database.version, database.system_id) == ("17", 7710915799605326240)
    archive = found.current_archive(2)
    assert archive is not None
    assert archive.id == "17-1"
    assert archive.max is not None


def test_page_checksum_errors_show() -> None:
    """pgBackRest ended with status 0 when it took this one."""
    found = _recorded("info-page-error")
    assert [backup.label for backup in found.backup if backup.error] == ["20261122-085215F"]
    detailed = _recorded("info-set-page-error").find("20261122-085215F")
    assert detailed is not None
    assert detailed.error_list == ("base/5/16393",)
    assert detailed.tablespace is not None
    assert detailed.tablespace[0].destination == "/tmp/ts1"  # noqa: S108 - recorded
    assert detailed.databases is not None
    assert detailed.databases[0].name == "postgres"


def test_a_running_backup_shows_how_far_it_is() -> None:
    lock = _recorded("info-backup-running").status.lock.backup
    assert lock.held
    assert lock.percent == pytest.approx(16.64, abs=0.01)
    assert _recorded("info-two-repositories").status.lock.backup.percent is None


def test_an_unreachable_repository_hides_behind_a_good_one() -> None:
    found = _recorded("info-unreachable")
    first, second = found.repository(1), found.repository(2)
    assert first is not None
    assert first.status.code == 0
    assert second is not None
    assert "host did not answer" in second.status.meaning
    error = second.status.as_error("backup to repository 2")
    assert isinstance(error, UnreachableError)
    assert error.exit_code is ExitCode.UNREACHABLE
    assert "Connection refused" in error.message
    assert "retries" not in error.message


def test_a_wrong_passphrase_is_named_and_its_noise_is_not_shown() -> None:
    second = _recorded("info-wrong-passphrase").repository(2)
    assert second is not None
    error = second.status.as_error("restore")
    assert isinstance(error, RefusedError)
    assert "passphrase is wrong" in str(error)
    assert "/cloud/pgbackrest/backup/erp/backup.info" in str(error)
    assert str(error).isprintable()


def test_a_stanza_that_does_not_exist() -> None:
    error = parse("[]", "erp").status.as_error("info")
    assert isinstance(error, RefusedError)
    assert "does not exist" in error.message
    # A disk that is not mounted looks like that: a new stanza below its mount point would be the wrong cure.
    assert error.remedy.startswith("is its disk mounted? ")
    assert Status(code=2).as_error("info").remedy == "take a full backup"
    assert parse('[{"name":"other","status":{"code":0}}]', "erp").status.code == STATUS_NO_STANZA


def test_unknown_keys_and_missing_ones_do_no_harm() -> None:
    """Newer versions add keys; older ones have no lsn, no error, no lock sizes."""
    document = json.loads((DATA / "info-two-repositories.json").read_text())
    stanza = document[0]
    stanza["brand-new"] = stanza["status"]["brand-new"] = {"x": 1}
    for backup in stanza["backup"]:
        backup["brand-new"] = True
        del backup["lsn"], backup["error"]
    del stanza["status"]["lock"]
    found = parse(json.dumps(document), "erp")
    assert len(found.backup) == len(stanza["backup"])
    assert not any(backup.error for backup in found.backup)


@pytest.mark.parametrize("text", ["", "no json", "{}", "null", '[{"name":"erp"}]', "[1]"])
def test_what_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(OperationFailedError, match="not understood"):
        parse(text, "erp")
