"""This host's clock against the date in the answers of an object store."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from lab import tls
from pgdr.cli.main import main
from pgdr.errors import ExitCode
from pgdr.health import Level
from pgdr.hostconfig import HostConfig
from pgdr.lookout import clock
from pgdr.proof.look import now

_CONFIG = """[global]
repo1-path=/backups
repo2-type=s3
repo2-s3-endpoint=127.0.0.1
repo2-storage-port={port}
"""


class _Store(BaseHTTPRequestHandler):
    """Refuses, as S3 refuses who does not sign; the date is in the answer all the same."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostConfig]:
    tls.ensure_authority("test", tmp_path / "ca.pem", tmp_path / "ca.key")
    issued = tls.issue(["s3"], [], certificate=tmp_path / "ca.pem", key_file=tmp_path / "ca.key")
    (tmp_path / "server.pem").write_bytes(issued)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Store) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever).start()
        config = tmp_path / "pgbackrest.conf"
        config.write_text(_CONFIG.format(port=server.server_port))
        yield HostConfig(
            stanza="erp",
            cluster_name="erp-test",
            database="erp",
            postgresql_version=17,
            data_directory=tmp_path,
            bin_directory=tmp_path,
            pgbackrest_config=config,
        )
        server.shutdown()


@pytest.mark.parametrize(
    ("off", "level", "words"),
    [(0, Level.GREEN, "agree"), (-20, Level.RED, "20 min behind"), (20, Level.RED, "20 min ahead of")],
)
def test_a_clock_that_is_off_is_named(
    host: HostConfig, monkeypatch: pytest.MonkeyPatch, off: int, level: Level, words: str
) -> None:
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(minutes=off))
    [check] = clock.look(host)
    assert (check.level, check.key) == (level, "host-clock:2")
    assert words in check.message


def test_a_store_that_does_not_answer_says_nothing(host: HostConfig) -> None:
    host.pgbackrest_config.write_text(_CONFIG.format(port=1))
    assert list(clock.look(host)) == []


def test_nothing_is_removed_by_age_while_the_clock_is_ahead(
    host: HostConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(days=1))
    (tmp_path / "host.yml").write_text(yaml.safe_dump(host.model_dump(mode="json")))
    assert main(["--config", str(tmp_path / "host.yml"), "expire"]) == ExitCode.REFUSED
    _out, err = capfd.readouterr()
    assert "this host's clock is 24.0 h ahead of repository 2's" in err
    assert "nothing was removed" in err
    monkeypatch.setattr(clock, "now", lambda: now() - timedelta(days=1))
    clock.require_not_ahead(host)  # too little is past its time then
