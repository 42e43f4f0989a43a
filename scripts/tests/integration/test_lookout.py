"""What endangers a recovery from elsewhere: a copy that lags, a kit that does not open, certificates, slots, standbys.

moto plays S3; certificates are real ones on a real TLS server, slots are those of a real PostgreSQL.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from pgdr import metrics
from pgdr.health import Check, Level
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.lookout import certificates, escrow, far, keys, replication, standbys
from pgdr.pgbackrest.repositories import AccessKey
from pgdr.policy.load import load_policy
from pgdr.policy.model import Policy
from pgdr.proof.findings import Findings, findings_file, record
from pgdr.status.report import status

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster, Site

ROOT = Path(__file__).parents[3]
BUCKET, REPLICA = "erp-generic-backups-prod", "erp-generic-backups-prod-replica"
WAL = "pgbackrest/archive/erp/16-1/"
PASSPHRASE = "the passphrase in escrow"  # noqa: S105 - of a kit made here
NOW = datetime.now(UTC)


@pytest.fixture
def policy() -> Policy:
    return load_policy(ROOT / "inventories/production/group_vars/all/policy.yml")


@pytest.fixture
def host(tmp_path: Path) -> HostConfig:
    (tmp_path / "state").mkdir()
    (tmp_path / "etc").mkdir()
    config = tmp_path / "etc" / "pgbackrest.conf"
    config.write_text(
        f"[global]\nrepo2-type=s3\nrepo2-s3-bucket={BUCKET}\nrepo2-s3-endpoint=s3.us-east-1.amazonaws.com\n"
        f"repo2-s3-region=us-east-1\nrepo2-cipher-pass={PASSPHRASE}\n"
    )
    return HostConfig(
        stanza="erp",
        cluster_name="erp-production",
        database="erp",
        postgresql_version=16,
        data_directory=tmp_path,
        bin_directory=tmp_path,
        state_directory=tmp_path / "state",
        socket_directory=tmp_path,
        pgbackrest_config=config,
    )


@pytest.fixture
def s3(aws: None) -> Any:
    """Bucket and copy."""
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.create_bucket(Bucket=REPLICA, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return client


def _wal(s3: Any, number: int, *, copied: bool = True) -> str:
    name = f"{1:08X}{number // 256:08X}{number % 256:08X}"
    key = f"{WAL}{name[:16]}/{name}-0f3c9a1be2d45c770f3c9a1be2d45c770f3c9a1b.zst"
    for bucket in (BUCKET, REPLICA) if copied else (BUCKET,):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    return key


def _judged(host: HostConfig, policy: Policy, later: float = 0.0) -> Check:
    [repository] = policy.s3_repositories
    lag = replication.measure(host, policy, repository)
    assert lag is not None
    return replication.judge(lag, repository, datetime.now(UTC) + timedelta(seconds=later))


def test_a_copy_that_lags_is_amber_then_red_and_green_when_it_has_caught_up(
    host: HostConfig, policy: Policy, s3: Any
) -> None:
    assert _judged(host, policy).level is Level.GREEN  # nothing was archived yet
    for number in range(250, 260):
        _wal(s3, number)
    assert _judged(host, policy, 10_000).level is Level.GREEN
    first = _wal(s3, 260, copied=False)
    _wal(s3, 261, copied=False)
    assert [_judged(host, policy, seconds).level for seconds in (60, 360, 660)] == ["green", "amber", "red"]
    found = _judged(host, policy, 660)
    assert f"lacks 2 WAL objects, {first.rpartition('/')[2]} for 11 min" in found.message
    assert found.since is not None
    assert found.key == "replication:2"
    assert "get-bucket-replication" in found.remedy
    for number in (260, 261):
        _wal(s3, number)
    assert _judged(host, policy, 10_000).level is Level.GREEN


def test_a_copy_that_stopped_folders_ago_counts_from_there(host: HostConfig, policy: Policy, s3: Any) -> None:
    _wal(s3, 10)
    oldest = _wal(s3, 20, copied=False)
    for number in (300, 600, 900):
        _wal(s3, number, copied=False)
    found = _judged(host, policy, 660)
    assert f"lacks 4 WAL objects, {oldest.rpartition('/')[2]}" in found.message


def test_a_copy_that_cannot_be_asked_is_amber(host: HostConfig, policy: Policy, s3: Any) -> None:
    _wal(s3, 1)
    for item in s3.list_objects_v2(Bucket=REPLICA)["Contents"]:
        s3.delete_object(Bucket=REPLICA, Key=item["Key"])
    s3.delete_bucket(Bucket=REPLICA)
    checks = {check.key: check for check in far.look(host, policy, NOW)}
    found = checks["replication:2"]
    assert (found.level, "nobody knows how far the copy" in found.message) == ("amber", True)


def test_a_host_that_works_with_the_copy_has_no_copy_of_it(host: HostConfig, policy: Policy, s3: Any) -> None:
    """After a recovery from the replica."""
    text = host.pgbackrest_config.read_text().replace(BUCKET, REPLICA).replace("us-east-1", "us-west-2")
    host.pgbackrest_config.write_text(text)
    assert replication.measure(host, policy, policy.s3_repositories[0]) is None


@cache
def _sealed(secret: str) -> bytes:
    """What playbooks/kit.yml makes of the secrets."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(secret)
        file.flush()
        argv = [str(Path(sys.executable).with_name("ansible-vault")), "encrypt", f"--vault-password-file={file.name}"]
        return subprocess.run(argv, check=True, capture_output=True, input=b"a: secret\n").stdout


def _kit(
    s3: Any, secret: str = PASSPHRASE, buckets: tuple[str, ...] = (BUCKET, REPLICA), name: str = "secrets.yml"
) -> None:
    sealed = _sealed(secret)
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as kit:
        for path, content in (("manifest.json", b"{}"), (name, sealed), ("wheelhouse/all.tar", b"x" * 100_000)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            kit.addfile(entry, io.BytesIO(content))
    for bucket in buckets:
        s3.put_object(Bucket=bucket, Key="kit/erp/kit.tar", Body=body.getvalue())


def test_a_kit_that_todays_passphrase_opens_is_green_and_read_once(
    host: HostConfig, policy: Policy, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kit(s3)
    check, tried = escrow.check(host, policy, "")
    assert (check.level, "and the passphrase opens it" in check.message) == ("green", True)
    monkeypatch.setattr(escrow, "_opens", lambda *_: pytest.fail("the same kit was read again"))
    assert escrow.check(host, policy, tried)[0].level is Level.GREEN


@pytest.mark.parametrize(
    ("make", "level", "said"),
    [
        (lambda s3: None, "amber", "there is no recovery kit in s3://"),
        (lambda s3: _kit(s3, "the one before"), "red", "does not open with the repository's passphrase"),
        (lambda s3: _kit(s3, buckets=(BUCKET,)), "amber", f"not in its copy s3://{REPLICA}"),
        (lambda s3: _kit(s3, name="other.yml"), "amber", "holds no secrets.yml"),
    ],
)
def test_a_kit_that_would_not_help_is_said(
    host: HostConfig, policy: Policy, s3: Any, make: Callable[[Any], None], level: str, said: str
) -> None:
    make(s3)
    [found] = [check for check in far.look(host, policy, NOW) if check.name == "escrow"]
    assert (found.level, said in found.message) == (level, True), found
    assert "kit.yml" in found.remedy


def test_a_passphrase_that_was_changed_without_a_new_kit_is_red(host: HostConfig, policy: Policy, s3: Any) -> None:
    _kit(s3)
    _check, tried = escrow.check(host, policy, "")
    host.pgbackrest_config.write_text(host.pgbackrest_config.read_text().replace(PASSPHRASE, "another"))
    assert escrow.check(host, policy, tried)[0].level is Level.RED


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[Callable[[int], int]]:
    """A TLS server with a certificate that is good for so many days; returns its port."""
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def make(days: int) -> int:
        until = datetime.now(UTC) + timedelta(days=days)
        begin = min(datetime.now(UTC), until) - timedelta(days=1)
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        argv += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
        argv += ["-addext", "subjectAltName=DNS:localhost", "-days", str(max(days, 1))]
        subprocess.run(argv, check=True, capture_output=True)
        if days < 0:
            # Older versions of openssl req cannot date back: sign the same key again.
            request = tmp_path / "server.csr"
            subprocess.run(
                ["openssl", "x509", "-x509toreq", "-in", str(certificate), "-signkey", str(key), "-out", str(request)],  # noqa: S607
                check=True,
                capture_output=True,
            )
            _sign(tmp_path, request, key, certificate, begin, until)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        def serve() -> None:
            while not stopped.is_set():
                try:
                    plain, _address = listener.accept()
                    with context.wrap_socket(plain, server_side=True):
                        pass
                except (OSError, ssl.SSLError):
                    continue

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield make
    stopped.set()
    listener.close()


def _sign(folder: Path, request: Path, key: Path, certificate: Path, begin: datetime, until: datetime) -> None:
    config = folder / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\nnew_certs_dir={folder}\nserial={folder}/serial\n"
        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    argv = ["openssl", "ca", "-batch", "-config", str(config), "-selfsign", "-keyfile", str(key), "-in", str(request)]
    argv += ["-out", str(certificate), "-notext", "-startdate", f"{begin:%y%m%d%H%M%SZ}", "-enddate"]
    subprocess.run([*argv, f"{until:%y%m%d%H%M%SZ}"], check=True, capture_output=True)


def _endpoint(policy: Policy, port: int, authority: Path | None) -> Policy:
    [repository] = policy.s3_repositories
    changed = {"endpoint": "localhost", "port": port, "uri_style": "path", "replica": None, "ca_file": str(authority)}
    other = [one for one in policy.repositories if one.id != repository.id]
    return policy.model_copy(update={"repositories": [*other, repository.model_copy(update=changed)]})


@pytest.mark.parametrize(
    ("days", "level", "said"),
    [
        (30, "green", "expires"),
        (10, "amber", ", in 10.0 days"),
        (2, "red", ", in 2.0 days"),
        (-1, "red", "is not accepted: certificate has expired"),
    ],
)
def test_a_certificate_is_told_ahead_of_time(
    host: HostConfig, policy: Policy, tmp_path: Path, certified: Callable[[int], int], days: int, level: str, said: str
) -> None:
    near = _endpoint(policy, certified(days), tmp_path / "server.pem")
    checks = {one.name: certificates.judge(one, NOW) for one in certificates.look(host, near)}
    assert (checks["certificate"].level, said in checks["certificate"].message) == (level, True), checks
    assert "localhost:" in checks["certificate"].message
    # The authority is the same file here.
    assert checks["certificate-authority"].level == (level if days > 0 else "red")


def test_a_server_that_shows_no_certificate_is_amber(host: HostConfig, policy: Policy, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    near = _endpoint(policy, port, tmp_path / "nothing.pem")
    checks = {one.name: certificates.judge(one, NOW) for one in certificates.look(host, near)}
    assert {check.level for check in checks.values()} == {"amber"}
    assert "could not be looked at" in checks["certificate-authority"].message


def _write_keys(host: HostConfig, own: str, reader: str) -> None:
    folder = host.pgbackrest_config.parent
    (folder / "conf.d").mkdir(exist_ok=True)
    for path, key in ((folder / "conf.d" / "credentials.conf", own), (folder / "reader-credentials.conf", reader)):
        path.write_text(f"[global]\nrepo2-s3-key={key}\nrepo2-s3-key-secret=secret of {key}\n")


def test_a_stored_key_is_told_ahead_of_time_and_another_one_begins_anew(host: HostConfig, policy: Policy) -> None:
    """Every run of the role writes the files anew: only another key is younger."""

    def ages(days: float) -> dict[str, Check]:
        now = NOW + timedelta(days=days)
        return {check.name: check for check in (keys.judge(key, policy, now) for key in keys.look(host, policy, now))}

    _write_keys(host, "first", "reader")
    assert {check.level for check in ages(0).values()} == {"green"}
    _write_keys(host, "first", "reader")
    assert [ages(days)["key-age"].level for days in (75.9, 76.1, 89.9, 90.1)] == ["green", "amber", "amber", "red"]
    found = ages(91)["key-age"]
    assert "the host's key of repository 2 is in use since" in found.message
    assert found.key == "key-age:2"
    assert "A key is due" in found.remedy
    _write_keys(host, "second", "reader")
    rotated = ages(91)
    assert (rotated["key-age"].level, rotated["key-age-reader"].level) == ("green", "red")
    entries = Journal(host.journal_path, host.cluster_name).entries()
    (entry,) = [entry for entry in entries if entry.operation == "key changed"]
    assert entry.details == {"key": "the host's key of repository 2", "days_in_use": 91}
    noted = (host.state_directory / "keys.json").read_text()
    assert not [word for word in ("first", "second", "secret of") if word in noted]


def test_keys_of_a_role_and_of_a_session_have_no_age_here(host: HostConfig, policy: Policy) -> None:
    assert keys.look(host, policy, NOW) == []
    folder = host.pgbackrest_config.parent
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "session.conf").write_text(
        "[global]\nrepo2-s3-key=a\nrepo2-s3-key-secret=b\nrepo2-s3-token=c\n"
    )
    assert keys.look(host, policy, NOW) == []


def test_a_slot_that_nobody_reads_from_is_said_before_the_disk_is_full(
    pg16: Cluster, policy: Policy, tmp_path: Path
) -> None:
    host = pg16.host(tmp_path)
    wal = policy.wal.model_copy(update={"keep_size": type(policy.wal.keep_size).parse("16MiB")})
    small = policy.model_copy(update={"wal": wal})

    def found() -> dict[str, Check]:
        readers = standbys.ask(host)
        assert readers is not None
        return {check.name: check for check in standbys.judge(readers, small, NOW, Findings())}

    assert found() == {}
    pg16.execute("checkpoint")  # a slot keeps WAL from the last one on
    pg16.execute("select pg_create_physical_replication_slot('old', true)")
    try:
        assert found()["replication-slots"].level is Level.GREEN
        for _ in range(3):
            pg16.execute("select pg_create_restore_point('x'), pg_switch_wal()")
        check = found()["slot-old"]
        assert (check.level, "of WAL" in check.message, "nobody reads from it" in check.message) == (
            "amber",
            True,
            True,
        )
        assert "select pg_drop_replication_slot('old')" in check.remedy
    finally:
        pg16.execute("select pg_drop_replication_slot('old')")
    assert found() == {}


@pytest.mark.parametrize(
    ("slot", "level"),
    [
        (standbys.Slot("s", True, "reserved", 2**20), "green"),
        (standbys.Slot("s", True, "extended", 5 * 2**30), "amber"),
        (standbys.Slot("s", False, "extended", 50 * 2**30), "red"),
        (standbys.Slot("s", False, "unreserved", 5 * 2**30), "red"),
        (standbys.Slot("s", False, "lost", 0), "red"),
    ],
)
def test_slots(slot: standbys.Slot, level: str, policy: Policy) -> None:
    readers = standbys.Readers(slots=(slot,), free_bytes=20 * 2**30)
    [check] = standbys.judge(readers, policy, NOW, Findings())
    assert check.level == level


def test_a_standby_that_stands_still_turns_red_though_it_reports_no_lag(host: HostConfig, policy: Policy) -> None:
    """What it has not replayed grows, and the time that PostgreSQL reports is that of the last change it did."""

    def at(minutes: int, amount: int, seconds: float | None = 0.1) -> str:
        moment = NOW + timedelta(minutes=minutes)
        readers = standbys.Readers((standbys.Standby("b", "10.0.0.2", "streaming", amount, seconds),))
        checks = list(standbys.judge(readers, policy, moment, findings_file(host).read()))
        record(host, "status", checks, moment)
        return str(checks[0].level)

    assert [at(0, 2**20), at(5, 2 * 2**30), at(10, 3 * 2**30), at(21, 4 * 2**30)] == ["green", "amber", "amber", "red"]
    assert [at(25, 0), at(30, 0, 400.0), at(31, 0, 1000.0)] == ["green", "amber", "red"]


def test_the_status_knows_what_the_last_look_found(
    site: Site, tmp_path: Path, policy: Policy, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.host(tmp_path)
    monkeypatch.setattr(certificates, "look", lambda *_: 1 / 0)  # a bug in one look
    monkeypatch.setattr(keys, "reader_key", lambda *_: AccessKey("reader", "its secret"))
    _wal(s3, 1)
    _wal(s3, 2, copied=False)
    far.look(host, policy, datetime.now(UTC) + timedelta(minutes=11))
    found = status(host, policy)
    checks = {check.key: check for check in found.checks}
    assert checks["replication:2"].level is Level.RED
    assert checks["far-look-certificates"].level is Level.AMBER
    assert found.far.lag[2] == pytest.approx(660, abs=10)
    written = metrics.text(found)
    assert re.search(r'pgdr_replication_lag_seconds\{cluster="[^"]+",repository="2"\} 6\d\d', written)
    assert re.search(r'pgdr_check_level\{check="replication",[^}]*repository="2"\} 2.0', written)
    assert checks["key-age-reader:2"].level is Level.GREEN
    due = re.search(r'pgdr_key_due_time_seconds\{[^}]*what="the reader\'s key of repository 2"\} ([\d.e+]+)', written)
    assert due
    assert float(due[1]) == pytest.approx(found.facts.now.timestamp() + 90 * 86_400, abs=3600)
    assert re.search(r"pgdr_key_warning_seconds\{[^}]*\} 1.2096e\+06", written)
    # A look that is old is said, and what it found stays.
    far.look(host, policy, datetime.now(UTC) - timedelta(hours=2))
    assert "were last looked at 2.0 h ago" in {c.key: c for c in status(host, policy).checks}["far-look"].message
