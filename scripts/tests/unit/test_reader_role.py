"""Keys of the reader's role: taken on with the host's own, renewed ahead of time, one line where that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from moto import mock_aws

from pgdr.errors import ConfigError, OperationFailedError, UnreachableError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.client import PgBackRest
from pgdr.pgbackrest.repositories import AccessKey, access_key
from pgdr.policy.repository import S3Repository
from pgdr.side import reader
from pgdr.side.assumed import AssumedRole
from pgdr.side.model import Means

ROLE = "arn:aws:iam::123456789012:role/erp-side-reader"


@pytest.fixture
def host(tmp_path: Path) -> HostConfig:
    config = tmp_path / "etc" / "pgbackrest.conf"
    (config.parent / "conf.d").mkdir(parents=True)
    config.write_text(
        "[global]\nrepo1-path=/backups\nrepo2-type=s3\nrepo2-s3-bucket=b\nrepo2-s3-key-type=shared\n"
        "[global:restore]\nrepo1-retention-full=1\nio-timeout=60\n[erp]\npg1-path=/data\n"
    )
    (config.parent / "conf.d" / "credentials.conf").write_text(
        "[global]\nrepo1-cipher-pass=local-pass\nrepo2-cipher-pass=cloud-pass\n"
        "repo2-s3-key=own-key\nrepo2-s3-key-secret=own-secret\n"
    )
    return HostConfig(
        stanza="erp",
        cluster_name="erp-test",
        database="erp",
        postgresql_version=17,
        data_directory=Path("/data"),
        bin_directory=Path("/usr/bin"),
        run_directory=tmp_path,
        pgbackrest_config=config,
        policy_path=tmp_path / "policy.yml",
    )


@pytest.fixture
def repository() -> S3Repository:
    return S3Repository.model_validate(
        {
            "id": 2, "type": "s3", "path": "/p", "bucket": "bucket", "region": "us-east-1", "reader_role": ROLE,
            "key_type": "shared", "retention": {"full": "7d"},
        }
    )  # fmt: skip


@pytest.fixture
def aws() -> Iterator[None]:
    with mock_aws():
        yield


class _Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.usefixtures("aws")
def test_keys_are_renewed_before_they_expire(host: HostConfig, repository: S3Repository) -> None:
    clock = _Clock()
    role = AssumedRole(host, repository, "pgdr-side-past", clock)
    first = role.key()
    assert first.token
    assert first.key != "own-key"
    clock.now += timedelta(minutes=40)
    assert role.key() == first
    clock.now += timedelta(minutes=6)  # a quarter of an hour is left
    assert role.key() != first


def test_a_host_without_any_key_of_its_own_is_told_what_it_lacks(
    host: HostConfig, repository: S3Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.pgbackrest_config.parent / "conf.d" / "credentials.conf").unlink()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(ConfigError, match="no key and no role of its own"):
        AssumedRole(host, repository, "pgdr-side-past")


def test_a_server_that_does_not_answer_is_one_line(host: HostConfig, repository: S3Repository) -> None:
    changed = repository.model_copy(update={"endpoint": "127.0.0.1", "port": 9})
    with pytest.raises(UnreachableError, match="could not be taken on"):
        AssumedRole(host, changed, "pgdr-side-past").key()


def test_the_configuration_holds_one_repository_and_the_readers_key(
    host: HostConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_EVERY_SECONDS", "_AFTER_FAILURE_SECONDS"):
        monkeypatch.setattr(reader, name, 0.0)
    keys = host.pgbackrest_config.parent / "reader-credentials.conf"
    keys.write_text("[global]\nrepo2-s3-key=reader\nrepo2-s3-key-secret=its-secret\n")
    client = PgBackRest(host)
    assert reader.means_of(client, 2) is Means.KEY
    with reader.reading(client, 2, tmp_path / "past", Means.KEY) as made:
        file = made.client.config.pgbackrest_config
        text = file.read_text()
        assert access_key(file, "erp", 2) == AccessKey("reader", "its-secret")
        assert "cloud-pass" in text
        assert "io-timeout=60" in text
        assert not [word for word in ("own-key", "own-secret", "local-pass", "repo1") if word in text]
        assert file.stat().st_mode & 0o777 == 0o600
        # The role pgbackrest brings another key while the instance stands.
        keys.write_text("[global]\nrepo2-s3-key=next\nrepo2-s3-key-secret=its-secret\n")
        made.keep()
        assert access_key(file, "erp", 2) == AccessKey("next", "its-secret")
        # It takes the key away: what the instance has is kept, and whoever must have another one hears of it.
        keys.unlink()
        made.keep()
        with pytest.raises(ConfigError, match="has no key of repository 2 any more"):
            made.renew()
    assert not file.parent.exists()


def test_a_repository_on_a_disk_needs_no_key_and_the_cloud_s_is_left_out(host: HostConfig, tmp_path: Path) -> None:
    client = PgBackRest(host)
    assert reader.means_of(client, 1) is Means.DISK
    with reader.reading(client, 1, tmp_path / "past", Means.DISK) as made:
        text = made.client.config.pgbackrest_config.read_text()
        assert "local-pass" in text
        assert not [word for word in ("own-key", "own-secret", "cloud-pass", "repo2") if word in text]
    with reader.asking(client, 1) as made:
        assert made.client is client  # there is no key to be tried
    assert list(tmp_path.glob("asking-*")) == []


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2"])
def test_the_role_is_taken_on_in_the_region_that_the_host_works_with(
    host: HostConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    """After a recovery from the copy the first region may be gone."""
    source = yaml.safe_load(Path("inventories/production/group_vars/all/policy.yml").read_text())
    source["recovery_policy"]["repositories"][1]["reader_role"] = ROLE
    host.policy_path.write_text(yaml.safe_dump(source))
    with host.pgbackrest_config.open("a") as config:
        config.write(f"[global]\nrepo2-s3-region={region}\n")
    client = PgBackRest(host)
    assert reader.means_of(client, 2) is Means.ROLE
    asked: list[str] = []
    original = AssumedRole.__init__

    def begun(self: AssumedRole, config: HostConfig, named: S3Repository, session: str) -> None:
        asked.append(named.region)
        original(self, config, named, session)

    monkeypatch.setattr(AssumedRole, "__init__", begun)
    with reader.reading(client, 2, tmp_path / "past", Means.ROLE) as made:
        assert asked == [region]
        assert made.key is not None
        assert made.key.token
        assert f"repo2-s3-token={made.key.token}" in made.client.config.pgbackrest_config.read_text()


def test_a_folder_that_cannot_be_written_is_one_line(host: HostConfig) -> None:
    keys = host.pgbackrest_config.parent / "reader-credentials.conf"
    keys.write_text("[global]\nrepo2-s3-key=reader\nrepo2-s3-key-secret=its-secret\n")
    client = PgBackRest(host.model_copy(update={"run_directory": Path("/nonexistent")}))
    with pytest.raises(OperationFailedError, match="/nonexistent cannot be written"), reader.asking(client, 2):
        pass


def test_without_a_reader_it_is_the_hosts_own_configuration(host: HostConfig, tmp_path: Path) -> None:
    client = PgBackRest(host)
    assert reader.means_of(client, 2) is Means.OWN
    with reader.reading(client, 2, tmp_path / "past", Means.OWN) as made:
        assert made.client is client
    assert not (tmp_path / "past").exists()
