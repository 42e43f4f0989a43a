"""Copies of a host's configuration: nothing secret in them, and a difference is found."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from scripts.tests.integration.archive.conftest import Site


@pytest.fixture
def site(site: Site, tmp_path: Path) -> Site:
    """A site whose pgBackRest has a configuration with secrets."""
    etc = tmp_path / "pgbackrest"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "pgbackrest.conf").write_text("[global]\nrepo1-path=/backups\nrepo1-cipher-pass=planted-one\n")
    (etc / "conf.d" / "credentials.conf").write_text("[global]\nrepo2-s3-key-secret=planted-two\n")
    host = yaml.safe_load((tmp_path / "host.yml").read_text())
    host["pgbackrest_config"] = str(etc / "pgbackrest.conf")
    (tmp_path / "host.yml").write_text(yaml.safe_dump(host))
    return site


def test_copy_holds_files_and_no_secret_and_shows_what_has_changed(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = site.ask("config-backup")
    with tarfile.open(made["path"]) as tar:
        names = tar.getnames()
        texts = b"".join(file.read() for name in names if (file := tar.extractfile(name)))
    assert str(site.cluster.data / "postgresql.auto.conf").lstrip("/") in names
    assert b"repo1-path=/backups" in texts
    assert b"planted" not in texts
    assert b"credentials.conf" in texts
    assert Path(made["path"]).stat().st_mode & 0o077 == 0
    assert site.ask("config-backup", "--if-changed")["label"] is None
    assert site.run("config-backup", "diff") == 0
    config = tmp_path / "pgbackrest" / "pgbackrest.conf"
    config.write_text(config.read_text().replace("/backups", "/elsewhere"))
    capfd.readouterr()
    assert site.run("config-backup", "diff") == 5
    out = capfd.readouterr().out
    assert "-repo1-path=/backups" in out
    assert "+repo1-path=/elsewhere" in out
    assert any("/elsewhere" in line for line in site.ask("config-backup", "--if-changed")["changes"])


def test_certificate_is_known_by_its_fingerprint_and_a_key_only_by_name(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "pgbackrest"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=db1", "-days", "2"),
            *("-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")),
        ],
        check=True,
        capture_output=True,
    )
    made = site.ask("config-backup")
    with tarfile.open(made["path"]) as tar:
        index = tar.extractfile("index.json")
        assert index is not None
        notes = {path: facts["note"] for path, facts in yaml.safe_load(index.read()).items()}
    assert notes[str(folder / "server.crt")].startswith("certificate, sha256 ")
    assert notes[str(folder / "server.key")] == "holds secrets: its content is not kept"


def test_damaged_copy_is_refused_and_retention_keeps_the_newest(site: Site) -> None:
    made = site.ask("config-backup")
    old = Path(made["path"]).with_name("20200101_000000.tar.gz")
    Path(made["path"]).rename(old)
    # The only one stays, however old; the next one lets it go.
    assert site.ask("config-backup", "--if-changed")["expired"] == []
    newest = Path(site.ask("config-backup")["path"])
    assert not old.exists()
    newest.write_bytes(newest.read_bytes()[:-30])
    assert "is damaged" in site.refused("config-backup", "diff", code=5)
